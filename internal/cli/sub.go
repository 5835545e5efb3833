package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

type subscription struct {
	connection
	topics                               []string
	qos                                  byte
	count                                int
	timeout                              time.Duration
	verbose, json, noNewline, noRetained bool
}

func subCommand() *cobra.Command {
	s := new(subscription)
	cmd := &cobra.Command{
		Use:   "sub FILTER...",
		Short: "Subscribe and print what arrives",
		Long: `Subscribe to topic filters and print the payload of every message that arrives, one a line, until
it is interrupted, --count messages have come or --timeout is over. --timeout before the
last of --count messages is a failure.`,
		Example: `  berth sub 'topic/#' -v
  berth sub another/topic/echo --count 1 --timeout 10s --json
  berth sub '#' --plain 127.0.0.1:1883`,
		RunE: s.run,
	}
	s.addFlags(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&s.topics, "topic", "t", nil, "topic filter, beside the arguments")
	f.Uint8VarP(&s.qos, "qos", "q", 0, "highest quality of service: 0, 1 or 2")
	f.IntVarP(&s.count, "count", "C", 0, "end after so many messages")
	f.DurationVarP(&s.timeout, "timeout", "W", 0, "end after this time")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "print the topic before the payload")
	f.BoolVar(&s.json, "json", false, "print each message as one line of JSON, as -o json does")
	f.BoolVarP(&s.noNewline, "no-newline", "N", false, "print no newline after a payload")
	f.BoolVarP(&s.noRetained, "no-retained", "R", false, "leave out retained messages")
	return cmd
}

func (s *subscription) run(cmd *cobra.Command, args []string) error {
	filters := append(s.topics, args...)
	switch {
	case len(filters) == 0:
		return usagef("no topic filter")
	case s.qos > 2:
		return usagef("--qos %d: want 0, 1 or 2", s.qos)
	case s.count < 0:
		return usagef("--count %d: want at least 1", s.count)
	}
	s.json = s.json || wantsJSON(cmd)
	o, err := s.options(cmd.Context())
	if err != nil {
		return err
	}
	p := &printer{subscription: s, out: cmd.OutOrStdout(), full: make(chan struct{})}
	o.OnMessage = p.print
	c, err := s.dial(cmd.Context(), o)
	if err != nil {
		return err
	}
	err = s.wait(cmd.Context(), c, p, filters)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), time.Second)
	defer cancel()
	c.Close(ctx)
	if p.err != nil { // safe to read: the client has stopped
		return p.err
	}
	return err
}

func (s *subscription) wait(ctx context.Context, c *client.Client, p *printer, filters []string) error {
	subs := make([]mqtt.Subscription, len(filters))
	for i, f := range filters {
		subs[i] = mqtt.Subscription{Filter: f, QoS: s.qos}
	}
	asked, cancel := context.WithTimeout(ctx, s.connectTimeout)
	defer cancel()
	if _, err := c.Subscribe(asked, subs...); err != nil && ctx.Err() == nil {
		return err
	}
	var over <-chan time.Time
	if s.timeout > 0 {
		over = time.After(s.timeout)
	}
	select {
	case <-p.full:
	case <-ctx.Done():
	case <-c.Done():
		return c.Err()
	case <-over:
		select {
		case <-p.full:
		default:
			if s.count > 0 {
				return fmt.Errorf("fewer than %d messages within %v", s.count, s.timeout)
			}
		}
	}
	return nil
}

// printer prints messages as they arrive; only the client's reader calls it.
type printer struct {
	*subscription
	out  io.Writer
	n    int
	done bool
	full chan struct{} // closed when nothing more is to be printed
	err  error
}

// printed is a message in JSON.
type printed struct {
	Topic      string             `json:"topic"`
	Payload    *string            `json:"payload,omitempty"`       // if it is UTF-8
	Base64     []byte             `json:"payloadBase64,omitempty"` // else
	QoS        byte               `json:"qos"`
	Retain     bool               `json:"retain"`
	Dup        bool               `json:"dup,omitempty"`
	ReceivedAt time.Time          `json:"receivedAt"`
	Properties *printedProperties `json:"properties,omitempty"`
}

type printedProperties struct {
	ContentType     string              `json:"contentType,omitempty"`
	ResponseTopic   string              `json:"responseTopic,omitempty"`
	CorrelationData []byte              `json:"correlationDataBase64,omitempty"`
	MessageExpiry   *uint32             `json:"messageExpirySeconds,omitempty"`
	User            []map[string]string `json:"userProperties,omitempty"`
}

func (p *printer) print(m client.Message) {
	if p.done || p.noRetained && m.Retain {
		return
	}
	var line []byte
	if p.json {
		line, _ = json.Marshal(describe(m))
	} else {
		if p.verbose {
			line = append(append(line, m.Topic...), ' ')
		}
		line = append(line, m.Payload...)
	}
	if p.json || !p.noNewline {
		line = append(line, '\n')
	}
	_, p.err = p.out.Write(line)
	if p.n++; p.err != nil || p.n == p.count {
		p.done = true
		close(p.full)
	}
}

func describe(m client.Message) printed {
	v := printed{Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, Dup: m.Dup, ReceivedAt: time.Now().UTC()}
	if utf8.Valid(m.Payload) {
		s := string(m.Payload)
		v.Payload = &s
	} else {
		v.Base64 = m.Payload
	}
	if m.Properties.Empty() {
		return v
	}
	v.Properties = &printedProperties{
		ContentType:     m.Properties.ContentType,
		ResponseTopic:   m.Properties.ResponseTopic,
		CorrelationData: m.Properties.CorrelationData,
	}
	if m.Properties.Has(mqtt.PropMessageExpiry) {
		v.Properties.MessageExpiry = &m.Properties.MessageExpiry
	}
	for _, u := range m.Properties.User {
		v.Properties.User = append(v.Properties.User, map[string]string{u.Key: u.Value})
	}
	return v
}
