package server

import (
	"github.com/berth-iot/berth/internal/authorizer"
	"github.com/berth-iot/berth/internal/commands"
	"github.com/berth-iot/berth/internal/defender"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/ota"
	"github.com/berth-iot/berth/internal/packages"
	"github.com/berth-iot/berth/internal/rolealias"
	"github.com/berth-iot/berth/internal/rules"
	"github.com/berth-iot/berth/internal/stream"
)

// taggable are the kinds of resources whose services leave tags to the API, each with the query that
// counts those of a name.
var taggable = map[string]string{
	"stream":              stream.Count,
	"otaupdate":           ota.Count,
	"authorizer":          authorizer.Count,
	"domainconfiguration": domain.Count,
	"rolealias":           rolealias.Count,
	"rule":                rules.Count,
	"command":             commands.Count,
	"package":             packages.Count,
	"securityprofile":     defender.Count("securityprofile"),
	"custommetric":        defender.Count("custommetric"),
	"dimension":           defender.Count("dimension"),
	"scheduledaudit":      defender.Count("scheduledaudit"),
}
