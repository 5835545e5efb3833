// Package cluster makes several servers one: nodes that share a PostgreSQL schema, the only durable truth,
// and a NATS, which carries messages of QoS 0 and wakes who would otherwise look a second later.
//
// A [Node] has a lease that every commit renews (see package store). When it ends, another node declares it
// dead in the transaction that takes over what it had, and nothing that it still writes is accepted. The
// oldest node leads: what must run once runs there. Changes that others have to hear of are numbered in
// the order of their commits; nodes read on from the last number when NATS says that there is more, and
// every second. The [Interest] of nodes tells which topics they have subscribers for.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// DefaultLease is how long a node may be out of reach of the database before others take over.
const DefaultLease = 10 * time.Second

// pollPause is how often nodes look at the database, whatever NATS says.
const pollPause = time.Second

// Config is what a node must be told.
type Config struct {
	Database string // URL of PostgreSQL
	Bus      string // URLs of NATS servers, separated by commas
	Name     string // of the node; the same after a restart, and no other node's
	Lease    time.Duration
	Log      *slog.Logger
}

// Peer is a node as the others see it.
type Peer struct {
	Instance  string        `json:"instance"`
	Name      string        `json:"name"`
	Remaining time.Duration `json:"-"` // of its lease
	LeaseMS   int64         `json:"leaseMilliseconds"`
	Applied   int64         `json:"appliedChange"` // the number of the last change it has heard of
	Connected int           `json:"connected"`     // clients
	Leader    bool          `json:"leader"`
	Self      bool          `json:"self"`
}

