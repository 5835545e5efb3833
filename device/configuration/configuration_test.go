package configuration

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/spake2plus"
)

// TestConfigure: a configuration comes through whatever the link does to the values.
func TestConfigure(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			d := newDevice(t, nil)
			cuts := 4
			var mu sync.Mutex
			c := central(t, d.Service, func(c Conn) Conn {
				mu.Lock()
				defer mu.Unlock()
				u := &unreliable{Conn: c, r: rand.New(rand.NewPCG(r.Uint64(), 3)), bad: float64(seed%5) * 0.03}
				if cuts--; cuts > 0 && seed%2 == 1 {
					u.left = 20 + r.IntN(100)
				}
				return u
			})
			var states []State
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			last, err := Configure(ctx, c, "12345678", lamp, func(p Progress) { states = append(states, p.State) })
			if err != nil || last.State != Connected || last.Thing != "lamp" {
				t.Errorf("seed %d: %+v, %v", seed, last, err)
			}
			if diff := cmp.Diff([]Document{lamp}, d.documents()); diff != "" {
				t.Errorf("seed %d: %s", seed, diff)
			}
			if len(states) < 3 || states[0] != Authenticated || states[1] != Received {
				t.Errorf("seed %d: %v", seed, states)
			}
		})
	}
}

// TestRefusals: what the device does not take is told in words.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code, endpoint, want string
		is                   error
	}{
		"wrong code": {"12345679", "iot.example.com", "the code is wrong", ErrCode},
		"not taken":  {label, "refused.example.com", "not for this device", nil},
		"failed":     {label, "broken.example.com", "refuses the device's certificate", nil},
		"unusable":   {label, "https://iot.example.com/", "endpoint: want host", ErrDocument},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice(t, nil)
			_, err := Configure(t.Context(), central(t, d.Service, unchanged), c.code, Document{Endpoint: c.endpoint}, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		d.Close()
		if _, err := Configure(t.Context(), central(t, d.Service, unchanged), label, lamp, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("outside of Configuration: %v", err)
		}
	})
}

// TestWrongCodes: attempts are answered ever more slowly, a restart forgives nothing, and the right
// code does.
func TestWrongCodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := flash.NewMemory()
		store, err := flash.Open(m, 0)
		if err != nil {
			t.Fatal(err)
		}
		d := newDevice(t, store)
		try := func(code string) error {
			_, err := d.Plain(code, lamp.Append(nil))
			return err
		}
		for i := range freeAttempts {
			if err := try("00000000"); !errors.Is(err, ErrCode) {
				t.Errorf("attempt %d: %v", i, err)
			}
		}
		if err := try(label); !errors.Is(err, ErrWait) {
			t.Errorf("the right code at once after wrong ones: %v", err)
		}
		var waited time.Duration
		for failures := freeAttempts; failures < 16; failures++ {
			wait := Delay(failures)
			waited += wait
			time.Sleep(wait)
			if err := try("00000000"); !errors.Is(err, ErrCode) {
				t.Errorf("after %d failures and %v: %v", failures, wait, err)
			}
		}
		if waited < 2*time.Hour {
			t.Errorf("16 attempts take %v only", waited)
		}
		store.Close()
		if store, err = flash.Open(m, 0); err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		d = newDevice(t, store)
		info, _ := ParseInformation(d.Message(Status))
		if err := try(label); !errors.Is(err, ErrWait) || info.Wait != longestDelay {
			t.Errorf("after a restart: %v, wait %v", err, info.Wait)
		}
		time.Sleep(longestDelay)
		if err := try(label); err != nil {
			t.Errorf("the right code: %v", err)
		}
		if err := try("00000000"); !errors.Is(err, ErrCode) {
			t.Errorf("the count is not cleared: %v", err)
		}
	})
}

// TestCountedBeforeAnswered: a power cut right after the answer from which a stranger learns whether
// the code was right does not hide the attempt.
func TestCountedBeforeAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := flash.NewMemory()
		store, err := flash.Open(m, 0)
		if err != nil {
			t.Fatal(err)
		}
		d := newDevice(t, store)
		c := client{t: &direct{d.Service, nil}}
		info, err := Inform(t.Context(), c.t)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.prove(t.Context(), "00000000", info); !errors.Is(err, ErrCode) {
			t.Error(err)
		}
		m.CutAt(1, flash.TearNothing)
		store.Close()
		m.PowerOn()
		if store, err = flash.Open(m, 0); err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if b, _ := store.Get(attemptsKey); len(b) != 1 || b[0] != 1 {
			t.Errorf("attempts in flash: %x", b)
		}
		// With flash gone nothing is answered that helps to guess.
		m.CutAt(1, flash.TearNothing)
		d = newDevice(t, store)
		if err := (&client{t: &direct{d.Service, nil}}).prove(t.Context(), "00000000", info); err == nil || errors.Is(err, ErrCode) {
			t.Errorf("an attempt that cannot be counted: %v", err)
		}
		m.PowerOn()
	})
}

// direct is a transport by calls.
type direct struct {
	s       *Service
	answers []received
}

func (d *direct) Send(_ context.Context, c Channel, message []byte) error {
	if a := d.s.Handle(c, message); a != nil {
		d.answers = append(d.answers, received{c, a})
	}
	return nil
}

func (d *direct) Receive(context.Context) (Channel, []byte, error) {
	if len(d.answers) == 0 {
		if m := d.s.Message(Result); m != nil {
			return Result, m, nil
		}
		return 0, nil, errors.New("no answer")
	}
	r := d.answers[0]
	d.answers = d.answers[1:]
	return r.c, r.message, nil
}

