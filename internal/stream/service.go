package stream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/files"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

// Count counts the streams of an identifier.
const Count = `SELECT count(*) FROM stream WHERE stream_id = ?`

var schema = []string{`CREATE TABLE stream (
	stream_id TEXT PRIMARY KEY, version BIGINT NOT NULL, description TEXT NOT NULL, role_arn TEXT NOT NULL, files TEXT NOT NULL,
	created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL
)`}

// Config is what a Service works with.
type Config struct {
	Store  *store.DB
	Router *router.Router
	Files  *files.Files
	Log    *slog.Logger
	Now    func() time.Time // default time.Now
	// ARN makes the Amazon resource name of a resource such as stream/s.
	ARN func(resource string) string
	// Fetch opens an object of another bucket than Bucket: ErrNotFound, ErrUnauthorized. Default nil:
	// there are none.
	Fetch func(ctx context.Context, l Location) (io.ReadCloser, error)
}

// Service keeps streams and answers devices. Its methods may be called concurrently.
type Service struct {
	cfg    Config
	origin *router.Origin
	inbox  inbox

	mu         sync.RWMutex
	cache      map[string]*Stream
	generation uint64 // of the cache: changes with every change of a stream
}

// Open prepares the table and starts the service. It takes no message yet: hand Owner to the router
// for that.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Store.Migrate(ctx, "stream", schema); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, origin: &router.Origin{Protocol: "service"}, cache: make(map[string]*Stream)}
	s.inbox.start(s)
	return s, nil
}

// Close ends the answers that are being sent and stops. Requests that wait get no answer: devices ask
// again.
func (s *Service) Close() { s.inbox.close() }

// NewStream is what CreateStream needs.
type NewStream struct {
	ID, Description, RoleARN string
	Files                    []File
}

// stored is a file in the table.
type stored struct {
	File
	Object *Object `json:"object"`
}

func encode(list []File) string {
	out := make([]stored, len(list))
	for i, f := range list {
		out[i] = stored{f, f.Object}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return "[]"
	}
	return string(b)
}

func checkText(description string) error {
	if utf8.RuneCountInString(description) > maxDescription || strings.ContainsFunc(description, unicode.IsControl) {
		return invalid("description is not up to %d characters without control characters", maxDescription)
	}
	return nil
}

func checkID(id string) error {
	if !idPattern.MatchString(id) {
		return invalid("streamId %q is not 1 to 128 of a-z, A-Z, 0-9, _ and -", id)
	}
	return nil
}

func (s *Service) arn(id string) string { return s.cfg.ARN("stream/" + id) }

