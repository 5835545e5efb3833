package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// runConnect connects, says goodbye and connects again, on a few connections at a time. A TLS
// session is resumed only if the target's configuration has a session cache.
func runConnect(ctx context.Context, t Target, c Config, r *Result) error {
	r.Connections = c.Connections
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m, err := startMeter(t.PID)
	if err != nil {
		return err
	}
	var (
		workers sync.WaitGroup
		begun   atomic.Int64
		mu      sync.Mutex
		all     histogram
		start   = time.Now()
	)
	for w := range c.Connections {
		workers.Go(func() {
			var latency histogram
			for i := 0; begun.Add(1) <= int64(c.Messages) && time.Since(start) < c.Duration; i++ {
				before := time.Now()
				l, err := open(ctx, &t, &c, clientID(&c, "con", w))
				if err != nil {
					cancel(err)
					return
				}
				latency.add(time.Since(before))
				l.part()
			}
			mu.Lock()
			all.merge(&latency)
			mu.Unlock()
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.Seconds = time.Since(start).Seconds()
	r.Sent, r.Delivered = all.total, all.total
	r.PerSecond = float64(all.total) / r.Seconds
	r.P50, r.P99 = all.quantile(0.50), all.quantile(0.99)
	return m.stop(all.total, r)
}

// part says goodbye and lets the server close first, then drops the connection without leaving a
// port in TIME_WAIT.
func (l *link) part() {
	l.conn.SetDeadline(time.Now().Add(time.Second))
	l.conn.Write(new(mqtt.Disconnect).Append(nil, l.version))
	io.Copy(io.Discard, l.conn)
	raw := l.conn
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	raw.Close()
}

// runIdle holds connections that do nothing and looks at the server's memory before and after.
func runIdle(ctx context.Context, t Target, c Config, r *Result) error {
	r.Connections = c.Connections
	if t.PID == 0 {
		return fmt.Errorf("the server's process must be known: --pid")
	}
	before, err := ResidentKiB(t.PID)
	if err != nil {
		return err
	}
	m, err := startMeter(t.PID)
	if err != nil {
		return err
	}
	start := time.Now()
	links, err := openAll(ctx, &t, &c, "idle", c.Connections)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range links {
			l.close()
		}
	}()
	r.Seconds = time.Since(start).Seconds()
	r.Sent, r.Delivered = len(links), len(links)
	r.PerSecond = float64(len(links)) / r.Seconds
	if err := m.stop(len(links), r); err != nil {
		return err
	}
	select {
	case <-time.After(c.Settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := ResidentKiB(t.PID)
	r.MemoryKiB = (after - before) / float64(len(links))
	return err
}
