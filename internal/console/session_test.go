package console

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/store"
)

// fixture is a console with a clock that a test moves.
type fixture struct {
	*Console
	now  time.Time
	keys *accesskey.Keys
}

func open(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f := &fixture{now: time.Unix(1_700_000_000, 0)}
	if f.keys, err = accesskey.Open(t.Context(), db, dir, nil); err != nil {
		t.Fatal(err)
	}
	f.Console, err = Open(t.Context(), Config{Store: db, Keys: f.keys, Data: dir, AllowInsecure: true, Now: func() time.Time { return f.now }})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// session begins a session and returns the request of its browser.
func (f *fixture) session(t *testing.T, who, role, proof string) (*session, *http.Request) {
	t.Helper()
	s, token, err := f.sessions.begin(t.Context(), who, role, proof)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: plainCookie, Value: token})
	return s, r
}

func (f *fixture) admin(t *testing.T) (*session, *http.Request) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.cfg.Data, PasswordFile))
	if err != nil {
		t.Fatal(err)
	}
	who, role, proof, err := f.check(credentials{Password: string(b[:len(b)-1])})
	if err != nil || who != PasswordUser || role != Admin {
		t.Fatal(who, role, err)
	}
	return f.session(t, who, role, proof)
}

func TestSessionTimes(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, idle := f.admin(t)
	f.now = f.now.Add(idleTime - time.Second)
	if s, _ := f.sessions.of(idle); s == nil {
		t.Fatal("ended before it was idle for long")
	}
	f.now = f.now.Add(idleTime + time.Second)
	if s, _ := f.sessions.of(idle); s != nil {
		t.Error("did not end after being idle")
	}
	_, busy := f.admin(t)
	began := f.now
	for f.now.Sub(began) < longestTime {
		if s, _ := f.sessions.of(busy); s == nil {
			t.Fatalf("ended after %v of use", f.now.Sub(began))
		}
		f.now = f.now.Add(idleTime / 2)
	}
	f.now = f.now.Add(time.Second)
	if s, _ := f.sessions.of(busy); s != nil {
		t.Error("did not end at its longest time")
	}
}

func TestSessionConnections(t *testing.T) {
	t.Parallel()
	f := open(t)
	key, err := f.keys.Create(t.Context(), accesskey.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	_, role, proof, _ := f.check(credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret})
	if role != Viewer {
		t.Fatalf("role %s", role)
	}
	s, _ := f.session(t, key.ID, role, proof)
	here, there := net.Pipe()
	if !s.hold(here) {
		t.Fatal("not held")
	}
	// A connection keeps its session, a disabled key ends both.
	for range 5 {
		f.now = f.now.Add(idleTime - time.Minute)
		f.sessions.recheck()
	}
	if !s.hold(here) {
		t.Fatal("the session of an open connection ended")
	}
	if err := f.keys.SetEnabled(t.Context(), key.ID, false); err != nil {
		t.Fatal(err)
	}
	f.sessions.recheck()
	if _, err := there.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is open: %v", err)
	}
	if s.hold(here) {
		t.Error("a session that has ended holds a connection")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, first := f.admin(t)
	for range maxSessions {
		f.now = f.now.Add(time.Millisecond)
		f.session(t, PasswordUser, Admin, "")
	}
	if n := len(f.sessions.byID); n > maxSessions {
		t.Errorf("%d sessions", n)
	}
	if s, _ := f.sessions.of(first); s != nil {
		t.Error("the oldest session is still there")
	}
}
