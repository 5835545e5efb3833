package registry

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/plainjson"
	"github.com/berth-iot/berth/internal/store"
)

// Event is a message about a change (AWS IoT developer guide, "Registry events").
type Event struct {
	ID      string // also in the payload
	Topic   string
	Payload []byte // JSON
}

// events is how events leave. They are written down in the transaction of the change and deleted
// when they have been published, so that none is lost; after a crash some may come twice.
type events struct {
	enabled func(kind string) bool
	wake    chan struct{}
}

// SetEvents turns events on for the kinds that enabled names at the time of a change. EventLoop
// publishes them.
func (r *Registry) SetEvents(enabled func(kind string) bool) {
	r.events.Store(&events{enabled: enabled, wake: make(chan struct{}, 1)})
}

// recordEvents writes down the events of the changes that a transaction makes.
func (r *Registry) recordEvents(tx *store.Tx, feed []Change) error {
	ev := r.events.Load()
	if ev == nil {
		return nil
	}
	for i := range feed {
		c := &feed[i]
		if !ev.enabled(string(c.Kind)) {
			continue
		}
		id, err := uuid.NewV7() // the order of events is that of their identifiers
		if err != nil {
			return err
		}
		head := eventHead{Type: string(c.Kind) + "_EVENT", EventID: id.String(), Timestamp: millis(r.now()), Operation: c.Operation, Account: r.account}
		topic, body, err := r.eventOf(tx, c, head)
		if err != nil {
			return err
		}
		payload, err := plainjson.Marshal(body)
		if err != nil {
			return err
		}
		tx.Note(FeedEvents, "")
		if _, err := tx.Exec(`INSERT INTO registry_event (id, topic, payload) VALUES (?, ?, ?)`, head.EventID, topic, payload); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) wakeEvents(feed []Change) {
	if ev := r.events.Load(); ev != nil {
		for i := range feed {
			if ev.enabled(string(feed[i].Kind)) {
				ev.poke()
				return
			}
		}
	}
}

func (e *events) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// eventsAtOnce is how many events are published together.
const eventsAtOnce = 256

// EventLoop hands events to publish, those that a stopped server has left first, until ctx ends.
// Events that publish returns an error for are handed to it again a second later.
func (r *Registry) EventLoop(ctx context.Context, publish func([]Event) error) {
	ev := r.events.Load()
	for ctx.Err() == nil {
		if leads := r.leads.Load(); leads != nil && !(*leads)() {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		n, err := r.publishEvents(ctx, publish)
		switch {
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		case n < eventsAtOnce:
			select {
			case <-ctx.Done():
			case <-ev.wake:
			}
		}
	}
}

func (r *Registry) publishEvents(ctx context.Context, publish func([]Event) error) (int, error) {
	var list []Event
	err := r.db.Query(ctx, `SELECT id, topic, payload FROM registry_event ORDER BY id LIMIT ?`, []any{eventsAtOnce}, func(row store.Row) error {
		var e Event
		err := row.Scan(&e.ID, &e.Topic, &e.Payload)
		list = append(list, e)
		return err
	})
	if err != nil || len(list) == 0 {
		return 0, err
	}
	if err := publish(list); err != nil {
		return 0, err
	}
	return len(list), r.db.Write(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		for _, e := range list {
			if _, err := tx.Exec(`DELETE FROM registry_event WHERE id = ?`, e.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// eventHead holds the fields of all registry events.
type eventHead struct {
	Type      string    `json:"eventType"`
	EventID   string    `json:"eventId"`
	Timestamp int64     `json:"timestamp"` // milliseconds
	Operation Operation `json:"operation"`
	Account   string    `json:"accountId,omitempty"`
}

type thingEvent struct {
	eventHead
	ThingID    string            `json:"thingId"`
	ThingName  string            `json:"thingName"`
	Version    int64             `json:"versionNumber"`
	TypeName   *string           `json:"thingTypeName"`
	Attributes map[string]string `json:"attributes"`
}

type thingTypeEvent struct {
	eventHead
	ID          string   `json:"thingTypeId"`
	Name        string   `json:"thingTypeName"`
	Deprecated  bool     `json:"isDeprecated"`
	Date        *int64   `json:"deprecationDate"` // milliseconds
	Searchable  []string `json:"searchableAttributes"`
	Description string   `json:"description"`
}

type associationEvent struct {
	eventHead
	ThingID   string `json:"thingId"`
	ThingName string `json:"thingName"`
	TypeName  string `json:"thingTypeName"`
}

type groupEvent struct {
	eventHead
	GroupID       string            `json:"thingGroupId"`
	GroupName     string            `json:"thingGroupName"`
	Version       int64             `json:"versionNumber"`
	ParentName    *string           `json:"parentGroupName"`
	ParentID      *string           `json:"parentGroupId"`
	Description   string            `json:"description"`
	RootToParent  []eventGroup      `json:"rootToParentThingGroups"`
	Attributes    map[string]string `json:"attributes"`
	DynamicGroups *string           `json:"dynamicGroupMappingId"`
}

type eventGroup struct {
	ARN string `json:"groupArn"`
	ID  string `json:"groupId"`
}

type membershipEvent struct {
	eventHead
	GroupARN string `json:"groupArn"`
	GroupID  string `json:"groupId"`
	ThingARN string `json:"thingArn"`
	ThingID  string `json:"thingId"`
	ID       string `json:"membershipId"`
}

type hierarchyEvent struct {
	eventHead
	GroupID   string `json:"thingGroupId"`
	GroupName string `json:"thingGroupName"`
	ChildID   string `json:"childGroupId"`
	ChildName string `json:"childGroupName"`
}

// eventOf returns the topic of a change's event and its payload.
func (r *Registry) eventOf(tx *store.Tx, c *Change, head eventHead) (topic string, payload any, err error) {
	switch c.Kind {
	case ThingChange:
		e := thingEvent{head, c.Thing.ID, c.Thing.Name, c.Thing.Version, orNull(c.Thing.Type), orEmpty(c.Thing.Attributes)}
		topic, payload = "thing/"+c.Thing.Name, e
	case ThingTypeChange:
		e := thingTypeEvent{head, c.Type.ID, c.Type.Name, false, nil, c.Type.Searchable, c.Type.Description}
		if e.Searchable == nil {
			e.Searchable = []string{}
		}
		if !c.Type.Deprecated.IsZero() {
			date := millis(c.Type.Deprecated)
			e.Deprecated, e.Date = true, &date
		}
		topic, payload = "thingType/"+c.Type.Name, e
	case TypeAssociationChange:
		head.Account = "" // AWS leaves it out here
		topic = "thingTypeAssociation/thing/" + c.Thing.Name + "/thingType/" + c.Type.Name
		payload = associationEvent{head, c.Thing.ID, c.Thing.Name, c.Type.Name}
	case ThingGroupChange:
		topic = "thingGroup/" + c.Group.Name
		payload, err = r.groupEventOf(tx, c.Group, head)
	case MembershipChange:
		id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(c.Group.ID+"/"+c.Thing.ID)).String()
		topic = "thingGroupMembership/thingGroup/" + c.Group.Name + "/thing/" + c.Thing.Name
		payload = membershipEvent{head, c.Group.ARN, c.Group.ID, c.Thing.ARN, c.Thing.ID, id}
	case HierarchyChange:
		var parent *ThingGroup
		if parent, err = r.group(tx, c.Group.Parent); err != nil {
			return "", nil, err
		}
		topic = "thingGroupHierarchy/thingGroup/" + parent.Name + "/childThingGroup/" + c.Group.Name
		payload = hierarchyEvent{head, parent.ID, parent.Name, c.Group.ID, c.Group.Name}
	}
	return "$aws/events/" + topic + "/" + strings.ToLower(string(c.Operation)), payload, err
}

func (r *Registry) groupEventOf(tx *store.Tx, g *ThingGroup, head eventHead) (*groupEvent, error) {
	e := &groupEvent{eventHead: head, GroupID: g.ID, GroupName: g.Name, Version: g.Version, Description: g.Description, Attributes: orEmpty(g.Attributes), RootToParent: []eventGroup{}}
	// From the parent up, since the rows of a deleted group are gone by now.
	for name := g.Parent; name != ""; {
		above, err := r.group(tx, name)
		if err != nil {
			return nil, err
		}
		if e.ParentID == nil {
			e.ParentName, e.ParentID = &above.Name, &above.ID
		}
		e.RootToParent = append([]eventGroup{{above.ARN, above.ID}}, e.RootToParent...)
		name = above.Parent
	}
	return e, nil
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
