package console

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/store"
)

// maxEntries is how many entries the audit log keeps; the oldest go.
const maxEntries = 100_000

// entry is one change that somebody made, or a sign-in.
type entry struct {
	ID        int64  `json:"id"`
	At        int64  `json:"timestamp"` // milliseconds since 1970
	Who       string `json:"user"`
	Role      string `json:"role"`
	Source    string `json:"sourceIp"`
	Operation string `json:"operation"`
	Method    string `json:"method"`
	Path      string `json:"path"` // with the query
	Status    int    `json:"status"`
	Request   string `json:"request,omitempty"` // the body, without secrets, possibly cut short
	Before    string `json:"before,omitempty"`  // what a GET of the path answered, where there is one
	After     string `json:"after,omitempty"`
}

type auditLog struct {
	db  *store.DB
	now func() time.Time
}

// add writes an entry and returns when it is on disk.
func (l *auditLog) add(ctx context.Context, e entry) error {
	return l.db.Write(ctx, l.insert(e))
}

// submit is add that does not wait.
func (l *auditLog) submit(e entry, done func(error)) { l.db.Submit(l.insert(e), done) }

func (l *auditLog) insert(e entry) func(*store.Tx) error {
	now := l.now().UnixMilli()
	return func(tx *store.Tx) error {
		var id int64 // larger than those of other nodes of a cluster too
		if err := tx.QueryRow(`SELECT coalesce(max(id), 0) + 1 FROM console_audit`, nil, &id); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO console_audit (id, at, who, role, source, operation, method, path, status, request, before, after)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, now, e.Who, e.Role, e.Source, e.Operation, e.Method, e.Path, e.Status, e.Request, e.Before, e.After)
		if err == nil && id%1000 == 0 {
			_, err = tx.Exec(`DELETE FROM console_audit WHERE id <= ?`, id-maxEntries)
		}
		return err
	}
}

// Changed notes what was done with an access key, not through the console. It does not wait for the disk,
// and does not ask what the resource was like before: provisioning fifty thousand devices is such changes.
func (c *Console) Changed(r *http.Request, caller awsapi.Caller, operation string, body []byte, status int) {
	if _, here := CallerOf(r.Context()); here {
		return // noted by forward, with more
	}
	e := entry{Who: caller.AccessKeyID, Role: caller.Role, Source: address(r).String(), Operation: operation, Method: r.Method, Path: r.URL.RequestURI(), Status: status}
	if len(body) <= maxAudited {
		e.Request = redacted(body)
	}
	c.audit.submit(e, func(err error) {
		if err != nil {
			c.cfg.Log.Error("write audit log", "operation", operation, "user", e.Who, "error", err)
		}
	})
}

// note adds an entry. What happened cannot be undone, so a failure is only told.
func (c *Console) note(ctx context.Context, e entry) {
	if err := c.audit.add(context.WithoutCancel(ctx), e); err != nil {
		c.cfg.Log.Error("write audit log", "operation", e.Operation, "user", e.Who, "error", err)
	}
}

// AuditEntries returns up to n entries, the newest first, with numbers below before (0 for no limit)
// and, if path is not empty, about resources whose path begins with it.
func (c *Console) AuditEntries(ctx context.Context, n int, before int64, path string) (any, error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	list := []entry{}
	err := c.cfg.Store.Query(ctx, `SELECT id, at, who, role, source, operation, method, path, status, request, before, after
		FROM console_audit WHERE id < ? AND substr(path, 1, length(?)) = ? ORDER BY id DESC LIMIT ?`, []any{before, path, path, n}, func(row store.Row) error {
		var e entry
		if err := row.Scan(&e.ID, &e.At, &e.Who, &e.Role, &e.Source, &e.Operation, &e.Method, &e.Path, &e.Status, &e.Request, &e.Before, &e.After); err != nil {
			return err
		}
		list = append(list, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return map[string]any{"entries": list}, nil
}
