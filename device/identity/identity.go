// Package identity keeps a device's identity: the certificate it was given, the claim that it begins
// with, and a new certificate on its way in. Every step of provisioning and renewal is written to
// flash before the next one is taken, so that a loss of power at any point leaves a device that can
// connect.
//
//	          key made           certificate issued       registered
//	Nothing ───────────► Request ─────────────────► Register ──────────► Trial
//	   ▲                                               │                  │ │
//	   │                token refused: a new key       │                  │ │ connected: the new
//	   ├───────────────────────────────────────────────┘                  │ │ identity is the active
//	   │                refused three times: the old one goes on          │ │ one, in one write
//	   └──────────────────────────────────────────────────────────────────┘ ▼
//
// Provisioning by claim goes this way with the claim as the old identity, renewal with the active one.
package identity

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// Identity is what a device proves itself with.
type Identity struct {
	Certificate []byte // PEM, the chain if there is one
	Key         []byte // PEM
	Thing       string // also the client identifier; "" for a claim
	Claim       bool   // good for provisioning only
}

// Exists reports whether there is an identity at all.
func (id Identity) Exists() bool { return len(id.Certificate) > 0 }

// Step is how far a new identity is.
type Step uint8

const (
	Nothing  Step = iota
	Request       // the key is made: its certificate is to be asked for
	Register      // the certificate is issued: the thing is to be registered
	Trial         // registered: the device has to connect with it
)

func (s Step) String() string {
	names := [...]string{"nothing", "request", "register", "trial"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// MaxRefusals is how often a new identity may be refused on trial.
const MaxRefusals = 3

// Progress is a new identity on its way in.
type Progress struct {
	Step          Step
	Key           []byte // PEM
	Certificate   []byte // PEM, from Register on
	CertificateID string
	Token         string // certificateOwnershipToken, at Register
	Thing         string // from Trial on
	Refusals      int    // at Trial
}

const (
	activeKey   = "id.active"
	claimKey    = "id.claim"
	progressKey = "id.new"
)

// Store keeps identities in flash. Its methods may be called concurrently.
type Store struct {
	flash *flash.Store

	mu       sync.Mutex
	active   Identity
	claim    Identity
	progress Progress
}

// Open reads what is in flash. Records that cannot be read count as absent and are in damaged.
func Open(f *flash.Store) (s *Store, damaged []string) {
	s = &Store{flash: f}
	read := func(key string, decode func(jsondoc.Value)) {
		b, ok := f.Get(key)
		if !ok {
			return
		}
		v, err := jsondoc.Parse(b)
		if err != nil || !v.IsObject() {
			damaged = append(damaged, key)
			return
		}
		decode(v)
	}
	read(activeKey, func(v jsondoc.Value) { s.active = decodeIdentity(v) })
	read(claimKey, func(v jsondoc.Value) { s.claim = decodeIdentity(v); s.claim.Claim = true })
	read(progressKey, func(v jsondoc.Value) { s.progress = decodeProgress(v) })
	if s.progress.Step == Trial && s.active.Exists() && bytes.Equal(s.active.Certificate, s.progress.Certificate) {
		// The power went between the commit and the tidying.
		s.progress = Progress{}
		_ = f.Delete(progressKey, nil)
	}
	return s, damaged
}

// Current is what to connect with: an identity on trial, else the active one, else the claim.
func (s *Store) Current() (id Identity, trial bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.progress.Step == Trial:
		return Identity{Certificate: s.progress.Certificate, Key: s.progress.Key, Thing: s.progress.Thing}, true
	case s.active.Exists():
		return s.active, false
	}
	return s.claim, false
}

// Active and Claim return the stored identities; Progress the one on its way in.
func (s *Store) Active() Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

func (s *Store) Claim() Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claim
}

func (s *Store) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// ErrIncomplete is returned for an identity without certificate, key or, unless it is a claim, thing.
var ErrIncomplete = errors.New("an identity needs a certificate, a key and the name of its thing")

