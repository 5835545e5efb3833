package cluster

import (
	"bytes"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// line is what a node has connections to.
type line int

const (
	toClients line = iota
	toNATS
	toPostgres
)

// point is a place in what a node does at which it is killed: its connections tell when it is there.
type point struct {
	name  string
	line  line
	drain bool // the node has been told to end
	// comes makes what looks at the bytes of a node: whether it is there, and how many of them still go on.
	// back is to clients, and from NATS and PostgreSQL.
	comes func(s *site) func(back bool, b []byte) (there bool, pass int)
}

var committed = []byte("COMMIT\x00") // in PostgreSQL's answer

// when is a point of bytes that need nothing before them.
func when(there func(back bool, b []byte) bool, pass func(n int) int) func(*site) func(bool, []byte) (bool, int) {
	return func(*site) func(bool, []byte) (bool, int) {
		return func(back bool, b []byte) (bool, int) { return there(back, b), pass(len(b)) }
	}
}

func none(int) int   { return 0 }
func half(n int) int { return n / 2 }

// packet is the beginning of a packet of MQTT.
func packet(toClient bool, first byte) func(bool, []byte) bool {
	return func(back bool, b []byte) bool { return back == toClient && b[0] == first }
}

// says is a message of NATS.
func says(heard bool, subject string) func(bool, []byte) bool {
	return func(back bool, b []byte) bool { return back == heard && bytes.Contains(b, []byte(subject)) }
}

// writing is a transaction that has a message of a publisher.
func writing(back bool, b []byte) bool { return !back && bytes.Contains(b, []byte("t/publisher")) }

var points = []point{
	{name: "kill: half of a PUBACK is written", line: toClients, comes: when(packet(true, 0x40), half)},
	{name: "kill: half of a PUBACK is read", line: toClients, comes: when(packet(false, 0x40), half)},
	{name: "kill: before CONNACK", line: toClients, comes: when(packet(true, 0x20), none)},
	{name: "kill: in the middle of a transaction", line: toPostgres, comes: when(writing, half)},
	{name: "kill: committed, and not told so", line: toPostgres, comes: func(*site) func(bool, []byte) (bool, int) {
		written := false
		return func(back bool, b []byte) (bool, int) {
			written = written || writing(back, b)
			return written && back && bytes.Contains(b, committed), 0
		}
	}},
	{name: "kill: between commit and wake-up", line: toNATS, comes: when(says(false, ".wake "), none)},
	{name: "kill: between commit and telling of the change", line: toNATS, comes: when(says(false, ".changed "), none)},
	{name: "kill: asked to give a session up", line: toNATS, comes: when(says(true, ".release "), none)},
	{name: "kill: draining, first DISCONNECT", line: toClients, drain: true, comes: when(packet(true, 0xe0), none)},
	{name: "kill: draining, first to third commit", line: toPostgres, drain: true, comes: func(s *site) func(bool, []byte) (bool, int) {
		left := 1 + s.drains%3
		s.drains++
		return func(back bool, b []byte) (bool, int) {
			if back && bytes.Contains(b, committed) {
				left--
			}
			return left == 0, 0
		}
	}},
}

// strike kills the first node that is at the point, or the one given if it is to drain.
func (pt point) strike(s *site, victim *process) {
	struck := make(chan *process)
	var over atomic.Bool
	var once sync.Once
	kill := func(p *process, n, pass int) int {
		if over.Load() || pt.drain && p != victim {
			return n
		}
		once.Do(func() {
			ended := p.signal(syscall.SIGKILL)
			<-ended
			over.Store(true)
			struck <- p
		})
		return pass
	}
	var set []*proxy
	for _, p := range s.processes {
		lines := p.nats
		switch pt.line {
		case toClients:
			continue
		case toPostgres:
			lines = []*proxy{p.database}
		}
		var mu sync.Mutex
		comes := pt.comes(s)
		look := trap(func(_ *link, back bool, b []byte) int {
			mu.Lock()
			there, pass := comes(back, b)
			mu.Unlock()
			if !there {
				return len(b)
			}
			return kill(p, len(b), pass)
		})
		for _, l := range lines {
			l.trap.Store(&look)
			set = append(set, l)
		}
	}
	if pt.line == toClients {
		comes := pt.comes(s)
		look := trap(func(l *link, back bool, b []byte) int {
			if there, pass := comes(back, b); there {
				if p := s.at(l.server.RemoteAddr()); p != nil {
					return kill(p, len(b), pass)
				}
			}
			return len(b)
		})
		s.balancer.trap.Store(&look)
		set = append(set, s.balancer)
	}
	if pt.drain {
		victim.signal(syscall.SIGTERM)
	}
	select {
	case p := <-struck:
		s.t.Logf("%s fault: %s was killed there", time.Now().Format("15:04:05.000"), p.name)
	case <-time.After(patience):
		s.t.Errorf("no node came to the point %q", pt.name)
	}
	for _, l := range set {
		l.trap.Store(nil)
	}
}

// deafen lets no answer of PostgreSQL but those to commits reach the node for a time.
func (p *process) deafen(d time.Duration) {
	var mu sync.Mutex
	commits := make(map[*link]bool)
	listen := trap(func(l *link, back bool, b []byte) int {
		if back && bytes.Contains(b, committed) {
			mu.Lock()
			commits[l] = true
			mu.Unlock()
		}
		return len(b)
	})
	p.database.trap.Store(&listen)
	time.Sleep(2 * time.Second) // more than one renewal of the lease
	over := make(chan struct{})
	hold := trap(func(l *link, back bool, b []byte) int {
		mu.Lock()
		passes := commits[l]
		mu.Unlock()
		if back && !passes {
			<-over
		}
		return len(b)
	})
	p.database.trap.Store(&hold)
	time.Sleep(d)
	p.database.trap.Store(nil)
	close(over)
}