// Node is this server as a member of a cluster. Methods may be called concurrently.
type Node struct {
	log   *slog.Logger
	db    *store.DB
	m     *store.Membership
	bus   *Bus
	lease time.Duration

	heirs    []func(tx *store.Tx, instance string) error
	handlers map[string]func(keys []string) error
	own      map[string]bool // kinds of which this node's own changes are told of too
	everyone []func(peers []Peer)
	duties   []duty

	version atomic.Int64 // of the last change that was heard of
	heard   atomic.Int64 // when it was last asked what others have changed, and answered; by clock
	telling atomic.Bool  // those who have to hear of it are being told
	peers   atomic.Pointer[[]Peer]
	leads   atomic.Bool
	counted chan time.Duration // commits have been possible for so long: a census may begin
	steady  time.Time          // since when commits have been possible; of loop
	last    time.Time          // of the last commit; of loop
	failed  atomic.Int64

	following sync.Mutex // held while changes are read
	syncing   sync.Mutex
	waiting   []chan struct{} // for the next round of Sync
	round     bool            // one is under way

	look    chan struct{} // there may be changes
	lost    chan struct{}
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// duty is something that the leader does again and again.
type duty struct {
	every time.Duration
	do    func(ctx context.Context) error
	name  string
}

// Open joins the cluster: it opens the database and connects to NATS. The caller closes the database.
// Nothing is heard of other nodes before Start.
func Open(ctx context.Context, cfg Config) (*store.DB, *Node, error) {
	n := &Node{log: cfg.Log, lease: cfg.Lease, handlers: make(map[string]func([]string) error), own: make(map[string]bool), look: make(chan struct{}, 1), lost: make(chan struct{}), counted: make(chan time.Duration)}
	if n.lease == 0 {
		n.lease = DefaultLease
	}
	db, err := store.OpenMember(ctx, cfg.Database, store.Member{Name: cfg.Name, Lease: n.lease, Changed: n.changed}, cfg.Log)
	if err != nil {
		return nil, nil, err
	}
	n.db, n.m = db, db.Membership()
	err = n.open(ctx, cfg)
	if err != nil {
		db.Close()
		return nil, nil, fmt.Errorf("join the cluster: %w", err)
	}
	return db, n, nil
}

func (n *Node) open(ctx context.Context, cfg Config) error {
	var version int64
	if err := n.db.QueryRow(ctx, `SELECT version FROM cluster_clock`, nil, &version); err != nil {
		return err
	}
	n.version.Store(version)
	n.peers.Store(&[]Peer{})
	var err error
	if n.bus, err = openBus(cfg.Bus, cfg.Name, "berth."+n.m.Cluster()+".", cfg.Log, n.wake); err != nil {
		return err
	}
	return n.bus.Subscribe("changed", func([]byte) []byte { n.wake(); return nil })
}

// Instance is the identifier of this run of the node: a restart makes a new one.
func (n *Node) Instance() string { return n.m.Instance() }

// Name is the node's name.
func (n *Node) Name() string { return n.m.Name() }

// Bus is the NATS of the cluster.
func (n *Node) Bus() *Bus { return n.bus }

// Alive reports whether this node may act for its clients: nobody may declare it dead for a fifth of its
// lease, and it has heard what others have changed, such as who may do what, within four fifths of it.
func (n *Node) Alive() bool {
	return n.m.Remaining() > n.lease/5 && (n.telling.Load() || clock()-n.heard.Load() < int64(n.lease-n.lease/5))
}

// began is where clock counts from, which goes on while the process is stopped and when the time of day is set.
var began = time.Now()

func clock() int64 { return int64(time.Since(began)) }

// Remaining is how long nobody may declare this node dead.
func (n *Node) Remaining() time.Duration { return n.m.Remaining() }

// Status is the cluster as a node sees it.
type Status struct {
	Node          string `json:"node"`     // that answers
	Instance      string `json:"instance"` // of it
	Alive         bool   `json:"alive"`
	NATSConnected bool   `json:"natsConnected"`
	Nodes         []Peer `json:"nodes"`
}

// Status reads which nodes there are and how many clients are connected to each.
func (n *Node) Status(ctx context.Context) (*Status, error) {
	s := &Status{Node: n.Name(), Instance: n.Instance(), Alive: n.Alive(), NATSConnected: n.bus.Connected(), Nodes: slices.Clone(n.Peers())}
	connected := make(map[string]int)
	err := n.db.Query(ctx, `SELECT owner, count(*) FROM cluster_session WHERE owner <> '' GROUP BY owner`, nil, func(row store.Row) error {
		var owner string
		var count int
		err := row.Scan(&owner, &count)
		connected[owner] = count
		return err
	})
	for i := range s.Nodes {
		s.Nodes[i].Connected = connected[s.Nodes[i].Instance]
	}
	return s, err
}

// AwaitLease waits until the node is alive again; false means that it never will be.
func (n *Node) AwaitLease() bool {
	for !n.Alive() {
		select {
		case <-n.lost:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}

// Lost is closed when the node has left the cluster or was declared dead.
func (n *Node) Lost() <-chan struct{} { return n.lost }

// Leader reports whether this node is the oldest.
func (n *Node) Leader() bool { return n.leads.Load() && n.Alive() }

// Peers are all nodes, the leader first, as last seen.
func (n *Node) Peers() []Peer { return *n.peers.Load() }

// OnChange names who is told of a kind of change that another node has made: the keys that store.Tx.Note or
// a table's Feed wrote. It is called from one goroutine, possibly again with the same keys, as after an
// error. Before Start.
func (n *Node) OnChange(kind string, handle func(keys []string) error) {
	if before := n.handlers[kind]; before != nil {
		n.handlers[kind] = func(keys []string) error { return errors.Join(before(keys), handle(keys)) }
		return
	}
	n.handlers[kind] = handle
}

// OnEveryChange is OnChange for a kind of which changes of this node are told of too: what it has in memory
// may have been overtaken.
func (n *Node) OnEveryChange(kind string, handle func(keys []string) error) {
	n.own[kind] = true
	n.OnChange(kind, handle)
}

// OnDeath names what happens in the transaction that declares a node dead. Before Start.
func (n *Node) OnDeath(inherit func(tx *store.Tx, instance string) error) {
	n.heirs = append(n.heirs, inherit)
}

// OnPeers names who is told, about every second, which nodes there are. Before Start.
func (n *Node) OnPeers(f func(peers []Peer)) { n.everyone = append(n.everyone, f) }

// Lead names what the leader does again and again. Before Start.
func (n *Node) Lead(name string, every time.Duration, do func(ctx context.Context) error) {
	n.duties = append(n.duties, duty{every, do, name})
}

// Start ends a predecessor of the same name and begins to follow the others.
func (n *Node) Start(ctx context.Context) error {
	ctx, n.cancel = context.WithCancel(ctx)
	var before []string
	err := n.db.Query(ctx, `SELECT instance FROM cluster_node WHERE name = ? AND instance <> ?`, []any{n.Name(), n.Instance()},
		func(row store.Row) error {
			var instance string
			err := row.Scan(&instance)
			before = append(before, instance)
			return err
		})
	for _, instance := range before {
		if err == nil {
			err = n.bury(ctx, instance, `instance = ?`)
		}
	}
	if err != nil {
		return fmt.Errorf("join the cluster: %w", err)
	}
	n.steady = time.Now()
	n.last = n.steady
	if err := n.follow(ctx); err != nil { // what was changed while this node read what there is
		return fmt.Errorf("join the cluster: read the changes of other nodes: %w", err)
	}
	n.beat(ctx)
	if err := n.census(ctx, 0); err != nil {
		return fmt.Errorf("join the cluster: %w", err)
	}
	n.running.Go(func() { n.beatLoop(ctx) })
	n.running.Go(func() { n.censusLoop(ctx) })
	n.running.Go(func() { n.changeLoop(ctx) })
	if err := n.bus.Serve("sync", n.synced); err != nil {
		return err
	}
	for _, d := range n.duties {
		n.running.Go(func() { n.dutyLoop(ctx, d) })
	}
	return nil
}

// Leave ends the membership: others need not wait for the lease to end. Sessions must have been given up.
func (n *Node) Leave(ctx context.Context) error {
	if n.cancel != nil {
		n.cancel()
		n.running.Wait()
	}
	select {
	case <-n.lost:
	default:
		close(n.lost)
	}
	var err error
	if n.db.Available() == nil {
		n.db.SubmitLoose(func(tx *store.Tx) error {
			for _, inherit := range n.heirs {
				if err := inherit(tx, n.Instance()); err != nil {
					return err
				}
			}
			// The commit that this is part of must still find the node: it is dead a moment later.
			_, err := tx.Exec(`UPDATE cluster_node SET name = '' WHERE instance = ?`, n.Instance())
			return err
		}, nil)
		err = n.db.Flush(ctx)
	}
	n.bus.close()
	return err
}

// bury declares a node dead if a condition over its row still holds.
func (n *Node) bury(ctx context.Context, instance, condition string) error {
	gone, name := 0, ""
	err := n.db.WriteLoose(ctx, func(tx *store.Tx) (err error) {
		gone = 0
		err = tx.QueryRow(`DELETE FROM cluster_node WHERE `+condition+` RETURNING name`, []any{instance}, &name)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		gone = 1
		for _, inherit := range n.heirs {
			if err := inherit(tx, instance); err != nil {
				return err
			}
		}
		tx.Note("node", instance)
		return nil
	})
	switch {
	case err == nil && gone > 0 && name != "":
		n.log.Warn("a node is dead: its clients may connect elsewhere", "dead", name, "instance", instance)
	case err == nil && gone > 0:
		n.log.Info("a node has left", "instance", instance)
	}
	return err
}

// beatLoop renews the lease and looks after the others'.
func (n *Node) beatLoop(ctx context.Context) {
	t := time.NewTicker(min(pollPause, n.lease/6))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			n.beat(ctx)
		}
	}
}

func (n *Node) beat(ctx context.Context) {
	err := n.db.WriteLoose(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE cluster_node SET applied = ? WHERE instance = ? AND applied <> ?`, n.version.Load(), n.Instance(), n.version.Load())
		return err
	})
	now := time.Now()
	if err != nil || now.Sub(n.last) > n.lease/2 {
		n.steady = now // the others may have been away for the same reason
	}
	if errors.Is(err, store.ErrTaken) {
		n.drop()
		return
	}
	if err != nil {
		return
	}
	n.last = now
	select {
	case n.counted <- now.Sub(n.steady):
	default: // the last census still goes on: it must not keep the lease from being renewed
	}
}

func (n *Node) censusLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case steady := <-n.counted:
			if err := n.census(ctx, steady); err != nil && ctx.Err() == nil {
				n.log.Error("read the nodes of the cluster", "error", err)
			}
		}
	}
}

// drop says that this node is out.
func (n *Node) drop() {
	select {
	case <-n.lost:
	default:
		close(n.lost)
	}
}

// census reads which nodes there are, and buries those whose lease has ended. After an outage that all
// have seen, they get time to come back. steady is how long commits have been possible.
func (n *Node) census(ctx context.Context, steady time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, n.lease)
	defer cancel()
	var peers []Peer
	var ended []string
	err := n.db.Query(ctx, `SELECT instance, name, applied, lease_until - `+store.Now+` FROM cluster_node ORDER BY joined`, nil, func(row store.Row) error {
		var p Peer
		var left int64
		if err := row.Scan(&p.Instance, &p.Name, &p.Applied, &left); err != nil {
			return err
		}
		p.Self = p.Instance == n.Instance()
		p.Remaining, p.LeaseMS = time.Duration(left)*time.Millisecond, left
		if !p.Self && (p.Name == "" || left <= 0 && steady >= n.lease/2) {
			ended = append(ended, p.Instance)
			return nil
		}
		peers = append(peers, p)
		return nil
	})
	if err != nil {
		return err
	}
	for _, instance := range ended {
		if err := n.bury(ctx, instance, `instance = ? AND (lease_until <= `+store.Now+` OR name = '')`); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(peers, func(p Peer) bool { return p.Self }) {
		return nil // the next commit will say so
	}
	peers[0].Leader = true
	leads := peers[0].Self
	if leads != n.leads.Swap(leads) && leads {
		n.log.Info("this node leads the cluster")
	}
	n.peers.Store(&peers)
	for _, f := range n.everyone {
		f(peers)
	}
	return nil
}

func (n *Node) dutyLoop(ctx context.Context, d duty) {
	t := time.NewTicker(d.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !n.Leader() {
			continue
		}
		if err := d.do(ctx); err != nil && ctx.Err() == nil {
			n.log.Error(d.name, "error", err)
		}
	}
}
