package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// checker counts what clients were promised and what they got, while faults happen.
type checker struct {
	t    *testing.T
	site *site
	stop chan struct{}
	work sync.WaitGroup

	mu     sync.Mutex
	tally  tally
	acked  map[string][]string // by publisher: which fault was the last before each acknowledgement, in order
	wills  map[string]int      // by payload
	died   map[string]bool     // connections that ended without DISCONNECT
	during string              // the last fault
	next   chan struct{}       // closed when the next one begins
}

func newChecker(t *testing.T, s *site) *checker {
	return &checker{t: t, site: s, stop: make(chan struct{}), acked: make(map[string][]string), wills: make(map[string]int), died: make(map[string]bool), during: "before the first fault", next: make(chan struct{})}
}

// count adds to what is counted of the last fault.
func (c *checker) count(add func(n *counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(c.tally.of(c.during))
}

// begin says that a fault happens.
func (c *checker) begin(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.during = name
	c.tally.of(name).times++
	close(c.next)
	c.next = make(chan struct{})
}

func (c *checker) running() bool {
	select {
	case <-c.stop:
		return false
	default:
		return true
	}
}

func (c *checker) errorf(format string, args ...any) {
	c.t.Errorf(time.Now().Format("15:04:05.000 ")+format, args...)
}

// connect connects through the balancer until it works or the test ends.
func (c *checker) connect(o client.Options) *client.Client {
	for c.running() {
		if cl, err := c.dial(o, c.site.balancer.address()); err == nil {
			return cl
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func (c *checker) dial(o client.Options, address string) (*client.Client, error) {
	o.Address, o.Version = address, mqtt.V5
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cl, err := client.Dial(ctx, o)
	if err == nil {
		c.count(func(n *counts) { n.connects++ })
	}
	return cl, err
}

// abandon ends a connection without a word.
func abandon(cl *client.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	cl.Close(ctx)
}

// publish sends numbered messages, each until it is acknowledged, before the next.
func (c *checker) publish(name string) {
	n := 1
	for c.running() {
		cl := c.connect(client.Options{ClientID: name, CleanStart: true})
		if cl == nil {
			return
		}
		for c.running() {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			code, err := cl.Publish(ctx, client.Message{Topic: "t/" + name, Payload: fmt.Append(nil, n), QoS: 1})
			cancel()
			if err != nil || code.Failed() {
				break
			}
			c.mu.Lock()
			c.acked[name] = append(c.acked[name], c.during)
			c.tally.of(c.during).acknowledged++
			c.mu.Unlock()
			n++
			time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		}
		abandon(cl)
	}
}

// subscriber is a persistent session and what it got.
type subscriber struct {
	name string
	mu   sync.Mutex
	last map[string]int  // by publisher
	seen map[string]bool // every message
}

// took records a message: first deliveries have to come in order.
func (c *checker) took(s *subscriber, m client.Message) {
	publisher, n := strings.TrimPrefix(m.Topic, "t/"), 0
	fmt.Sscan(string(m.Payload), &n)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := publisher + " " + string(m.Payload)
	if s.seen[key] {
		c.count(func(n *counts) { n.repeated++ })
		return
	}
	s.seen[key] = true
	if want := s.last[publisher] + 1; n != want {
		c.count(func(n *counts) { n.disordered++ })
		c.errorf("%s got %s of %s, want %d", s.name, m.Payload, publisher, want)
	}
	s.last[publisher] = max(n, s.last[publisher])
}

// subscribe keeps a persistent session connected most of the time, to any node.
func (c *checker) subscribe(s *subscriber, ready *sync.WaitGroup) {
	first := true
	for c.running() {
		cl := c.connect(client.Options{ClientID: s.name, SessionExpiry: time.Hour, OnMessage: func(m client.Message) { c.took(s, m) }})
		if cl == nil {
			return
		}
		if present := cl.Connack().SessionPresent; !first && !present {
			c.errorf("the session of %s was lost", s.name)
		}
		if first {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			if _, err := cl.Subscribe(ctx, mqtt.Subscription{Filter: "t/#", QoS: 1}); err != nil {
				c.errorf("subscribe: %v", err)
			}
			cancel()
			first = false
			ready.Done()
		} else {
			c.count(func(n *counts) { n.resumed++ })
		}
		until := time.After(time.Duration(1000+rand.IntN(4000)) * time.Millisecond)
		for again := true; again && c.running(); {
			select {
			case <-cl.Done():
				again = false
			case <-until:
				again = false
			case <-time.After(500 * time.Millisecond):
				again = c.ping(cl) == nil
			}
		}
		abandon(cl)
	}
}

func (c *checker) ping(cl *client.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return cl.Ping(ctx)
}

// twin connects one client identifier again and again, to one node after the other, and asks the previous
// connection whether it is still served.
func (c *checker) twin(name string) {
	var before *client.Client
	for c.running() {
		cl := c.connect(client.Options{ClientID: name, CleanStart: true})
		if cl == nil {
			break
		}
		if old := before; old != nil {
			c.work.Go(func() {
				for range 3 {
					if c.ping(old) == nil {
						c.count(func(n *counts) { n.twice++ })
						c.errorf("%s lives twice", name)
					}
					time.Sleep(time.Second)
				}
				abandon(old)
			})
		}
		before = cl
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
	}
	if before != nil {
		abandon(before)
	}
}

// mortal connects to one node with a will and stays until the connection is lost.
func (c *checker) mortal(p *process) {
	for i := 0; c.running(); i++ {
		payload := fmt.Sprintf("%s-%d", p.name, i)
		cl, err := c.dial(client.Options{ClientID: "mortal-" + p.name, CleanStart: true,
			Will: &mqtt.Will{Topic: "wills", Payload: []byte(payload), QoS: 1}}, net.JoinHostPort("127.0.0.1", strconv.Itoa(p.ready().PlainPort)))
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			i--
			continue
		}
		select {
		case <-cl.Done():
			c.mu.Lock()
			c.died[payload] = true
			c.tally.of(c.during).wills++
			c.mu.Unlock()
			abandon(cl)
		case <-c.stop:
			cl.Close(context.Background())
		}
	}
}
