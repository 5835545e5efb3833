package awsiot

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// keepInterval is the shortest time between two writes of what waits to be reported: flash wears out.
const keepInterval = 10 * time.Second

// pendingKey is where the reports of a shadow wait in flash: names of shadows are longer than keys.
func pendingKey(name string) string {
	if name == "" {
		return "shadow"
	}
	sum := sha256.Sum256([]byte(name))
	return "shadow." + hex.EncodeToString(sum[:8])
}

// restore reads what an earlier run has left. Reports of another thing are not this one's.
func (s *Shadow) restore() {
	if s.cfg.Store == nil {
		return
	}
	b, ok := s.cfg.Store.Get(pendingKey(s.cfg.Name))
	if !ok {
		return
	}
	v, err := jsondoc.Parse(b)
	if reported := v.Get("reported"); err == nil && reported.IsObject() && v.Get("thing").Text() == s.cfg.Thing && len(b) <= 2*maxReport {
		s.pending, s.kept = reported, true
		return
	}
	_ = s.cfg.Store.Delete(pendingKey(s.cfg.Name), nil)
}

// keep puts what is pending into flash, or takes out what was there. The lock is held. An error is the
// store's own, and told by others.
func (s *Shadow) keep() {
	if s.cfg.Store == nil {
		return
	}
	if s.keeper != nil {
		s.keeper.Stop()
		s.keeper = nil
	}
	switch {
	case s.pending.Exists():
		v := jsondoc.Object()
		v.Set("thing", jsondoc.String(s.cfg.Thing))
		v.Set("reported", s.pending)
		_ = s.cfg.Store.Set(pendingKey(s.cfg.Name), v.Append(nil), nil)
		s.kept, s.keptAt = true, time.Now()
	case s.kept:
		_ = s.cfg.Store.Delete(pendingKey(s.cfg.Name), nil)
		s.kept = false
	}
}

// keepSoon keeps what was reported without a connection, at once or when the interval has passed.
func (s *Shadow) keepSoon() {
	if s.cfg.Store == nil || s.phase != shadowOffline || s.keeper != nil {
		return
	}
	wait := keepInterval - time.Since(s.keptAt)
	if s.keptAt.IsZero() || wait <= 0 {
		s.keep()
		return
	}
	s.keeper = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.keeper = nil; !s.closed {
			s.keep()
		}
	})
}

// unsent puts back what was being sent when the connection or the device ended; what came meanwhile is
// newer.
func (s *Shadow) unsent(patch jsondoc.Value, done []func(error)) {
	if s.pending.Exists() {
		patch = jsondoc.Merge(patch, s.pending)
	}
	s.pending, s.done = patch, append(done, s.done...)
}
