package device

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/mode"
)

// stageTimeout bounds a stage of Init.
const stageTimeout = 2 * time.Minute

// StageError is a part that did not come up.
type StageError struct {
	Stage mode.Stage
	Err   error
}

func (e *StageError) Error() string { return fmt.Sprintf("bring up %v: %v", e.Stage, e.Err) }
func (e *StageError) Unwrap() error { return e.Err }

// bringUp runs the stages of Init that are not up yet.
func (s *System) bringUp() {
	var offline error
	for stage := range mode.Stage(mode.Stages) {
		if s.isUp(stage) {
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, stageTimeout)
		err := s.bring(ctx, stage)
		cancel()
		if err != nil && stage == mode.StageWiFi && s.configurable() {
			// Somebody has to be able to tell the device about another network.
			offline = &StageError{stage, err}
			err = nil
		}
		if err != nil {
			s.fail(&StageError{stage, err})
			s.happened(mode.Failed)
			return
		}
		s.up = append(s.up, stage)
	}
	if offline != nil {
		s.abandon(offline)
	} else if d, ok := configuration.Staged(s.store); ok {
		// The power went while a configuration was being settled.
		if err := s.adopt(d, nil); err != nil {
			s.fail(err)
		}
	}
	if id, _ := s.identities.Current(); id.Exists() && !id.Claim || s.cfg.Thing != "" {
		s.happened(mode.Ready)
		return
	}
	s.happened(mode.Unprovisioned)
}

// configurable reports whether the device can do without its network for now: it has no identity to
// connect with, or a configuration that is being tried.
func (s *System) configurable() bool {
	if s.cfg.Configurator == nil {
		return false
	}
	_, trying := configuration.Staged(s.store)
	id, _ := s.identities.Current()
	return trying || !id.Exists() || id.Claim
}

func (s *System) isUp(stage mode.Stage) bool {
	for _, up := range s.up {
		if up == stage {
			return true
		}
	}
	return false
}

func (s *System) bring(ctx context.Context, stage mode.Stage) error {
	switch stage {
	case mode.StageFlash:
		return s.openFlash()
	case mode.StageWiFi:
		if s.cfg.WiFi != nil {
			return s.cfg.WiFi.Up(ctx, s.store)
		}
	case mode.StageBLE:
		if s.cfg.Configurator != nil {
			return s.cfg.Configurator.Up(ctx, s.store)
		}
	case mode.StageOTA:
		return s.beginOTA()
	}
	return nil
}

// openFlash opens the store and the identities, and stores those that the program brings along.
func (s *System) openFlash() error {
	store, err := flash.Open(s.cfg.Storage, 0)
	if err != nil {
		return err
	}
	for _, name := range store.Damaged() {
		s.fail(fmt.Errorf("flash record %q is torn: the value before it counts", name))
	}
	identities, damaged := identity.Open(store)
	for _, key := range damaged {
		s.fail(fmt.Errorf("flash value %q cannot be read", key))
	}
	err = s.takeGiven(store, identities)
	// A claim that was erased stays erased: the device has its own identity.
	if s.cfg.Claim.Exists() && !identities.Claim().Exists() && !(s.cfg.EraseClaim && identities.Active().Exists()) {
		claim := s.cfg.Claim
		claim.Claim = true
		err = errors.Join(err, identities.Give(claim, nil))
	}
	if err != nil {
		store.Close()
		return err
	}
	s.mu.Lock()
	s.store, s.identities = store, identities
	s.mu.Unlock()
	return nil
}

// givenKey holds the digest of the certificate that was given last.
const givenKey = "id.given"

// takeGiven stores the identity that the program brings along, if there is none or if it is another one
// than the last time: one that was renewed since stays, one that the factory has replaced does not.
func (s *System) takeGiven(store *flash.Store, identities *identity.Store) error {
	given := s.cfg.Given
	if !given.Exists() {
		return nil
	}
	digest := sha256.Sum256(given.Certificate)
	last, known := store.Get(givenKey)
	switch {
	case known && bytes.Equal(last, digest[:]) && identities.Active().Exists():
		return nil
	case !known && identities.Active().Exists():
		return store.Set(givenKey, digest[:], nil)
	}
	return errors.Join(identities.Give(given, nil), store.Set(givenKey, digest[:], nil))
}

func (s *System) waitRetry() {
	s.after(s.cfg.InitRetry, "retry", func() { s.happened(mode.Retry) })
}

// restartPatience bounds the application's handler for a restart, and the farewell.
const restartPatience = 10 * time.Second

// shutDown ends everything in reverse order, and restarts if that is wanted. It runs on the control
// loop and is its last work.
func (s *System) shutDown(ctx context.Context, restart bool) {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return
	}
	s.stopping = true
	for _, t := range s.timers {
		t.Stop()
	}
	s.mu.Unlock()
	if restart && s.handlers.Restart != nil {
		told := make(chan struct{})
		s.loop.Post("restart", func() { defer close(told); s.handlers.Restart() })
		timer := time.NewTimer(restartPatience)
		select {
		case <-told:
		case <-timer.C:
			s.fail(errors.New("restart: the handler takes too long"))
		}
		timer.Stop()
	}
	ctx, cancel := context.WithTimeout(ctx, restartPatience)
	defer cancel()
	s.stopConfiguration()
	if s.cfg.Configurator != nil && s.isUp(mode.StageBLE) {
		s.cfg.Configurator.Down()
	}
	s.leave(ctx)
	if s.cfg.WiFi != nil && s.isUp(mode.StageWiFi) {
		s.cfg.WiFi.Down()
	}
	if s.updater != nil {
		s.updater.Close()
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.fail(err)
		}
	}
	s.loop.Close()
	if !restart {
		<-s.loop.Done()
	}
	s.cancel()
	s.control.Close()
	close(s.stopped)
	if restart {
		s.cfg.Restart()
	}
}
