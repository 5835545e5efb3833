package ota

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/flash"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slots are two images in memory.
type slots struct {
	images  [2][]byte
	running int
	trial   bool
	calls   []string
}

func (s *slots) Running() (int, bool) { return s.running, s.trial }
func (s *slots) Size() int64          { return 1 << 20 }
func (s *slots) ReadAt(b []byte, at int64) (int, error) {
	return copy(b, s.images[1-s.running][at:]), nil
}

func (s *slots) WriteAt(b []byte, at int64) (int, error) {
	s.images[1-s.running] = append(s.images[1-s.running][:at], b...)
	return len(b), nil
}

func (s *slots) Activate(int64) error { s.calls = append(s.calls, "activate"); return nil }
func (s *slots) Confirm() error       { s.calls = append(s.calls, "confirm"); s.trial = false; return nil }
func (s *slots) Rollback() error      { s.calls = append(s.calls, "rollback"); return nil }

// boot starts the other slot on trial.
func (s *slots) boot() { s.running, s.trial, s.calls = 1-s.running, true, nil }

// flaky downloads a few bytes at a time.
type flaky struct {
	image   []byte
	pieces  []int // bytes of each attempt; after them everything
	offsets []int64
	err     error
}

func (f *flaky) Fetch(_ context.Context, _ Image, offset int64, write func([]byte) error) error {
	f.offsets = append(f.offsets, offset)
	n := len(f.image) - int(offset)
	err := error(nil)
	if len(f.pieces) > 0 {
		n, f.pieces, err = min(n, f.pieces[0]), f.pieces[1:], errors.New("cut off")
	}
	if f.err != nil {
		return f.err
	}
	for b := f.image[offset : int(offset)+n]; len(b) > 0; {
		k := min(len(b), 1000)
		if err := write(b[:k]); err != nil {
			return err
		}
		b = b[k:]
	}
	return err
}

func job(id string, size int, more string) *awsiot.Job {
	return awsiot.NewJob(id, fmt.Appendf(nil, `{"afr_ota":{"protocols":["HTTP"],"files":[{"filepath":"fw","filesize":%d,"fileid":0,"update_data_url":"https://x"%s}]}}`, size, more))
}

func store(t *testing.T, m *flash.Memory) *flash.Store {
	t.Helper()
	s, err := flash.Open(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestDownloadResumes: over failures of the network and a restart, from what is in the slot.
func TestDownloadResumes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		image := bytes.Repeat([]byte("image"), 50_000)
		sl, m := &slots{}, flash.NewMemory()
		s := store(t, m)
		f := &flaky{image: image, pieces: []int{100_000, 0, 70_000, 0, 0}}
		var digest [32]byte
		cfg := Config{Slots: sl, HTTP: f, Attempts: 3, Verify: func(algorithm string, d [32]byte, signature []byte) error {
			digest = d
			if algorithm != "sha256-ecdsa" || string(signature) != "sig" {
				t.Errorf("%s %s", algorithm, signature)
			}
			return nil
		}}
		const signed = `,"sig-sha256-ecdsa":"c2ln"`
		// The power goes while the third attempt waits.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(4*time.Second, cancel)
		if err := New(cfg, s).Handle(ctx, job("j", len(image), signed)); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		s.Close()
		err := New(cfg, store(t, m)).Handle(t.Context(), job("j", len(image), signed))
		if !errors.Is(err, awsiot.ErrRestart) || digest != sha256.Sum256(image) || !bytes.Equal(sl.images[1], image) {
			t.Errorf("%v, offsets %v", err, f.offsets)
		}
		// What does not fill a sector of flash is asked for again.
		if got := fmt.Sprint(f.offsets); got != "[0 98304 98304 167936 167936]" && got != "[0 98304 98304 167936 167936 167936]" {
			t.Errorf("offsets %v", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store(t, flash.NewMemory())
		f := &flaky{image: make([]byte, 100)}
		sl := &slots{}
		u := New(Config{Slots: sl, HTTP: f, Unsigned: true, Attempts: 2, Check: func(func([]byte, int64) (int, error), Image) error { return errors.New("another chip") }}, s)
		for name, c := range map[string]struct {
			job  *awsiot.Job
			want error
			text string
		}{
			"other":    {awsiot.NewJob("a", []byte(`{"do":"something"}`)), ErrNotOTA, ""},
			"large":    {job("b", 2<<20, ""), awsiot.ErrRejected, "the slot"},
			"stream":   {awsiot.NewJob("c", []byte(`{"afr_ota":{"protocols":["MQTT"],"streamname":"s","files":[{"filesize":1}]}}`)), awsiot.ErrRejected, "protocols"},
			"two":      {awsiot.NewJob("d", []byte(`{"afr_ota":{"files":[{},{}]}}`)), nil, "2 files"},
			"check":    {job("e", 100, ""), nil, "not for this device: another chip"},
			"too long": {job("f", 50, ""), nil, "longer than"},
		} {
			err := u.Handle(t.Context(), c.job)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v", name, err)
			}
		}
		f.err = &FinalError{errors.New("expired")}
		f.offsets = nil
		if err := u.Handle(t.Context(), job("g", 100, "")); err == nil || len(f.offsets) != 1 {
			t.Errorf("%v after %d attempts", err, len(f.offsets))
		}
		f.err = errors.New("no route")
		if err := u.Handle(t.Context(), job("h", 100, "")); !errors.Is(err, f.err) || len(f.offsets) != 3 {
			t.Errorf("%v after %d attempts", err, len(f.offsets))
		}
		unsigned := New(Config{Slots: sl, HTTP: f}, s)
		if err := unsigned.Handle(t.Context(), job("i", 100, "")); !errors.Is(err, awsiot.ErrRejected) {
			t.Errorf("unsigned: %v", err)
		}
		if len(sl.calls) != 0 {
			t.Errorf("slots were told to %v", sl.calls)
		}
	})
}

