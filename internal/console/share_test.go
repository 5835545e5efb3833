package console

import (
	"testing"

	"github.com/berth-iot/berth/internal/store"
)

// blocked runs fn while no commit can be made.
func (f *fixture) blocked(t *testing.T, fn func()) {
	t.Helper()
	under, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f.cfg.Store.Submit(func(*store.Tx) error {
		close(under)
		<-release
		return nil
	}, func(err error) { done <- err })
	<-under
	fn()
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := f.cfg.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestSignedOutStaysOut: a session that has ended here is not taken from the store, where it is for a moment yet.
func TestSignedOutStaysOut(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.sessions.shared = true
	s, r := f.admin(t)
	f.blocked(t, func() {
		f.sessions.end(s)
		if again, _ := f.sessions.of(r); again != nil {
			t.Error("a session that has ended is taken from the store again")
		}
	})
	if again, _ := f.sessions.of(r); again != nil {
		t.Error("a session that has ended is there again")
	}
}

// TestSignedOutElsewhere: that a session is in use here does not bring it back after another node has ended it.
func TestSignedOutElsewhere(t *testing.T) {
	t.Parallel()
	f := open(t)
	f.sessions.shared = true
	s, r := f.admin(t)
	if err := f.cfg.Store.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM console_session WHERE id = ?`, s.id)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(2 * seenEvery)
	if now, _ := f.sessions.of(r); now == nil {
		t.Fatal("the session is not there until the node hears that it has ended")
	}
	if err := f.cfg.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.sessions.reload([]string{s.id}); err != nil {
		t.Fatal(err)
	}
	if now, _ := f.sessions.of(r); now != nil {
		t.Error("a session that another node has ended goes on")
	}
}
