// Package ota takes a new image into the slot that does not run, proves it, starts it on trial, and
// keeps it only after a self-test; otherwise the old image runs again and the job tells why.
//
//	          image whole and genuine       started on trial         self-test passed
//	Download ─────────────────────► Installed ────────► (restart) ───────────────► confirmed, SUCCEEDED
//	   │  ▲                             │                    │
//	   │  │ after a restart, from       │ old image runs     │ self-test failed or not finished in time
//	   │  │ what is in the slot         ▼                    ▼
//	   │  └────────────┐             FAILED ◄─────────── RolledBack (restart)
//	   └───────────────┘
//
// Every step is in flash before the next is taken, so a loss of power leads to one of these states
// and never to an image that was not proved.
package ota

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// Slots are the two places for an image: one runs, the other one is free.
type Slots interface {
	// Running is the number of the running slot; trial means that it was started by Activate and is
	// not confirmed: another start without Confirm brings the other slot back.
	Running() (slot int, trial bool)
	// Size is that of the free slot in bytes.
	Size() int64
	// ReadAt and WriteAt work on the free slot. What WriteAt has written lasts when it returns. It is
	// called with multiples of 4096 as offsets, in ascending order, and what lies behind may be lost.
	ReadAt(b []byte, offset int64) (int, error)
	WriteAt(b []byte, offset int64) (int, error)
	// Activate makes the next start begin the free slot, of which the first size bytes are the image,
	// on trial.
	Activate(size int64) error
	// Confirm keeps the running image; Rollback makes the next start begin the other slot.
	Confirm() error
	Rollback() error
}

// Fetcher downloads an image. It hands the bytes from an offset on to write, in order, and returns
// when they are complete, or the first error; write's errors end it.
type Fetcher interface {
	Fetch(ctx context.Context, img Image, offset int64, write func([]byte) error) error
}

// Config is what an Updater is made from.
type Config struct {
	Slots Slots
	// HTTP and Stream download; an image that only a nil one could download is rejected.
	HTTP, Stream Fetcher
	// Verify checks the signature over the image's SHA-256 with a key that the device has, whatever
	// the job says. nil rejects every image unless Unsigned is true.
	Verify   func(algorithm string, digest [32]byte, signature []byte) error
	Unsigned bool
	// Check looks at the image before it is installed: chip, version, anti-rollback. May be nil.
	Check func(read func(b []byte, offset int64) (int, error), img Image) error
	// SelfTest runs in the new image, connected: the job was handed out. May be nil.
	SelfTest func(ctx context.Context) error
	// Restart is called when a trial is not over in time.
	Restart func()

	Trial    time.Duration // from the start to the confirmation; 0 means 10 min
	Attempts int           // of a download in a row without progress; 0 means 10
}

// Updater does OTA jobs.
type Updater struct {
	cfg   Config
	store *flash.Store

	mu      sync.Mutex
	timer   *time.Timer
	decided bool // over the image on trial, in this run
}

type step uint8

const (
	download step = iota + 1
	installed
	rolledBack
)

// state is what is in flash of an update.
type state struct {
	step   step
	job    string
	image  string // what identifies it: path, size, signature
	offset int64
	from   int    // slot that ran when the image was installed
	reason string // of a roll-back
}

const stateKey = "ota"

// chunk is how much is written to the slot, and then noted in flash, at once.
const chunk = 64 << 10

// sector is what flash is erased by: writes begin at multiples of it.
const sector = 4096

// New returns an updater. Call Boot before anything else.
func New(cfg Config, store *flash.Store) *Updater {
	if cfg.Trial <= 0 {
		cfg.Trial = 10 * time.Minute
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = 10
	}
	return &Updater{cfg: cfg, store: store}
}

// Boot begins the trial of an image that was started for the first time: if it is not confirmed in
// time, the old one is started again. A trial of an image that no job installed is confirmed at once.
func (u *Updater) Boot() error {
	_, trial := u.cfg.Slots.Running()
	if !trial {
		return nil
	}
	if u.load().step != installed {
		return u.cfg.Slots.Confirm()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer = time.AfterFunc(u.cfg.Trial, func() {
		if !u.decide() {
			return
		}
		if err := u.rollBack(fmt.Sprintf("the new image did not reach the end of its self-test within %v", u.cfg.Trial)); err == nil && u.cfg.Restart != nil {
			u.cfg.Restart()
		}
	})
	return nil
}

// decide reports whether the caller is the one to decide over the image on trial: the end of the
// self-test and the end of its time may meet.
func (u *Updater) decide() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.decided {
		return false
	}
	u.decided = true
	if u.timer != nil {
		u.timer.Stop()
	}
	return true
}

