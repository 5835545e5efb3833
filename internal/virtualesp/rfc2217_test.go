package virtualesp

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a connection whose far end is two buffers.
type wire struct {
	io.Reader
	io.Writer
}

func (wire) Close() error { return nil }

func TestRFC2217(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChip(t, Config{})
		in := "a\xFF\xFFb" + // an escaped 0xFF
			"\xFF\xFD\x2C" + "\xFF\xFB\x00" + "\xFF\xFD\x01" + // DO COM-PORT, WILL BINARY, DO ECHO
			"\xFF\xFA\x2C\x01\x00\x07\x08\x00\xFF\xF0" + // SET-BAUDRATE 460800
			"\xFF\xFA\x2C\x05\x0B\xFF\xF0" + // RTS on
			"\xFF\xFA\x2C\x05\x08\xFF\xF0" + // DTR on
			"\xFF\xFA\x2C\x05\x0C\xFF\xF0" + // RTS off
			"\xFF\xF1" + "c"
		var out bytes.Buffer
		p := RFC2217(wire{bytes.NewBufferString(in), &out}, c)
		data, err := io.ReadAll(p)
		if err != nil || string(data) != "a\xFFbc" {
			t.Errorf("data %q, %v", data, err)
		}
		want := "\xFF\xFB\x2C" + "\xFF\xFD\x00" + "\xFF\xFC\x01" +
			"\xFF\xFA\x2C\x65\x00\x07\x08\x00\xFF\xF0" +
			"\xFF\xFA\x2C\x69\x0B\xFF\xF0" + "\xFF\xFA\x2C\x69\x08\xFF\xF0" + "\xFF\xFA\x2C\x69\x0C\xFF\xF0"
		if out.String() != want {
			t.Errorf("answered %q, want %q", out.String(), want)
		}
		if got := c.hostBaud.Load(); got != 460800 {
			t.Errorf("baud rate %d", got)
		}
		if got := c.now().state; got != loading {
			t.Errorf("state %d", got)
		}
		out.Reset()
		if _, err := p.Write([]byte("x\xFFy")); err != nil || out.String() != "x\xFF\xFFy" {
			t.Errorf("wrote %q, %v", out.String(), err)
		}
	})
}

func FuzzRFC2217(f *testing.F) {
	f.Add([]byte("a\xFF\xFA\x2C\x05\x0B\xFF\xF0b\xFF\xFD\x2C"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := New(Config{HoldBoot: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		data, err := io.ReadAll(RFC2217(wire{bytes.NewReader(in), io.Discard}, c))
		if err != nil || len(data) > len(in) {
			t.Errorf("%d bytes of %d, %v", len(data), len(in), err)
		}
	})
}

// TestServeOverRFC2217 has a host on a connection reset the chip and sync.
func TestServeOverRFC2217(t *testing.T) {
	t.Parallel()
	c := newChip(t, Config{HoldBoot: true})
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- c.Serve(t.Context(), RFC2217(near, c)) }()
	if err := far.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = far.Write(appendFrame(nil, request(opSync, syncData(), 0))) }()
	var d deframer
	for buf := make([]byte, 1); ; {
		if _, err := far.Read(buf); err != nil {
			t.Fatal(err)
		}
		if frame, _ := d.next(buf[0], 1000); len(frame) == 12 && frame[1] == opSync {
			break
		}
	}
	far.Close()
	<-done
}
