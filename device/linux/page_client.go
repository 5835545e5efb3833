package linux

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/berth-iot/berth/device/configuration"
)

// PageTransport carries the protocol over HTTP to a device's ConfigurationPage. It is a
// configuration.Transport for one goroutine.
type PageTransport struct {
	URL    string       // such as http://192.168.4.1
	Client *http.Client // nil means http.DefaultClient

	inbox []message
}

type message struct {
	c configuration.Channel
	b []byte
}

// pollInterval is the pause between two questions for the result.
const pollInterval = 500 * time.Millisecond

// Send sends a message and keeps the answer for Receive.
func (t *PageTransport) Send(ctx context.Context, c configuration.Channel, b []byte) error {
	method := http.MethodPost
	if c == configuration.Status || c == configuration.Result {
		method, b = http.MethodGet, nil
	}
	answer, err := t.call(ctx, method, c, b)
	if err != nil {
		return err
	}
	if len(answer) > 0 {
		t.inbox = append(t.inbox, message{c, answer})
	}
	return nil
}

func (t *PageTransport) call(ctx context.Context, method string, c configuration.Channel, b []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(t.URL, "/")+"/"+c.String(), bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	client := t.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, configuration.MaxMessage+1))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s answers %s: %s", r.URL, resp.Status, bytes.TrimSpace(answer[:min(len(answer), 200)]))
	}
	return answer, nil
}

// Receive returns the next answer, or asks for the result until there is one.
func (t *PageTransport) Receive(ctx context.Context) (configuration.Channel, []byte, error) {
	if len(t.inbox) > 0 {
		m := t.inbox[0]
		t.inbox = t.inbox[1:]
		return m.c, m.b, nil
	}
	for {
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
		b, err := t.call(ctx, http.MethodGet, configuration.Result, nil)
		if err != nil {
			return 0, nil, err
		}
		if len(b) > 0 {
			return configuration.Result, b, nil
		}
	}
}
