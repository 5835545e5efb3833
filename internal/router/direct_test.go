package router

import (
	"context"
	"log/slog"
	"testing"

	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/topic"
)

// directed notes for whom the messages that it gets are.
type directed struct{ origins []*Origin }

func (d *directed) Deliver(p *Publication, _ *Target) { d.origins = append(d.origins, p.Direct) }
func (d *directed) Online() bool                      { return true }
func (d *directed) Durable() bool                     { return false }

func TestDirectPassesSubscribersBy(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db, err := store.Open(ctx, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := New(ctx, topic.AWS, db)
	if err != nil {
		t.Fatal(err)
	}
	asker, other, origin := &directed{}, &directed{}, &Origin{}
	r.Subscribe(asker, "a/+", Subscription{QoS: 1})
	r.Subscribe(other, "a/+", Subscription{QoS: 1})
	owned := 0
	r.Own(func(string) Handler { return func(*Publication) { owned++ } })
	p := &Publication{Topic: "a/accepted", QoS: 1}
	r.NewPublisher().Direct(p, asker, origin)
	if len(asker.origins) != 1 || asker.origins[0] != origin || len(other.origins) != 0 || owned != 0 || p.Direct != nil {
		t.Errorf("asker %v, other %v, owner %d", asker.origins, other.origins, owned)
	}
	r.Publish(p, nil)
	if len(asker.origins) != 2 || asker.origins[1] != nil || len(other.origins) != 1 {
		t.Errorf("asker %v, other %v", asker.origins, other.origins)
	}
}
