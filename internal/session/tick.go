package session

import (
	"container/heap"
	"runtime/debug"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// tick is the resolution of the coarse clock and of everything that happens by it.
const tick = 100 * time.Millisecond

// tickLoop keeps the coarse clock, ends silent connections, publishes delayed wills, ends expired
// sessions and commits messages whose receivers are slow.
func (a *Sessions) tickLoop() {
	defer close(a.stopped)
	t := time.NewTicker(tick)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-a.stop:
			return
		case now := <-t.C:
			a.clock.Store(a.coarse(now))
			if a.node != nil && !a.node.Alive() {
				a.endAll(ending{ServerError, mqtt.ServerUnavailable, "the lease of this node has ended"})
			}
			a.storeHeld(now)
			a.sendPaced()
			a.meetDeadlines(now)
			if n%10 == 0 {
				a.endSilent(now)
				a.paces.sweep(now)
			}
			if n%20 == 0 {
				a.releaseIdle(now)
			}
			if n%ticksOfWindow == 0 {
				a.measureTraffic()
			}
			if n%600 == 0 {
				a.router.ExpireRetained(now)
			}
		}
	}
}

// coarse is a time for the coarse clock. It counts from the start by the monotonic clock: when the time of
// day is set, nobody becomes silent by it and nothing that is held waits longer.
func (a *Sessions) coarse(t time.Time) int64 { return t.Sub(a.epoch).Milliseconds() }

func (a *Sessions) endSilent(now time.Time) {
	ms := a.coarse(now)
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		if c.keepAlive > 0 && ms-c.active.Load() > c.keepAlive { // [MQTT-3.1.2-22]
			c.end(ending{KeepAliveTimeout, mqtt.KeepAliveTimeout, "nothing was heard for one and a half times the keep-alive"})
		}
	}
}

// idleTime is the silence after which a connection gives memory back.
const idleTime = 10 * time.Second

// releaseIdle makes connections that have been silent for a while give memory back, once for each
// silence: the reader's stack, the buffers of TLS, the routes of topics.
func (a *Sessions) releaseIdle(now time.Time) {
	before := a.coarse(now.Add(-idleTime))
	var idle []*Conn
	a.mu.Lock()
	all := len(a.conns)
	for c := range a.conns {
		if at := c.active.Load(); at < before && at != c.restedAt {
			c.restedAt = at
			idle = append(idle, c)
		}
	}
	a.mu.Unlock()
	for _, c := range idle {
		s := c.session
		s.mu.Lock()
		s.inflight.release()
		s.queue.release()
		s.mu.Unlock()
		if _, ok := c.transport.(Resting); ok && c.owed.len() == 0 {
			c.resting.Store(true)
			c.transport.Interrupt()
		}
	}
	if a.rested += len(idle); a.rested >= max(1000, all/4) && now.Sub(a.returned) > returnPause {
		// A wave of connections has settled: what their handshakes used would stay with this process.
		a.rested, a.returned = 0, now
		time.AfterFunc(time.Second, debug.FreeOSMemory)
	}
}

// returnPause is the shortest time between two returns of memory to the system.
const returnPause = 2 * time.Minute

// holds lists a session whose receivers make publishers wait.
func (a *Sessions) holds(s *Session) {
	a.mu.Lock()
	a.holders = append(a.holders, s)
	a.mu.Unlock()
}

func (a *Sessions) storeHeld(now time.Time) {
	a.mu.Lock()
	holders := a.holders
	a.holders = nil
	a.mu.Unlock()
	before, deaf := a.coarse(now.Add(-a.limits.HoldTime)), a.coarse(now.Add(-a.limits.DeafTime))
	still := holders[:0]
	for _, s := range holders {
		if s.storeHeld(before, deaf) {
			still = append(still, s)
		}
	}
	clear(holders[len(still):])
	a.mu.Lock()
	a.holders = append(still, a.holders...)
	a.mu.Unlock()
}

// due is a session and the time at which its will or its expiry is due. Entries that the session's
// own deadline no longer agrees with are ignored.
type due struct {
	at      time.Time
	session *Session
}

type deadlines []due

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(due)) }
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	(*d)[last] = due{}
	*d = (*d)[:last]
	return x
}

func (a *Sessions) meetDeadlines(now time.Time) {
	for {
		a.mu.Lock()
		if len(a.deadlines) == 0 || a.deadlines[0].at.After(now) {
			a.mu.Unlock()
			return
		}
		d := heap.Pop(&a.deadlines).(due)
		a.mu.Unlock()
		a.meet(d, now)
	}
}

func (a *Sessions) meet(d due, now time.Time) {
	s := d.session
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	if s.gone || s.conn != nil || !s.deadline.Equal(d.at) {
		s.mu.Unlock()
		return
	}
	if will := s.will; will != nil {
		from := s.willFrom
		passed := min(will.Properties.WillDelay, s.expiry)
		s.will, s.deadline = nil, time.Time{}
		if s.expiry != never {
			s.deadline = d.at.Add(time.Duration(s.expiry-passed) * time.Second)
			a.mu.Lock()
			heap.Push(&a.deadlines, due{s.deadline, s})
			a.mu.Unlock()
		}
		s.mu.Unlock()
		a.publishWill(will, from)
		return
	}
	s.mu.Unlock()
	a.forgetOnDisk(s.id)
	a.remove(s)
}
