package configuration

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/spake2plus"
)

// Exchange names the two sides of the proof.
var exchange = spake2plus.Identities{Context: "berth device configuration 1", Prover: "configurator", Verifier: "device"}

// Lives of what a service keeps.
const (
	proofLife   = time.Minute      // of an exchange that is not finished
	sessionLife = 10 * time.Minute // since its last message
)

var (
	// ErrClosed is answered outside of Configuration mode.
	ErrClosed = errors.New("the device does not take a configuration now")
	// ErrCode is answered when the code is wrong.
	ErrCode = errors.New("the code is wrong")
	// ErrWait is answered while the device makes somebody wait who has tried wrong codes.
	ErrWait = errors.New("too many wrong codes: the device takes no other yet")
	// ErrSession is answered for a message that is none of the exchange's.
	ErrSession = errors.New("the message does not fit here")
)

// Register makes the registration that a device with a code on its label holds. The code may be
// written with blanks and hyphens and in either case.
func Register(code string, iterations int) (spake2plus.Registration, error) {
	return spake2plus.Register(exchange, normal(code), iterations)
}

// normal is a code as it is proved: without blanks and hyphens, letters in upper case.
func normal(code string) string {
	var out []byte
	for i := range len(code) {
		c := code[i]
		switch {
		case c == ' ' || c == '-':
			continue
		case c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		}
		out = append(out, c)
	}
	return string(out)
}

// Service is the device's side: it answers messages, whatever carries them. Its methods may be called
// concurrently. Handle and Plain wait for flash, the others for nothing.
type Service struct {
	name         string
	registration spake2plus.Registration
	now          func() time.Time

	handling sync.Mutex // one message after another
	attempts *attempts  // guarded by handling
	proof    *spake2plus.Verifier
	proofID  uint32
	proofEnd time.Time

	mu        sync.Mutex
	apply     func(Document) error // nil while closed
	wait      time.Time            // of attempts, for the status
	session   *seal
	sessionAt time.Time
	progress  Progress
	watchers  map[int]func()
	watcher   int
}

// NewService returns a closed service. store keeps the count of wrong codes; nil keeps it in memory.
func NewService(name string, r spake2plus.Registration, store *flash.Store) *Service {
	s := &Service{name: name, registration: r, now: time.Now, watchers: make(map[int]func())}
	s.attempts = openAttempts(store, s.now())
	s.wait = s.attempts.next
	return s
}

// Open makes the service take configurations. apply must return when the configuration is in flash, or
// with the reason why it is not taken.
func (s *Service) Open(apply func(Document) error) {
	s.mu.Lock()
	s.apply = apply
	if s.progress.State != Failed {
		s.progress = Progress{State: Waiting}
	}
	s.mu.Unlock()
	s.changed()
}

// Close ends that. Who has proved the code is still told what becomes of the configuration.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply = nil
}

// Report tells what has become of the configuration.
func (s *Service) Report(p Progress) {
	s.mu.Lock()
	same := s.progress == p
	s.progress = p
	s.mu.Unlock()
	if !same {
		s.changed()
	}
}

// Progress returns what was reported last.
func (s *Service) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// Watch calls f after every change of what Message returns, until cancel. f must return at once.
func (s *Service) Watch(f func()) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watcher++
	n := s.watcher
	s.watchers[n] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, n)
	}
}

func (s *Service) changed() {
	s.mu.Lock()
	watchers := make([]func(), 0, len(s.watchers))
	for _, f := range s.watchers {
		watchers = append(watchers, f)
	}
	s.mu.Unlock()
	for _, f := range watchers {
		f()
	}
}

// Message is what the device has to say on the status channel or, to the holder of the session, on the
// result channel; nil if there is nothing.
func (s *Service) Message(c Channel) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c {
	case Status:
		state := s.progress.State
		return Information{Protocol: ProtocolVersion, Device: s.name, State: state, Iterations: s.registration.Iterations,
			Salt: s.registration.Salt, Wait: s.wait.Sub(s.now())}.append(nil)
	case Result:
		if s.live() {
			return s.session.close(Result, s.progress.append(nil))
		}
	}
	return nil
}

// live reports whether there is a session. The lock is held.
func (s *Service) live() bool {
	return s.session != nil && s.now().Sub(s.sessionAt) < sessionLife
}

// Handle answers a message; nil is no answer. It returns when what the answer stands for is in flash.
func (s *Service) Handle(c Channel, message []byte) []byte {
	s.handling.Lock()
	defer s.handling.Unlock()
	switch c {
	case Status, Result:
		return s.Message(c)
	case Session:
		return s.sessionMessage(message)
	case Configuration:
		return s.configure(message)
	}
	return nil
}

func refusal(err error, wait time.Duration) jsondoc.Value {
	v := jsondoc.Object()
	v.Set("error", jsondoc.String(err.Error()))
	if wait > 0 {
		v.Set("wait", jsondoc.Int(seconds(wait)))
	}
	return v
}

func (s *Service) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apply != nil
}

