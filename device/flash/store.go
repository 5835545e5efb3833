// Package flash is the device's durable memory: a key-value store whose writes wait in a queue, so
// that no call blocks, over a Storage that may lose its power at any moment.
//
// Each key has two slots that are written in turn. A record carries a checksum and a generation, so
// a torn write is recognised at the next start and the slot beside it holds the value from before.
// After a loss of power, every key has the value that it had or one that was set later, and if a
// change has survived, so have all that were queued before it.
//
// All values are kept in memory too: the store is for kilobytes.
package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// DefaultQueueBytes is how much may wait to be written by default.
const DefaultQueueBytes = 256 << 10

// Store is an open store. Its methods may be called concurrently and do not wait for the storage,
// except Flush and Close.
type Store struct {
	storage  Storage
	maxBytes int

	mu      sync.Mutex
	values  map[string][]byte // as they will be when the queue is written
	queue   []change
	waiting int // bytes in the queue
	damaged []string
	err     error // of the storage, first
	closed  bool
	wake    chan struct{}
	stopped chan struct{}

	slots map[string]*slots // the writer's
}

// slots says what the two records of a key hold.
type slots struct {
	current    int8 // 0 or 1, or -1 while the key has no value
	generation uint32
	written    [2]bool // a record is there, valid or not
}

type change struct {
	key    string
	value  []byte
	remove bool
	done   func(error)
}

// Open reads a storage. maxQueueBytes bounds what may wait to be written, 0 means
// DefaultQueueBytes. Records that do not belong to the store are left alone.
func Open(storage Storage, maxQueueBytes int) (*Store, error) {
	if maxQueueBytes <= 0 {
		maxQueueBytes = DefaultQueueBytes
	}
	s := &Store{storage: storage, maxBytes: maxQueueBytes, values: make(map[string][]byte), slots: make(map[string]*slots),
		wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	names, err := storage.Names()
	if err != nil {
		return nil, fmt.Errorf("open flash store: %w", err)
	}
	for _, name := range names {
		key, slot, ok := slotOf(name)
		if !ok {
			continue
		}
		b, err := storage.Read(name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open flash store: read %q: %w", name, err)
		}
		at := s.slots[key]
		if at == nil {
			at = &slots{current: -1}
			s.slots[key] = at
		}
		at.written[slot] = true
		generation, value, ok := decodeRecord(b)
		if !ok {
			s.damaged = append(s.damaged, name)
			continue
		}
		if at.current < 0 || newer(generation, at.generation) {
			at.current, at.generation = slot, generation
			s.values[key] = bytes.Clone(value)
		}
	}
	slices.Sort(s.damaged)
	go s.write()
	return s, nil
}

// slotName and slotOf translate between a slot of a key and its record's name.
func slotName(key string, slot int8) string { return key + "." + string('0'+byte(slot)) }

func slotOf(name string) (key string, slot int8, ok bool) {
	n := len(name) - 2
	if n < 1 || name[n] != '.' || name[n+1] != '0' && name[n+1] != '1' || CheckKey(name[:n]) != nil {
		return "", 0, false
	}
	return name[:n], int8(name[n+1] - '0'), true
}

// CheckKey returns ErrKey, or nil for a key that the store takes.
func CheckKey(key string) error {
	if key == "" || len(key) > 60 {
		return ErrKey
	}
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return ErrKey
		}
	}
	return nil
}

// Damaged lists the records that were found torn or damaged when the store was opened. Their keys
// have the value of the other slot, or none.
func (s *Store) Damaged() []string { return slices.Clone(s.damaged) }

// Get returns the value of a key, one that waits to be written included. It must not be changed.
func (s *Store) Get(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[key]
	return v, ok
}

// Keys lists the keys with a prefix, sorted.
func (s *Store) Keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for k := range s.values {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// Set queues a new value, of which the store keeps a copy. done, if not nil, is called with nil
// when the value is safe, on the store's goroutine: it must return soon. It is not called when Set
// itself returns an error: ErrKey, ErrFull, ErrClosed or the storage's.
func (s *Store) Set(key string, value []byte, done func(error)) error {
	return s.enqueue(change{key: key, value: bytes.Clone(value), done: done})
}

// Delete queues the removal of a key; one that has no value is no error. See Set.
func (s *Store) Delete(key string, done func(error)) error {
	return s.enqueue(change{key: key, remove: true, done: done})
}

func (s *Store) enqueue(c change) error {
	if err := CheckKey(c.key); err != nil {
		return fmt.Errorf("flash key %q: %w", c.key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	size := len(c.key) + len(c.value)
	switch {
	case s.closed:
		return ErrClosed
	case s.err != nil:
		return s.err
	case s.waiting+size > s.maxBytes && !c.remove:
		// Removals are always taken: they are small and make room.
		return fmt.Errorf("set %q: %w", c.key, ErrFull)
	}
	if c.remove {
		delete(s.values, c.key)
	} else {
		s.values[c.key] = c.value
	}
	s.waiting += size
	s.queue = append(s.queue, c)
	s.signal()
	return nil
}

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Flush waits until everything that was queued before is written. The error is the storage's or
// the context's.
func (s *Store) Flush(ctx context.Context) error {
	done := make(chan struct{})
	s.mu.Lock()
	if len(s.queue) == 0 || s.closed {
		defer s.mu.Unlock()
		return s.err
	}
	last := &s.queue[len(s.queue)-1]
	then := last.done
	last.done = func(err error) {
		if then != nil {
			then(err)
		}
		close(done)
	}
	s.mu.Unlock()
	select {
	case <-done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("flush flash store: %w", ctx.Err())
	}
}

// Close writes what is queued and stops. The error is the storage's first.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.signal()
	s.mu.Unlock()
	<-s.stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// write is the goroutine that empties the queue. A change stays in the queue until it is written:
// what Flush waits for is always there.
func (s *Store) write() {
	defer close(s.stopped)
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			closed := s.closed
			s.mu.Unlock()
			if closed {
				return
			}
			<-s.wake
			continue
		}
		c, err := s.queue[0], s.err
		s.mu.Unlock()
		if err == nil {
			err = s.apply(c)
		}
		s.mu.Lock()
		if err != nil && s.err == nil {
			s.err = fmt.Errorf("write flash key %q: %w", c.key, err)
		}
		err = s.err
		done := s.queue[0].done // Flush may have put itself before it
		s.queue[0] = change{}
		s.queue = s.queue[1:]
		s.waiting -= len(c.key) + len(c.value)
		s.mu.Unlock()
		if done != nil {
			done(err)
		}
	}
}

// apply writes a change to the slot that does not hold the current value. The older slot is removed
// before the newer one, so that a removal that is cut short never brings back an older value.
func (s *Store) apply(c change) error {
	at := s.slots[c.key]
	if at == nil {
		if c.remove {
			return nil
		}
		at = &slots{current: -1}
		s.slots[c.key] = at
	}
	if c.remove {
		order := [2]int8{0, 1}
		if at.current == 0 {
			order = [2]int8{1, 0}
		}
		for _, slot := range order {
			if !at.written[slot] {
				continue
			}
			if err := s.storage.Remove(slotName(c.key, slot)); err != nil {
				return err
			}
		}
		delete(s.slots, c.key)
		return nil
	}
	slot := int8(0)
	if at.current == 0 {
		slot = 1
	}
	at.written[slot] = true
	if err := s.storage.Write(slotName(c.key, slot), appendRecord(nil, at.generation+1, c.value)); err != nil {
		return err
	}
	at.current, at.generation = slot, at.generation+1
	return nil
}
