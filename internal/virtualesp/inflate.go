package virtualesp

import (
	"compress/zlib"
	"errors"
	"io"
	"iter"
)

// inflater takes a zlib stream piece by piece, as a loader gets it: feed returns what the
// pieces so far decompress to.
//
// Go's decompressor asks for its input. It runs as a coroutine that is resumed when there
// is more and gives way when it wants more.
type inflater struct {
	source source
	next   func() ([]byte, bool)
	stop   func()
	done   bool
	err    error
}

// errAdler means that the stream is whole and its checksum is another.
var errAdler = zlib.ErrChecksum

func newInflater() *inflater {
	z := new(inflater)
	z.next, z.stop = iter.Pull(func(yield func([]byte) bool) {
		z.source.more = func() bool { return yield(nil) }
		r, err := zlib.NewReader(&z.source)
		buf := make([]byte, SectorSize)
		for err == nil {
			var n int
			if n, err = r.Read(buf); n > 0 && !yield(buf[:n]) {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			z.done = true
		} else {
			z.err = err
		}
	})
	return z
}

// feed takes a piece and hands over each run of bytes that came out. It returns the error
// of the stream, or of write.
func (z *inflater) feed(piece []byte, write func([]byte) error) error {
	z.source.buf = piece
	for !z.done && z.err == nil {
		out, ok := z.next()
		if !ok {
			break
		}
		if out == nil { // wants more
			return nil
		}
		if err := write(out); err != nil {
			return err
		}
	}
	return z.err
}

func (z *inflater) close() { z.stop() }

// source is the input of the coroutine.
type source struct {
	buf  []byte
	more func() bool
}

func (s *source) fill() error {
	for len(s.buf) == 0 {
		if !s.more() {
			return errors.New("inflate: stopped")
		}
	}
	return nil
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.buf)
	s.buf = s.buf[n:]
	return n, nil
}

// ReadByte makes the decompressor take no more than it needs.
func (s *source) ReadByte() (byte, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	b := s.buf[0]
	s.buf = s.buf[1:]
	return b, nil
}
