package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

// statements keeps the prepared form of every read query: parsing and planning cost more than
// most reads. Queries are written in the code, so there are few; the database's Close ends them.
type statements struct {
	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

func (s *statements) get(ctx context.Context, db *DB, query string) (*sql.Stmt, error) {
	s.mu.RLock()
	stmt := s.prepared[query]
	s.mu.RUnlock()
	if stmt != nil {
		return stmt, nil
	}
	// Not under the lock: it may have to wait for a connection.
	stmt, err := db.read.PrepareContext(ctx, db.dialect.rebind(query))
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.prepared[query]; first != nil {
		stmt.Close()
		return first, nil
	}
	if s.prepared == nil {
		s.prepared = make(map[string]*sql.Stmt)
	}
	s.prepared[query] = stmt
	return stmt, nil
}