// Close stops the clock of a trial; the next start will bring the old image back.
func (u *Updater) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.timer != nil {
		u.timer.Stop()
	}
}

// Handle does an OTA job, as awsiot.JobsConfig.Handle wants it. Other jobs get ErrNotOTA.
func (u *Updater) Handle(ctx context.Context, j *awsiot.Job) error {
	img, err := Parse(j.Document)
	if err != nil {
		return err
	}
	s := u.load()
	name := fmt.Sprintf("%s %d %x", img.Path, img.Size, sha256.Sum256(img.Signature))
	if s.job != j.ID || s.image != name {
		s = state{step: download, job: j.ID, image: name}
	}
	switch s.step {
	case installed:
		return u.finish(ctx, s)
	case rolledBack:
		return u.end(fmt.Errorf("rolled back: %s", s.reason))
	}
	if _, trial := u.cfg.Slots.Running(); trial {
		return errors.New("another image is on trial")
	}
	if err := u.admissible(img); err != nil {
		return u.end(err)
	}
	digest, err := u.download(ctx, j, img, s)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err() // the device stops, or the job was cancelled
		}
		return u.end(err)
	}
	if err := u.prove(img, digest); err != nil {
		return u.end(err)
	}
	j.Progress(map[string]string{"self_test": "ready", "progress": "100%"})
	s.step = installed
	s.from, _ = u.cfg.Slots.Running()
	if err := u.save(s); err != nil {
		return err
	}
	if err := u.cfg.Slots.Activate(img.Size); err != nil {
		return u.end(fmt.Errorf("activate image: %w", err))
	}
	return awsiot.ErrRestart
}

// admissible refuses what cannot come to a good end before a byte is loaded.
func (u *Updater) admissible(img Image) error {
	switch {
	case img.Size > u.cfg.Slots.Size():
		return fmt.Errorf("%w: the image has %d bytes, the slot %d", awsiot.ErrRejected, img.Size, u.cfg.Slots.Size())
	case !u.cfg.Unsigned && (u.cfg.Verify == nil || len(img.Signature) == 0):
		return fmt.Errorf("%w: the image is not signed, or the device has no key to check it with", awsiot.ErrRejected)
	case u.fetcher(img) == nil:
		return fmt.Errorf("%w: the device cannot download over the protocols of the job", awsiot.ErrRejected)
	}
	return nil
}

func (u *Updater) fetcher(img Image) Fetcher {
	switch {
	case img.Stream != "" && u.cfg.Stream != nil:
		return u.cfg.Stream
	case img.URL != "" && u.cfg.HTTP != nil:
		return u.cfg.HTTP
	}
	return nil
}