// CreateStream makes a stream of version 1. ErrExists, ErrInvalid, and the errors of Find.
func (s *Service) CreateStream(ctx context.Context, in NewStream) (*Stream, error) {
	err := errors.Join(checkID(in.ID), checkText(in.Description))
	if err != nil {
		return nil, err
	}
	exists := &Error{Kind: ErrExists, Message: fmt.Sprintf("stream %s already exists", in.ID), ID: in.ID, ARN: s.arn(in.ID)}
	if _, err := s.DescribeStream(ctx, in.ID); err == nil {
		return nil, exists
	}
	list, err := s.locate(ctx, in.Files)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now().Truncate(time.Millisecond)
	v := &Stream{ID: in.ID, ARN: s.arn(in.ID), Description: in.Description, RoleARN: in.RoleARN, Version: 1, Files: list, Created: now, Updated: now}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO stream (stream_id, version, description, role_arn, files, created_at, updated_at) VALUES (?, 1, ?, ?, ?, ?, ?)
			ON CONFLICT (stream_id) DO NOTHING`, v.ID, v.Description, v.RoleARN, encode(list), now.UnixMilli(), now.UnixMilli())
		if err == nil && n == 0 {
			err = exists
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Changes are what UpdateStream changes; nil fields change nothing.
type Changes struct {
	Description, RoleARN *string
	Files                []File
}

// UpdateStream changes a stream and counts its version up. ErrNotFound, ErrInvalid, ErrLimit for a
// version above 65535, and the errors of Find.
func (s *Service) UpdateStream(ctx context.Context, id string, in Changes) (*Stream, error) {
	if in.Description != nil {
		if err := checkText(*in.Description); err != nil {
			return nil, err
		}
	}
	if _, err := s.DescribeStream(ctx, id); err != nil {
		return nil, err
	}
	list := in.Files
	if list != nil {
		var err error
		if list, err = s.locate(ctx, list); err != nil {
			return nil, err
		}
	}
	var v *Stream
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if v, err = s.read(tx, id); err != nil {
			return err
		}
		if v.Version++; v.Version > maxVersion {
			return refuse(ErrLimit, "stream %s has had %d versions", id, maxVersion)
		}
		if in.Description != nil {
			v.Description = *in.Description
		}
		if in.RoleARN != nil {
			v.RoleARN = *in.RoleARN
		}
		if list != nil {
			v.Files = list
		}
		v.Updated = s.cfg.Now().Truncate(time.Millisecond)
		tx.Note(Feed, id)
		_, err = tx.Exec(`UPDATE stream SET version = ?, description = ?, role_arn = ?, files = ?, updated_at = ? WHERE stream_id = ?`,
			v.Version, v.Description, v.RoleARN, encode(v.Files), v.Updated.UnixMilli(), id)
		return err
	})
	s.forget(id)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// DeleteStream removes a stream; its files stay. ErrNotFound.
func (s *Service) DeleteStream(ctx context.Context, id string) error {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, id)
		n, err := tx.Exec(`DELETE FROM stream WHERE stream_id = ?`, id)
		if err == nil && n == 0 {
			err = unknown(id)
		}
		return err
	})
	s.forget(id)
	return err
}

func unknown(id string) error { return refuse(ErrNotFound, "stream %s does not exist", id) }

const columns = `stream_id, version, description, role_arn, files, created_at, updated_at`

func (s *Service) scan(row store.Row) (*Stream, error) {
	v := &Stream{}
	var text string
	var created, updated int64
	if err := row.Scan(&v.ID, &v.Version, &v.Description, &v.RoleARN, &text, &created, &updated); err != nil {
		return nil, err
	}
	var list []stored
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("read stream %s: %w", v.ID, err)
	}
	for _, f := range list {
		f.File.Object = f.Object
		v.Files = append(v.Files, f.File)
	}
	v.ARN, v.Created, v.Updated = s.arn(v.ID), time.UnixMilli(created), time.UnixMilli(updated)
	return v, nil
}

// reader is the store, or a transaction of it.
type reader interface {
	Query(query string, args []any, scan func(row store.Row) error) error
}

func (s *Service) read(r reader, id string) (*Stream, error) {
	var v *Stream
	err := r.Query(`SELECT `+columns+` FROM stream WHERE stream_id = ?`, []any{id}, func(row store.Row) (err error) {
		v, err = s.scan(row)
		return err
	})
	if err == nil && v == nil {
		err = unknown(id)
	}
	return v, err
}

// outside reads outside transactions.
type outside struct {
	ctx context.Context
	db  *store.DB
}

func (o outside) Query(query string, args []any, scan func(row store.Row) error) error {
	return o.db.Query(o.ctx, query, args, scan)
}

// DescribeStream returns a stream. ErrNotFound.
func (s *Service) DescribeStream(ctx context.Context, id string) (*Stream, error) {
	return s.read(outside{ctx, s.cfg.Store}, id)
}

// maxCached is the number of streams kept at hand for devices.
const maxCached = 1024

// known is DescribeStream from memory.
func (s *Service) known(id string) (*Stream, error) {
	s.mu.RLock()
	v, generation := s.cache[id], s.generation
	s.mu.RUnlock()
	if v != nil {
		return v, nil
	}
	v, err := s.DescribeStream(context.Background(), id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation == generation { // else what was read may be old
		if len(s.cache) >= maxCached {
			clear(s.cache)
		}
		s.cache[id] = v
	}
	return v, nil
}

// Feed is the kind of change that nodes of a cluster tell each other.
const Feed = "stream"

// Reload forgets streams that another node has changed.
func (s *Service) Reload(ids []string) error {
	for _, id := range ids {
		s.forget(id)
	}
	return nil
}

func (s *Service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	delete(s.cache, id)
}

// maxPage is the largest number of streams in one page.
const maxPage = 250

// ListStreams lists up to limit streams, 250 for 0, by identifier, in descending order unless
// ascending is set. token is what the page before returned, "" for the first; the last page returns
// "".
func (s *Service) ListStreams(ctx context.Context, limit int, token string, ascending bool) ([]*Stream, string, error) {
	if limit == 0 {
		limit = maxPage
	}
	if limit < 0 || limit > maxPage {
		return nil, "", invalid("page size %d is not from 1 to %d", limit, maxPage)
	}
	after, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil, "", invalid("the pagination token is not valid")
	}
	query := `SELECT ` + columns + ` FROM stream WHERE ? = '' OR stream_id < ? ORDER BY stream_id DESC LIMIT ?`
	if ascending {
		query = `SELECT ` + columns + ` FROM stream WHERE ? = '' OR stream_id > ? ORDER BY stream_id LIMIT ?`
	}
	list, next := []*Stream{}, ""
	err = s.cfg.Store.Query(ctx, query, []any{string(after), string(after), limit + 1}, func(row store.Row) error {
		v, err := s.scan(row)
		list = append(list, v)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(list) > limit {
		list = list[:limit]
		next = base64.RawURLEncoding.EncodeToString([]byte(list[limit-1].ID))
	}
	return list, next, nil
}
