package topic

import "strings"

// Use says what clients may do with a topic (AWS IoT developer guide, "Reserved topics").
type Use uint8

const (
	// Publish and Subscribe are bits of Use.
	Publish Use = 1 << iota
	Subscribe
)

const (
	thingsPrefix = "$aws/things/"
	ingestPrefix = "$aws/rules/"
)

// Reserved reports whether a name or filter lies in the part that begins with $, which belongs to
// the service.
func Reserved(s string) bool { return s != "" && s[0] == '$' }

// BasicIngestRest returns the part of a topic after $aws/rules/NAME/, or the topic itself when it
// is not one of Basic Ingest. Limits apply to this part alone.
func BasicIngestRest(name string) string {
	s, ok := strings.CutPrefix(name, ingestPrefix)
	if !ok {
		return name
	}
	if _, rest, ok := strings.Cut(s, "/"); ok && rest != "" {
		return rest
	}
	return name
}

// reservedSlashes is how many slashes the fixed part of a reserved topic may add: the limit of
// seven counts what users chose, and `$aws/things/T/jobs/J/…` would not fit otherwise.
func reservedSlashes(s string) int {
	if strings.HasPrefix(s, "$aws/") {
		return 3
	}
	return 0
}

// ReservedUse tells what clients may do with a reserved topic name, or with a filter when it names
// one; 0 means that the service defines no such topic. Levels of a filter that are + or # match
// any level of the table, so that "$aws/things/T/jobs/get/+" may be subscribed to.
func ReservedUse(s string) Use {
	var use Use
	for _, row := range reserved {
		if overlaps(row.pattern, s) {
			use |= row.use
		}
	}
	return use
}

// overlaps matches a table pattern against a name or filter: `*` stands for one level, a last `**`
// for one or more, a last `**?` for any number or none.
func overlaps(pattern, s string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, "/")
		n, nrest, nmore := strings.Cut(s, "/")
		if n == "#" || p == "**" {
			return true
		}
		if p != "*" && n != "+" && p != n {
			return false
		}
		if prest == "**?" {
			return true
		}
		if !pmore || !nmore {
			return pmore == nmore
		}
		pattern, s = prest, nrest
	}
}

// reserved lists the service's topics in the patterns of overlaps.
var reserved = []struct {
	pattern string
	use     Use
}{
	{"$aws/things/*/shadow/get", Publish | Subscribe},
	{"$aws/things/*/shadow/update", Publish | Subscribe},
	{"$aws/things/*/shadow/delete", Publish | Subscribe},
	{"$aws/things/*/shadow/name/*/get", Publish | Subscribe},
	{"$aws/things/*/shadow/name/*/update", Publish | Subscribe},
	{"$aws/things/*/shadow/name/*/delete", Publish | Subscribe},
	{"$aws/things/*/shadow/get/*", Subscribe},
	{"$aws/things/*/shadow/update/*", Subscribe},
	{"$aws/things/*/shadow/delete/*", Subscribe},
	{"$aws/things/*/shadow/name/*/get/*", Subscribe},
	{"$aws/things/*/shadow/name/*/update/*", Subscribe},
	{"$aws/things/*/shadow/name/*/delete/*", Subscribe},
	{"$aws/things/*/jobs/get", Publish},
	{"$aws/things/*/jobs/start-next", Publish},
	{"$aws/things/*/jobs/*/get", Publish},
	{"$aws/things/*/jobs/*/update", Publish},
	{"$aws/things/*/jobs/get/*", Subscribe},
	{"$aws/things/*/jobs/start-next/*", Subscribe},
	{"$aws/things/*/jobs/*/get/*", Subscribe},
	{"$aws/things/*/jobs/*/update/*", Subscribe},
	{"$aws/things/*/jobs/notify", Subscribe},
	{"$aws/things/*/jobs/notify-next", Subscribe},
	{"$aws/things/*/streams/*/get/*", Publish},
	{"$aws/things/*/streams/*/describe/*", Publish},
	{"$aws/things/*/streams/*/data/*", Subscribe},
	{"$aws/things/*/streams/*/description/*", Subscribe},
	{"$aws/things/*/streams/*/rejected/*", Subscribe},
	{"$aws/things/*/defender/metrics/*", Publish},
	{"$aws/things/*/defender/metrics/*/*", Subscribe},
	{"$aws/things/*/tunnels/notify", Subscribe},
	{"$aws/certificates/create/*", Publish},
	{"$aws/certificates/create/*/*", Subscribe},
	{"$aws/certificates/create-from-csr/*", Publish},
	{"$aws/certificates/create-from-csr/*/*", Subscribe},
	{"$aws/provisioning-templates/*/provision/*", Publish},
	{"$aws/provisioning-templates/*/provision/*/*", Subscribe},
	{"$aws/rules/*/**?", Publish},
	{"$aws/events/**", Subscribe},
	{"$aws/commands/*/*/executions/*/response/*", Publish},
	{"$aws/commands/*/*/executions/*/response", Publish},
	{"$aws/commands/*/*/executions/*/request/*", Subscribe},
	{"$aws/commands/*/*/executions/*/request", Subscribe},
	{"$aws/commands/*/*/executions/*/response/*", Subscribe},
	{"$aws/commands/*/*/executions/*/response/*/*", Subscribe},
	{"$aws/device_location/*/**?", Publish | Subscribe},
	{"$aws/sitewise/**", Publish | Subscribe},
}

// Thing returns the thing name of a topic under $aws/things/, and what follows it.
func Thing(name string) (thing, rest string, ok bool) {
	s, ok := strings.CutPrefix(name, thingsPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(s, "/")
}
