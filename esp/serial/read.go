package serial

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
)

const (
	romReadBlock  = 64
	stubReadBlock = 4096
)

// Read returns size bytes of flash from address and checks them by MD5. A ROM hands out 64 bytes
// a command, about 5 KiB/s; a stub keeps the line busy. progress, if not nil, is told the bytes
// read so far. Errors: ErrFlashTooSmall, ErrMismatch, ErrNeedsStub on ESP8266's ROM.
func (s *Session) Read(ctx context.Context, address, size uint32, progress func(done, total int)) ([]byte, error) {
	op := fmt.Sprintf("read 0x%x bytes at 0x%x", size, address)
	if err := s.prepare(ctx); err != nil {
		return nil, s.explain(op, err)
	}
	if err := s.within(op, address, uint64(size)); err != nil {
		return nil, err
	}
	if !s.chip.ROMAttach && !s.stubAnswers {
		return nil, s.needsStub("read flash")
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	if err := s.hurry(ctx, int(size)); err != nil {
		return nil, s.explain(op, err)
	}
	b := make([]byte, 0, size)
	for len(b) < int(size) {
		chunk := min(size-uint32(len(b)), pieceSize)
		from := address + uint32(len(b))
		part, err := s.readPiece(ctx, from, chunk, func(n int) { progress(len(b)+n, int(size)) })
		if err != nil {
			return nil, s.explain(op, err)
		}
		b = append(b, part...)
	}
	return b, nil
}

// readPiece reads until the chip's MD5 agrees.
func (s *Session) readPiece(ctx context.Context, address, size uint32, progress func(int)) ([]byte, error) {
	var last error
	for attempt := range commandAttempts {
		if attempt > 0 && !s.resuming {
			if err := s.resume(ctx); err != nil {
				return nil, err
			}
		}
		read := s.readROM
		if s.stubAnswers {
			read = s.readStub
		}
		b, err := read(ctx, address, size, progress)
		if err == nil {
			var sum [md5.Size]byte
			if sum, err = s.md5(ctx, address, size); err == nil && sum != md5.Sum(b) {
				err = &Error{Op: "check what was read", Reason: ErrMismatch, Text: fmt.Sprintf("0x%x bytes at 0x%x came over the line changed", size, address),
					Remedy: "choose a lower baud rate or a shorter cable"}
			}
		}
		if err == nil {
			return b, nil
		}
		if !transient(err) && !errors.Is(err, ErrMismatch) {
			return nil, err
		}
		last = err
	}
	return nil, last
}

func (s *Session) readROM(ctx context.Context, address, size uint32, progress func(int)) ([]byte, error) {
	b := make([]byte, 0, size)
	for uint32(len(b)) < size {
		n := min(size-uint32(len(b)), romReadBlock)
		answer, err := s.command(ctx, request{op: opReadFlashSlow, data: words(address+uint32(len(b)), n)})
		if err != nil {
			return nil, err
		}
		if len(answer.data) < int(n) {
			return nil, fmt.Errorf("%w: %d bytes of flash, wanted %d", errNotResponse, len(answer.data), n)
		}
		b = append(b, answer.data[:n]...)
		progress(len(b))
	}
	return b, nil
}

// readStub takes frames of raw bytes, each acknowledged with the number of bytes so far, and at
// the end a frame with their MD5.
func (s *Session) readStub(ctx context.Context, address, size uint32, progress func(int)) ([]byte, error) {
	if _, err := s.link.once(ctx, request{op: opReadFlash, data: words(address, size, stubReadBlock, 1)}, commandTimeout); err != nil {
		return nil, err
	}
	b := make([]byte, 0, size)
	next := func() (frame []byte, err error) {
		err = s.link.within(ctx, commandTimeout, func() error {
			frame, err = s.link.frame()
			return err
		})
		return frame, err
	}
	for uint32(len(b)) < size {
		frame, err := next()
		if err != nil {
			return nil, err
		}
		if want := min(size-uint32(len(b)), stubReadBlock); len(frame) != int(want) {
			return nil, fmt.Errorf("%w: a frame of %d bytes of flash, wanted %d", errNotResponse, len(frame), want)
		}
		b = append(b, frame...)
		if err := s.link.within(ctx, commandTimeout, func() error {
			s.link.out = appendSLIP(s.link.out[:0], words(uint32(len(b))))
			return s.link.send(s.link.out)
		}); err != nil {
			return nil, err
		}
		progress(len(b))
	}
	frame, err := next()
	if err != nil {
		return nil, err
	}
	if sum := md5.Sum(b); !bytes.Equal(frame, sum[:]) {
		return nil, fmt.Errorf("%w: the MD5 of the bytes read differs", errNotResponse)
	}
	return b, nil
}
