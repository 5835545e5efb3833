package rules

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/rules/action"
)

// fullAt returns until when a batch that is not full waits for more; the zero time for what goes at
// once. The lock is held.
func (q *queue) fullAt(l *lane) time.Time {
	d := l.waiting[0]
	b, ok := d.action.(action.Batcher)
	if !ok || d.batch == "" || d.tries > 0 || l.spilled {
		return time.Time{}
	}
	messages, bytes, linger := b.BatchLimits()
	if linger <= 0 || len(l.waiting) >= messages || l.bytes >= bytes {
		return time.Time{}
	}
	return d.created.Add(linger)
}

// maxPassed bounds how many deliveries of other batches are looked past to fill one.
const maxPassed = 64

// take removes the next delivery of a lane, and with it what is due and may go in the same call. The
// lock is held.
func (q *queue) take(l *lane) []*delivery {
	first := heap.Pop(&l.waiting).(*delivery)
	l.bytes -= len(first.Payload)
	list := []*delivery{first}
	b, ok := first.action.(action.Batcher)
	if !ok || first.batch == "" {
		return list
	}
	messages, limit, _ := b.BatchLimits()
	bytes := len(first.Payload)
	now := q.s.now()
	var passed []*delivery
	for len(list) < messages && len(l.waiting) > 0 && len(passed) < maxPassed && !l.waiting[0].next.After(now) {
		d := heap.Pop(&l.waiting).(*delivery)
		if d.Kind != first.Kind || d.batch != first.batch || bytes+len(d.Payload) > limit {
			passed = append(passed, d)
			if d.batch == first.batch {
				break // full, or nearly so
			}
			continue
		}
		bytes += len(d.Payload)
		l.bytes -= len(d.Payload)
		list = append(list, d)
	}
	for _, d := range passed {
		heap.Push(&l.waiting, d)
	}
	return list
}

// try carries deliveries out, in one call if they are several.
func (q *queue) try(l *lane, list []*delivery) {
	s := q.s
	errs := make([]error, len(list))
	if len(list) == 1 {
		errs[0] = list[0].action.Do(s.run, s.services, list[0].message())
	} else {
		calls := make([]action.Delivery, len(list))
		for i, d := range list {
			calls[i] = action.Delivery{Action: d.action, Message: d.message()}
		}
		if got := list[0].action.(action.Batcher).DoBatch(s.run, s.services, calls); len(got) == len(list) {
			errs = got
		} else if got != nil {
			for i := range errs {
				errs[i] = fmt.Errorf("%s: %d outcomes for %d messages", list[i].Kind, len(got), len(list))
			}
		}
	}
	if s.run.Err() != nil {
		return // what is on disk is tried again after the next start
	}
	now := s.now()
	var gone [][]any
	var again []*delivery
	answers := false // the destination is there
	for i, d := range list {
		err := errs[i]
		if err == nil {
			answers = true
			s.delivered(d, now)
			if d.id != 0 {
				gone = append(gone, []any{d.id})
			}
			continue
		}
		answers = answers || action.IsPermanent(err)
		if action.IsPermanent(err) && len(list) > 1 {
			d.batch = "" // perhaps it was another that spoiled the call: it is tried alone, at once
			again = append(again, d)
			continue
		}
		s.counters(d.Rule).fail(err, now)
		d.tries++
		if action.IsPermanent(err) || q.tooOld(d, now) {
			s.bury(l.name, d, err, now)
			continue
		}
		s.retried(d, err, now)
		d.next = now.Add(s.cfg.Pace.pause(d.tries))
		again = append(again, d)
	}
	if len(gone) > 0 {
		s.cfg.Store.Delete(deliveryTable, gone, nil)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if answers {
		l.failed, l.paused = 0, time.Time{}
	} else if !l.paused.After(now) { // tries that were made at once count as one
		l.failed++
		l.paused = now.Add(s.cfg.Pace.pause(l.failed))
	}
	for _, d := range again {
		l.put(d)
	}
}