// download fills the slot from where an earlier attempt, or an earlier run, has come to, and returns
// the image's SHA-256.
func (u *Updater) download(ctx context.Context, j *awsiot.Job, img Image, s state) (digest [32]byte, err error) {
	hash := sha256.New()
	s.offset = min(s.offset, img.Size)
	buf := make([]byte, 0, chunk)
	// What is in the slot is read again: the hash covers what is there, not what was sent.
	for at := int64(0); at < s.offset; {
		b := buf[:min(int64(chunk), s.offset-at)]
		if _, err := u.cfg.Slots.ReadAt(b, at); err != nil {
			return digest, fmt.Errorf("read slot: %w", err)
		}
		hash.Write(b)
		at += int64(len(b))
	}
	flush := func() error {
		if len(buf) == 0 {
			return nil
		}
		if _, err := u.cfg.Slots.WriteAt(buf, s.offset); err != nil {
			return fmt.Errorf("write slot: %w", err)
		}
		hash.Write(buf)
		s.offset += int64(len(buf))
		buf = buf[:0]
		if err := u.save(s); err != nil {
			return err
		}
		j.Progress(map[string]string{"progress": fmt.Sprintf("%d%%", s.offset*100/img.Size)})
		return nil
	}
	for failures := 0; s.offset < img.Size; {
		began := s.offset
		err := u.fetcher(img).Fetch(ctx, img, s.offset, func(b []byte) error {
			if s.offset+int64(len(buf)+len(b)) > img.Size {
				return fmt.Errorf("the download is longer than the image's %d bytes", img.Size)
			}
			for len(b) > 0 {
				n := min(len(b), chunk-len(buf))
				buf = append(buf, b[:n]...)
				b = b[n:]
				if len(buf) == chunk {
					if err := flush(); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if s.offset+int64(len(buf)) < img.Size {
			buf = buf[:len(buf)/sector*sector] // flash is erased by sectors: the rest comes again
		}
		if e := flush(); e != nil {
			return digest, e
		}
		if s.offset == img.Size {
			break
		}
		if err == nil {
			err = fmt.Errorf("the download ends after %d of %d bytes", s.offset, img.Size)
		}
		if failures++; s.offset > began {
			failures = 1
		}
		var final *FinalError
		if failures >= u.cfg.Attempts || errors.As(err, &final) || ctx.Err() != nil {
			return digest, fmt.Errorf("download image: %w", err)
		}
		timer := time.NewTimer(min(time.Second<<min(failures-1, 6), time.Minute))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return digest, ctx.Err()
		}
	}
	hash.Sum(digest[:0])
	return digest, nil
}

// FinalError is an error of a Fetcher that another attempt would not change, such as an address that
// has expired.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }
func (e *FinalError) Unwrap() error { return e.Err }

// prove checks an image that is whole.
func (u *Updater) prove(img Image, digest [32]byte) error {
	if u.cfg.Verify != nil && len(img.Signature) > 0 {
		if err := u.cfg.Verify(img.Algorithm, digest, img.Signature); err != nil {
			return fmt.Errorf("the image's signature is not good: %w", err)
		}
	}
	if u.cfg.Check != nil {
		if err := u.cfg.Check(u.cfg.Slots.ReadAt, img); err != nil {
			return fmt.Errorf("the image is not for this device: %w", err)
		}
	}
	return nil
}

// finish ends a job whose image was installed: after a restart.
func (u *Updater) finish(ctx context.Context, s state) error {
	slot, trial := u.cfg.Slots.Running()
	switch {
	case slot == s.from:
		// The start from the new slot failed, or the power went before it was activated.
		return u.end(errors.New("rolled back: the new image did not start"))
	case !trial:
		return u.end(nil) // confirmed, but the power went before the job was told
	}
	if u.cfg.SelfTest != nil {
		if err := u.cfg.SelfTest(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !u.decide() {
				return awsiot.ErrRestart
			}
			if err := u.rollBack("the self-test failed: " + err.Error()); err != nil {
				return err
			}
			return awsiot.ErrRestart
		}
	}
	if !u.decide() {
		return awsiot.ErrRestart // too late: it is being rolled back
	}
	if err := u.cfg.Slots.Confirm(); err != nil {
		return u.end(fmt.Errorf("confirm image: %w", err))
	}
	return u.end(nil)
}

// rollBack notes the reason and makes the next start begin the old image.
func (u *Updater) rollBack(reason string) error {
	s := u.load()
	s.step, s.reason = rolledBack, reason
	if err := u.save(s); err != nil {
		return err
	}
	return u.cfg.Slots.Rollback()
}

// end forgets an update, whatever its result is.
func (u *Updater) end(result error) error {
	if err := u.store.Delete(stateKey, nil); err != nil && result == nil {
		return err
	}
	return result
}

// save returns when a state is in flash.
func (u *Updater) save(s state) error {
	v := jsondoc.Object()
	v.Set("step", jsondoc.Int(int64(s.step)))
	v.Set("job", jsondoc.String(s.job))
	v.Set("image", jsondoc.String(s.image))
	v.Set("offset", jsondoc.Int(s.offset))
	v.Set("from", jsondoc.Int(int64(s.from)))
	v.Set("reason", jsondoc.String(s.reason))
	done := make(chan error, 1)
	if err := u.store.Set(stateKey, v.Append(nil), func(err error) { done <- err }); err != nil {
		return fmt.Errorf("store the state of the update: %w", err)
	}
	return <-done
}

func (u *Updater) load() (s state) {
	b, ok := u.store.Get(stateKey)
	if !ok {
		return s
	}
	v, err := jsondoc.Parse(b)
	n, _ := v.Get("step").Int()
	from, _ := v.Get("from").Int()
	if err != nil || n < int64(download) || n > int64(rolledBack) {
		return s
	}
	s = state{step: step(n), job: v.Get("job").Text(), image: v.Get("image").Text(), from: int(from), reason: v.Get("reason").Text()}
	s.offset, _ = v.Get("offset").Int()
	s.offset = max(s.offset, 0)
	return s
}
