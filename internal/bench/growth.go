package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// Growths are what a server's cost can be plotted against.
func Growths() []string {
	return []string{"connections", "topics", "wildcards", "retained", "sessions", "slow", "rules", "matching-rules"}
}

// Growth measures the cost of a message while a server carries more and more of something else: idle
// connections, topics published to, subscriptions with wildcards, retained messages, persistent sessions
// whose clients are away, or subscribers of a busy topic that read nothing of it (with none of them the
// topic is as busy), rules that match none of the messages, or rules that all of them match and none
// carries out. Each result's Connections is how many; the flow is ten pairs.
func Growth(ctx context.Context, t Target, c Config, kind string, sizes []int, each func(Result)) ([]Result, error) {
	c.Scenario = "pairs"
	if c.Publishers == 0 {
		c.Publishers = 10
	}
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &burden{target: &t, cfg: &c}
	defer b.drop()
	before := 0.0
	if t.PID != 0 {
		if before, err = ResidentKiB(t.PID); err != nil {
			return nil, err
		}
	}
	var results []Result
	for _, n := range sizes {
		flow := c
		switch kind {
		case "connections":
			err = b.connect(ctx, n)
		case "topics":
			flow.Topics = max(1, n/c.Publishers)
		case "wildcards":
			err = b.subscribe(ctx, n)
		case "retained":
			err = b.retain(ctx, n)
		case "sessions":
			err = b.leave(ctx, n)
		case "slow":
			err = b.stall(ctx, n)
		case "rules", "matching-rules":
			err = b.rule(ctx, n, kind == "matching-rules")
		default:
			err = fmt.Errorf("growth by %q is unknown", kind)
		}
		if err != nil {
			return results, err
		}
		r, err := Run(ctx, t, flow)
		if err != nil {
			return results, err
		}
		r.Scenario, r.Connections = kind, n
		if n > 0 && r.ServerRSS > before {
			r.MemoryKiB = (r.ServerRSS - before) / float64(n)
		}
		results = append(results, r)
		if each != nil {
			each(r)
		}
	}
	return results, nil
}

// burden is what the server carries.
type burden struct {
	target   *Target
	cfg      *Config
	links    []*link
	retained int
	away     int
	rules    int
	busy     context.CancelFunc
	talking  sync.WaitGroup
}

func (b *burden) connect(ctx context.Context, n int) error {
	if n <= len(b.links) {
		return nil
	}
	more, err := openAll(ctx, b.target, b.cfg, "idle"+strconv.Itoa(len(b.links))+"-", n-len(b.links))
	b.links = append(b.links, more...)
	return err
}

// perLink is the number of subscriptions of one client, within the limits of AWS.
const perLink = 50

// subscribe makes n subscriptions, each with a wildcard of its own place in the tree. None matches what
// the flow publishes, but all begin as its topics do.
func (b *burden) subscribe(ctx context.Context, n int) error {
	have := len(b.links) * perLink
	if err := b.connect(ctx, (n+perLink-1)/perLink); err != nil {
		return err
	}
	for i := have; i < n; i++ {
		filter := b.cfg.Prefix + "/+/" + strconv.Itoa(i) + "/+"
		if err := b.links[i/perLink].subscribe(filter, 0); err != nil {
			return err
		}
	}
	return nil
}

// retainers is the number of connections that retain messages at the same time. One alone would wait for the
// acknowledgements of each batch, 40 ms with a server that has Nagle's algorithm on.
const retainers = 32

// retain publishes n retained messages and waits until the server has them.
func (b *burden) retain(ctx context.Context, n int) error {
	if err := b.connect(ctx, retainers); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	next.Store(int64(b.retained))
	var workers sync.WaitGroup
	for _, l := range b.links[:retainers] {
		workers.Go(func() {
			defer context.AfterFunc(ctx, func() { l.conn.Close() })()
			for {
				first := int(next.Add(retainBatch)) - retainBatch
				if first >= n {
					return
				}
				if err := b.retainBatch(l, first, min(retainBatch, n-first)); err != nil {
					cancel(fmt.Errorf("retain message %d: %w", first, err))
					return
				}
			}
		})
	}
	workers.Wait()
	b.retained = max(b.retained, n)
	return context.Cause(ctx)
}

