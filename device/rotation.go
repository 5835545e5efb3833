package device

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/mode"
)

var errTrial = errors.New("it did not connect in time")

// rotation is a renewal of the certificate that somebody waits for.
type rotation struct {
	exchange *identity.Exchange
	done     func(error)
}

// Rotate renews the device's certificate: it makes a key, has it signed, registers it with the
// template, whose parameters must lead to the same thing, and connects with it. Only then is the old
// certificate given up. If the new one is refused three times or does not connect within
// TrialTimeout, the device goes back to the old one and done gets the reason. done, if not nil, is
// called on the loop, at most once; after a restart in between nobody is told, but the renewal goes
// on. The old certificate is not revoked: let the operator do it when the device has connected.
func (s *System) Rotate(done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	s.control.Post("rotate", func() {
		s.mu.Lock()
		l, busy, m := s.link, s.rotation != nil, s.mode
		s.mu.Unlock()
		var err error
		switch {
		case s.template().Name == "":
			err = errors.New("renew certificate: there is no provisioning template")
		case m != mode.Normal || l == nil:
			err = fmt.Errorf("renew certificate: %w", ErrMode)
		case busy || s.identities.Progress().Step == identity.Trial:
			err = errors.New("renew certificate: another renewal is going on")
		}
		if err != nil {
			s.loop.Post("rotated", func() { done(err) })
			return
		}
		r := &rotation{done: done}
		s.mu.Lock()
		s.rotation = r
		s.mu.Unlock()
		r.exchange = identity.Begin(l, s.identities, s.cfg.Keys, s.template(), func(_ []byte, err error) {
			s.control.Post("rotate", func() { s.exchanged(err) })
		})
	})
}

// exchanged puts a new certificate to the test.
func (s *System) exchanged(err error) {
	l := s.current()
	if err != nil || l == nil {
		s.endRotation(err)
		return
	}
	if old, id := s.identities.Active(), s.identities.Progress(); id.Thing != old.Thing {
		if e := s.identities.Save(identity.Progress{}, nil); e != nil {
			s.fail(e)
		}
		s.endRotation(fmt.Errorf("renew certificate: the template registers thing %q, the device is %q", id.Thing, old.Thing))
		return
	}
	s.watchTrial()
	l.Reconnect()
}

// watchTrial ends a trial that takes too long.
func (s *System) watchTrial() {
	p := s.identities.Progress()
	s.after(s.cfg.TrialTimeout, "trial", func() {
		now := s.identities.Progress()
		if now.Step != identity.Trial || now.CertificateID != p.CertificateID || !s.identities.Active().Exists() {
			return // without an old identity there is nothing to go back to
		}
		if err := s.identities.Save(identity.Progress{}, nil); err != nil {
			s.fail(err)
			return
		}
		s.rolledBack(errTrial)
	})
}

// onTrial reports whether an identity is the one on trial.
func (s *System) onTrial(id Identity) bool {
	p := s.identities.Progress()
	return p.Step == identity.Trial && bytes.Equal(p.Certificate, id.Certificate)
}

// proved makes a certificate on trial the device's own: it has connected with it.
func (s *System) proved(id Identity) {
	if !s.onTrial(id) {
		return
	}
	err := s.identities.Commit(s.cfg.EraseClaim, func(err error) {
		s.control.Post("rotated", func() { s.endRotation(err) })
	})
	if err != nil {
		s.endRotation(err)
	}
}

// refused counts refusals of a certificate on trial.
func (s *System) refused(id Identity, err error) {
	var f *link.Failure
	if !s.onTrial(id) || !errors.As(err, &f) || f.Kind != link.Refused {
		return
	}
	if rolledBack, e := s.identities.Refused(); e != nil {
		s.fail(e)
	} else if rolledBack {
		s.rolledBack(err)
	}
}

// rolledBack goes on with the old identity, or waits for one again.
func (s *System) rolledBack(reason error) {
	err := fmt.Errorf("the new certificate was given up: %w", reason)
	s.fail(err)
	s.endRotation(err)
	if id, _ := s.identities.Current(); id.Exists() && !id.Claim {
		if l := s.current(); l != nil {
			l.Reconnect()
		}
		return
	}
	s.happened(mode.Forgotten)
}

func (s *System) endRotation(err error) {
	s.mu.Lock()
	r := s.rotation
	s.rotation = nil
	s.mu.Unlock()
	if r == nil {
		return
	}
	if r.exchange != nil {
		r.exchange.Stop()
	}
	s.loop.Post("rotated", func() { r.done(err) })
}

// Renewing reports whether a new identity is on its way in: not committed and not given up.
func (s *System) Renewing() bool {
	s.mu.Lock()
	store := s.identities
	s.mu.Unlock()
	return store != nil && store.Progress().Step != identity.Nothing
}
