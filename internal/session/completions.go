package session

import (
	"sync"

	"github.com/berth-iot/berth/mqtt"
)

// completions carries what happened on the committing goroutine, or under another session's mutex,
// to a goroutine of its own that may take locks and write to the network. Nothing that is called
// back from a commit may block, or the commits that would free it could not run.
type completions struct {
	mu    sync.Mutex
	ready sync.Cond
	acks  []completion
	woken []*Session
	stop  bool
	done  chan struct{}
}

type completion struct {
	conn   *Conn
	number uint64
	code   mqtt.ReasonCode
}

func (q *completions) start() {
	q.ready.L = &q.mu
	q.done = make(chan struct{})
	go q.run()
}

// settle acknowledges a message that its publisher waits for.
func (q *completions) settle(c completion) {
	q.mu.Lock()
	q.acks = append(q.acks, c)
	q.mu.Unlock()
	q.ready.Signal()
}

// wake makes a session look at its backlog.
func (q *completions) wake(s *Session) {
	q.mu.Lock()
	q.woken = append(q.woken, s)
	q.mu.Unlock()
	q.ready.Signal()
}

func (q *completions) close() {
	q.mu.Lock()
	q.stop = true
	q.mu.Unlock()
	q.ready.Signal()
	<-q.done
}

func (q *completions) run() {
	defer close(q.done)
	var acks []completion
	var woken []*Session
	var touched []*Conn
	var scratch []byte
	for {
		q.mu.Lock()
		for len(q.acks) == 0 && len(q.woken) == 0 && !q.stop {
			q.ready.Wait()
		}
		if len(q.acks) == 0 && len(q.woken) == 0 {
			q.mu.Unlock()
			return
		}
		acks, q.acks = q.acks, acks[:0]
		woken, q.woken = q.woken, woken[:0]
		q.mu.Unlock()
		for i, a := range acks {
			acks[i] = completion{}
			c := a.conn
			if id, ok := c.owed.identifier(a.number); ok {
				c.session.arrived(c, id, a.code)
			}
			if a.code != mqtt.Success && c.version != mqtt.V5 {
				c.fail()
				c.interrupt()
			}
			scratch = c.owed.settle(a.number, a.code, c.version, scratch[:0])
			if len(scratch) == 0 {
				continue
			}
			c.session.mu.Lock()
			c.append(scratch)
			if !c.dirty {
				c.dirty = true
				touched = append(touched, c)
			}
			c.session.mu.Unlock()
		}
		var last *Session
		for i, s := range woken {
			woken[i] = nil
			if s == last {
				continue
			}
			last = s
			s.mu.Lock()
			if c := s.conn; c != nil && s.pump() && !c.dirty {
				c.dirty = true
				touched = append(touched, c)
			}
			s.mu.Unlock()
		}
		for i, c := range touched {
			touched[i] = nil
			c.Flush()
		}
		touched = touched[:0]
	}
}