// retainBatch is as many as may be unacknowledged.
const retainBatch = 100

func (b *burden) retainBatch(l *link, first, n int) error {
	var out []byte
	payload := make([]byte, b.cfg.Payload)
	for i := range n {
		topic := b.cfg.Prefix + "/kept/" + strconv.Itoa(first+i)
		out, _ = mqtt.AppendPublish(out, l.version, 1<<1|mqtt.FlagRetain, uint16(i+1), topic, payload, nil)
	}
	if _, err := l.conn.Write(out); err != nil {
		return err
	}
	for left := n; left > 0; {
		l.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		err := l.batch(func(h mqtt.Header, _ []byte) error {
			if h.Type() == mqtt.PUBACK {
				left--
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// leave makes n persistent sessions with a subscription each, whose clients go away.
func (b *burden) leave(ctx context.Context, n int) error {
	c := *b.cfg
	c.Persistent = true
	for b.away < n {
		links, err := openAll(ctx, b.target, &c, "away"+strconv.Itoa(b.away)+"-", min(64, n-b.away))
		if err != nil {
			return err
		}
		for i, l := range links {
			if err := l.subscribe(c.Prefix+"/away/"+strconv.Itoa(b.away+i), 1); err != nil {
				return err
			}
			l.close()
		}
		b.away += len(links)
	}
	return nil
}

// rule makes n rules. Those that match none of the flow's messages begin as its topics do, each with a place of its
// own; the others have all one filter and a condition that is never true.
func (b *burden) rule(ctx context.Context, n int, matching bool) error {
	if b.cfg.Rules.Create == nil {
		return errors.New("this server has no rules that can be made here")
	}
	for ; b.rules < n; b.rules++ {
		sql := fmt.Sprintf("SELECT * FROM '%s/+/%d/rule/+'", b.cfg.Prefix, b.rules)
		if matching {
			sql = fmt.Sprintf("SELECT * FROM '%s/#' WHERE topic(2) = 'rule-%d'", b.cfg.Prefix, b.rules)
		}
		if err := b.cfg.Rules.Create(ctx, ruleName(b.rules), sql); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func ruleName(i int) string { return fmt.Sprintf("bench_growth_%d", i) }

// Of the topic that slow subscribers do not read: 2 MB a second for each of them.
const (
	busyPause   = 10 * time.Millisecond
	busyBatch   = 20
	busyPayload = 1000
)

// stall makes n subscribers that read nothing of a topic that is published to all the time.
func (b *burden) stall(ctx context.Context, n int) error {
	b.hush() // a subscriber wants its SUBACK first
	have := len(b.links)
	if err := b.connect(ctx, n); err != nil {
		return err
	}
	for i := have; i < n; i++ {
		if err := b.links[i].subscribe(b.cfg.Prefix+"/busy", 0); err != nil {
			return err
		}
	}
	talker, err := open(ctx, b.target, b.cfg, clientID(b.cfg, "busy", 0))
	if err != nil {
		return err
	}
	var talk context.Context
	talk, b.busy = context.WithCancel(ctx)
	b.talking.Go(func() {
		defer talker.close()
		defer context.AfterFunc(talk, func() { talker.conn.Close() })()
		var out []byte
		payload := make([]byte, busyPayload)
		for range busyBatch {
			out, _ = mqtt.AppendPublish(out, talker.version, 0, 0, b.cfg.Prefix+"/busy", payload, nil)
		}
		for tick := time.NewTicker(busyPause); ; {
			select {
			case <-talk.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			if _, err := talker.conn.Write(out); err != nil {
				return
			}
		}
	})
	return nil
}

// hush ends the busy topic.
func (b *burden) hush() {
	if b.busy != nil {
		b.busy()
		b.talking.Wait()
	}
}

func (b *burden) drop() {
	b.hush()
	for i := range b.rules {
		if b.cfg.Rules.Delete(context.Background(), ruleName(i)) != nil {
			break
		}
	}
	for _, l := range b.links {
		if l != nil {
			l.close()
		}
	}
}
