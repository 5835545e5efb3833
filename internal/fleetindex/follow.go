package fleetindex

import (
	"context"
	"errors"

	"github.com/berth-iot/berth/internal/store"
)

// Kinds of change that nodes of a cluster tell each other.
const (
	Feed            = "fleetindex"
	FeedConnections = "fleetindex.connections"
)

// Reload reads configuration and metrics again, which another node has changed.
func (s *Service) Reload([]string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	ctx := context.Background()
	if err := errors.Join(s.loadConfiguration(ctx), s.loadMetrics(ctx)); err != nil {
		return err
	}
	s.rebuilding.Store(true)
	s.feed.add(func(p *pending) { p.rebuild = true })
	s.metrics.poke()
	return nil
}

// ReloadConnections reads the connections of things again that another node has written down.
func (s *Service) ReloadConnections(things []string) error {
	for _, thing := range things {
		ev := connectionEvent{thing: thing, connection: connection{known: true}, followed: true}
		err := s.cfg.Store.QueryRow(context.Background(), `SELECT connected, changed_at, version, reason FROM thing_connection WHERE thing = ?`,
			[]any{thing}, &ev.connected, &ev.timestamp, &ev.version, &ev.reason)
		if errors.Is(err, store.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		s.feed.add(func(p *pending) { p.connections = append(p.connections, ev) })
	}
	return nil
}

// FollowsShadows reports whether shadows are indexed.
func (s *Service) FollowsShadows() bool {
	v := s.view.Load()
	return v.shadow || len(v.named) > 0
}
