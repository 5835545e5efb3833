package action

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

var siteWiseService = &service{"IoTSiteWise", "iotsitewise", "data.iotsitewise", "", "application/json"}

// siteWiseEntries go into one call of BatchPutAssetPropertyValue.
const siteWiseEntries = 10

// SiteWise puts values of asset properties; the result of the statement is not used.
type SiteWise struct {
	Entries []SiteWiseEntry `json:"putAssetPropertyValueEntries,omitempty"`
	RoleARN string          `json:"roleArn,omitempty"`
}

// SiteWiseEntry is a property, by asset and property or by alias, with values.
type SiteWiseEntry struct {
	EntryID       string          `json:"entryId,omitempty"`
	AssetID       string          `json:"assetId,omitempty"`
	PropertyID    string          `json:"propertyId,omitempty"`
	PropertyAlias string          `json:"propertyAlias,omitempty"`
	Values        []SiteWiseValue `json:"propertyValues,omitempty"`
}

// SiteWiseValue is a value at a time.
type SiteWiseValue struct {
	Value struct {
		String  string `json:"stringValue,omitempty"`
		Integer string `json:"integerValue,omitempty"`
		Double  string `json:"doubleValue,omitempty"`
		Boolean string `json:"booleanValue,omitempty"`
	} `json:"value"`
	Timestamp struct {
		Seconds string `json:"timeInSeconds,omitempty"`
		Nanos   string `json:"offsetInNanos,omitempty"`
	} `json:"timestamp"`
	Quality string `json:"quality,omitempty"` // GOOD, BAD or UNCERTAIN
}

// Validate implements Action.
func (w *SiteWise) Validate() error {
	if len(w.Entries) == 0 {
		return required("iotSiteWise", "putAssetPropertyValueEntries", "")
	}
	for _, e := range w.Entries {
		if (e.AssetID == "" || e.PropertyID == "") && e.PropertyAlias == "" {
			return refuse("iotSiteWise: an entry has neither assetId and propertyId nor propertyAlias")
		}
		if len(e.Values) == 0 {
			return required("iotSiteWise", "propertyValues", "")
		}
	}
	return required("iotSiteWise", "roleArn", w.RoleARN)
}

// Destination implements Action.
func (w *SiteWise) Destination() string {
	if len(w.Entries) > 0 {
		return w.Entries[0].AssetID + w.Entries[0].PropertyAlias
	}
	return ""
}

// wire is the value as the service wants it, with numbers instead of text.
func (v *SiteWiseValue) wire() (map[string]any, error) {
	value := make(map[string]any)
	var err error
	for _, x := range []struct {
		name, text string
		parse      func(text string) (any, error)
	}{
		{"stringValue", v.Value.String, func(t string) (any, error) { return t, nil }},
		{"integerValue", v.Value.Integer, func(t string) (any, error) { return strconv.ParseInt(t, 10, 32) }},
		{"doubleValue", v.Value.Double, func(t string) (any, error) { return strconv.ParseFloat(t, 64) }},
		{"booleanValue", v.Value.Boolean, func(t string) (any, error) { return strconv.ParseBool(t) }},
	} {
		if x.text == "" {
			continue
		}
		if value[x.name], err = x.parse(x.text); err != nil {
			return nil, refuse("iotSiteWise: %s is %q", x.name, x.text)
		}
	}
	if len(value) != 1 {
		return nil, refuse("iotSiteWise: a value has %d kinds, not one", len(value))
	}
	at := make(map[string]int64)
	if at["timeInSeconds"], err = strconv.ParseInt(v.Timestamp.Seconds, 10, 64); err != nil {
		return nil, refuse("iotSiteWise: timeInSeconds is %q", v.Timestamp.Seconds)
	}
	if v.Timestamp.Nanos != "" {
		if at["offsetInNanos"], err = strconv.ParseInt(v.Timestamp.Nanos, 10, 32); err != nil {
			return nil, refuse("iotSiteWise: offsetInNanos is %q", v.Timestamp.Nanos)
		}
	}
	out := map[string]any{"value": value, "timestamp": at}
	switch q := strings.ToUpper(v.Quality); q {
	case "":
	case "GOOD", "BAD", "UNCERTAIN":
		out["quality"] = q
	default:
		return nil, refuse("iotSiteWise: quality is %q, not GOOD, BAD or UNCERTAIN", v.Quality)
	}
	return out, nil
}

// Do implements Action.
func (w *SiteWise) Do(ctx context.Context, s *Services, m *Message) error {
	var entries []map[string]any
	for _, e := range w.Entries {
		entry := map[string]any{"entryId": e.EntryID}
		if e.EntryID == "" {
			entry["entryId"] = uuid.NewString()
		}
		if e.PropertyAlias != "" {
			entry["propertyAlias"] = e.PropertyAlias
		} else {
			entry["assetId"], entry["propertyId"] = e.AssetID, e.PropertyID
		}
		var values []map[string]any
		for i := range e.Values {
			v, err := e.Values[i].wire()
			if err != nil {
				return err
			}
			values = append(values, v)
		}
		entry["propertyValues"] = values
		entries = append(entries, entry)
	}
	for part := range slices.Chunk(entries, siteWiseEntries) {
		var out struct {
			Failed []struct {
				Errors []struct {
					Code    string `json:"errorCode"`
					Message string `json:"errorMessage"`
				} `json:"errors"`
			} `json:"errorEntries"`
		}
		if err := s.AWS.ask(ctx, siteWiseService, "/properties", map[string]any{"entries": part}, &out); err != nil {
			return failure("iotSiteWise", err)
		}
		for _, f := range out.Failed {
			for _, e := range f.Errors {
				soon := strings.HasPrefix(e.Code, "Throttl") || strings.HasPrefix(e.Code, "Internal") || strings.HasPrefix(e.Code, "ServiceUnavailable")
				return refused("iotSiteWise", e.Code, e.Message, !soon)
			}
		}
	}
	return nil
}
