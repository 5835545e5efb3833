package serial

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"time"
)

const (
	// pieceSize is what is deflated, compared and, after a fault, sent again at once.
	pieceSize = 256 << 10
	// rounds is how often what does not verify is written.
	rounds = 3
)

// Region is data for one place in flash.
type Region struct {
	Name    string // for errors and progress; may be empty
	Address uint32 // a multiple of SectorSize
	Data    []byte // the rest of its last sector is erased
	// Raw means that the bytes are meant to lie in flash as they are even if the chip
	// encrypts its flash or boots securely: they are encrypted or signed already, or the
	// firmware reads this partition without decryption.
	Raw bool
}

// End returns the first byte after the region.
func (r Region) End() uint64 { return uint64(r.Address) + uint64(len(r.Data)) }

func (r Region) String() string {
	if r.Name == "" {
		return fmt.Sprintf("0x%x", r.Address)
	}
	return fmt.Sprintf("%s at 0x%x", r.Name, r.Address)
}

// Phase is what happens to a region.
type Phase string

// The phases.
const (
	PhaseCompare Phase = "compare"
	PhaseWrite   Phase = "write"
	PhaseVerify  Phase = "verify"
)

// Progress tells how far one region is, in bytes of its data.
type Progress struct {
	Region      int // index into the regions
	Name        string
	Phase       Phase
	Done, Total int
}

// WriteOptions are how to write.
type WriteOptions struct {
	// OnlyChanged leaves alone what the flash holds already; it costs one command a region.
	OnlyChanged bool
	// Verify compares by MD5 afterwards, and writes again what differs.
	Verify bool
	// Progress, if not nil, is called from Write's goroutine.
	Progress func(Progress)
}

// Written is what became of a region.
type Written struct {
	Region  Region
	Bytes   int  // of data written, 0 if the flash held them already
	Checked bool // the flash was found to hold the data
	MD5     [md5.Size]byte
}

// Write writes regions in their order. All are checked before the first is touched. After a fault
// on the line it goes on at the failed block, or begins the piece of 256 KiB again in halves. Errors:
// ErrRegion, ErrFlashTooSmall, ErrSecurity, ErrWrongChip for an application of another chip,
// ErrMismatch, ErrUnplugged, ErrTimeout.
func (s *Session) Write(ctx context.Context, regions []Region, opt WriteOptions) ([]Written, error) {
	if opt.Progress == nil {
		opt.Progress = func(Progress) {}
	}
	if err := s.prepare(ctx); err != nil {
		return nil, s.explain("write flash", err)
	}
	if err := s.check(regions); err != nil {
		return nil, err
	}
	if (opt.Verify || opt.OnlyChanged) && !s.chip.ROMMD5 && !s.stubAnswers {
		return nil, s.needsStub("compare or verify flash")
	}
	done := make([]Written, 0, len(regions))
	for i, r := range regions {
		w := writing{Session: s, region: r, opt: opt, at: Progress{Region: i, Name: r.Name, Total: len(r.Data)}}
		result, err := w.run(ctx)
		if err != nil {
			return done, s.explain("write "+r.String(), err)
		}
		done = append(done, result)
	}
	return done, nil
}

// Verify compares regions with the flash by MD5 and returns the indexes of those that differ.
func (s *Session) Verify(ctx context.Context, regions []Region) (differ []int, err error) {
	for i, r := range regions {
		sum, err := s.MD5(ctx, r.Address, uint32(len(r.Data)))
		if err != nil {
			return differ, fmt.Errorf("verify %v: %w", r, err)
		}
		if sum != md5.Sum(r.Data) {
			differ = append(differ, i)
		}
	}
	return differ, nil
}

// writing is one region on its way.
type writing struct {
	*Session
	region Region
	opt    WriteOptions
	at     Progress
}

func (w *writing) tell(phase Phase, done int) {
	w.at.Phase, w.at.Done = phase, done
	w.opt.Progress(w.at)
}

func (w *writing) run(ctx context.Context) (Written, error) {
	data := w.region.Data
	result := Written{Region: w.region, MD5: md5.Sum(data)}
	todo := pieces(data)
	if w.opt.OnlyChanged {
		w.tell(PhaseCompare, 0)
		var err error
		if todo, err = w.differing(ctx, todo, result.MD5); err != nil {
			return result, err
		}
		if len(todo) == 0 {
			result.Checked = true
			w.tell(PhaseCompare, len(data))
			return result, nil
		}
	}
	for range rounds {
		for i, p := range todo {
			if err := w.piece(ctx, p, len(todo)-i); err != nil {
				return result, err
			}
			result.Bytes += len(p.data)
		}
		if !w.opt.Verify {
			w.tell(PhaseWrite, len(data))
			return result, nil
		}
		w.tell(PhaseVerify, 0)
		var err error
		if todo, err = w.differing(ctx, pieces(data), result.MD5); err != nil {
			return result, err
		}
		if len(todo) == 0 {
			result.Checked = true
			w.tell(PhaseVerify, len(data))
			return result, nil
		}
	}
	return result, &Error{Op: "verify", Reason: ErrMismatch,
		Text:   fmt.Sprintf("after %d attempts the flash between 0x%x and 0x%x still differs from the data", rounds, w.region.Address+uint32(todo[0].offset), w.region.Address+uint32(todo[0].offset+len(todo[0].data))),
		Remedy: "its sectors may be worn out: replace the board; if more boards do this, check their supply"}
}

