package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/spf13/cobra"
)

// foundThing is a thing as the fleet index knows it.
type foundThing struct {
	thingView
	Groups       []string        `json:"thingGroupNames,omitempty"`
	Shadow       json.RawMessage `json:"shadow,omitempty"`
	Defender     json.RawMessage `json:"deviceDefender,omitempty"`
	Connectivity *connectivity   `json:"connectivity,omitempty"`
}

type connectivity struct {
	Connected bool   `json:"connected"`
	Timestamp string `json:"timestamp,omitempty"`
	Reason    string `json:"disconnectReason,omitempty"`
}

// searchPage is how many things are asked for at once; AWS gives no more.
const searchPage = 100

func thingSearchCommand(t *target) *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use:   "search QUERY",
		Short: "Search things by registry, shadows and connectivity",
		Long: `Search things in the fleet index. A query is made of terms such as attributes.room:kitchen,
thingName:lamp*, shadow.reported.battery<20 or connectivity.connected:true, with AND, OR, NOT and
parentheses. Indexing is off at first; aws iot update-indexing-configuration turns it on.`,
		Example: `  berth thing search 'attributes.room:kitchen AND shadow.reported.battery<20'
  berth thing search 'connectivity.connected:false' -o json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if most < 0 {
				return usagef("--max %d: want 0 for all, or a number", most)
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []foundThing{}
			tab := table{header: []string{"NAME", "TYPE", "CONNECTED", "GROUPS", "ATTRIBUTES"}}
			for in := (&iot.SearchIndexInput{QueryString: &args[0]}); ; {
				n := int32(searchPage)
				if rest := most - len(list); most > 0 && rest < searchPage {
					n = int32(rest)
				}
				in.MaxResults = &n
				out, err := api.SearchIndex(cmd.Context(), in)
				if err != nil {
					err = apiError("search things", err)
					if isException(err, "ResourceNotFoundException") || isException(err, "IndexNotReadyException") {
						err = hinted(err, "turn indexing on: aws iot update-indexing-configuration --thing-indexing-configuration thingIndexingMode=REGISTRY_AND_SHADOW,thingConnectivityIndexingMode=STATUS")
					}
					return err
				}
				for _, th := range out.Things {
					v := foundThing{Groups: th.ThingGroupNames, Shadow: raw(th.Shadow), Defender: raw(th.DeviceDefender)}
					v.thingView = thingView{Name: text(th.ThingName), ID: text(th.ThingId), Type: text(th.ThingTypeName), Attributes: th.Attributes}
					connected := ""
					if c := th.Connectivity; c != nil {
						v.Connectivity = &connectivity{Connected: c.Connected != nil && *c.Connected, Reason: text(c.DisconnectReason)}
						if c.Timestamp != nil {
							v.Connectivity.Timestamp = time.UnixMilli(*c.Timestamp).UTC().Format(time.RFC3339)
						}
						connected = fmt.Sprint(v.Connectivity.Connected)
					}
					list = append(list, v)
					tab.add(v.Name, v.Type, connected, strings.Join(v.Groups, ","), pairs(v.Attributes))
				}
				if in.NextToken = out.NextToken; in.NextToken == nil || most > 0 && len(list) >= most {
					return emit(cmd, map[string]any{"things": list}, tab)
				}
			}
		},
	}
	cmd.Flags().IntVar(&most, "max", 0, "at most this many things; 0 for all")
	return cmd
}

// raw is a JSON text that comes as a string.
func raw(s *string) json.RawMessage {
	if s == nil || !json.Valid([]byte(*s)) {
		return nil
	}
	return json.RawMessage(*s)
}
