package flash

import (
	"bytes"
	"sync"
)

// Tear says what a loss of power leaves of the write or removal that it hits.
type Tear uint8

const (
	TearNothing Tear = iota // as if it had not begun
	TearHalf                // the first half of the new record
	TearMixed               // the first half of the new record, the rest of the old
	TearErased              // nothing: erased, not yet written
	TearAfter               // all of it was done
)

// Tears is the number of kinds.
const Tears = 5

// Memory is a Storage in memory whose power can be cut. Its methods may be called concurrently.
type Memory struct {
	mu      sync.Mutex
	records map[string][]byte
	writes  int
	cutAt   int
	tear    Tear
	off     bool
}

// NewMemory returns an empty storage.
func NewMemory() *Memory { return &Memory{records: make(map[string][]byte)} }

// CutAt cuts the power in the n-th write or removal from now, n from 1, leaving what tear says.
// Every call from then on answers ErrPowerLoss, until PowerOn.
func (m *Memory) CutAt(n int, tear Tear) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cutAt, m.tear = m.writes+n, tear
}

// PowerOn gives the power back. No cut is planned any more.
func (m *Memory) PowerOn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off, m.cutAt = false, 0
}

// Off reports whether the power is cut.
func (m *Memory) Off() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.off
}

// Writes counts writes and removals so far.
func (m *Memory) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

func (m *Memory) Read(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return nil, ErrPowerLoss
	}
	b, ok := m.records[name]
	if !ok {
		return nil, ErrNotFound
	}
	return bytes.Clone(b), nil
}

func (m *Memory) Names() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return nil, ErrPowerLoss
	}
	names := make([]string, 0, len(m.records))
	for name := range m.records {
		names = append(names, name)
	}
	return names, nil
}

func (m *Memory) Write(name string, b []byte) error { return m.change(name, bytes.Clone(b), false) }

func (m *Memory) Remove(name string) error { return m.change(name, nil, true) }

func (m *Memory) change(name string, b []byte, remove bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return ErrPowerLoss
	}
	m.writes++
	m.off = m.cutAt == m.writes
	if m.off {
		old := m.records[name]
		switch m.tear {
		case TearNothing:
			return ErrPowerLoss
		case TearHalf:
			b, remove = b[:len(b)/2], false
		case TearMixed:
			b, remove = append(b[:len(b)/2:len(b)/2], old[min(len(old), len(b)/2):]...), false
		case TearErased:
			b, remove = nil, false
		}
	}
	if remove {
		delete(m.records, name)
	} else {
		m.records[name] = b
	}
	if m.off {
		return ErrPowerLoss
	}
	return nil
}
