package rules

import (
	"sync"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/rules/action"
)

// Bounds of the messages that wait to be republished.
const (
	maxInner      = 1 << 14
	maxInnerBytes = 64 << 20
	innerBatch    = 64
)

// inner is what waits to be done within the process: messages to republish, and rows that a table has
// sent back.
type inner struct {
	mu     sync.Mutex
	ready  sync.Cond
	list   []*delivery
	bytes  int
	closed bool
	full   func(d *delivery)
}

// add takes a delivery and returns how many wait; it refuses what finds no room.
func (q *inner) add(d *delivery) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.list) >= maxInner || q.bytes >= maxInnerBytes {
		q.full(d)
		return len(q.list)
	}
	q.list = append(q.list, d)
	q.bytes += len(d.Payload)
	q.ready.Signal()
	return len(q.list)
}

// innerLoop republishes, in the order of the messages.
func (s *Service) innerLoop() {
	publisher := s.cfg.Router.NewPublisher()
	for {
		s.inner.mu.Lock()
		for len(s.inner.list) == 0 && !s.inner.closed {
			s.inner.ready.Wait()
		}
		if len(s.inner.list) == 0 {
			s.inner.mu.Unlock()
			return
		}
		n := min(innerBatch, len(s.inner.list))
		batch := append([]*delivery(nil), s.inner.list[:n]...)
		rest := copy(s.inner.list, s.inner.list[n:])
		clear(s.inner.list[rest:])
		s.inner.list = s.inner.list[:rest]
		for _, d := range batch {
			s.inner.bytes -= len(d.Payload)
		}
		s.inner.mu.Unlock()
		for _, d := range batch {
			s.republish(publisher, d)
		}
		publisher.Flush()
	}
}

func (s *Service) republish(publisher *router.Publisher, d *delivery) {
	r, ok := d.action.(*action.Republish)
	if !ok {
		if d.durable { // a row that the table has sent back
			s.queue.store([]*delivery{d}, d.receipt)
		} else {
			s.queue.add(d)
		}
		return
	}
	p, err := r.Publication(s.services, &action.Message{Payload: d.Payload, Binary: d.Binary, Depth: d.Depth})
	if err != nil {
		if d.receipt != nil {
			d.receipt.Release(nil) // the message was accepted; what failed is the action
		}
		s.fail(d, err)
		return
	}
	receipt := d.receipt
	done := func(err error) {
		if receipt != nil {
			receipt.Release(err)
		}
		if err == nil {
			s.delivered(d, s.now())
		}
	}
	p.Acknowledger = router.AcknowledgeFunc(done)
	if !publisher.Publish(p) {
		done(nil)
	}
}
