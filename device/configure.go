package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/mode"
)

// Configurator takes a configuration from outside while the device waits for one: over BLE, a serial
// console, a page. configuration.Host is one. Its methods return at once, but for Up and Down.
type Configurator interface {
	// Up prepares the hardware. The store is for the count of wrong codes.
	Up(ctx context.Context, store *flash.Store) error
	// Start begins to listen. apply checks a configuration and returns when it is in flash; the device
	// goes on with it.
	Start(apply func(configuration.Document) error)
	// Report tells what has become of it. It is called after Stop, too.
	Report(configuration.Progress)
	// Stop takes no configuration any more.
	Stop()
	// Down ends everything.
	Down()
}

// maxProofs is how often an identity that somebody has just configured may be refused before the device
// asks for another.
const maxProofs = 3

// Settings returns what the device has been configured with, without certificates and keys: Wi-Fi,
// endpoint, authorities, template, the application's values. Dial and WiFi ask it at every attempt.
func (s *System) Settings() configuration.Document {
	s.mu.Lock()
	store := s.store
	s.mu.Unlock()
	if store == nil {
		return configuration.Document{}
	}
	return configuration.Load(store)
}

// template is the program's template with what was configured laid over it.
func (s *System) template() identity.Template {
	t, set := s.cfg.Template, s.Settings().Template
	if set.Name != "" {
		t.Name = set.Name
	}
	if len(set.Parameters) > 0 {
		t.Parameters = set.Parameters
	}
	return t
}

func (s *System) report(p configuration.Progress) {
	if s.cfg.Configurator != nil && s.isUp(mode.StageBLE) {
		s.cfg.Configurator.Report(p)
	}
}

// take stages a configuration and returns when it is in flash. It runs on the configurator's goroutine.
func (s *System) take(d configuration.Document) error {
	if s.cfg.CheckConfiguration != nil {
		if err := s.cfg.CheckConfiguration(d); err != nil {
			return fmt.Errorf("%w: %w", configuration.ErrDocument, err)
		}
	}
	if len(d.Claim.Certificate) > 0 && s.cfg.Keys == nil && !s.cfg.Template.ServerKeys {
		return fmt.Errorf("%w: the device makes no keys and needs a certificate of its own", configuration.ErrDocument)
	}
	s.mu.Lock()
	store := s.store
	s.mu.Unlock()
	if store == nil {
		return ErrMode
	}
	done := make(chan error, 1)
	if err := configuration.Stage(store, d, func(err error) { done <- err }); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	s.control.Post("configured", s.settle)
	return nil
}

// settle tries the network of a staged configuration and makes it the device's own.
func (s *System) settle() {
	d, ok := configuration.Staged(s.store)
	if !ok {
		return
	}
	if d.WiFi.SSID != "" && s.cfg.WiFi != nil {
		s.report(configuration.Progress{State: configuration.ConnectingWiFi})
		ctx, cancel := context.WithTimeout(s.ctx, stageTimeout)
		s.cfg.WiFi.Down()
		err := s.cfg.WiFi.Up(ctx, s.store)
		cancel()
		if err != nil {
			s.abandon(&StageError{mode.StageWiFi, err})
			return
		}
	}
	if err := s.adopt(d, func(err error) { s.control.Post("adopted", func() { s.adopted(d, err) }) }); err != nil {
		s.adopted(d, err)
	}
}

// abandon drops a staged configuration whose network does not come up.
func (s *System) abandon(reason error) {
	s.fail(reason)
	if err := configuration.Unstage(s.store, nil); err != nil {
		s.fail(err)
	}
	s.report(configuration.Progress{State: configuration.Failed, Reason: reason.Error()})
}

// adopt puts the parts of a configuration where they belong. After a loss of power in between it is
// done again, with the same result.
func (s *System) adopt(d configuration.Document, done func(error)) error {
	if err := configuration.Settle(s.store, d); err != nil {
		return err
	}
	if len(d.Certificate) > 0 {
		if err := s.identities.Give(Identity{Certificate: d.Certificate, Key: d.Key, Thing: d.Thing}, nil); err != nil {
			return err
		}
	}
	if len(d.Claim.Certificate) > 0 {
		if err := s.identities.Give(Identity{Certificate: d.Claim.Certificate, Key: d.Claim.Key, Claim: true}, nil); err != nil {
			return err
		}
	}
	return configuration.Unstage(s.store, done)
}

// adopted goes on with what the configuration has brought.
func (s *System) adopted(d configuration.Document, err error) {
	if err != nil {
		s.fail(err)
		s.report(configuration.Progress{State: configuration.Failed, Reason: err.Error()})
		return
	}
	id, _ := s.identities.Current()
	switch {
	case id.Exists() && !id.Claim:
		s.proofs = 0
		if len(d.Certificate) > 0 {
			s.proofs = maxProofs
			if s.handlers.Provisioned != nil {
				s.loop.Post("provisioned", func() { s.handlers.Provisioned(id.Thing, d.Application) })
			}
		}
		s.report(configuration.Progress{State: configuration.ConnectingCloud, Thing: id.Thing})
		// In Normal, where a claim may have brought the device meanwhile, this begins again.
		s.happened(mode.Configure)
		s.happened(mode.Provisioned)
	case id.Exists() && s.template().Name != "":
		s.report(configuration.Progress{State: configuration.Provisioning})
		s.stopClaim()
		s.provision()
	default:
		s.report(configuration.Progress{State: configuration.Waiting, Reason: "the device has no certificate yet"})
	}
}

// follow reports what happens to the connection that a configuration is to be proved by. It runs on the
// application's loop.
func (s *System) follow(e link.Event, state configuration.State, thing string) {
	if s.cfg.Configurator == nil {
		return
	}
	s.control.Post("follow", func() {
		p := configuration.Progress{State: state, Thing: thing}
		if e.Err != nil {
			p.Reason = e.Err.Error()
		}
		switch e.Kind {
		case link.Restored:
			if state != configuration.ConnectingCloud {
				return // the claim's connection
			}
			s.proofs = 0
			s.report(configuration.Progress{State: configuration.Connected, Thing: thing})
		case link.ClockNotSet:
			p.State = configuration.SettingClock
			s.report(p)
		case link.Waiting:
			var f *link.Failure
			if s.proofs > 0 && errors.As(e.Err, &f) && (f.Kind == link.Refused || f.Kind == link.Untrusted) {
				if s.proofs--; s.proofs == 0 {
					p.State = configuration.Failed
					s.report(p)
					s.happened(mode.Configure)
					return
				}
			}
			s.report(p)
		}
	})
}

// startConfiguration waits for an identity: by claim if there is one, from a configurator if there
// is one. A device that has an identity goes back to it after a while.
func (s *System) startConfiguration() {
	if s.cfg.Configurator != nil {
		s.cfg.Configurator.Start(s.take)
	}
	if id, _ := s.identities.Current(); id.Exists() && !id.Claim {
		s.configurations++
		n := s.configurations
		s.after(s.cfg.ConfigurationTimeout, "configuration", func() {
			if id, _ := s.identities.Current(); n == s.configurations && id.Exists() && !id.Claim {
				s.happened(mode.Provisioned)
			}
		})
	}
	s.provision()
}

func (s *System) stopConfiguration() {
	s.configurations++
	if s.cfg.Configurator != nil && s.isUp(mode.StageBLE) {
		s.cfg.Configurator.Stop()
	}
	s.stopClaim()
}
