//go:build !linux

package virtualesp

import (
	"errors"
	"io"
)

// Pty is a pseudo-terminal whose far end a serial program can open. It exists on Linux.
type Pty struct {
	// Path is what to open.
	Path string
}

// OpenPty fails: this is not Linux.
func OpenPty() (*Pty, error) {
	return nil, errors.New("open pseudo-terminal: only on Linux; use a TCP port")
}

// Line does nothing.
func (p *Pty) Line() io.ReadWriteCloser { return nil }

// Close does nothing.
func (p *Pty) Close() error { return nil }
