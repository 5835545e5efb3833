package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

	mu       sync.Mutex
	acked    map[string]int  // by publisher: the number of its last acknowledged message
	wills    map[string]int  // by payload
	died     map[string]bool // connections that ended without DISCONNECT
	twice    int             // answers to a connection whose client identifier lived elsewhere
	resumed  int
	repeated int
	connects atomic.Int64
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
		c.connects.Add(1)
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
			c.acked[name] = n
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
		c.mu.Lock()
		c.repeated++
		c.mu.Unlock()
		return
	}
	s.seen[key] = true
	if want := s.last[publisher] + 1; n != want {
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
			c.mu.Lock()
			c.resumed++
			c.mu.Unlock()
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
						c.mu.Lock()
						c.twice++
						c.mu.Unlock()
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
			c.mu.Unlock()
			abandon(cl)
		case <-c.stop:
			cl.Close(context.Background())
		}
	}
}

// fault is something that goes wrong and is over when it returns.
type fault struct {
	name   string
	happen func(s *site, p *process)
}

var faults = []fault{
	{"kill a node", func(_ *site, p *process) {
		<-p.signal(syscall.SIGKILL)
	}},
	{"stop a node past its lease", func(_ *site, p *process) {
		p.signal(syscall.SIGSTOP)
		time.Sleep(2*lease + time.Second)
		p.signal(syscall.SIGCONT)
	}},
	{"cut a node from NATS", func(_ *site, p *process) {
		p.nats.cut(true)
		time.Sleep(3 * time.Second)
		p.nats.cut(false)
	}},
	{"cut a node from PostgreSQL", func(_ *site, p *process) {
		p.database.cut(true)
		time.Sleep(2*lease + time.Second)
		p.database.cut(false)
	}},
	{"drain a node", func(_ *site, p *process) {
		<-p.signal(syscall.SIGTERM)
	}},
	{"restart PostgreSQL at once", func(s *site, _ *process) {
		s.postgres.Kill(s.t)
		s.postgres.Start(s.t)
	}},
	{"cut a node from both", func(_ *site, p *process) {
		p.nats.cut(true)
		p.database.cut(true)
		time.Sleep(2*lease + time.Second)
		p.nats.cut(false)
		p.database.cut(false)
	}},
	{"kill a node that drains", func(_ *site, p *process) {
		ended := p.signal(syscall.SIGTERM)
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		p.signal(syscall.SIGKILL)
		<-ended
	}},
	{"cut all nodes from NATS", func(s *site, _ *process) {
		for _, p := range s.processes {
			p.nats.cut(true)
		}
		time.Sleep(3 * time.Second)
		for _, p := range s.processes {
			p.nats.cut(false)
		}
	}},
	{"fail over to a standby", (*site).failOver},
	{"stop a node for a moment", func(_ *site, p *process) {
		p.signal(syscall.SIGSTOP)
		time.Sleep(lease / 3)
		p.signal(syscall.SIGCONT)
	}},
	{"cut a node from PostgreSQL for a moment", func(_ *site, p *process) {
		p.database.cut(true)
		time.Sleep(lease / 3)
		p.database.cut(false)
	}},
}

// TestFaults kills, stops and cuts off nodes, NATS and PostgreSQL while clients publish, subscribe, take
// each other over and die. BERTH_CLUSTER_FAULTS is the number of faults.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	rounds := 10 // one of each that matters most
	if n, err := strconv.Atoi(os.Getenv("BERTH_CLUSTER_FAULTS")); err == nil {
		rounds = n
	}
	s := startSite(t, 3)
	c := &checker{t: t, site: s, stop: make(chan struct{}), acked: make(map[string]int), wills: make(map[string]int), died: make(map[string]bool)}

	var ready sync.WaitGroup
	var subscribers []*subscriber
	for i := range 3 {
		sub := &subscriber{name: fmt.Sprint("subscriber", i), last: make(map[string]int), seen: make(map[string]bool)}
		subscribers = append(subscribers, sub)
		ready.Add(1)
		c.work.Go(func() { c.subscribe(sub, &ready) })
	}
	ready.Wait()
	mourner := client.Options{ClientID: "mourner", SessionExpiry: time.Hour, OnMessage: func(m client.Message) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wills[string(m.Payload)]++
	}}
	if cl := c.connect(mourner); cl != nil {
		ctx, cancel := timeout()
		if _, err := cl.Subscribe(ctx, mqtt.Subscription{Filter: "wills", QoS: 1}); err != nil {
			t.Fatal(err)
		}
		cancel()
		abandon(cl)
	}
	time.Sleep(2500 * time.Millisecond) // until all nodes know of the subscriptions
	for i := range 4 {
		c.work.Go(func() { c.publish(fmt.Sprint("publisher", i)) })
	}
	c.work.Go(func() { c.twin("twin") })
	for _, p := range s.processes {
		c.work.Go(func() { c.mortal(p) })
	}

	for i := range rounds {
		time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond)
		f, p := faults[i%len(faults)], s.processes[rand.IntN(len(s.processes))]
		t.Logf("%s fault %d: %s, %s", time.Now().Format("15:04:05.000"), i+1, f.name, p.name)
		f.happen(s, p)
		for _, p := range s.processes {
			p.await()
		}
		if t.Failed() {
			break
		}
	}
	time.Sleep(2 * time.Second)
	close(c.stop)
	c.work.Wait()

	// Everything that was acknowledged is there when the sessions are read out.
	c.stop = make(chan struct{})
	time.AfterFunc(time.Minute, func() { close(c.stop) })
	for _, sub := range subscribers {
		cl := c.connect(client.Options{ClientID: sub.name, SessionExpiry: time.Hour, OnMessage: func(m client.Message) { c.took(sub, m) }})
		if cl == nil {
			t.Fatalf("%s cannot connect any more", sub.name)
		}
		for name, last := range c.acked {
			deadline := time.Now().Add(patience)
			for {
				sub.mu.Lock()
				got := sub.last[name]
				sub.mu.Unlock()
				if got >= last {
					sub.mu.Lock()
					for n := 1; n <= last; n++ {
						if !sub.seen[fmt.Sprint(name, " ", n)] {
							t.Errorf("%s never got %d of %s", sub.name, n, name)
						}
					}
					sub.mu.Unlock()
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("%s has %d of %s, %d are acknowledged", sub.name, got, name, last)
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		abandon(cl)
	}
	cl := c.connect(mourner)
	if cl == nil {
		t.Fatal("nobody can connect any more")
	}
	defer abandon(cl)
	eventually(t, "every will is there", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for payload := range c.died {
			if c.wills[payload] == 0 {
				return false
			}
		}
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for _, n := range c.acked {
		total += n
	}
	for payload, n := range c.wills {
		if n != 1 {
			t.Errorf("will %s was published %d times", payload, n)
		}
	}
	t.Logf("%d faults, %d messages acknowledged to 4 publishers and each in 3 sessions, %d repeated, %d sessions resumed, %d connects, %d wills, %d client identifiers live twice",
		rounds, total, c.repeated, c.resumed, c.connects.Load(), len(c.wills), c.twice)
	if total < 100 {
		t.Error("too few messages to say anything")
	}
}
