package hostport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/internal/virtualesp"
)

// TestRemotePort resets a chip over the network, writes to its flash at a higher rate, and lets it run.
func TestRemotePort(t *testing.T) {
	t.Parallel()
	booted := make(chan struct{}, 8)
	c, err := virtualesp.New(virtualesp.Config{Boot: func(virtualesp.Boot) { booted <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = c.Serve(context.Background(), virtualesp.RFC2217(conn, c))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	port, name, err := Open(ctx, "rfc2217://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	<-booted // with power
	s, err := serial.Open(ctx, port, serial.Options{Name: name, Baud: 460800, FlashSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	image := bytes.Repeat([]byte{0xFF, 0x00, 0xC0, 7}, 1024) // IAC and SLIP's own bytes
	if _, err := s.Write(ctx, []serial.Region{{Address: 0x10000, Data: image}}, serial.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Reset(ctx, serial.EndHard), s.Close()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-booted:
	case <-ctx.Done():
		t.Error("the chip was not reset at the end")
	}
	got := make([]byte, len(image))
	if _, err := c.Flash().ReadAt(got, 0x10000); err != nil || !bytes.Equal(got, image) {
		t.Errorf("flash differs, %v", err)
	}
	if _, _, err := Open(t.Context(), "rfc2217://127.0.0.1:1"); err == nil {
		t.Error("opened a port that is not there")
	}
}

// script is a connection that says what it is given.
type script struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }

func FuzzRemotePort(f *testing.F) {
	f.Add([]byte("a\xFF\xFFb\xFF\xFD\x2C\xFF\xFB\x01\xFF\xFA\x2C\x69\x0B\xFF\xF0c"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := dialRemote(&script{in: bytes.NewReader(in)})
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(r)
		if err != nil || len(out) > len(in) {
			t.Errorf("%d bytes of %d, %v", len(out), len(in), err)
		}
	})
}
