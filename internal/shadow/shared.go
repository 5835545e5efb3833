package shadow

import (
	"errors"
	"fmt"
	"strings"

	"github.com/berth-iot/berth/internal/store"
)

// errOvertaken says that another node of a cluster has written a shadow since it was read.
var errOvertaken = errors.New("another node was first")

// replace writes rows if each replaces the version that it was made from; errOvertaken otherwise. Nodes
// read documents anew for every request, so that this is rare.
func (s *Service) replace(rows [][]any, before []int64, done func(error)) {
	s.cfg.Store.SubmitLoose(func(tx *store.Tx) error {
		for i, row := range rows {
			var n int64
			var err error
			if before[i] == 0 {
				n, err = tx.Exec(`INSERT INTO shadow (thing, name, version, state, stamps, modified_at, deleted_at) VALUES (?, ?, ?, ?, ?, ?, ?)
					ON CONFLICT (thing, name) DO NOTHING`, row...)
			} else {
				n, err = tx.Exec(`UPDATE shadow SET version = ?, state = ?, stamps = ?, modified_at = ?, deleted_at = ?
					WHERE thing = ? AND name = ? AND version = ?`, row[2], row[3], row[4], row[5], row[6], row[0], row[1], before[i])
			}
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("write shadow %q of %q: %w", row[1], row[0], errOvertaken)
			}
			if follows := s.follows.Load(); follows != nil && (*follows)() {
				thing, _ := row[0].(string)
				name, _ := row[1].(string)
				tx.Note(Feed, thing+"\n"+name)
			}
		}
		return nil
	}, done)
}

// Feed is the kind of change that nodes of a cluster tell each other, while somebody follows.
const Feed = "shadow"

// SetFollows says whether observers on other nodes of a cluster want to hear of changes.
func (s *Service) SetFollows(follows func() bool) { s.follows.Store(&follows) }

// Reload tells the observer of shadows that another node has changed.
func (s *Service) Reload(keys []string) error {
	o := s.observer.Load()
	if o == nil {
		return nil
	}
	var changes []Change
	for _, key := range keys {
		thing, name, _ := strings.Cut(key, "\n")
		id := ID{Thing: thing, Shadow: name}
		doc, err := s.load(id)
		if err != nil {
			return err
		}
		changes = append(changes, Change{id, doc})
	}
	(*o).ShadowsChanged(changes)
	return nil
}

// again carries the requests of a batch out once more.
func (sh *shard) again(b *batch, lines []*line) []*line {
	for _, u := range b.units {
		u.line.requests = append(u.requests, u.line.requests...)
		u.line.busy, u.line.queued = false, true
		lines = append(lines, u.line)
	}
	sh.recycle(b)
	return lines
}
