package store

import (
	"math"
	"sync/atomic"
)

// reading counts who is reading, so that a database is closed under nobody: a connection that outlives
// the others writes to the files of a database that its owner takes for closed.
type reading struct {
	n    atomic.Int64  // below zero once the end has begun
	last chan struct{} // of one: the last has left since
}

// enter reports whether there may be reading. Who enters must leave.
func (r *reading) enter() bool {
	if r.n.Add(1) > 0 {
		return true
	}
	r.leave()
	return false
}

func (r *reading) leave() {
	if r.n.Add(-1) == math.MinInt64 {
		select {
		case r.last <- struct{}{}:
		default:
		}
	}
}

// end lets nobody in any more and waits until all have left.
func (r *reading) end() {
	if r.n.Add(math.MinInt64) > math.MinInt64 {
		<-r.last
	}
}
