package serial

import (
	"context"
	"errors"

	"github.com/berth-iot/berth/esp/chip"
)

// Reset leaves the loader. EndHard needs modem lines; EndSoft has the loader restart the chip,
// which then starts its firmware if the strapping pin is released. After Reset the session can
// only be closed, unless it stayed.
func (s *Session) Reset(ctx context.Context, how ResetEnd) error {
	lines, ok := s.link.port.(Lines)
	if how == EndAuto {
		how = EndSoft
		if ok {
			how = EndHard
		}
	}
	switch how {
	case EndHard:
		if !ok {
			return &Error{Op: "reset", Reason: errNoLines, Remedy: "press the board's RESET button, or end with a soft reset"}
		}
		return s.explain("reset", play(ctx, lines, runSteps()))
	case EndSoft:
		return s.explain("reset", s.softReset(ctx))
	}
	return nil
}

var errNoLines = errors.New("the port has no reset line")

// softReset ends an empty download: the loader then restarts. It may do so before it has answered.
func (s *Session) softReset(ctx context.Context) error {
	list := words(0, 0, uint32(s.blockSize()), 0)
	if s.chip.BeginEncrypted && !s.stubAnswers {
		list = append(list, words(0)...)
	}
	if _, err := s.command(ctx, request{op: opFlashBegin, data: list}); err != nil {
		return err
	}
	_, err := s.link.once(ctx, request{op: opFlashEnd, data: words(0)}, syncTimeout)
	if errors.Is(err, ErrTimeout) || errors.Is(err, ErrUnplugged) {
		return nil
	}
	return err
}

// RunStub loads a flasher stub into the chip's RAM and starts it. It answers from then on, with
// larger blocks, erase commands and fast reads. Errors: ErrStub.
func (s *Session) RunStub(ctx context.Context, stub *Stub) error {
	if err := s.runStub(ctx, stub); err != nil {
		return s.explain("start the flasher stub", err)
	}
	s.stub = stub
	if !s.spi {
		return nil
	}
	return s.explain("start the flasher stub", s.attach(ctx))
}

func (s *Session) runStub(ctx context.Context, stub *Stub) error {
	for _, segment := range stub.Segments {
		if err := s.loadRAM(ctx, segment); err != nil {
			return err
		}
	}
	if _, err := s.command(ctx, request{op: opMemEnd, data: words(0, stub.Entry)}); err != nil && !errors.Is(err, ErrTimeout) {
		return err // the stub may have taken over before the ROM has answered
	}
	return s.link.within(ctx, commandTimeout, func() error {
		for {
			frame, err := s.link.frame()
			if errors.Is(err, ErrTimeout) {
				return &Error{Op: "start", Reason: ErrStub, Text: "the stub does not greet", Remedy: "check that the stub is for the " + s.chip.Name + "; without a stub everything works, only slower"}
			}
			if err != nil {
				return err
			}
			if string(frame) == "OHAI" {
				s.stubAnswers, s.link.status = true, chip.StubStatusLen
				return nil
			}
		}
	})
}

func (s *Session) loadRAM(ctx context.Context, segment Segment) error {
	count := (len(segment.Data) + chip.RAMBlock - 1) / chip.RAMBlock
	if _, err := s.command(ctx, request{op: opMemBegin, data: words(uint32(len(segment.Data)), uint32(count), chip.RAMBlock, segment.Address)}); err != nil {
		return err
	}
	for i := range count {
		r := dataRequest(opMemData, i, segment.Data[i*chip.RAMBlock:min((i+1)*chip.RAMBlock, len(segment.Data))])
		if _, err := s.link.once(ctx, r, commandTimeout); err != nil {
			return err
		}
	}
	return nil
}
