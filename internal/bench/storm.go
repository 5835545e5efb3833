package bench

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// stormTries is how often a device of a storm tries to connect.
const stormTries = 8

// runStorm lets many devices connect at the same moment, each until it succeeds, as after a power cut.
// Result.Lost are those that never did, P50 and P99 the time until a device was connected.
func runStorm(ctx context.Context, t Target, c Config, r *Result) error {
	r.Connections = c.Connections
	m, err := startMeter(t.PID)
	if err != nil {
		return err
	}
	var (
		devices sync.WaitGroup
		mu      sync.Mutex
		all     histogram
		links   []*link
		failure error
		last    time.Duration
		start   = time.Now()
	)
	for i := range c.Connections {
		from := *new(net.Dialer)
		if c.Sources > 1 { // of 127.0.0.0/8
			from.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i%c.Sources/250), byte(1+i%c.Sources%250))}
		}
		devices.Go(func() {
			for try := range stormTries {
				l, err := openFrom(ctx, &from, &t, &c, clientID(&c, "storm", i))
				mu.Lock()
				if err == nil {
					last = time.Since(start)
					all.add(last)
					links = append(links, l)
					mu.Unlock()
					return
				}
				failure = err
				r.Duplicates++ // tries that failed
				mu.Unlock()
				select {
				case <-time.After(time.Second << min(try, 4)):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	devices.Wait()
	defer func() {
		for _, l := range links {
			l.close()
		}
	}()
	r.Seconds = last.Seconds()
	r.Sent, r.Delivered, r.Lost = c.Connections, all.total, c.Connections-all.total
	if all.total == 0 {
		return fmt.Errorf("nobody could connect: %w", failure)
	}
	r.PerSecond = float64(all.total) / r.Seconds
	r.P50, r.P99 = all.quantile(0.50), all.quantile(0.99)
	return m.stop(all.total, r)
}
