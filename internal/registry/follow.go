package registry

import (
	"context"
	"errors"

	"github.com/berth-iot/berth/internal/store"
)

// Kinds of change that the nodes of a cluster tell each other.
const (
	FeedPrincipals = "registry.principals" // certificates, or everybodyKey
	FeedThings     = "registry.things"
	FeedMembers    = "registry.members" // things whose groups have changed
	FeedGroups     = "registry.groups"
	FeedEvents     = "registry.events"
)

const everybodyKey = "*"

// tell notes for other nodes what a transaction changes.
func (c *changes) tell(tx *store.Tx) {
	if c.all {
		tx.Note(FeedPrincipals, everybodyKey)
	}
	for id := range c.certificates {
		tx.Note(FeedPrincipals, id)
	}
	for i := range c.feed {
		switch ch := &c.feed[i]; ch.Kind {
		case ThingChange:
			tx.Note(FeedThings, ch.Thing.Name)
		case MembershipChange:
			tx.Note(FeedMembers, ch.Thing.Name)
		case ThingGroupChange:
			tx.Note(FeedGroups, ch.Group.Name)
		}
	}
}

// PrincipalsChanged takes what another node says of FeedPrincipals.
func (r *Registry) PrincipalsChanged(keys []string) error {
	var ch changes
	for _, key := range keys {
		if key == everybodyKey {
			ch.all = true
		} else {
			ch.certificate(key)
		}
	}
	r.principalsChanged(&ch)
	return nil
}

// ThingsChanged tells observers of things that another node has changed or, members, that have joined or left
// groups. What is told is the thing as it is now.
func (r *Registry) ThingsChanged(names []string, members bool) error {
	var feed []Change
	for _, name := range names {
		c := Change{Kind: ThingChange, Operation: Updated}
		if members {
			c = Change{Kind: MembershipChange, Operation: Added}
		}
		var err error
		if c.Thing, err = r.DescribeThing(context.Background(), name); errors.Is(err, ErrNotFound) {
			c = Change{Kind: ThingChange, Operation: Deleted, Thing: &Thing{Name: name}}
		} else if err != nil {
			return err
		}
		feed = append(feed, c)
	}
	r.tellObservers(feed)
	return nil
}

// GroupsChanged tells observers of groups that another node has changed.
func (r *Registry) GroupsChanged(names []string) error {
	var feed []Change
	for _, name := range names {
		c := Change{Kind: ThingGroupChange, Operation: Updated}
		d, err := r.DescribeThingGroup(context.Background(), name)
		switch {
		case errors.Is(err, ErrNotFound):
			// A dynamic group that is gone must be missed too.
			c.Operation, c.Group = Deleted, &ThingGroup{Name: name, Dynamic: &DynamicGroup{}}
		case err != nil:
			return err
		default:
			c.Group = d
		}
		feed = append(feed, c)
	}
	r.tellObservers(feed)
	return nil
}
