package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// ruleEvent is a line of the server's stream.
type ruleEvent struct {
	Time        time.Time       `json:"time"`
	Rule        string          `json:"ruleName"`
	Topic       string          `json:"topic"`
	ClientID    string          `json:"clientId"`
	Outcome     string          `json:"outcome"`
	Message     json.RawMessage `json:"message"`
	Result      json.RawMessage `json:"result"`
	Action      string          `json:"action"`
	Destination string          `json:"destination"`
	Error       string          `json:"error"`
	Seconds     float64         `json:"seconds"`
	Missed      uint64          `json:"missed"`
}

func ruleTailCommand(t *target) *cobra.Command {
	var count int
	cmd := &cobra.Command{
		Use:   "tail NAME",
		Short: "Look on at what happens in a rule",
		Long: `Look on at what happens in a rule, until it is interrupted: each message that reaches it, what FROM and
WHERE said and what SELECT made of it, and what became of each action, with the error if it failed.

With -o json every event is a line. Who reads too slowly misses events and is told how many.`,
		Example: `  berth rule tail hot
  berth rule tail hot --count 10 -o json | jq .error`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			lines, out := io.Pipe()
			go func() { out.CloseWithError(t.stream(cmd, "/berth/rules/"+url.PathEscape(args[0])+"/tail", out)) }()
			defer lines.Close()
			w := cmd.OutOrStdout()
			in := bufio.NewReader(lines)
			for n := 0; count == 0 || n < count; {
				line, err := in.ReadBytes('\n')
				if errors.Is(err, io.EOF) || cmd.Context().Err() != nil {
					return nil
				}
				if err != nil {
					return fmt.Errorf("tail rule %q: %w", args[0], err)
				}
				if len(line) <= 1 {
					continue
				}
				n++
				if wantsJSON(cmd) {
					if _, err := w.Write(line); err != nil {
						return err
					}
					continue
				}
				var e ruleEvent
				if err := json.Unmarshal(line, &e); err != nil {
					return fmt.Errorf("tail rule %q: %w", args[0], err)
				}
				if _, err := fmt.Fprintln(w, e.line()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&count, "count", 0, "end after this `NUMBER` of events")
	return cmd
}

// line is an event as people read it.
func (e *ruleEvent) line() string {
	part := []string{e.Time.Local().Format("15:04:05.000"), e.Outcome}
	if e.Action != "" {
		part = append(part, e.Action+" "+e.Destination, time.Duration(e.Seconds*1e9).Round(time.Microsecond).String())
	} else {
		part = append(part, e.Topic)
		if e.ClientID != "" {
			part = append(part, "from "+e.ClientID)
		}
		part = append(part, string(e.Message))
		if len(e.Result) > 0 {
			part = append(part, "-> "+string(e.Result))
		}
	}
	if e.Error != "" {
		part = append(part, "error: "+e.Error)
	}
	if e.Missed > 0 {
		part = append(part, fmt.Sprintf("(%d events missed before)", e.Missed))
	}
	return strings.Join(part, "  ")
}

// ruleDocument sends a rule as it is written, with the actions that only berth has.
func (t *target) ruleDocument(cmd *cobra.Command, name string, replace bool, document any) error {
	method := http.MethodPost
	if replace {
		method = http.MethodPatch
	}
	if err := t.own(cmd.Context(), method, "/rules/"+url.PathEscape(name), document, nil); err != nil {
		return apiError("create rule \""+name+"\"", err)
	}
	return nil
}
