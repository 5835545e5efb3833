package shadow

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// versionKept is how long the version of a deleted shadow is remembered (AWS IoT developer guide,
// "Deleting a shadow").
const versionKept = 48 * time.Hour

// Limits that a Config may leave open.
const (
	// DefaultInflight is the number of requests for one thing that may wait for their answers.
	DefaultInflight = 10
	// DefaultCacheBytes is the memory for documents in use.
	DefaultCacheBytes = 128 << 20
)

var table = &store.Table{Name: "shadow", Key: 2,
	Columns: []string{"thing", "name", "version", "state", "stamps", "modified_at", "deleted_at"}}

// schema: name is empty for a classic shadow; a row with deleted_at above 0 only remembers the
// version.
var schema = []string{`
	CREATE TABLE shadow (thing TEXT NOT NULL, name TEXT NOT NULL, version BIGINT NOT NULL, state TEXT NOT NULL,
		stamps BLOB NOT NULL, modified_at BIGINT NOT NULL, deleted_at BIGINT NOT NULL, PRIMARY KEY (thing, name));
	CREATE INDEX shadow_deleted ON shadow (deleted_at) WHERE deleted_at > 0`}

// Config is what a Service works with.
type Config struct {
	Store      *store.DB
	Router     *router.Router
	Log        *slog.Logger
	Now        func() time.Time // default time.Now
	Inflight   int              // default DefaultInflight; negative for any number
	CacheBytes int              // default DefaultCacheBytes
}

// Counts are requests since the start.
type Counts struct {
	Accepted, Rejected uint64
	// Dropped requests found more waiting than the server has room for. They get no answer.
	Dropped uint64
}

// Service keeps shadows and answers requests for them. Requests for one thing are handled in the
// order in which they came. Its methods may be called concurrently.
type Service struct {
	cfg    Config
	seed   maphash.Seed
	shards []*shard
	origin *router.Origin

	observer atomic.Pointer[Observer]
	shared   bool // with other nodes of a cluster
	follows  atomic.Pointer[func() bool]

	accepted, rejected, dropped atomic.Uint64
}

// Open prepares the tables and starts the service. It takes no message yet: hand Owner to the
// router for that.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Inflight == 0 {
		cfg.Inflight = DefaultInflight
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = DefaultCacheBytes
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Store.Migrate(ctx, "shadow", schema); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, seed: maphash.MakeSeed(), origin: &router.Origin{Protocol: "service"}}
	s.shared = cfg.Store.Membership() != nil
	n := min(4, runtime.GOMAXPROCS(0))
	for range n {
		s.shards = append(s.shards, newShard(s, cfg.CacheBytes/n))
	}
	return s, nil
}

// Close answers the requests that it has and stops. The store must still be open. Later requests
// are refused.
func (s *Service) Close() {
	for _, sh := range s.shards {
		sh.close()
	}
}

// Counts returns the counters.
func (s *Service) Counts() Counts {
	return Counts{s.accepted.Load(), s.rejected.Load(), s.dropped.Load()}
}

// shard returns the shard of a thing: all its shadows are in one.
func (s *Service) shard(thing string) *shard {
	return s.shards[maphash.String(s.seed, thing)%uint64(len(s.shards))]
}

// Owner returns the handler of a topic that requests are published to, nil for any other. See
// router.Own.
func (s *Service) Owner(name string) router.Handler {
	id, op, ok := parseTopic(name)
	if !ok {
		return nil
	}
	sh := s.shard(id.Thing)
	return func(p *router.Publication) {
		if p.Will && op != set {
			return
		}
		r := &request{id: id, op: op, tooLarge: len(p.Payload) > MaxDocument, depth: p.Depth}
		if !r.tooLarge {
			r.payload = text(p.Payload)
		}
		sh.submit(r)
	}
}

// text is a payload without the zero bytes that end it: firmware in C sends the end of its string
// along, and AWS takes it.
func text(payload []byte) string { return strings.TrimRight(string(payload), "\x00") }

// Get returns the document of a shadow as a get request answers it. Its errors, and those of Update
// and Delete, are of type *Error.
func (s *Service) Get(ctx context.Context, id ID) ([]byte, error) {
	return s.call(ctx, &request{id: id, op: get})
}

// Update changes a shadow and returns the answer once it is on disk. The answer, delta and documents
// are published as for a request over MQTT; an error is not.
func (s *Service) Update(ctx context.Context, id ID, payload []byte) ([]byte, error) {
	r := &request{id: id, op: set, tooLarge: len(payload) > MaxDocument}
	if !r.tooLarge {
		r.payload = text(payload)
	}
	return s.call(ctx, r)
}

// Delete removes a shadow and returns the answer, which is published too.
func (s *Service) Delete(ctx context.Context, id ID) ([]byte, error) {
	return s.call(ctx, &request{id: id, op: remove})
}

func (s *Service) call(ctx context.Context, r *request) ([]byte, error) {
	r.reply = make(chan reply, 1)
	if !s.shard(r.id.Thing).submit(r) {
		return nil, errThrottled()
	}
	select {
	case a := <-r.reply:
		if a.err != nil {
			return nil, a.err
		}
		return a.payload, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// List returns up to n names of a thing's named shadows that sort after a name.
func (s *Service) List(ctx context.Context, thing, after string, n int) ([]string, error) {
	var names []string
	err := s.cfg.Store.Query(ctx, `SELECT name FROM shadow WHERE thing = ? AND name > ? AND deleted_at = 0 ORDER BY name LIMIT ?`,
		[]any{thing, after, n}, func(row store.Row) error {
			var name string
			if err := row.Scan(&name); err != nil {
				return err
			}
			names = append(names, name)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("list named shadows of %q: %w", thing, err)
	}
	return names, nil
}

// load reads a document from the database; one that is not there is the zero value.
func (s *Service) load(id ID) (*Document, error) {
	d := &Document{}
	var stamps []byte
	err := s.cfg.Store.QueryRow(context.Background(), `SELECT version, state, stamps, deleted_at FROM shadow WHERE thing = ? AND name = ?`,
		[]any{id.Thing, id.Shadow}, &d.Version, &d.State, &stamps, &d.Deleted)
	if errors.Is(err, store.ErrNoRows) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read shadow %q of %q: %w", id.Shadow, id.Thing, err)
	}
	d.stamps, d.Live = string(stamps), d.Deleted == 0
	return d, nil
}

// Sweep forgets the versions of shadows that were deleted long ago.
func (s *Service) Sweep(ctx context.Context) error {
	before := s.cfg.Now().Add(-versionKept).UnixMilli()
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM shadow WHERE deleted_at > 0 AND deleted_at <= ?`, before)
		return err
	})
}

// SweepLoop calls Sweep now and then until ctx ends.
func (s *Service) SweepLoop(ctx context.Context) {
	t := time.NewTicker(time.Hour)
	defer t.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("sweep deleted shadows", "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