// attempt counts an attempt to know the code, before anything is answered that depends on it. A result
// above 0 is how long the next one has to wait.
func (s *Service) attempt() (wait time.Duration, err error) {
	if !s.open() {
		return 0, ErrClosed
	}
	if wait := s.attempts.wait(s.now()); wait > 0 {
		return wait, ErrWait
	}
	err = s.attempts.begin(s.now())
	s.setWait()
	if err != nil {
		return 0, fmt.Errorf("count the attempt: %w", err)
	}
	return 0, nil
}

func (s *Service) setWait() {
	s.mu.Lock()
	s.wait = s.attempts.next
	s.mu.Unlock()
	s.changed()
}

// succeeded clears the count of attempts.
func (s *Service) succeeded() error {
	err := s.attempts.succeeded()
	s.setWait()
	return err
}

// sessionMessage handles a message of the session channel. The answer has the question's id, if there
// was one: what was left over from somebody's lost connection is told from an answer by it.
func (s *Service) sessionMessage(message []byte) []byte {
	v, err := jsondoc.Parse(message)
	if err != nil || !v.IsObject() {
		return refusal(ErrSession, 0).Append(nil)
	}
	answer := s.prove(v)
	if id, ok := v.Get("id").Int(); ok {
		answer.Set("id", jsondoc.Int(id))
	}
	return answer.Append(nil)
}

// prove answers first the prover's share, then its confirmation.
func (s *Service) prove(v jsondoc.Value) jsondoc.Value {
	if confirm, ok := bytes64(v.Get("confirm")); ok {
		return s.confirm(v, confirm)
	}
	share, ok := bytes64(v.Get("share"))
	if !ok {
		return refusal(ErrSession, 0)
	}
	wait, err := s.attempt()
	if err != nil {
		return refusal(err, wait)
	}
	s.proof = nil
	proof, err := spake2plus.Respond(exchange, s.registration, share)
	if err != nil {
		return refusal(err, s.attempts.wait(s.now()))
	}
	var id [4]byte
	if _, err := io.ReadFull(rand.Reader, id[:]); err != nil {
		return refusal(err, 0)
	}
	s.proof, s.proofID, s.proofEnd = proof, binary.BigEndian.Uint32(id[:]), s.now().Add(proofLife)
	answer := jsondoc.Object()
	answer.Set("session", jsondoc.Int(int64(s.proofID)))
	answer.Set("share", binary64(proof.Share()))
	answer.Set("confirm", binary64(proof.Confirm()))
	return answer
}

func (s *Service) confirm(v jsondoc.Value, confirm []byte) jsondoc.Value {
	id, ok := v.Get("session").Int()
	if !ok || s.proof == nil || id != int64(s.proofID) || s.now().After(s.proofEnd) {
		return refusal(ErrSession, 0)
	}
	proof := s.proof
	s.proof = nil
	key, err := proof.Finish(confirm)
	if err != nil {
		return refusal(ErrCode, s.attempts.wait(s.now()))
	}
	if !s.open() {
		return refusal(ErrClosed, 0)
	}
	sealed, err := newSeal(key, s.proofID, true)
	if err == nil {
		err = s.succeeded()
	}
	if err != nil {
		return refusal(err, 0)
	}
	s.mu.Lock()
	s.session, s.sessionAt = sealed, s.now()
	if s.progress.State == Waiting || s.progress.State == Failed {
		s.progress = Progress{State: Authenticated}
	}
	s.mu.Unlock()
	s.changed()
	answer := jsondoc.Object()
	answer.Set("session", jsondoc.Int(int64(s.proofID)))
	return answer
}

// configure handles a sealed configuration.
func (s *Service) configure(message []byte) []byte {
	s.mu.Lock()
	if !s.live() {
		s.mu.Unlock()
		return refusal(errSealed, 0).Append(nil)
	}
	session := s.session
	plain, err := session.open(Configuration, message)
	if err != nil {
		s.mu.Unlock()
		return refusal(err, 0).Append(nil)
	}
	s.sessionAt = s.now()
	s.mu.Unlock()
	answer := jsondoc.Object()
	if err := s.take(plain); err != nil {
		answer.Set("error", jsondoc.String(err.Error()))
	} else {
		answer.Set("accepted", jsondoc.Int(1))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return session.close(Configuration, answer.Append(nil))
}

// take checks a configuration and has it applied.
func (s *Service) take(b []byte) error {
	d, err := Parse(b)
	if err != nil {
		return err
	}
	s.mu.Lock()
	apply := s.apply
	s.mu.Unlock()
	if apply == nil {
		return ErrClosed
	}
	before := s.Progress()
	s.Report(Progress{State: Received})
	if err := apply(d); err != nil {
		s.Report(before)
		return err
	}
	return nil
}

// Plain takes a configuration with the code in the open, from somebody who is at the device's console
// or page and has no program for the protocol. Wrong codes count as they do otherwise. With ErrWait
// or ErrCode, wait is how long the next attempt has to wait.
func (s *Service) Plain(code string, document []byte) (wait time.Duration, err error) {
	s.handling.Lock()
	defer s.handling.Unlock()
	if wait, err := s.attempt(); err != nil {
		return wait, err
	}
	if !s.registration.Is(exchange, normal(code)) {
		return s.attempts.wait(s.now()), ErrCode
	}
	if err := s.succeeded(); err != nil {
		return 0, err
	}
	return 0, s.take(document)
}
