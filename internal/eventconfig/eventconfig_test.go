package eventconfig

import (
	"context"
	"errors"
	"testing"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

func TestConfiguration(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	open := func() (*store.DB, *Configuration) {
		db := storetest.Open(t, dir)
		c, err := Open(ctx, db, nil)
		if err != nil {
			t.Fatal(err)
		}
		return db, c
	}
	db, c := open()
	if s := c.State(); len(s.Enabled) != len(Kinds()) || !s.Created.IsZero() || c.Enabled("JOB") {
		t.Errorf("new: %+v", s)
	}
	if err := c.Update(ctx, map[string]bool{"JOB": true, "NONE": true}); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown kind: %v", err)
	}
	if err := c.Update(ctx, map[string]bool{"JOB": true, "THING": true}); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(ctx, map[string]bool{"THING": false}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	db, c = open()
	defer db.Close()
	if s := c.State(); !c.Enabled("JOB") || c.Enabled("THING") || c.Enabled("JOB_EXECUTION") || s.Created.IsZero() || s.Modified.Before(s.Created) {
		t.Errorf("after a restart: %+v", s)
	}
}
