package cluster

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/topic"
)

// Interest tells the other nodes which topics this node has connected subscribers for, and sends them what
// they have subscribers for. A node announces a filter once, however many subscribe to it, and one filter
// for all below $aws/things/T. In the router, another node is a subscriber like any other.
//
// Announcements are numbered. Every second a node says how far it is; who has missed one asks for all.
type Interest struct {
	node   *Node
	self   string // instance of the node
	router *router.Router
	ask    func(instance string) // for all that a node announces

	counting sync.Mutex     // may be taken with any other lock held
	counts   map[string]int // subscribers of this node by announced filter
	adds     map[string]bool
	number   uint64
	wake     chan struct{}

	mu    sync.Mutex
	peers map[string]*peer
}

// announcement is what nodes say about their interest.
type announcement struct {
	Node   string   `json:"node"`
	Number uint64   `json:"number"`
	Reset  bool     `json:"reset,omitempty"` // all before is void
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// maxAnnounced bounds the filters of one message.
const maxAnnounced = 1000

// exclusive marks the filter of a shared subscription whose members are in sessions that end with their
// connections: only those get messages of QoS 1 over NATS.
const exclusive = "!"

// peer is another node as a subscriber.
type peer struct {
	interest *Interest
	instance string
	number   uint64
	known    bool // number is where it is
	asked    time.Time
	filters  map[string]router.Subscriber
}

// share is another node as a member of a shared subscription.
type share struct {
	peer *peer
	key  string
	// lasting says that the members may have sessions that outlive their connections. They get messages
	// of QoS 1 through the database.
	lasting bool
}

// NewInterest connects a node's router with those of other nodes. Before Start.
func NewInterest(n *Node, r *router.Router) (*Interest, error) {
	i := &Interest{node: n, self: n.Instance(), router: r, ask: func(instance string) { n.bus.Publish("node."+instance+".resync", nil) }, counts: make(map[string]int), adds: make(map[string]bool), peers: make(map[string]*peer), wake: make(chan struct{}, 1)}
	if err := n.bus.Subscribe("interest", i.heard); err != nil {
		return nil, err
	}
	if err := n.bus.Subscribe("node."+n.Instance()+".resync", func([]byte) []byte { i.announceAll(); return nil }); err != nil {
		return nil, err
	}
	pub := r.NewPublisher()
	if err := n.bus.Subscribe("node."+n.Instance()+".message", func(data []byte) []byte {
		i.forwarded(pub, data)
		return nil
	}); err != nil {
		return nil, err
	}
	n.OnPeers(i.present)
	return i, nil
}

// Add says that this node has one more connected subscriber of a filter, which may be shared. lasting says
// that its session outlives the connection.
func (i *Interest) Add(filter string, lasting bool) { i.change(filter, lasting, 1) }

// Remove takes an Add back.
func (i *Interest) Remove(filter string, lasting bool) { i.change(filter, lasting, -1) }

func (i *Interest) change(filter string, lasting bool, by int) {
	i.counting.Lock()
	defer i.counting.Unlock()
	i.count(announced(filter), by)
	if _, _, ok := topic.SplitShare(filter); ok && !lasting {
		i.count(exclusive+filter, by)
	}
}

func (i *Interest) count(name string, by int) {
	before := i.counts[name]
	if i.counts[name] += by; i.counts[name] <= 0 {
		delete(i.counts, name)
	}
	if (before > 0) == (i.counts[name] > 0) {
		return
	}
	i.adds[name] = by > 0
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// announced is the filter that stands for a client's filter.
func announced(filter string) string {
	if rest, ok := strings.CutPrefix(filter, "$aws/things/"); ok {
		if thing, _, below := strings.Cut(rest, "/"); below && thing != "+" && thing != "#" {
			return "$aws/things/" + thing + "/#"
		}
	}
	return filter
}

// Run announces until the node is lost. Changes that come together go together.
func (i *Interest) Run() {
	for {
		select {
		case <-i.node.Lost():
			return
		case <-i.wake:
		}
		i.counting.Lock()
		a := announcement{Node: i.node.Instance()}
		for name, add := range i.adds {
			if len(a.Add)+len(a.Remove) == maxAnnounced {
				i.wakeAgain()
				break
			}
			delete(i.adds, name)
			if add {
				a.Add = append(a.Add, name)
			} else {
				a.Remove = append(a.Remove, name)
			}
		}
		if len(a.Add)+len(a.Remove) > 0 {
			i.number++
			a.Number = i.number
			i.publish(a)
		}
		i.counting.Unlock()
	}
}

func (i *Interest) wakeAgain() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *Interest) publish(a announcement) {
	b, err := json.Marshal(a)
	if err == nil {
		i.node.bus.Publish("interest", b)
	}
}

// announceAll begins anew.
func (i *Interest) announceAll() {
	i.counting.Lock()
	defer i.counting.Unlock()
	clear(i.adds)
	a := announcement{Node: i.node.Instance(), Reset: true}
	for name := range i.counts {
		if len(a.Add) == maxAnnounced {
			i.number++
			a.Number = i.number
			i.publish(a)
			a = announcement{Node: a.Node}
		}
		a.Add = append(a.Add, name)
	}
	i.number++
	a.Number = i.number
	i.publish(a)
}

// heard takes an announcement of another node.
func (i *Interest) heard(data []byte) []byte {
	var a announcement
	if json.Unmarshal(data, &a) != nil || a.Node == "" || a.Node == i.self {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	p := i.peers[a.Node]
	if p == nil {
		p = &peer{interest: i, instance: a.Node, filters: make(map[string]router.Subscriber)}
		i.peers[a.Node] = p
	}
	greeting := !a.Reset && len(a.Add)+len(a.Remove) == 0
	switch {
	case a.Reset:
		p.forget()
		p.known = true
	case greeting && p.known && a.Number == p.number:
		return nil
	case greeting || !p.known || a.Number != p.number+1:
		p.known = false
		if time.Since(p.asked) > pollPause/2 {
			p.asked = time.Now()
			i.ask(p.instance)
		}
		return nil
	}
	p.number = a.Number
	for _, name := range a.Add {
		p.add(name)
	}
	for _, name := range a.Remove {
		p.remove(name)
	}
	return nil
}

// present says how far this node is, and forgets nodes that are gone.
func (i *Interest) present(peers []Peer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	there := make(map[string]bool)
	for _, p := range peers {
		there[p.Instance] = true
	}
	for instance, p := range i.peers {
		if !there[instance] && time.Since(p.asked) > i.node.lease {
			p.forget()
			delete(i.peers, instance)
		}
	}
	i.counting.Lock()
	defer i.counting.Unlock()
	i.publish(announcement{Node: i.node.Instance(), Number: i.number})
}

func (p *peer) add(name string) {
	filter, alone := strings.CutPrefix(name, exclusive)
	if p.filters[name] != nil || p.interest.router.CheckFilter(filter) != nil {
		return
	}
	var s router.Subscriber = p
	if group, rest, ok := topic.SplitShare(filter); ok {
		s = &share{peer: p, key: group + "/" + rest, lasting: !alone}
	}
	p.filters[name] = s
	p.interest.router.Subscribe(s, filter, router.Subscription{QoS: 2, RetainAsPublished: true})
}

func (p *peer) remove(name string) {
	if s := p.filters[name]; s != nil {
		delete(p.filters, name)
		p.interest.router.Unsubscribe(s, strings.TrimPrefix(name, exclusive))
	}
}

func (p *peer) forget() {
	for name := range p.filters {
		p.remove(name)
	}
}

// Deliver implements router.Subscriber.
func (p *peer) Deliver(m *router.Publication, _ *router.Target) { p.send("", m) }

// Online implements router.Subscriber.
func (p *peer) Online() bool { return true }

// Durable implements router.Subscriber.
func (p *peer) Durable() bool { return false }

// Deliver implements router.Subscriber.
func (s *share) Deliver(m *router.Publication, _ *router.Target) { s.peer.send(s.key, m) }

// Online implements router.Subscriber.
func (s *share) Online() bool { return true }

// Durable implements router.Subscriber.
func (s *share) Durable() bool { return false }

// Fits implements router.Selective.
func (s *share) Fits(qos byte) bool { return (qos == 0) == s.lasting }

// Filters are the numbers of filters that this node announces and that it has heard of others.
func (i *Interest) Filters() (own, others int) {
	i.mu.Lock()
	for _, p := range i.peers {
		others += len(p.filters)
	}
	i.mu.Unlock()
	i.counting.Lock()
	defer i.counting.Unlock()
	return len(i.counts), others
}
