package configuration

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// lossy is a channel under a seed: values are lost, doubled and reordered, and parts damaged.
type lossy struct {
	r                             *rand.Rand
	loss, double, reorder, damage float64
	waiting                       [][]byte
}

func (l *lossy) put(v []byte) {
	if l.r.Float64() < l.loss {
		return
	}
	v = bytes.Clone(v)
	if l.r.Float64() < l.damage && v[0]&^fromDevice == frameData {
		v[dataHeader+l.r.IntN(len(v)-dataHeader)] ^= 1 << l.r.IntN(8)
	}
	l.waiting = append(l.waiting, v)
	if l.r.Float64() < l.double {
		l.waiting = append(l.waiting, bytes.Clone(v))
	}
}

func (l *lossy) take() ([]byte, bool) {
	if len(l.waiting) == 0 {
		return nil, false
	}
	i := 0
	if l.r.Float64() < l.reorder {
		i = l.r.IntN(len(l.waiting))
	}
	v := l.waiting[i]
	l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
	return v, true
}

// TestStream: whatever happens to the values, every message arrives whole, once and in order, in both
// directions, over every size of values, through lost connections.
func TestStream(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		bad := r.Float64() * 0.3
		mkChannel := func() *lossy { return &lossy{r: r, loss: bad, double: bad, reorder: bad, damage: bad / 1000} }
		ends := [2]*Stream{NewStream(false), NewStream(true)}
		ways := [2]*lossy{mkChannel(), mkChannel()}
		size := MinValue + r.IntN(500)
		var want, got [2][][]byte
		for side := range ends {
			for range 1 + r.IntN(5) {
				m := make([]byte, 1+r.IntN([]int{10, 300, 5000, MaxMessage}[r.IntN(4)]))
				for i := range m {
					m[i] = byte(r.Uint32())
				}
				want[side] = append(want[side], m)
				if err := ends[side].Send(m); err != nil {
					t.Fatal(err)
				}
			}
		}
		now := time.Unix(0, 0)
		steps := 0
		for !ends[0].Idle() || !ends[1].Idle() || len(ways[0].waiting)+len(ways[1].waiting) > 0 {
			if steps++; steps > 200_000 {
				t.Fatalf("seed %d: no end, %d and %d messages have come", seed, len(got[0]), len(got[1]))
			}
			if r.IntN(2000) == 0 {
				ways[0].waiting, ways[1].waiting = nil, nil
				ends[0].Resume()
				ends[1].Resume()
			}
			moved := false
			for side, s := range ends {
				if v, ok := s.Next(now, size); ok {
					if len(v) > size {
						t.Fatalf("seed %d: a value of %d bytes", seed, len(v))
					}
					ways[side].put(v)
					moved = true
				}
				if v, ok := ways[1-side].take(); ok {
					if m, ok := s.Receive(v, now); ok {
						got[1-side] = append(got[1-side], m)
					}
					moved = true
				}
			}
			if !moved {
				now = now.Add(50 * time.Millisecond)
			}
		}
		for side := range ends {
			if len(got[side]) != len(want[side]) {
				t.Fatalf("seed %d: %d of %d messages", seed, len(got[side]), len(want[side]))
			}
			for i := range want[side] {
				if !bytes.Equal(got[side][i], want[side][i]) {
					t.Fatalf("seed %d: message %d differs", seed, i)
				}
			}
		}
	}
}

// TestStreamResumes: a message that was cut off goes on where it was.
func TestStreamResumes(t *testing.T) {
	t.Parallel()
	a, b := NewStream(false), NewStream(true)
	message := bytes.Repeat([]byte("0123456789"), 1000)
	if err := a.Send(message); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	values := 0
	exchange := func(limit int) (m []byte) {
		for range limit {
			v, ok := a.Next(now, MinValue)
			if ok {
				values++
				if got, ok := b.Receive(v, now); ok {
					m = got
				}
			}
			for v, ok := b.Next(now, MinValue); ok; v, ok = b.Next(now, MinValue) {
				a.Receive(v, now)
			}
		}
		return m
	}
	exchange(400)
	a.Resume()
	b.Resume()
	if m := exchange(400); !bytes.Equal(m, message) {
		t.Errorf("%d bytes have come", len(m))
	}
	if most := len(message)/(MinValue-dataHeader) + 1 + 2; values > most {
		t.Errorf("%d values were sent, want at most %d", values, most)
	}
}

func TestStreamBounds(t *testing.T) {
	t.Parallel()
	s := NewStream(false)
	if s.Send(nil) != ErrTooLong || s.Send(make([]byte, MaxMessage+1)) != ErrTooLong {
		t.Error("no message and a message too long are taken")
	}
	for range streamQueue {
		if err := s.Send([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if s.Send([]byte{1}) != ErrBusy {
		t.Error("the queue has no bound")
	}
	d := NewStream(true)
	d.Receive(frame{kind: frameBegin, number: 7, length: MaxMessage + 1}.append(nil, 0), time.Time{})
	v, _ := d.Next(time.Time{}, MinValue)
	if f, ok := decodeFrame(v, fromDevice); !ok || f.kind != frameRefuse || f.reason != refusedLength {
		t.Errorf("a message too long is answered with %x", v)
	}
}

// FuzzStream: whatever comes, the stream holds no more than one message and does not stall.
func FuzzStream(f *testing.F) {
	begin := frame{kind: frameBegin, number: 0x01020304, length: 4, crc: 0x9be3e0a3}.append(nil, 0)
	f.Add(bytes.Join([][]byte{{11}, begin, {8}, frame{kind: frameData, number: 4, payload: []byte("1234")}.append(nil, 0)}, nil))
	f.Add([]byte{4, 3, 1, 0, 5, 3, 4, 0, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewStream(true)
		s.Send([]byte("an answer"))
		now := time.Unix(0, 0)
		for len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			m, ok := s.Receive(b[1:1+n], now)
			if ok && (len(m) == 0 || len(m) > MaxMessage) {
				t.Errorf("a message of %d bytes", len(m))
			}
			b = b[1+n:]
			for range 3 {
				s.Next(now, MinValue)
			}
			if len(s.replies) > 4*streamWindow || len(s.buf) > MaxMessage {
				t.Errorf("%d replies, %d bytes", len(s.replies), len(s.buf))
			}
			now = now.Add(time.Second)
		}
	})
}
