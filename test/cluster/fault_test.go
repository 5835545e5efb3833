package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

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
		p.cutNATS(true)
		time.Sleep(3 * time.Second)
		p.cutNATS(false)
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
		p.cutNATS(true)
		p.database.cut(true)
		time.Sleep(2*lease + time.Second)
		p.cutNATS(false)
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
			p.cutNATS(true)
		}
		time.Sleep(3 * time.Second)
		for _, p := range s.processes {
			p.cutNATS(false)
		}
	}},
	{"fail over to a standby", (*site).failOver},
	{"end a NATS server", func(s *site, _ *process) {
		i := rand.IntN(len(s.nats.options))
		s.nats.end(i)
		time.Sleep(3 * time.Second)
		s.nats.start(i)
		s.nats.await()
	}},
	{"cut NATS servers from each other", func(s *site, _ *process) {
		s.nats.cutRoutes(true)
		time.Sleep(4 * time.Second)
		s.nats.cutRoutes(false)
		s.nats.await()
	}},
	{"reads of a node from PostgreSQL get no answer", func(_ *site, p *process) { p.deafen(3*lease + time.Second) }},
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

// schedule are the faults in their order: the plain ones and the points take turns. Only those whose names
// contain BERTH_CLUSTER_FAULT, if that is set.
func schedule() (list []fault) {
	only := os.Getenv("BERTH_CLUSTER_FAULT")
	for i := range max(len(faults), len(points)) {
		if i < len(faults) && strings.Contains(faults[i].name, only) {
			list = append(list, faults[i])
		}
		if i < len(points) && strings.Contains(points[i].name, only) {
			list = append(list, fault{points[i].name, points[i].strike})
		}
	}
	return list
}

// TestFaults kills, stops and cuts off nodes, NATS and PostgreSQL while clients publish, subscribe, take
// each other over and die, and permissions are taken back. BERTH_CLUSTER_FAULTS is the number of faults.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	rounds := 12
	if n, err := strconv.Atoi(os.Getenv("BERTH_CLUSTER_FAULTS")); err == nil {
		rounds = n
	}
	startSite(t, 3).endure(t, rounds, schedule())
}

// endure has clients work while faults happen, and checks what they were promised.
func (s *site) endure(t *testing.T, rounds int, list []fault) {
	c := newChecker(t, s)
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
	for i := range 2 {
		c.work.Go(func() { c.guard(fmt.Sprint("permit", i, "-")) })
	}

	for i := range rounds {
		time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond)
		f, p := list[i%len(list)], s.processes[rand.IntN(len(s.processes))]
		t.Logf("%s fault %d: %s, %s", time.Now().Format("15:04:05.000"), i+1, f.name, p.name)
		c.begin(f.name)
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
		c.readOut(sub)
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
	for payload, n := range c.wills {
		if n != 1 {
			t.Errorf("will %s was published %d times", payload, n)
		}
	}
	t.Logf("%d faults; 4 publishers, each message in 3 sessions\n%s", rounds, &c.tally)
	if len(c.acked["publisher0"]) < 25 {
		t.Error("too few messages to say anything")
	}
}

// readOut waits until a session has had everything that was acknowledged.
func (c *checker) readOut(sub *subscriber) {
	for name, faults := range c.acked {
		deadline := time.Now().Add(patience)
		for {
			sub.mu.Lock()
			got := sub.last[name]
			sub.mu.Unlock()
			if got >= len(faults) || time.Now().After(deadline) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		sub.mu.Lock()
		for i, during := range faults {
			if !sub.seen[fmt.Sprint(name, " ", i+1)] {
				c.mu.Lock()
				c.tally.of(during).lost++
				c.mu.Unlock()
				c.errorf("%s never got %d of %s, acknowledged after %q", sub.name, i+1, name, during)
			}
		}
		sub.mu.Unlock()
	}
}
