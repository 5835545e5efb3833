package table

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Bounds of one commit and of what waits for one.
const (
	maxBatchRows   = 16384
	maxQueuedBytes = 32 << 20
)

type counters struct{ inserted, duplicates, deleted, commits, failed atomic.Uint64 }

// operation is rows to insert, or something else that writes.
type operation struct {
	table string
	rows  []Row
	cost  int
	do    func(b *batch) error
	done  func(error)
	err   error
}

// queue holds operations until they are committed. Its bytes include those being committed.
type queue struct {
	mu     sync.Mutex
	work   sync.Cond
	room   sync.Cond
	ops    []*operation
	rows   int
	bytes  int
	closed bool
}

func (q *queue) open() { q.work.L, q.room.L = &q.mu, &q.mu }

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.work.Broadcast()
	q.room.Broadcast()
}

func (q *queue) size() (rows, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rows, q.bytes
}

// put waits for room, or for the end of ctx.
func (q *queue) put(ctx context.Context, op *operation) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes > 0 && q.bytes+op.cost > maxQueuedBytes {
		stop := context.AfterFunc(ctx, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.room.Broadcast()
		})
		defer stop()
	}
	for q.bytes > 0 && q.bytes+op.cost > maxQueuedBytes && !q.closed && ctx.Err() == nil {
		q.room.Wait()
	}
	if q.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	q.add(op)
	return nil
}

// try is put without waiting for room.
func (q *queue) try(op *operation) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, ErrClosed
	}
	if q.bytes > 0 && q.bytes+op.cost > maxQueuedBytes {
		return false, nil
	}
	q.add(op)
	return true, nil
}

func (q *queue) add(op *operation) {
	q.ops = append(q.ops, op)
	q.rows += len(op.rows)
	q.bytes += op.cost
	q.work.Signal()
}

// take waits for operations that can share a commit; none when the queue is closed and empty.
func (q *queue) take() []*operation {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ops) == 0 && !q.closed {
		q.work.Wait()
	}
	n, rows := 0, 0
	for _, op := range q.ops {
		if n > 0 && (op.do != nil || rows+len(op.rows) > maxBatchRows) {
			break
		}
		n++
		rows += len(op.rows)
		if op.do != nil {
			break
		}
	}
	taken := q.ops[:n:n]
	q.ops = q.ops[n:]
	return taken
}

func (q *queue) finished(ops []*operation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, op := range ops {
		q.rows -= len(op.rows)
		q.bytes -= op.cost
	}
	q.room.Broadcast()
}

// Insert writes rows into a table, which is made if it does not exist, and returns when they are on
// disk: all of them or, with an error, none. ErrInvalid for rows or names that cannot be, ErrLimit
// when the table would have too many things or measures. It waits while the queue is full; when ctx
// ends after the rows were queued they may still be written.
func (t *Tables) Insert(ctx context.Context, name string, rows []Row) error {
	done := make(chan error, 1)
	if err := t.Submit(ctx, name, rows, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Submit is Insert without waiting for the disk; it does wait while the queue is full. When it
// returns nil, done is called once, in the order of submission, on the writing goroutine: it must
// not block. The rows must not be changed until then. With an error, done is not called.
func (t *Tables) Submit(ctx context.Context, name string, rows []Row, done func(error)) error {
	op := &operation{table: name, rows: rows, done: done}
	if err := t.prepare(op); err != nil {
		return fmt.Errorf("insert into table %.140q: %w", name, err)
	}
	return t.queue.put(ctx, op)
}

// TrySubmit is Submit without waiting at all: ok is false when the queue is full, and done is not
// called then.
func (t *Tables) TrySubmit(name string, rows []Row, done func(error)) (ok bool, err error) {
	op := &operation{table: name, rows: rows, done: done}
	if err := t.prepare(op); err != nil {
		return false, fmt.Errorf("insert into table %.140q: %w", name, err)
	}
	return t.queue.try(op)
}

func (t *Tables) prepare(op *operation) error {
	switch {
	case !namePattern.MatchString(op.table):
		return invalid("the name is not 1 to 128 letters, digits and _.-")
	case len(op.rows) == 0:
		return invalid("there are no rows")
	case len(op.rows) > MaxRows:
		return invalid("%d rows are more than %d", len(op.rows), MaxRows)
	}
	now := t.cfg.Now().UnixMilli()
	for i := range op.rows {
		if op.rows[i].Time == 0 {
			op.rows[i].Time = now
		}
		cost, err := op.rows[i].check()
		if err != nil {
			return fmt.Errorf("row %d: %w", i+1, err)
		}
		if op.cost += cost; op.cost > MaxInsert {
			return invalid("the rows are more than %d bytes", MaxInsert)
		}
	}
	return nil
}

// run queues something that writes and waits for its commit.
func (t *Tables) run(ctx context.Context, do func(b *batch) error) error {
	done := make(chan error, 1)
	if err := t.queue.put(ctx, &operation{do: do, done: func(err error) { done <- err }}); err != nil {
		return err
	}
	return <-done
}

// writeLoop commits until the queue is closed and empty.
func (t *Tables) writeLoop() {
	for {
		ops := t.queue.take()
		if len(ops) == 0 {
			return
		}
		err := t.commit(ops)
		if err != nil && len(ops) > 1 && !errors.Is(err, ErrUnavailable) {
			// One may have spoilt it for all: give each its own.
			err = nil
			for i := range ops {
				if e := t.commit(ops[i : i+1]); e != nil {
					ops[i].err = e
				}
			}
		}
		t.queue.finished(ops)
		for _, op := range ops {
			if op.done == nil {
				continue
			}
			if op.err == nil {
				op.err = err
			}
			op.done(op.err)
		}
	}
}

// commit does operations in one transaction. The failure of an insert alone is kept in its err.
func (t *Tables) commit(ops []*operation) error {
	b := &batch{tables: t}
	work := func(tx transaction) error {
		b.begin(tx)
		for _, op := range ops {
			if op.do != nil {
				op.err = op.do(b)
				if op.err != nil {
					return op.err
				}
			} else {
				op.err = b.resolve(op)
			}
		}
		return b.finish()
	}
	var err error
	for range 2 { // again if only the connection was found to be gone
		if t.stale {
			if err := t.load(context.Background()); err != nil {
				return err
			}
			t.stale = false
		}
		if err = t.db.write(context.Background(), work); !errors.Is(err, errNotBegun) {
			break
		}
		t.stale = true
	}
	if err == nil {
		b.publish()
		t.counts.commits.Add(1)
		return nil
	}
	if errors.Is(err, ErrUnavailable) { // it may have been written
		t.stale = true
	}
	if ops[0].do == nil || ops[0].err == nil {
		t.counts.failed.Add(1)
		t.cfg.Log.Error("write to tables failed", "operations", len(ops), "error", err)
	}
	return err
}
