package virtualesp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pty is a pseudo-terminal whose far end a serial program can open. It carries neither DTR
// nor RTS.
type Pty struct {
	// Path is what to open.
	Path   string
	master *os.File
}

// OpenPty makes a pseudo-terminal in raw mode.
func OpenPty() (*Pty, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	path, err := prepare(master)
	if err != nil {
		master.Close()
		return nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	return &Pty{Path: path, master: master}, nil
}

func prepare(master *os.File) (path string, err error) {
	raw, err := master.SyscallConn()
	if err != nil {
		return "", err
	}
	control := func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		var number int
		if number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err != nil {
			return
		}
		path = fmt.Sprintf("/dev/pts/%d", number)
		var mode *unix.Termios
		if mode, err = unix.IoctlGetTermios(int(fd), unix.TCGETS); err != nil {
			return
		}
		mode.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		mode.Oflag &^= unix.OPOST
		mode.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		err = unix.IoctlSetTermios(int(fd), unix.TCSETS, mode)
	}
	if e := raw.Control(control); e != nil {
		return "", e
	}
	return path, err
}

// Line returns the chip's end for one program that opens the terminal: it ends when that
// closes it. Closing the line leaves the terminal open.
func (p *Pty) Line() io.ReadWriteCloser {
	// A deadline that cannot be cleared would show in the first Read.
	_ = p.master.SetDeadline(time.Time{})
	return &ptyLine{pty: p}
}

// Close closes the terminal; a program at its far end sees it hang up.
func (p *Pty) Close() error { return p.master.Close() }

type ptyLine struct {
	pty    *Pty
	used   bool // only touched by Read
	closed atomic.Bool
}

// ptyPoll is how often to look whether a program has opened the far end.
const ptyPoll = 10 * time.Millisecond

func (l *ptyLine) Read(b []byte) (int, error) {
	for !l.closed.Load() {
		n, err := l.pty.master.Read(b)
		switch {
		case n > 0:
			l.used = true
			return n, nil
		case errors.Is(err, syscall.EIO) && !l.used: // nobody there yet
			time.Sleep(ptyPoll)
		case errors.Is(err, syscall.EIO):
			return 0, io.EOF
		case err != nil:
			if l.closed.Load() {
				return 0, io.EOF
			}
			return 0, err
		}
	}
	return 0, io.EOF
}

func (l *ptyLine) Write(b []byte) (int, error) { return l.pty.master.Write(b) }

func (l *ptyLine) Close() error {
	l.closed.Store(true)
	return l.pty.master.SetDeadline(time.Unix(1, 0))
}
