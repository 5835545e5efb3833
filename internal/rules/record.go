package rules

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/rules/action"
)

// identity numbers deliveries. A number is not given again, after a restart neither.
type identity struct {
	prefix string
	last   *atomic.Uint64
}

func newIdentity() identity {
	return identity{fmt.Sprintf("%016x-", rand.Uint64()), new(atomic.Uint64)}
}

func (i identity) next() string { return i.prefix + strconv.FormatUint(i.last.Add(1), 36) }

// record hands a row to the tables of this server, whose disk the acknowledgement waits for. It
// reports false for what has to go through a lane: other actions, rows that are refused, and, at QoS
// 1, those that the tables have no room for.
func (s *Service) record(d *delivery, hold func() *router.Receipt, press func()) bool {
	r, ok := d.action.(action.Recorder)
	if !ok || s.cfg.Tables == nil {
		return false
	}
	name, rows, local, err := r.Record(s.run, s.services, d.message())
	if !local || err != nil {
		return false
	}
	d.receipt = hold()
	taken, err := s.cfg.Tables.TrySubmit(name, rows, func(err error) {
		if err == nil {
			if d.receipt != nil {
				d.receipt.Release(nil)
			}
			s.delivered(d, s.now())
			return
		}
		s.inner.add(d) // this is the writer's goroutine
	})
	if taken {
		return true
	}
	press()
	switch {
	case d.durable:
		s.queue.store([]*delivery{d}, d.receipt)
	case err != nil:
		return false
	default:
		s.refuseRoom(&rule{stats: s.counters(d.Rule)}, nil)
	}
	return true
}
