package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// A session ends this long after its last request, and after this long in any case.
const (
	idleTime    = 24 * time.Hour
	longestTime = 7 * 24 * time.Hour
	seenEvery   = 5 * time.Minute // how often the last request reaches the store
	maxSessions = 1024
)

// Names of the cookie. The prefix makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis,
// "The __Host- Prefix"); plain HTTP cannot have it.
const (
	secureCookie = "__Host-berth"
	plainCookie  = "berth-console"
)

var schema = []string{`
	CREATE TABLE console_session (id TEXT PRIMARY KEY, who TEXT NOT NULL, role TEXT NOT NULL, proof TEXT NOT NULL, created_at BIGINT NOT NULL, seen_at BIGINT NOT NULL);
	CREATE TABLE console_audit (id BIGINT PRIMARY KEY, at BIGINT NOT NULL, who TEXT NOT NULL, role TEXT NOT NULL, source TEXT NOT NULL,
		operation TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, status BIGINT NOT NULL, request TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL)`}

// session is somebody signed in.
type session struct {
	id      string // hexadecimal SHA-256 of the token
	who     string // an access key identifier, or PasswordUser
	role    string
	proof   string // what signed in still holds as long as this is its fingerprint
	created time.Time

	mu    sync.Mutex
	seen  time.Time
	saved time.Time // of seen, as in the store
	ended bool
	conns map[net.Conn]struct{} // upgraded connections, closed with the session
}

// PasswordUser is the caller of a session that was opened with the console's password.
const PasswordUser = "console"

// sessions are all sessions by identifier. Tokens are in cookies only.
type sessions struct {
	db  *store.DB
	now func() time.Time
	// stands reports whether what a session was made with still holds, and the role it now has.
	stands func(s *session) (role string, ok bool)
	shared bool // with other nodes of a cluster

	changes atomic.Uint64 // of shared sessions: what was read before one may no longer be so
	ended   sync.Map      // identifiers of shared sessions that have ended here and are still in the store

	mu   sync.Mutex
	byID map[string]*session
}

var sessionTable = &store.Table{Name: "console_session", Key: 1, Feed: Feed, Columns: []string{"id", "who", "role", "proof", "created_at", "seen_at"}}

