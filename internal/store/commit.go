package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// operation is one unit of a commit: a function, or rows for one table.
type operation struct {
	fn     func(tx *Tx) error
	loose  bool // fn need not be alone among the nodes of a cluster
	table  *Table
	rows   [][]any
	remove bool
	done   func(error)
	err    error
}

const (
	patience   = 10 * time.Second // that writes wait for a database that is away
	firstDelay = 50 * time.Millisecond
	lastDelay  = 2 * time.Second
	maxOwed    = 1 << 18 // operations without callback that are kept for a database that is away
)

var (
	// errDatabase marks failures that concern the whole transaction: begin and commit.
	errDatabase = errors.New("database")
	// errAway marks the loss of the connection; errDoubt also that a COMMIT was under way.
	errAway  = fmt.Errorf("%w", ErrUnavailable)
	errDoubt = fmt.Errorf("%w: the outcome of a commit is not known", errAway)
)

func (db *DB) submit(op operation) {
	db.mu.Lock()
	for len(db.queue) >= maxQueued && !db.closed {
		db.room.Wait()
	}
	if db.closed {
		db.mu.Unlock()
		if op.done != nil {
			op.done(ErrClosed)
		}
		return
	}
	db.queue = append(db.queue, op)
	if len(db.queue) == 1 {
		db.work.Signal()
	}
	db.mu.Unlock()
}

// take waits for operations and appends them to batch. It returns none when the database is closed
// and nothing is left, or when one that is away may be tried again.
func (db *DB) take(batch []operation) (_ []operation, open bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for len(db.queue) == 0 && !db.closed {
		if db.outage.err != nil {
			wait := time.Until(db.outage.next)
			if wait <= 0 {
				return batch, true
			}
			defer time.AfterFunc(wait, func() {
				db.mu.Lock()
				defer db.mu.Unlock()
				db.work.Signal()
			}).Stop()
		}
		db.work.Wait()
	}
	n := min(len(db.queue), MaxBatch)
	batch = append(batch, db.queue[:n]...)
	rest := copy(db.queue, db.queue[n:])
	clear(db.queue[rest:])
	db.queue = db.queue[:rest]
	db.room.Broadcast()
	return batch, n > 0 || len(db.outage.owed) > 0
}

// commitLoop owns the writing connection until the database closes and the queue is empty.
func (db *DB) commitLoop() {
	defer close(db.stopped)
	batch := make([]operation, 0, MaxBatch)
	for open := true; ; {
		if batch, open = db.take(batch[:0]); !open {
			return
		}
		if len(batch) == 0 {
			if db.recover(false) != nil && db.isClosed() {
				db.forgive()
			}
			continue
		}
		err := db.commit(batch)
		if err != nil && len(batch) > 1 && !errors.Is(err, errDatabase) && !errors.Is(err, ErrUnavailable) {
			// One operation spoilt the transaction: give each its own, so that only it fails.
			for i := range batch {
				batch[i].err = db.commit(batch[i : i+1])
				db.distrust(batch[i].err)
			}
			err = nil
		}
		db.mu.Lock()
		if err != nil {
			db.stats.Failures++
		} else {
			db.stats.Commits++
			db.stats.Operations += uint64(len(batch))
		}
		db.mu.Unlock()
		db.distrust(err)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			db.log.Error("commit failed", "operations", len(batch), "error", err)
		}
		for i := range batch {
			db.settle(batch[i], errors.Join(batch[i].err, err))
		}
		if errors.Is(err, errDatabase) || errors.Is(err, ErrUnavailable) {
			db.refuse(err)
		}
		clear(batch)
	}
}

// commit carries a batch out, over connections that break. An operation's own failure is in its err.
func (db *DB) commit(batch []operation) error {
	for {
		err := db.backend.commit(batch)
		if !errors.Is(err, errAway) {
			return err
		}
		db.mu.Lock()
		if db.outage.err == nil {
			db.log.Error("the database went away", "error", err)
			db.stats.Outages++
			now := time.Now()
			db.outage.err, db.outage.since, db.outage.next, db.outage.delay = err, now, now, firstDelay
		}
		db.mu.Unlock()
		if err := db.recover(errors.Is(err, errDoubt)); err != nil {
			return err
		}
	}
}

// recover waits until a database that is away is back, or until writes are not to wait any longer;
// those that may have been committed wait for certainty.
func (db *DB) recover(doubt bool) error {
	o := &db.outage // this goroutine alone writes it
	for {
		closed := db.isClosed()
		if now := time.Now(); closed || !now.Before(o.next) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			err := db.backend.connect(ctx)
			cancel()
			db.mu.Lock()
			if err == nil {
				db.log.Info("the database is back", "after", now.Sub(o.since).Round(time.Millisecond), "kept", len(o.owed))
				db.queue = append(o.owed, db.queue...)
				*o = outage{}
				db.mu.Unlock()
				return nil
			}
			o.err = err
			o.delay = min(2*o.delay, lastDelay)
			o.next = time.Now().Add(o.delay/2 + rand.N(o.delay/2))
			db.mu.Unlock()
			if errors.Is(err, ErrTaken) {
				select {
				case db.lost <- err:
				default:
				}
			}
		}
		late := time.Since(o.since) >= patience
		switch {
		case closed, errors.Is(o.err, ErrTaken), late && !doubt:
			return o.err
		case late:
			db.refuse(o.err)
		}
		wake := o.next
		if give := o.since.Add(patience); !doubt && give.Before(wake) {
			wake = give
		} else if soon := time.Now().Add(100 * time.Millisecond); late && soon.Before(wake) {
			wake = soon // for those who come now
		}
		select {
		case <-db.closing:
		case <-time.After(time.Until(wake)):
		}
	}
}

// refuse fails what is queued, so that of the writes of one owner none succeeds after an earlier one has
// failed. What has no owner goes on waiting.
func (db *DB) refuse(err error) {
	db.mu.Lock()
	var refused, kept []operation
	for _, op := range db.queue {
		if op.done == nil && !errors.Is(err, ErrUnavailable) {
			kept = append(kept, op)
		} else {
			refused = append(refused, op)
		}
	}
	db.queue = kept
	db.room.Broadcast()
	db.mu.Unlock()
	for _, op := range refused {
		db.settle(op, err)
	}
}

// settle tells an operation's owner the outcome. An operation without owner is kept while the
// database is away.
func (db *DB) settle(op operation, err error) {
	switch {
	case op.done != nil:
		op.done(err)
	case errors.Is(err, ErrUnavailable) && len(db.outage.owed) < maxOwed:
		op.err = nil
		db.mu.Lock()
		db.outage.owed = append(db.outage.owed, op)
		db.mu.Unlock()
	case errors.Is(err, ErrUnavailable):
		db.log.Error("a write is lost: the database is away for too long")
	}
}

func (db *DB) isClosed() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.closed
}

// forgive drops what is owed to a database that does not come back.
func (db *DB) forgive() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if n := len(db.outage.owed); n > 0 {
		db.log.Error("writes are lost: the database was away at the end", "operations", n)
		db.outage.owed = nil
	}
}
