package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Bus carries bytes between nodes, each message at most once and in order from one node to another as
// long as both stay connected. Nothing depends on it but latency and messages that nobody keeps.
type Bus struct {
	conn   *nats.Conn
	prefix string
	log    *slog.Logger
}

// CheckURLs reports what is wrong with a list of NATS servers, separated by commas.
func CheckURLs(urls string) error {
	for url := range strings.SplitSeq(urls, ",") {
		scheme, host, _ := strings.Cut(strings.TrimSpace(url), "://")
		if scheme != "nats" && scheme != "tls" || host == "" {
			return errors.New("want servers like nats://host:4222, several separated by commas")
		}
	}
	return nil
}

// openBus connects in the background: a NATS that is away keeps nobody from starting.
func openBus(urls, name, prefix string, log *slog.Logger, reconnected func()) (*Bus, error) {
	conn, err := nats.Connect(urls, nats.Name("berth "+name), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(250*time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		nats.ReconnectBufSize(-1), nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(2*time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("NATS went away: other nodes hear of changes later", "error", err)
			}
		}),
		nats.ConnectHandler(func(*nats.Conn) { reconnected() }),
		nats.ReconnectHandler(func(*nats.Conn) {
			log.Info("NATS is back")
			reconnected()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) { log.Warn("NATS", "error", err) }))
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return &Bus{conn: conn, prefix: prefix, log: log}, nil
}

// Connected reports whether messages go anywhere.
func (b *Bus) Connected() bool { return b.conn.IsConnected() }

// Publish sends a message without waiting. It reports whether it was handed over.
func (b *Bus) Publish(subject string, data []byte) bool {
	return b.conn.Publish(b.prefix+subject, data) == nil
}

// Subscribe calls handle with every message of a subject, one after another. What handle returns, if not
// nil, is the answer to a Request.
func (b *Bus) Subscribe(subject string, handle func(data []byte) []byte) error {
	s, err := b.conn.Subscribe(b.prefix+subject, func(m *nats.Msg) {
		if answer := handle(m.Data); answer != nil && m.Reply != "" {
			m.Respond(answer)
		}
	})
	if err == nil {
		err = s.SetPendingLimits(1<<20, 256<<20)
	}
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return nil
}

// Serve is Subscribe with a goroutine for each message: for handlers that take their time.
func (b *Bus) Serve(subject string, handle func(data []byte) []byte) error {
	_, err := b.conn.Subscribe(b.prefix+subject, func(m *nats.Msg) {
		go func() {
			if answer := handle(m.Data); answer != nil && m.Reply != "" {
				m.Respond(answer)
			}
		}()
	})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return nil
}

// Request sends a message and waits for an answer.
func (b *Bus) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	m, err := b.conn.RequestWithContext(ctx, b.prefix+subject, data)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

func (b *Bus) close() { b.conn.Close() }
