package commands

import (
	"context"
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Count counts the commands of an identifier.
const Count = `SELECT count(*) FROM command WHERE id = ?`

// schema: due_at is when an execution times out, 0 once it cannot; token and fingerprint are those of
// the request that started it.
var schema = []string{`
	CREATE TABLE command (id TEXT PRIMARY KEY, display_name TEXT NOT NULL, description TEXT NOT NULL, definition TEXT NOT NULL,
		created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, deprecated_at BIGINT NOT NULL, deletion_at BIGINT NOT NULL);
	CREATE INDEX command_by_time ON command (created_at, id);
	CREATE INDEX command_deletion ON command (deletion_at) WHERE deletion_at > 0;
	CREATE TABLE command_execution (id TEXT PRIMARY KEY, command TEXT NOT NULL, target TEXT NOT NULL, status TEXT NOT NULL, final BIGINT NOT NULL,
		reason TEXT NOT NULL, result TEXT NOT NULL, parameters TEXT NOT NULL, timeout_s BIGINT NOT NULL, created_at BIGINT NOT NULL,
		updated_at BIGINT NOT NULL, completed_at BIGINT NOT NULL, due_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,
		token TEXT NOT NULL, fingerprint TEXT NOT NULL);
	CREATE INDEX command_execution_by_target ON command_execution (target, created_at, id);
	CREATE INDEX command_execution_by_command ON command_execution (command, created_at, id);
	CREATE INDEX command_execution_due ON command_execution (due_at) WHERE due_at > 0;
	CREATE INDEX command_execution_expiry ON command_execution (expires_at);
	CREATE UNIQUE INDEX command_execution_token ON command_execution (token) WHERE token <> ''`}

// reader is a transaction, or the database outside one.
type reader interface {
	QueryRow(query string, args []any, dest ...any) error
	Query(query string, args []any, scan func(row store.Row) error) error
}

type dbReader struct {
	ctx context.Context
	db  *store.DB
}

func (r dbReader) QueryRow(query string, args []any, dest ...any) error {
	return r.db.QueryRow(r.ctx, query, args, dest...)
}

func (r dbReader) Query(query string, args []any, scan func(row store.Row) error) error {
	return r.db.Query(r.ctx, query, args, scan)
}

func (s *Service) reader(ctx context.Context) reader { return dbReader{ctx, s.cfg.Store} }

type rowFunc func(dest ...any) error

func (f rowFunc) Scan(dest ...any) error { return f(dest...) }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// instant is the reverse of millis.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// place is a place in a listing by time and identifier.
type place struct {
	at int64
	id string
}

func (p place) token() string {
	return base64.StdEncoding.EncodeToString([]byte(strconv.FormatInt(p.at, 10) + "/" + p.id))
}

// after returns where a page begins and how much it holds.
func (p Page) after(ascending bool) (place, int, error) {
	limit := p.Limit
	if limit == 0 {
		limit = MaxPage
	}
	if limit < 1 || limit > MaxPage {
		return place{}, 0, invalid("maxResults is %d, not from 1 to %d", limit, MaxPage)
	}
	if p.Token == "" {
		if ascending {
			return place{at: -1}, limit, nil
		}
		return place{at: math.MaxInt64}, limit, nil
	}
	b, err := base64.StdEncoding.DecodeString(p.Token)
	at, id, ok := strings.Cut(string(b), "/")
	n, bad := strconv.ParseInt(at, 10, 64)
	if err != nil || !ok || bad != nil || !idPattern.MatchString(id) {
		return place{}, 0, invalid("nextToken is not valid")
	}
	return place{n, id}, limit, nil
}
