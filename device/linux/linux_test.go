package linux

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/device/flash"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "flash")
	f, err := OpenFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := flash.Open(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Set("a", []byte("1"), nil)
	s.Set("a", []byte("2"), nil)
	s.Set("b", []byte("3"), nil)
	s.Delete("b", nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.0"+partial), []byte("cut short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = OpenFiles(dir); err != nil {
		t.Fatal(err)
	}
	names, err := f.Names()
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"a.0", "a.1"}) {
		t.Errorf("files %v, %v", names, err)
	}
	if info, _ := os.Stat(filepath.Join(dir, "a.0")); info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	s, err = flash.Open(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if v, _ := s.Get("a"); string(v) != "2" {
		t.Errorf("a is %q", v)
	}
	if _, err := f.Read("none"); err != flash.ErrNotFound {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := f.Remove("none"); err != nil {
		t.Error(err)
	}
}

// answer makes an SNTP answer to a request.
func answer(request []byte, t time.Time) []byte {
	b := make([]byte, 48)
	b[0], b[1] = 4<<3|4, 2
	copy(b[24:], request[40:48])
	binary.BigEndian.PutUint32(b[40:], uint32(t.Unix()-ntpEpoch))
	binary.BigEndian.PutUint32(b[44:], uint32(uint64(t.Nanosecond())<<32/1e9))
	return b
}

func TestNTP(t *testing.T) {
	t.Parallel()
	want := time.Date(2040, 2, 3, 4, 5, 6, 500e6, time.UTC)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		b := make([]byte, 100)
		n, from, err := server.ReadFrom(b)
		if err == nil && n == 48 {
			server.WriteTo(answer(b[:n], want), from)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := NTP{Server: server.LocalAddr().String()}.Time(ctx)
	if err != nil || got.Before(want.Add(-time.Millisecond)) || got.After(want.Add(5*time.Second)) {
		t.Errorf("time %v, %v", got, err)
	}
	cancel()
	if _, err := (NTP{Server: server.LocalAddr().String()}).Time(ctx); err == nil {
		t.Error("no answer is a time")
	}
}

func FuzzNTP(f *testing.F) {
	request := make([]byte, 48)
	f.Add(answer(request, time.Unix(1e9, 0)))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := readNTP(b, request[40:]); err == nil && (got.Year() < 1968 || got.Year() > 2104) {
			t.Errorf("%x is %v", b, got)
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	key, err := Keys{}.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := Keys{}.SigningRequest(key, "lamp")
	if err != nil || !strings.Contains(string(csr), "BEGIN CERTIFICATE REQUEST") {
		t.Errorf("%s, %v", csr, err)
	}
	for _, bad := range []string{"", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"} {
		if _, err := (Keys{}).SigningRequest([]byte(bad), "lamp"); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}