// TestStranger: who does not know the code can neither read nor configure, whatever he takes from the
// conversation of somebody who does.
func TestStranger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		var heard [][]byte
		var mu sync.Mutex
		c := central(t, d.Service, func(c Conn) Conn {
			return &tapped{c, func(ch Channel, v []byte) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, append([]byte{byte(ch)}, v...))
			}}
		})
		if _, err := Configure(t.Context(), c, label, lamp, nil); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		all := bytes.Join(heard, nil)
		for _, secret := range []string{"correct", "PRIVATE", "horse", "1234", "green"} {
			if bytes.Contains(all, []byte(secret)) {
				t.Errorf("%q can be heard", secret)
			}
		}
		mu.Unlock()
		// Messages of the session, made again and changed.
		s := d.Service
		sealed := s.session.close(Configuration, lamp.Append(nil)) // with the device's key: a reflection
		for name, message := range map[string][]byte{
			"reflected": sealed,
			"empty":     {},
			"plain":     lamp.Append(nil),
			"guessed":   append(make([]byte, sealHeader), lamp.Append(nil)...),
		} {
			answer := s.Handle(Configuration, message)
			if !strings.Contains(string(answer), errSealed.Error()) {
				t.Errorf("%s: %q", name, answer)
			}
		}
		if n := len(d.documents()); n != 1 {
			t.Errorf("%d configurations were taken", n)
		}
	})
}

// TestLeftOver: an answer to somebody who was connected before is not taken for one's own.
func TestLeftOver(t *testing.T) {
	t.Parallel()
	d := newDevice(t, nil)
	before := &direct{d.Service, nil}
	info, err := Inform(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	prover, err := spake2plus.NewProver(exchange, normal(label), info.Salt, info.Iterations)
	if err != nil {
		t.Fatal(err)
	}
	share := jsondoc.Object()
	share.Set("share", binary64(prover.Share()))
	d.Close()
	for range 2 { // one refusal, one share
		if err := before.Send(t.Context(), Session, share.Append(nil)); err != nil {
			t.Fatal(err)
		}
		d.Open(d.apply)
	}
	c := client{t: &direct{d.Service, before.answers}}
	if err := c.prove(t.Context(), normal(label), info); err != nil {
		t.Error(err)
	}
}

// TestReplay: a sealed configuration is taken once, and on its own channel.
func TestReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		c := client{t: &direct{d.Service, nil}}
		info, err := Inform(t.Context(), c.t)
		if err == nil {
			err = c.prove(t.Context(), normal(label), info)
		}
		if err != nil {
			t.Fatal(err)
		}
		message := c.seal.close(Configuration, lamp.Append(nil))
		other := c.seal.close(Result, lamp.Append(nil))
		for i, b := range [][]byte{message, message, other, message[:20]} {
			answer := d.Handle(Configuration, b)
			if taken := !strings.Contains(string(answer), "error"); taken != (i == 0) {
				t.Errorf("message %d: %q", i, answer)
			}
		}
		time.Sleep(sessionLife)
		answer := d.Handle(Configuration, c.seal.close(Configuration, lamp.Append(nil)))
		if !strings.Contains(string(answer), errSealed.Error()) {
			t.Errorf("after the session's life: %q", answer)
		}
		if n := len(d.documents()); n != 1 {
			t.Errorf("%d configurations were taken", n)
		}
	})
}

// tapped is a connection that somebody listens to.
type tapped struct {
	Conn
	hear func(Channel, []byte)
}

func (c *tapped) Send(ch Channel, v []byte) error {
	c.hear(ch, v)
	return c.Conn.Send(ch, v)
}

// TestConsole: the same over lines, by a program and by hand.
func TestConsole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		near, far := net.Pipe()
		console := &Console{Open: func() (rw readWriteCloser, err error) { return far, nil }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- console.Serve(ctx, d.Service) }()
		line := NewLines(near)
		defer line.Close()
		if _, err := Configure(ctx, line, label, lamp, nil); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]Document{lamp}, d.documents()); diff != "" {
			t.Error(diff)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, nil)
		near, far := net.Pipe()
		console := &Console{Open: func() (rw readWriteCloser, err error) { return far, nil }}
		done := make(chan error, 1)
		go func() { done <- console.Serve(t.Context(), d.Service) }()
		got := make(chan string, 1)
		go func() {
			var all []byte
			b := make([]byte, 4096)
			for {
				n, err := near.Read(b)
				all = append(all, b[:n]...)
				if err != nil || bytes.Contains(all, []byte("connected")) {
					got <- string(all)
					break
				}
			}
			for { // nobody waits for a terminal
				if _, err := near.Read(b); err != nil {
					return
				}
			}
		}()
		near.Write([]byte("rst:0x1 (POWERON)\n\r\n{\"code\":\"1\",\"configuration\":{\"endpoint\":\"x\"}}\n"))
		near.Write([]byte(`{"code": "1234 5678", "configuration": {"endpoint": "iot.example.com", "wifi": {"ssid": "home"}}}` + "\r\n"))
		out := <-got
		near.Close()
		<-done
		if !strings.Contains(out, `{"error":"the code is wrong"}`) || !strings.Contains(out, `{"progress":{"state":"connected"}}`) {
			t.Errorf("%s", out)
		}
		if docs := d.documents(); len(docs) != 1 || docs[0].WiFi.SSID != "home" {
			t.Errorf("%+v", docs)
		}
	})
}
