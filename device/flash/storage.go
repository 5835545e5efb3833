package flash

import "errors"

// Storage is where a store keeps its records: files, a partition, memory. Names are at most 64
// bytes of a-z, A-Z, 0-9 and "._-". A Storage is used by one goroutine at a time.
//
// Write and Remove may be torn by a loss of power: afterwards the record may hold what it held,
// what was written, part of either, or nothing. Other records are not touched. When they return,
// what they did lasts.
type Storage interface {
	// Read returns a record, or ErrNotFound.
	Read(name string) ([]byte, error)
	Write(name string, b []byte) error
	// Remove erases a record; one that is not there is no error.
	Remove(name string) error
	// Names lists the records in any order.
	Names() ([]string, error)
}

var (
	// ErrNotFound is returned for a record that is not there.
	ErrNotFound = errors.New("not found")
	// ErrPowerLoss is what Memory answers from a loss of power on.
	ErrPowerLoss = errors.New("power loss")
	// ErrFull is returned when more waits to be written than the store takes.
	ErrFull = errors.New("write queue is full")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("flash store is closed")
	// ErrKey is returned for a key that is empty, longer than 60 bytes or has another character
	// than a-z, A-Z, 0-9, "_", "-" and ".".
	ErrKey = errors.New("invalid key")
)
