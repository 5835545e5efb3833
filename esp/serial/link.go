package serial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Stats counts what a session has sent and received so far, in bytes on the wire and in commands,
// repeated ones included.
type Stats struct {
	Commands      int
	BytesSent     int
	BytesReceived int
}

// How long the loaders may take.
const (
	commandTimeout  = 3 * time.Second
	syncTimeout     = 100 * time.Millisecond
	erasePerMiB     = 40 * time.Second
	writePerMiB     = 40 * time.Second
	md5PerMiB       = 8 * time.Second
	chipEraseLimit  = 180 * time.Second
	commandAttempts = 3
)

// perMiB scales a limit with a size, never below the limit of a plain command.
func perMiB(limit time.Duration, size uint32) time.Duration {
	return commandTimeout + time.Duration(float64(limit)*float64(size)/(1<<20))
}

// link carries commands and answers over a port.
type link struct {
	port   Port
	dec    slipDecoder
	in     []byte
	out    []byte
	status int // length of the status bytes
	stats  Stats
}

func newLink(port Port) *link { return &link{port: port, in: make([]byte, 4096), status: 4} }

// within runs f with a deadline on the port, and lets the end of ctx interrupt it.
func (l *link) within(ctx context.Context, timeout time.Duration, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.port.SetDeadline(time.Now().Add(timeout)); err != nil {
		return unplugged("serial port", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = l.port.SetDeadline(time.Unix(1, 0)) // a port that is gone fails in f as well
	})
	err := f()
	if !stop() && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// fill reads once.
func (l *link) fill() error {
	n, err := l.port.Read(l.in)
	l.stats.BytesReceived += n
	l.dec.feed(l.in[:n])
	switch {
	case n > 0 || err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrTimeout
	}
	return unplugged("read from the serial port", err)
}

func (l *link) send(b []byte) error {
	for len(b) > 0 {
		n, err := l.port.Write(b)
		l.stats.BytesSent += n
		b = b[n:]
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return ErrTimeout
			}
			return unplugged("write to the serial port", err)
		}
	}
	return nil
}

// frame waits for the next frame.
func (l *link) frame() ([]byte, error) {
	for {
		if frame, ok := l.dec.next(); ok {
			return frame, nil
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

// once sends one command and waits for its answer. Answers to other commands are late ones and
// are passed over, as the protocol's documentation asks.
func (l *link) once(ctx context.Context, r request, timeout time.Duration) (response, error) {
	var answer response
	err := l.within(ctx, timeout, func() error {
		l.stats.Commands++
		l.out = appendSLIP(l.out[:0], r.append(nil))
		if err := l.send(l.out); err != nil {
			return err
		}
		for {
			frame, err := l.frame()
			if err != nil {
				return err
			}
			answer, err = decodeResponse(frame)
			if err != nil {
				l.dec.spoil(frame...)
				continue
			}
			if answer.op == r.op {
				return nil
			}
		}
	})
	if err != nil {
		return response{}, fmt.Errorf("%s: %w", opName(r.op), err)
	}
	if r.op == opSync { // the length of its status is what is being found out
		return answer, nil
	}
	return answer.status(l.status)
}

// drain throws away what has come and what comes for a while.
func (l *link) drain(ctx context.Context, d time.Duration) error {
	err := l.within(ctx, d, func() error {
		for {
			if err := l.fill(); err != nil {
				return err
			}
			l.discard()
		}
	})
	l.discard()
	if errors.Is(err, ErrTimeout) {
		return nil
	}
	return err
}

// discard drops what has come whole; what was no answer may still tell why none comes.
func (l *link) discard() {
	for {
		frame, ok := l.dec.next()
		if !ok {
			return
		}
		if _, err := decodeResponse(frame); err != nil {
			l.dec.spoil(frame...)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
