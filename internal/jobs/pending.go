package jobs

import (
	"cmp"
	"slices"
)

// maxNotified is the number of executions that a notification lists.
const maxNotified = 10

// pending is the list of a thing's executions that have not ended, as a device goes through it: those
// in progress first, each by the time they were queued.
type pending []*execution

func (p pending) sort() {
	slices.SortFunc(p, func(a, b *execution) int {
		if a.status != b.status {
			if a.status == InProgress {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.position, b.position)
	})
}

// next is the execution that $next stands for, nil for none.
func (p pending) next() *execution {
	if len(p) == 0 {
		return nil
	}
	return p[0]
}

// key identifies an execution of a thing.
type key struct {
	job    string
	number int64
}

func (e *execution) key() key { return key{e.job, e.number} }

func (p pending) find(k key) int {
	return slices.IndexFunc(p, func(e *execution) bool { return e.key() == k })
}

// with returns the list after an execution has changed, or come, or ended.
func (p pending) with(e *execution) pending {
	q := slices.Clone(p)
	i := q.find(e.key())
	switch {
	case e.status.Terminal() && i >= 0:
		return slices.Delete(q, i, i+1)
	case e.status.Terminal():
		return q
	case i >= 0:
		q[i] = e
	default:
		q = append(q, e)
	}
	q.sort()
	return q
}

// differences tells which notifications a change of the list asks for: notify when an execution
// enters or leaves it, notify-next when another one is the first (AWS IoT developer guide, "Jobs
// notifications").
func differences(before, after pending) (notify, notifyNext bool) {
	notify = len(before) != len(after)
	for _, e := range before {
		notify = notify || after.find(e.key()) < 0
	}
	b, a := before.next(), after.next()
	notifyNext = (b == nil) != (a == nil) || a != nil && a.key() != b.key()
	return notify, notifyNext
}
