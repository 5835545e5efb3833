package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

type publication struct {
	connection
	topic, message, file        string
	lines, null, retain         bool
	qos                         byte
	repeat                      int
	delay, timeout, expiry      time.Duration
	contentType, response, corr string
	properties                  []string
}

func pubCommand() *cobra.Command {
	p := new(publication)
	cmd := &cobra.Command{
		Use:   "pub TOPIC [-m MESSAGE | -f FILE]",
		Short: "Publish a message",
		Long: `Publish a message: the text of -m, the contents of -f, or standard input.

It connects with a client certificate (--cert, --key), without TLS (--plain), or else over a
WebSocket that is signed with the admin's access key. It returns when the server has taken the
message, and fails if the server refuses it.`,
		Example: `  berth pub topic/hello -m '{"temperature":21.5}' --qos 1
  berth pub topic/hello -m hi --cert lamp.cert.pem --key lamp.private.key --cafile ca.pem -i lamp
  echo hi | berth pub topic/hello --plain 127.0.0.1:1883`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: p.run,
	}
	p.addFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&p.topic, "topic", "t", "", "topic, if it is not the argument")
	f.StringVarP(&p.message, "message", "m", "", "payload")
	f.StringVarP(&p.file, "file", "f", "", "`FILE` with the payload, - for standard input")
	f.BoolVarP(&p.lines, "stdin-line", "l", false, "publish every line of standard input")
	f.BoolVarP(&p.null, "null-message", "n", false, "publish an empty payload")
	f.Uint8VarP(&p.qos, "qos", "q", 0, "quality of service: 0, 1 or 2")
	f.BoolVarP(&p.retain, "retain", "r", false, "keep the message for later subscribers")
	f.IntVar(&p.repeat, "count", 1, "publish so many times")
	f.DurationVar(&p.delay, "delay", 0, "time between repetitions")
	f.DurationVar(&p.timeout, "timeout", 15*time.Second, "how long one acknowledgement may take")
	f.DurationVar(&p.expiry, "expiry", 0, "message expiry (MQTT 5)")
	f.StringVar(&p.contentType, "content-type", "", "content type (MQTT 5)")
	f.StringVar(&p.response, "response-topic", "", "response topic (MQTT 5)")
	f.StringVar(&p.corr, "correlation-data", "", "correlation data (MQTT 5)")
	f.StringArrayVar(&p.properties, "user-property", nil, "user property `NAME=VALUE`, repeatable (MQTT 5)")
	return cmd
}

func (p *publication) run(cmd *cobra.Command, args []string) error {
	if len(args) == 1 && p.topic != "" {
		return usagef("the topic is given twice")
	}
	if len(args) == 1 {
		p.topic = args[0]
	}
	sources := 0
	for _, name := range []string{"message", "file", "stdin-line", "null-message"} {
		if cmd.Flags().Changed(name) {
			sources++
		}
	}
	switch {
	case p.topic == "":
		return usagef("no topic")
	case strings.ContainsAny(p.topic, "+#"):
		return usagef("topic %q: a topic to publish to has no wildcards", p.topic)
	case p.qos > 2:
		return usagef("--qos %d: want 0, 1 or 2", p.qos)
	case sources > 1:
		return usagef("give one of -m, -f, -l and -n")
	case p.repeat < 1:
		return usagef("--count %d: want at least 1", p.repeat)
	}
	m := client.Message{Topic: p.topic, QoS: p.qos, Retain: p.retain}
	if err := p.setProperties(&m.Properties); err != nil {
		return err
	}
	switch {
	case p.null || p.lines:
	case cmd.Flags().Changed("message"):
		m.Payload = []byte(p.message)
	default:
		if p.file == "" {
			p.file = "-"
		}
		var err error
		if m.Payload, err = input(cmd, p.file); err != nil {
			return fmt.Errorf("read the payload: %w", err)
		}
	}
	o, err := p.options(cmd.Context())
	if err != nil {
		return err
	}
	if o.Version != mqtt.V5 && !m.Properties.Empty() {
		return usagef("properties need --mqtt 5")
	}
	c, err := p.dial(cmd.Context(), o)
	if err != nil {
		return err
	}
	n, err := p.publish(cmd.Context(), c, m, cmd.InOrStdin())
	// The context may have ended; the farewell gets its own time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), time.Second)
	defer cancel()
	if closed := c.Close(ctx); err == nil {
		err = closed
	}
	if err != nil || !wantsJSON(cmd) {
		return err
	}
	return emit(cmd, struct {
		Topic     string `json:"topic"`
		QoS       byte   `json:"qos"`
		Retain    bool   `json:"retain"`
		ClientID  string `json:"clientId"`
		Published int    `json:"published"`
	}{m.Topic, m.QoS, m.Retain, c.ClientID(), n}, table{})
}

func (p *publication) setProperties(props *mqtt.Properties) error {
	if p.contentType != "" {
		props.ContentType = p.contentType
		props.Mark(mqtt.PropContentType)
	}
	if p.response != "" {
		props.ResponseTopic = p.response
		props.Mark(mqtt.PropResponseTopic)
	}
	if p.corr != "" {
		props.CorrelationData = []byte(p.corr)
		props.Mark(mqtt.PropCorrelationData)
	}
	if p.expiry > 0 {
		props.MessageExpiry = uint32(min(max(p.expiry/time.Second, 1), math.MaxUint32))
		props.Mark(mqtt.PropMessageExpiry)
	}
	for _, s := range p.properties {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return usagef("--user-property %q: want NAME=VALUE", s)
		}
		props.User = append(props.User, mqtt.UserProperty{Key: name, Value: value})
		props.Mark(mqtt.PropUserProperty)
	}
	return nil
}

// publish sends the message as often as asked, or every line of in.
func (p *publication) publish(ctx context.Context, c *client.Client, m client.Message, in io.Reader) (n int, err error) {
	if p.lines {
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() && err == nil {
			m.Payload = []byte(lines.Text())
			if err = p.one(ctx, c, m); err == nil {
				n++
			}
		}
		err = errors.Join(err, lines.Err())
	} else {
		for n < p.repeat && err == nil {
			if n > 0 && p.delay > 0 {
				select {
				case <-time.After(p.delay):
				case <-c.Done():
					return n, c.Err()
				case <-ctx.Done():
					return n, ctx.Err()
				}
			}
			if err = p.one(ctx, c, m); err == nil {
				n++
			}
		}
	}
	if err == nil && p.qos == 0 {
		// QoS 0 has no answer: the answer to a ping comes after the server's judgement.
		ctx, cancel := context.WithTimeout(ctx, p.timeout)
		defer cancel()
		err = c.Ping(ctx)
	}
	return n, err
}

func (p *publication) one(ctx context.Context, c *client.Client, m client.Message) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	_, err := c.Publish(ctx, m)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("publish to %q: no acknowledgement within %v", m.Topic, p.timeout)
	}
	return err
}