// piece is a part of a region.
type piece struct {
	offset int
	data   []byte
}

func pieces(data []byte) []piece {
	var list []piece
	for at := 0; at < len(data); at += pieceSize {
		list = append(list, piece{at, data[at:min(at+pieceSize, len(data))]})
	}
	return list
}

// differing asks for the MD5 of the whole region, and only if that differs and there are several
// pieces, for that of each.
func (w *writing) differing(ctx context.Context, list []piece, whole [md5.Size]byte) ([]piece, error) {
	sum, err := w.md5(ctx, w.region.Address, uint32(len(w.region.Data)))
	if err != nil || sum == whole {
		return nil, err
	}
	if len(list) == 1 {
		return list, nil
	}
	var differ []piece
	for _, p := range list {
		sum, err := w.md5(ctx, w.region.Address+uint32(p.offset), uint32(len(p.data)))
		if err != nil {
			return nil, err
		}
		if sum != md5.Sum(p.data) {
			differ = append(differ, p)
		}
	}
	return differ, nil
}

// piece writes one piece, again from its beginning if the chip lost track of it. On a line that
// keeps losing bytes it halves the piece, so that less has to come through at once.
func (w *writing) piece(ctx context.Context, p piece, remaining int) error {
	padded := p.data
	if n := len(padded) % 4; n != 0 { // flash is written in words
		padded = append(bytes.Clone(padded), bytes.Repeat([]byte{0xFF}, 4-n)...)
	}
	begin, data, load := byte(opFlashBegin), byte(opFlashData), padded
	if w.chip.ROMDeflate || w.stubAnswers {
		begin, data, load = opFlashDeflBegin, opFlashDeflData, deflate(padded)
	}
	var last error
	for attempt := range rounds {
		if attempt > 0 {
			if err := w.resume(ctx); err != nil {
				return err
			}
			if half := (len(p.data)/2 + SectorSize - 1) / SectorSize * SectorSize; transient(last) && half < len(p.data) {
				if err := w.piece(ctx, piece{p.offset, p.data[:half]}, 1); err != nil {
					return err
				}
				return w.piece(ctx, piece{p.offset + half, p.data[half:]}, 1)
			}
		}
		if last = w.hurry(ctx, len(load)*remaining); last == nil {
			last = w.download(ctx, begin, data, p, load, uint32(len(padded)))
		}
		var status *StatusError
		if last == nil || !errors.As(last, &status) && !transient(last) {
			return last
		}
	}
	return last
}

func (w *writing) download(ctx context.Context, begin, data byte, p piece, load []byte, size uint32) error {
	block := w.blockSize()
	if begin == opFlashBegin { // its blocks have one size
		load = append(bytes.Clone(load), bytes.Repeat([]byte{0xFF}, (block-len(load)%block)%block)...)
	}
	count := (len(load) + block - 1) / block
	w.tell(PhaseWrite, p.offset)
	if _, err := w.begin(ctx, begin, w.region.Address+uint32(p.offset), size, count); err != nil {
		return err
	}
	for i := range count {
		r := dataRequest(data, i, load[i*block:min((i+1)*block, len(load))])
		if err := w.block(ctx, r, perMiB(writePerMiB, size)); err != nil {
			return fmt.Errorf("block %d of %d: %w", i+1, count, err)
		}
		w.tell(PhaseWrite, p.offset+len(p.data)*(i+1)/count)
	}
	return nil
}

// block sends one block, again only if the chip says that it came changed: then it was not used.
// Without an answer nobody knows, and the piece has to begin again.
func (w *writing) block(ctx context.Context, r request, timeout time.Duration) (err error) {
	for range commandAttempts {
		if _, err = w.link.once(ctx, r, timeout); err == nil {
			return nil
		}
		var status *StatusError
		if !errors.As(err, &status) || !spoilt(status) {
			return err
		}
	}
	return err
}

// deflate compresses as well as zlib can.
func deflate(data []byte) []byte {
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, zlib.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	_, _ = z.Write(data) // into memory
	_ = z.Close()
	return b.Bytes()
}
