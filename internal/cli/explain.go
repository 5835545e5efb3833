package cli

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/admin"
	"github.com/berth-iot/berth/internal/denial"
)

func explainCommand() *cobra.Command {
	var t target
	var clientID, certificate string
	var max int
	cmd := &cobra.Command{
		Use:   "explain [THING ACTION RESOURCE]",
		Short: "Say why something was denied, or whether it would be",
		Long: `Without arguments: the latest refusals with their reasons: connections, publishes,
subscriptions and deliveries that a policy denied, TLS handshakes that failed, and clients
that broke the protocol.

With a thing, an action and a topic, topic filter or client identifier: whether the thing's
certificate would be allowed to do it, and which policy and statement decide. The exit code
is 0 if it is allowed and 1 if not.`,
		Example: `  berth explain
  berth explain --client kettle-7
  berth explain kettle-7 publish kettles/kettle-7/state
  berth explain kettle-7 connect kettle-7
  berth explain --certificate 5f3c…e1 kettle-7 subscribe 'kettles/#'`,
		Args: args(func(cmd *cobra.Command, words []string) error {
			if len(words) != 0 && len(words) != 3 {
				return fmt.Errorf("explain takes no arguments, or a thing, an action and a resource")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) == 0 {
				return t.denials(cmd, clientID, max)
			}
			return t.explain(cmd, admin.Question{ThingName: words[0], CertificateID: certificate, ClientID: clientID, Action: words[1], Resource: words[2]})
		},
	}
	t.addFlags(cmd)
	cmd.Flags().StringVar(&clientID, "client", "", "client identifier: only its refusals, or the one to ask for (default the thing's name)")
	cmd.Flags().StringVar(&certificate, "certificate", "", "certificate identifier to ask for, instead of those attached to the thing")
	cmd.Flags().IntVarP(&max, "max", "n", 20, "number of refusals")
	return cmd
}

func (t *target) denials(cmd *cobra.Command, clientID string, max int) error {
	var out struct {
		Denials []denial.Record `json:"denials"`
		Total   uint64          `json:"total"`
	}
	q := url.Values{"max": {strconv.Itoa(max)}}
	if clientID != "" {
		q.Set("clientId", clientID)
	}
	if err := t.own(cmd.Context(), "GET", "/berth/denials?"+q.Encode(), nil, &out); err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return emit(cmd, out, table{})
	}
	w := cmd.OutOrStdout()
	if len(out.Denials) == 0 {
		fmt.Fprintln(w, "nothing was refused since the server started")
		return nil
	}
	for _, d := range out.Denials {
		who := d.ClientID
		if who == "" {
			who = d.SourceIP
		}
		fmt.Fprintf(w, "%s  %-9s %s\n    %s\n", d.Time.Local().Format(time.DateTime), d.Kind, strings.TrimSpace(who+" "+d.Action+" "+d.Resource), d.Reason)
	}
	return nil
}

// explain prints the answer; a no is an error too, for the exit code.
func (t *target) explain(cmd *cobra.Command, q admin.Question) error {
	var a admin.Answer
	if err := t.own(cmd.Context(), "POST", "/berth/explain", q, &a); err != nil {
		return err
	}
	if wantsJSON(cmd) {
		if err := emit(cmd, a, table{}); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(cmd.OutOrStdout(), a.Reason)
	}
	if !a.Allowed {
		return fmt.Errorf("%s may not %s on %s", a.ClientID, a.Action, a.Resource)
	}
	return nil
}