// Give stores an identity that comes from outside, as the claim or as the active one: over BLE, from
// the factory's image, from files. done is called when it is in flash.
func (s *Store) Give(id Identity, done func(error)) error {
	if len(id.Certificate) == 0 || len(id.Key) == 0 || id.Thing == "" && !id.Claim {
		return fmt.Errorf("store identity: %w", ErrIncomplete)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id.Claim {
		s.claim = id
		return s.flash.Set(claimKey, appendIdentity(nil, id), done)
	}
	s.active, s.progress = id, Progress{}
	if err := s.flash.Set(activeKey, appendIdentity(nil, id), nil); err != nil {
		return err
	}
	return s.flash.Delete(progressKey, done)
}

// Save stores how far a new identity is. done is called when it is in flash; the next step must not
// be taken before.
func (s *Store) Save(p Progress, done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = p
	if p.Step == Nothing {
		return s.flash.Delete(progressKey, done)
	}
	return s.flash.Set(progressKey, appendProgress(nil, p), done)
}

// Commit makes the identity on trial the active one, after it has connected. The old one is gone
// with the same write; eraseClaim removes the claim after it.
func (s *Store) Commit(eraseClaim bool, done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.progress
	if p.Step != Trial {
		return errors.New("commit identity: none is on trial")
	}
	s.active = Identity{Certificate: p.Certificate, Key: p.Key, Thing: p.Thing}
	s.progress = Progress{}
	if err := s.flash.Set(activeKey, appendIdentity(nil, s.active), nil); err != nil {
		return err
	}
	if eraseClaim && s.claim.Exists() {
		s.claim = Identity{}
		if err := s.flash.Delete(claimKey, nil); err != nil {
			return err
		}
	}
	return s.flash.Delete(progressKey, done)
}

// Refused counts a refusal of the identity on trial. rolledBack means that it was the last one: the
// new identity is erased and Current is the old one again.
func (s *Store) Refused() (rolledBack bool, err error) {
	p := s.Progress()
	if p.Step != Trial {
		return false, nil
	}
	if p.Refusals++; p.Refusals >= MaxRefusals {
		return true, s.Save(Progress{}, nil)
	}
	return false, s.Save(p, nil)
}

// Forget erases every identity but the claim.
func (s *Store) Forget(done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active, s.progress = Identity{}, Progress{}
	if err := s.flash.Delete(activeKey, nil); err != nil {
		return err
	}
	return s.flash.Delete(progressKey, done)
}

func appendIdentity(dst []byte, id Identity) []byte {
	v := jsondoc.Object()
	v.Set("certificate", jsondoc.String(string(id.Certificate)))
	v.Set("key", jsondoc.String(string(id.Key)))
	v.Set("thing", jsondoc.String(id.Thing))
	return v.Append(dst)
}

func decodeIdentity(v jsondoc.Value) Identity {
	return Identity{Certificate: []byte(v.Get("certificate").Text()), Key: []byte(v.Get("key").Text()), Thing: v.Get("thing").Text()}
}

func appendProgress(dst []byte, p Progress) []byte {
	v := jsondoc.Object()
	v.Set("step", jsondoc.Int(int64(p.Step)))
	v.Set("key", jsondoc.String(string(p.Key)))
	v.Set("certificate", jsondoc.String(string(p.Certificate)))
	v.Set("id", jsondoc.String(p.CertificateID))
	v.Set("token", jsondoc.String(p.Token))
	v.Set("thing", jsondoc.String(p.Thing))
	v.Set("refusals", jsondoc.Int(int64(p.Refusals)))
	return v.Append(dst)
}

func decodeProgress(v jsondoc.Value) Progress {
	step, _ := v.Get("step").Int()
	refusals, _ := v.Get("refusals").Int()
	if step < 0 || step > int64(Trial) {
		return Progress{}
	}
	return Progress{Step: Step(step), Key: []byte(v.Get("key").Text()), Certificate: []byte(v.Get("certificate").Text()),
		CertificateID: v.Get("id").Text(), Token: v.Get("token").Text(), Thing: v.Get("thing").Text(), Refusals: int(refusals)}
}
