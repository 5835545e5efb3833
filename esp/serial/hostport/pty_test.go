//go:build linux

package hostport

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/internal/virtualesp"
)

// TestPseudoTerminal writes to a virtual chip through a terminal device of this machine.
func TestPseudoTerminal(t *testing.T) {
	t.Parallel()
	pty, err := virtualesp.OpenPty()
	if err != nil {
		t.Skip(err) // a machine without pseudo-terminals
	}
	c, err := virtualesp.New(virtualesp.Config{HoldBoot: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, pty.Line()) }()
	t.Cleanup(func() {
		cancel()
		_ = pty.Close()
		_ = c.Close()
		<-done
	})
	port, name, err := Open(ctx, pty.Path)
	if err != nil || name != pty.Path {
		t.Fatal(name, err)
	}
	if _, ok := port.(serial.Lines); ok {
		t.Error("a pseudo-terminal has no modem lines")
	}
	if err := port.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil { // the boot log, then nothing
		_, err = port.Read(make([]byte, 100))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read of nothing: %v", err)
	}
	s, err := serial.Open(ctx, port, serial.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := serial.Region{Address: 0x10000, Data: bytes.Repeat([]byte("berth \xc0\xdb\x11\x13\n\r"), 3000)}
	w, err := s.Write(ctx, []serial.Region{r}, serial.WriteOptions{OnlyChanged: true, Verify: true})
	if err != nil || !w[0].Checked {
		t.Errorf("%+v, %v", w, err)
	}
	if b, err := s.Read(ctx, r.Address, 0x1000, nil); err != nil || !bytes.Equal(b, r.Data[:0x1000]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
