package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// flow is a run of publishers and subscribers.
type flow struct {
	run         uint32
	start       time.Time
	publishers  []*publisher
	subscribers []*subscriber
}

// runFlow connects everybody, lets the publishers publish, waits for what is under way and counts.
func runFlow(ctx context.Context, t Target, c Config, r *Result) (err error) {
	f := &flow{run: rand.Uint32()}
	// Whatever ends, the links are closed, which ends their readers.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var readers, writers sync.WaitGroup
	defer func() {
		cancel(nil)
		f.close()
		readers.Wait()
	}()
	if err := f.connect(ctx, &t, &c); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, f.close)()
	r.Publishers, r.Subscribers, r.Payload = c.Publishers, c.Subscribers, c.Payload
	m, err := startMeter(t.PID)
	if err != nil {
		return err
	}
	f.start = time.Now()
	for _, s := range f.subscribers {
		readers.Go(func() { cancel(s.receive()) })
	}
	publishing, done := context.WithTimeout(ctx, c.Duration)
	defer done()
	for i, p := range f.publishers {
		readers.Go(func() { cancel(p.acknowledge()) })
		limit := math.MaxInt
		if c.Messages > 0 {
			limit = c.Messages / c.Publishers
			if i < c.Messages%c.Publishers {
				limit++
			}
		}
		writers.Go(func() {
			if err := p.publish(publishing, limit); err != nil {
				cancel(err)
			}
		})
	}
	writers.Wait()
	err = f.drain(ctx, c.Stall)
	if cerr := m.stop(f.arrived(), r); err == nil {
		err = cerr
	}
	cancel(nil)
	f.close()
	readers.Wait()
	f.count(r)
	return err
}

// connect opens subscribers first, so that no message finds nobody.
func (f *flow) connect(ctx context.Context, t *Target, c *Config) error {
	group := c.Prefix + "/" + strconv.FormatUint(uint64(f.run), 36) + "/"
	links, err := openAll(ctx, t, c, "sub", c.Subscribers)
	if err != nil {
		return err
	}
	for i, l := range links {
		filter := group + "+"
		if c.Scenario == "fan-out" && c.Publishers == 1 {
			filter = group + "0"
		}
		if c.Scenario == "pairs" || c.Scenario == "sparse" {
			filter = group + strconv.Itoa(i)
		}
		if c.Topics > 0 {
			filter += "/+"
		}
		f.subscribers = append(f.subscribers, &subscriber{
			link: l, flow: f, index: i, filter: filter,
			next: make([]uint64, c.Publishers), fresh: make([]int64, c.Publishers),
		})
	}
	for i, s := range f.subscribers {
		if err := s.subscribe(s.filter, c.QoS); err != nil {
			return fmt.Errorf("subscriber %d: %w", i, err)
		}
	}
	if links, err = openAll(ctx, t, c, "pub", c.Publishers); err != nil {
		return err
	}
	for i, l := range links {
		p := &publisher{
			link: l, cfg: c, flow: f, index: uint32(i), topic: group + strconv.Itoa(i),
			fanout: c.Subscribers, window: c.Window, limit: max(1, c.Outstanding/c.Publishers),
			wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour),
		}
		if c.Scenario == "pairs" || c.Scenario == "sparse" {
			p.fanout, p.limit = 1, c.Outstanding
		}
		p.enough = max(1, p.room()/2)
		f.publishers = append(f.publishers, p)
	}
	return nil
}

func (f *flow) close() {
	for _, s := range f.subscribers {
		s.close()
	}
	for _, p := range f.publishers {
		p.close()
	}
}

func (f *flow) sent() (n int) {
	for _, p := range f.publishers {
		n += int(p.sent.Load())
	}
	return n
}

func (f *flow) arrived() (n int) {
	for _, p := range f.publishers {
		n += int(p.delivered.Load())
	}
	return n
}

func (f *flow) expected() (n int) {
	for _, p := range f.publishers {
		n += int(p.sent.Load()) * p.fanout
	}
	return n
}

// drain waits until everything has arrived, or nothing has for a while.
func (f *flow) drain(ctx context.Context, stall time.Duration) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	want, last, since := f.expected(), f.arrived(), time.Now()
	for last < want {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if n := f.arrived(); n != last {
			last, since = n, time.Now()
		} else if time.Since(since) > stall {
			return nil
		}
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// count reads the subscribers after they have ended.
func (f *flow) count(r *Result) {
	var all histogram
	end := time.Duration(0)
	for _, s := range f.subscribers {
		all.merge(&s.latency)
		r.Delivered += s.unique
		r.OutOfOrder += s.disorder
		r.Duplicates += s.twice
		end = max(end, time.Duration(s.last.Load()))
	}
	r.Sent = f.sent()
	r.Lost = f.expected() - r.Delivered
	r.Seconds = end.Seconds()
	if end > 0 {
		r.PerSecond = float64(r.Delivered) / r.Seconds
	}
	r.P50, r.P99 = all.quantile(0.50), all.quantile(0.99)
}