// TestTrial: what happens to an image that was started for the first time.
func TestTrial(t *testing.T) {
	t.Parallel()
	install := func(t *testing.T, cfg Config, sl *slots) (*Updater, *awsiot.Job) {
		cfg.Slots, cfg.HTTP, cfg.Unsigned = sl, &flaky{image: make([]byte, 100)}, true
		s := store(t, flash.NewMemory())
		j := job("j", 100, "")
		if err := New(cfg, s).Handle(t.Context(), j); !errors.Is(err, awsiot.ErrRestart) {
			t.Fatal(err)
		}
		sl.boot()
		return New(cfg, s), j
	}
	synctest.Test(t, func(t *testing.T) {
		sl, restarted := &slots{}, false
		u, j := install(t, Config{Restart: func() { restarted = true }}, sl)
		u.Boot()
		time.Sleep(9 * time.Minute)
		if err := u.Handle(t.Context(), j); err != nil || fmt.Sprint(sl.calls) != "[confirm]" {
			t.Errorf("good: %v, %v", err, sl.calls)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if restarted {
			t.Error("a confirmed image is rolled back")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		sl, restarted := &slots{}, false
		u, j := install(t, Config{Restart: func() { restarted = true }}, sl)
		u.Boot()
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if !restarted || fmt.Sprint(sl.calls) != "[rollback]" {
			t.Errorf("late: restarted %v, %v", restarted, sl.calls)
		}
		sl.running, sl.trial = 0, false
		if err := u.Handle(t.Context(), j); err == nil || !strings.Contains(err.Error(), "within 10m") {
			t.Errorf("late: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		sl := &slots{}
		u, j := install(t, Config{}, sl)
		sl.running, sl.trial = 0, false // the boot loader did not like it
		u.Boot()
		if err := u.Handle(t.Context(), j); err == nil || !strings.Contains(err.Error(), "did not start") {
			t.Errorf("not started: %v", err)
		}
		sl.trial = true
		if err := u.Boot(); err != nil || fmt.Sprint(sl.calls) != "[confirm]" {
			t.Errorf("flashed over the cable: %v %v", err, sl.calls)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(job("j", 5, `,"sig-sha256-ecdsa":"c2ln"`).Document)
	f.Add([]byte(`{"afr_ota":{"protocols":["MQTT"],"streamname":"a/b","files":[{"filesize":1}]}}`))
	f.Add([]byte(`{"afr_ota":{"files":[[]]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if img, err := Parse(b); err == nil && (img.Size <= 0 || img.URL == "" && img.Stream == "") {
			t.Errorf("%s is %+v", b, img)
		}
	})
}

func FuzzBlock(f *testing.F) {
	f.Add([]byte(`{"f":0,"i":3,"l":3,"p":"c2ln"}`))
	f.Add([]byte(`{"f":0,"i":-1,"p":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := readBlock(b, 0); got.content == nil && got.index != -1 {
			t.Errorf("%s is block %d without content", b, got.index)
		}
	})
}
