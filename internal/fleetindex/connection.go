package fleetindex

import (
	"context"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/store"
)

// connection is what is known of the connection of a thing.
type connection struct {
	known, connected bool
	timestamp        int64 // of the last connect or disconnect, in epoch milliseconds
	version          int64 // number of connects
	session          uint64
	reason           string // of the disconnect
}

type connectionEvent struct {
	thing string
	connection
	followed bool // another node of the cluster has written it down
}

var connectionTable = &store.Table{Name: "thing_connection", Key: 1, Columns: []string{"thing", "connected", "changed_at", "version", "reason"}, Feed: FeedConnections}

// Lifecycle returns what is to be told of connections.
func (s *Service) Lifecycle() session.Lifecycle { return listener{s} }

type listener struct{ *Service }

// told notes a connect or disconnect. A connection is its thing's if the client identifier is the
// thing's name, or if the certificate is the thing's alone (AWS IoT developer guide, "Managing fleet
// indexing").
func (l listener) told(c session.Client, connected bool, reason session.DisconnectReason) {
	thing := c.ThingName
	if thing == "" {
		thing = c.ClientID
	}
	id, _ := strconv.ParseUint(c.SessionID[:min(16, len(c.SessionID))], 16, 64)
	ev := connectionEvent{thing: thing, connection: connection{known: true, connected: connected, timestamp: l.cfg.Now().UnixMilli(), session: id, reason: string(reason)}}
	l.feed.add(func(p *pending) { p.connections = append(p.connections, ev) })
}

// Connected implements session.Lifecycle.
func (l listener) Connected(c session.Client) { l.told(c, true, "") }

// Disconnected implements session.Lifecycle.
func (l listener) Disconnected(c session.Client, reason session.DisconnectReason) {
	l.told(c, false, reason)
}

// ConnectFailed implements session.Lifecycle.
func (listener) ConnectFailed(session.Client) {}

// Subscribed implements session.Lifecycle.
func (listener) Subscribed(session.Client, []string) {}

// Unsubscribed implements session.Lifecycle.
func (listener) Unsubscribed(session.Client, []string) {}

// after returns a connection as an event leaves it. The end of a connection that has been replaced
// changes nothing.
func (c connection) after(ev connection) connection {
	if ev.connected {
		ev.version = c.version
		if c.known {
			ev.version++
		}
		return ev
	}
	if c.connected && c.session != ev.session {
		return c
	}
	ev.version = c.version
	return ev
}

// connect brings the events of connections into the index.
func (s *Service) connect(events []connectionEvent, touched map[*row]struct{}) {
	changed := make(map[string]connection)
	s.things.mu.Lock()
	for _, ev := range events {
		r := s.things.rows[ev.thing]
		if r == nil {
			if ev.connected {
				s.strangers[ev.thing] = connection{}.after(ev.connection)
			} else if s.strangers[ev.thing].session == ev.session {
				delete(s.strangers, ev.thing)
			}
			continue
		}
		if ev.followed {
			r.connection = ev.connection
			r.parts[partLive] = s.writer.connection(r.connection)
			touched[r] = struct{}{}
			continue
		}
		r.connection = r.connection.after(ev.connection)
		changed[ev.thing] = r.connection
		touched[r] = struct{}{}
	}
	for thing := range changed {
		r := s.things.rows[thing]
		r.parts[partLive] = s.writer.connection(r.connection)
	}
	s.things.mu.Unlock()
	s.keep(changed)
}

// keep writes connections down, so that a restart knows them.
func (s *Service) keep(changed map[string]connection) {
	if len(changed) == 0 {
		return
	}
	rows := make([][]any, 0, len(changed))
	for thing, c := range changed {
		connected := 0
		if c.connected {
			connected = 1
		}
		rows = append(rows, []any{thing, connected, c.timestamp, c.version, c.reason})
	}
	s.cfg.Store.Put(connectionTable, rows, func(err error) {
		if err != nil {
			s.cfg.Log.Error("write connections of things", "error", err)
		}
	})
}

// loadConnections reads what is known from before. Things that were connected when the server died
// count as disconnected since now.
func (s *Service) loadConnections(ctx context.Context) error {
	now := s.cfg.Now().UnixMilli()
	broken := make(map[string]connection)
	err := s.cfg.Store.Query(ctx, `SELECT thing, connected, changed_at, version, reason FROM thing_connection`, nil, func(row store.Row) error {
		c := connection{known: true}
		var thing string
		if err := row.Scan(&thing, &c.connected, &c.timestamp, &c.version, &c.reason); err != nil {
			return err
		}
		if c.connected && s.cfg.Store.Membership() == nil {
			c.connected, c.timestamp, c.reason = false, now, string(session.ServerError)
			broken[thing] = c
		}
		s.things.mu.Lock()
		defer s.things.mu.Unlock()
		if r := s.things.rows[thing]; r != nil {
			r.connection = c
			r.parts[partLive] = s.writer.connection(c)
		}
		return nil
	})
	s.keep(broken)
	return err
}

// Connectivity is whether a thing is connected.
type Connectivity struct {
	Connected bool
	Timestamp time.Time // of the last connect or disconnect
	Reason    string    // of the disconnect
}

func (c connection) public() *Connectivity {
	if !c.known {
		return nil
	}
	return &Connectivity{c.connected, time.UnixMilli(c.timestamp), c.reason}
}

// ThingConnectivity returns the connectivity of a thing. ErrNotFound for an unknown thing and for one
// that never connected; ErrNotReady while connectivity is not indexed or the index is being built.
func (s *Service) ThingConnectivity(ctx context.Context, thing string) (*Connectivity, error) {
	_, v, err := s.index(Things)
	if err != nil || !v.live {
		return nil, refuse(ErrNotReady, "the connectivity of things is not indexed")
	}
	s.settle(ctx)
	s.things.mu.RLock()
	defer s.things.mu.RUnlock()
	if r := s.things.rows[thing]; r != nil && r.connection.known {
		return r.connection.public(), nil
	}
	return nil, refuse(ErrNotFound, "no connectivity data of thing %s", thing)
}
