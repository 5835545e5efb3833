package broker

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/ca"
)

// TestTicketKeys: a key encrypts for a day, decrypts for two, and survives a restart.
func TestTicketKeys(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	open := func() *Tickets {
		t.Helper()
		k, err := OpenTickets(dir, log)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	first := k.list()
	if len(first) != 1 || first[0] == [32]byte{} {
		t.Fatalf("%d keys at first", len(first))
	}
	if again := open().list(); len(again) != 1 || again[0] != first[0] {
		t.Error("a restart changes the key")
	}
	start := time.Now()
	for _, step := range []struct {
		after time.Duration
		keys  int
		first bool // the first key still decrypts
	}{{time.Hour, 1, true}, {25 * time.Hour, 2, true}, {47 * time.Hour, 2, true}, {50 * time.Hour, 2, false}, {500 * time.Hour, 1, false}} {
		k.now = func() time.Time { return start.Add(step.after) }
		if err := k.rotate(); err != nil {
			t.Fatal(err)
		}
		list := k.list()
		if got := list[len(list)-1] == first[0]; len(list) != step.keys || got != step.first {
			t.Errorf("after %v: %d keys, the first among them: %v", step.after, len(list), got)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ticket-keys"), []byte("what?\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list := open().list(); len(list) != 1 || list[0] == first[0] {
		t.Error("an unreadable file is not replaced")
	}
	if info, err := os.Stat(filepath.Join(dir, "ticket-keys")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func FuzzTicketKeys(f *testing.F) {
	f.Add("2026-01-02T03:04:05Z 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n")
	f.Add("2026-01-02T03:04:05Z 00\n")
	f.Add("\n")
	f.Fuzz(func(t *testing.T, text string) { parseTicketKeys(text) })
}

// TestTrim: this version of Go has the fields that trim clears, and a trimmed connection works on.
func TestTrim(t *testing.T) {
	t.Parallel()
	if rawInputAt < 0 || handAt < 0 || peerCertificatesAt < 0 || verifiedChainsAt < 0 || resumptionSecretAt < 0 || exporterAt < 0 {
		t.Error("crypto/tls has changed: idle connections take more memory than they need")
	}
	certs, err := ca.Open(t.TempDir(), ca.Options{Names: func() []string { return []string{"localhost"} }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		left, right := net.Pipe()
		server := tls.Server(left, &tls.Config{GetCertificate: certs.GetCertificate, MaxVersion: version})
		client := tls.Client(right, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		go func() { // echoes until the end
			defer client.Close()
			io.Copy(client, client)
		}()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			trim(server)
			want := []byte{byte(i), 1, 2}
			got := make([]byte, len(want))
			if _, err := server.Write(want); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(server, got); err != nil || string(got) != string(want) {
				t.Errorf("TLS %x: %v, %v", version, got, err)
			}
		}
		server.Close()
	}
}
