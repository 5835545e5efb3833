package router

import (
	"context"
	"testing"

	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// directed notes for whom the messages that it gets are.
type directed struct{ origins []*Origin }

func (d *directed) Deliver(p *Publication, _ *Target) { d.origins = append(d.origins, p.Connection) }
func (d *directed) Online() bool                      { return true }
func (d *directed) Durable() bool                     { return false }

func TestDirectPassesSubscribersBy(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := storetest.Open(t, t.TempDir())
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
	r.NewPublisher().Direct(&Publication{Topic: "a/accepted", QoS: 1, To: asker, Connection: origin})
	if len(asker.origins) != 1 || asker.origins[0] != origin || len(other.origins) != 0 || owned != 0 {
		t.Errorf("asker %v, other %v, owner %d", asker.origins, other.origins, owned)
	}
	r.Publish(&Publication{Topic: "a/accepted", QoS: 1, To: asker}, nil)
	r.Publish(&Publication{Topic: "b", QoS: 1, To: asker}, nil) // not subscribed
	if len(asker.origins) != 2 || asker.origins[1] != nil || len(other.origins) != 0 {
		t.Errorf("for the asker: asker %v, other %v", asker.origins, other.origins)
	}
	r.Publish(&Publication{Topic: "a/accepted", QoS: 1}, nil)
	if len(asker.origins) != 3 || len(other.origins) != 1 {
		t.Errorf("for all: asker %v, other %v", asker.origins, other.origins)
	}
}