func openSessions(ctx context.Context, db *store.DB, now func() time.Time, stands func(*session) (string, bool)) (*sessions, error) {
	all := &sessions{db: db, now: now, stands: stands, byID: make(map[string]*session)}
	err := db.Query(ctx, `SELECT id, who, role, proof, created_at, seen_at FROM console_session`, nil, func(row store.Row) error {
		s := &session{conns: make(map[net.Conn]struct{})}
		var created, seen int64
		if err := row.Scan(&s.id, &s.who, &s.role, &s.proof, &created, &seen); err != nil {
			return err
		}
		s.created, s.seen, s.saved = time.UnixMilli(created), time.UnixMilli(seen), time.UnixMilli(seen)
		all.byID[s.id] = s
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open console sessions: %w", err)
	}
	return all, nil
}

func identifier(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// csrf is the token that a page sends back in a header. It follows from the cookie's, which scripts
// cannot read.
func csrf(token string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("berth console csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// begin makes a session and returns its token.
func (all *sessions) begin(ctx context.Context, who, role, proof string) (*session, string, error) {
	var b [32]byte
	rand.Read(b[:])
	token := base64.RawURLEncoding.EncodeToString(b[:])
	now := all.now()
	s := &session{id: identifier(token), who: who, role: role, proof: proof, created: now, seen: now, saved: now, conns: make(map[net.Conn]struct{})}
	all.sweep(now)
	err := all.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO console_session (id, who, role, proof, created_at, seen_at) VALUES (?, ?, ?, ?, ?, ?)`,
			s.id, s.who, s.role, s.proof, now.UnixMilli(), now.UnixMilli())
		return err
	})
	if err != nil {
		return nil, "", err
	}
	all.mu.Lock()
	all.byID[s.id] = s
	all.mu.Unlock()
	return s, token, nil
}

// ends is when a session is over if nothing more is asked.
func (s *session) ends() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endsLocked()
}

func (s *session) endsLocked() time.Time {
	idle, longest := s.seen.Add(idleTime), s.created.Add(longestTime)
	if longest.Before(idle) {
		return longest
	}
	return idle
}

// of returns the session of a request with its token, or nil.
func (all *sessions) of(r *http.Request) (*session, string) {
	name := plainCookie
	if r.TLS != nil {
		name = secureCookie
	}
	cookie, err := r.Cookie(name)
	if err != nil || len(cookie.Value) > 64 {
		return nil, ""
	}
	s := all.find(r.Context(), identifier(cookie.Value))
	if s == nil {
		return nil, ""
	}
	now := all.now()
	role, ok := all.check(s, now)
	if !ok {
		return nil, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, ""
	}
	s.role, s.seen = role, now
	if now.Sub(s.saved) >= seenEvery {
		s.saved = now
		all.db.SubmitLoose(func(tx *store.Tx) error { // another node may have ended it
			n, err := tx.Exec(`UPDATE console_session SET role = ?, seen_at = ? WHERE id = ?`, role, now.UnixMilli(), s.id)
			if n > 0 {
				tx.Note(Feed, s.id)
			}
			return err
		}, nil)
	}
	return s, cookie.Value
}

// check ends a session that is over or was made with what no longer holds; else it returns the role.
func (all *sessions) check(s *session, now time.Time) (role string, ok bool) {
	role, ok = all.stands(s)
	switch {
	case now.After(s.ends()), !ok && !(all.shared && s.who == PasswordUser):
		all.end(s)
		return "", false
	case !ok: // the password of another node may be another
		all.drop(s)
		return "", false
	}
	return role, true
}

// end ends a session and closes its connections.
func (all *sessions) end(s *session) {
	if all.shared {
		all.ended.Store(s.id, true)
	}
	all.drop(s)
	all.db.Delete(sessionTable, [][]any{{s.id}}, func(err error) {
		if err == nil {
			all.changes.Add(1)
			all.ended.Delete(s.id)
		}
	})
}

// drop closes a session's connections and forgets it.
func (all *sessions) drop(s *session) {
	all.mu.Lock()
	delete(all.byID, s.id)
	all.mu.Unlock()
	s.mu.Lock()
	s.ended = true
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		c.Close()
	}
}

// sweepEvery is how often it is looked which sessions are over.
const sweepEvery = time.Minute

// SweepLoop ends sessions that are over, with their connections, until ctx ends.
func (c *Console) SweepLoop(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.sessions.recheck()
		}
	}
}

// recheck ends every session that no longer holds. An open connection counts as being there, until
// the longest time.
func (all *sessions) recheck() {
	now := all.now()
	all.mu.Lock()
	list := slices.Collect(maps.Values(all.byID))
	all.mu.Unlock()
	for _, s := range list {
		s.mu.Lock()
		if len(s.conns) > 0 {
			s.seen = now
		}
		s.mu.Unlock()
		all.check(s, now)
	}
}

// sweep ends what is over, and the oldest while there are too many.
func (all *sessions) sweep(now time.Time) {
	all.mu.Lock()
	var over []*session
	var oldest *session
	for _, s := range all.byID {
		if now.After(s.ends()) {
			over = append(over, s)
		} else if oldest == nil || s.created.Before(oldest.created) {
			oldest = s
		}
	}
	if len(all.byID)-len(over) >= maxSessions && oldest != nil {
		over = append(over, oldest)
	}
	all.mu.Unlock()
	for _, s := range over {
		all.end(s)
	}
}

// hold closes a connection when the session ends; release undoes it.
func (s *session) hold(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *session) release(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}
