package broker

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/seal"
)

// Tickets are the keys of TLS session tickets (RFC 5077, RFC 8446 section 4.6.1). They are kept in the
// data folder, so that devices resume their sessions after a restart too, without
// certificates on the wire and signatures. A key encrypts for a day and decrypts for another, then it is gone: whoever
// steals it later cannot read what was recorded before. (TLS 1.3 agrees on fresh keys for a resumed session
// anyway; TLS 1.2 does not.)
//
// A ticket proves who the client was, not that it may connect: its certificate is looked up again at each
// resumption.
type Tickets struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	keys    []ticketKey // the newest first
	configs []*tls.Config
}

type ticketKey struct {
	made time.Time
	key  [32]byte
}

const (
	ticketKeyUse  = 24 * time.Hour // how long a key encrypts
	ticketKeyLife = 48 * time.Hour // how long it decrypts
)

// OpenTickets reads the keys of a data folder, from `ticket-keys` (mode 0600), and makes a new one if the
// newest is too old. A file that cannot be read as keys is replaced: it costs full handshakes once.
func OpenTickets(dir string, log *slog.Logger) (*Tickets, error) {
	t := &Tickets{path: filepath.Join(dir, "ticket-keys"), now: time.Now}
	text, err := os.ReadFile(t.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read TLS ticket keys: %w", err)
	}
	if t.keys, err = parseTicketKeys(string(text)); err != nil {
		log.Warn("TLS ticket keys are made anew", "file", t.path, "error", err)
	}
	return t, t.rotate()
}

// parseTicketKeys reads a line for each key: when it was made and 64 hexadecimal digits.
func parseTicketKeys(text string) (keys []ticketKey, err error) {
	for line := range strings.Lines(text) {
		made, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		var k ticketKey
		if k.made, err = time.Parse(time.RFC3339, made); err != nil {
			return nil, err
		}
		b, err := hex.DecodeString(digits)
		if err != nil || len(b) != len(k.key) {
			return nil, errors.New("a key is not 64 hexadecimal digits")
		}
		copy(k.key[:], b)
		keys = append(keys, k)
	}
	return keys, nil
}

// rotate drops keys that are too old, makes one if need be, and puts them in force.
func (t *Tickets) rotate() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	var keep []ticketKey
	for _, k := range t.keys {
		if age := now.Sub(k.made); age < ticketKeyLife && age > -time.Hour { // of the future: the clock was wrong
			keep = append(keep, k)
		}
	}
	changed := len(keep) != len(t.keys)
	if len(keep) == 0 || now.Sub(keep[0].made) >= ticketKeyUse {
		k := ticketKey{made: now}
		rand.Read(k.key[:])
		keep = append([]ticketKey{k}, keep...)
		changed = true
	}
	t.keys = keep
	if !changed {
		return nil
	}
	for _, c := range t.configs {
		c.SetSessionTicketKeys(t.list())
	}
	var text strings.Builder
	for _, k := range t.keys {
		fmt.Fprintf(&text, "%s %x\n", k.made.UTC().Format(time.RFC3339), k.key)
	}
	if err := seal.WriteFile(t.path, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write TLS ticket keys: %w", err)
	}
	return nil
}

func (t *Tickets) list() [][32]byte {
	list := make([][32]byte, len(t.keys))
	for i, k := range t.keys {
		list[i] = k.key
	}
	return list
}

// use makes configurations use the keys, now and after each rotation. A nil Tickets leaves them alone:
// crypto/tls then makes keys of its own.
func (t *Tickets) use(configs ...*tls.Config) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range configs {
		c.SetSessionTicketKeys(t.list())
	}
	t.configs = append(t.configs, configs...)
}

// RotateLoop changes the keys when it is time, until ctx ends.
func (t *Tickets) RotateLoop(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := t.rotate(); err != nil {
				log.Error("rotate TLS ticket keys", "error", err)
			}
		}
	}
}
