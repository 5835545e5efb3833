package action

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
)

// idleTime is how long a connection that nothing uses stays open.
const idleTime = 5 * time.Minute

// Connections are what stays open between deliveries. Close ends them.
type Connections struct {
	databases map[string]string // URLs by name
	folder    string
	log       *slog.Logger

	kafka    shared[*kgo.Client]
	postgres shared[*pgConnection]

	files   sync.Mutex
	journal *journals // of the folder; nil until a file is written
	closed  bool
}

// ConnectionConfig says what actions may be connected with.
type ConnectionConfig struct {
	Databases map[string]string // URLs of PostgreSQL that rules may name
	Files     string            // folder of the file action; empty for none
	Log       *slog.Logger
}

// NewConnections makes connections; none is opened before it is needed, but what an earlier server left
// in the folder of files is finished in the background.
func NewConnections(cfg ConnectionConfig) *Connections {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Connections{databases: cfg.Databases, folder: cfg.Files, log: cfg.Log}
	c.kafka.end = func(k *kgo.Client) { k.Close() }
	c.postgres.end = func(p *pgConnection) { p.pool.Close() }
	c.resumeFiles()
	return c
}

// Close ends all connections. No delivery may be under way.
func (c *Connections) Close() {
	if c == nil {
		return
	}
	c.kafka.close()
	c.postgres.close()
	c.closeFiles()
}

var errNoConnections = errors.New("no connections are configured")

// shared are values that are expensive to open, by key. One that was not used for idleTime is ended.
type shared[T any] struct {
	end func(T)

	mu      sync.Mutex
	entries map[string]*sharedEntry[T]
	closed  bool
}

type sharedEntry[T any] struct {
	ready chan struct{}
	value T
	err   error
	users int
	idle  *time.Timer
}

var errConnectionsClosed = errors.New("the server is stopping")

// use calls fn with the value of a key, opening it first if need be.
func (s *shared[T]) use(ctx context.Context, key string, open func() (T, error), fn func(T) error) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errConnectionsClosed
	}
	e := s.entries[key]
	if e == nil {
		if s.entries == nil {
			s.entries = make(map[string]*sharedEntry[T])
		}
		e = &sharedEntry[T]{ready: make(chan struct{})}
		s.entries[key] = e
		e.users++
		s.mu.Unlock()
		e.value, e.err = open()
		close(e.ready)
	} else {
		e.users++
		if e.idle != nil {
			e.idle.Stop()
		}
		s.mu.Unlock()
	}
	defer s.release(key, e)
	select {
	case <-e.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.err != nil {
		return e.err
	}
	return fn(e.value)
}

func (s *shared[T]) release(key string, e *sharedEntry[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.users--; e.users > 0 || s.entries[key] != e {
		return
	}
	<-e.ready
	if e.err != nil {
		delete(s.entries, key)
		return
	}
	e.idle = time.AfterFunc(idleTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.users == 0 && s.entries[key] == e {
			delete(s.entries, key)
			go s.end(e.value)
		}
	})
}

func (s *shared[T]) close() {
	s.mu.Lock()
	entries := s.entries
	s.entries, s.closed = nil, true
	s.mu.Unlock()
	for _, e := range entries {
		<-e.ready
		if e.idle != nil {
			e.idle.Stop()
		}
		if e.err == nil {
			s.end(e.value)
		}
	}
}

// pgConnection is a pool with what is known of the tables behind it.
type pgConnection struct {
	pool *pgxpool.Pool

	mu     sync.Mutex
	tables map[string]map[string]string // types of columns by name
}
