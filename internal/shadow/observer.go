package shadow

import (
	"context"
	"fmt"

	"github.com/berth-iot/berth/internal/store"
)

// Change is a shadow and what it has become. Of a deleted one Live is false.
type Change struct {
	ID       ID
	Document *Document
}

// Observer is told of changes after their commit and before they are answered, on a goroutine that
// has other shadows waiting: it must not block. The changes of one shadow come in order. It must
// not keep the slice.
type Observer interface {
	ShadowsChanged(changes []Change)
}

// Observe names who is told of changes.
func (s *Service) Observe(o Observer) { s.observer.Store(&o) }

// Document reads a shadow from the database; one that is not there is not Live.
func (s *Service) Document(_ context.Context, id ID) (*Document, error) { return s.load(id) }

// EachDocument reads all shadows of a name, in the order of their things; the empty name stands for
// the classic ones. If thing is not empty, it reads only that thing's.
func (s *Service) EachDocument(ctx context.Context, name, thing string, each func(thing string, d *Document) error) error {
	query, args := `SELECT thing, version, state, stamps FROM shadow WHERE name = ? AND deleted_at = 0 ORDER BY thing`, []any{name}
	if thing != "" {
		query, args = `SELECT thing, version, state, stamps FROM shadow WHERE name = ? AND thing = ? AND deleted_at = 0`, []any{name, thing}
	}
	err := s.cfg.Store.Query(ctx, query, args, func(row store.Row) error {
		d := &Document{Live: true}
		var thing string
		var stamps []byte
		if err := row.Scan(&thing, &d.Version, &d.State, &stamps); err != nil {
			return err
		}
		d.stamps = string(stamps)
		return each(thing, d)
	})
	if err != nil {
		return fmt.Errorf("read shadows %q: %w", name, err)
	}
	return nil
}
