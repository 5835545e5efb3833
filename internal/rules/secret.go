package rules

import (
	"context"
	"sync"
	"time"
)

// secretAge is how long a secret is remembered (developer guide, "get_secret").
const secretAge = 15 * time.Minute

const maxSecrets = 256

// secrets remembers what get_secret has read.
type secrets struct {
	mu   sync.Mutex
	read map[[2]string]secret
}

type secret struct {
	value string
	until time.Time
}

func (s *Service) secret(id, kind, _ string) (string, error) {
	key := [2]string{id, kind}
	now := s.now()
	s.secrets.mu.Lock()
	known, ok := s.secrets.read[key]
	s.secrets.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.value, nil
	}
	ctx, cancel := context.WithTimeout(s.run, askTimeout)
	defer cancel()
	value, err := s.services.AWS.Secret(ctx, id, kind)
	if err != nil {
		return "", err
	}
	s.secrets.mu.Lock()
	defer s.secrets.mu.Unlock()
	if s.secrets.read == nil || len(s.secrets.read) >= maxSecrets {
		s.secrets.read = make(map[[2]string]secret)
	}
	s.secrets.read[key] = secret{value, now.Add(secretAge)}
	return value, nil
}
