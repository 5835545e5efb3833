package rules

import (
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/rules/action"
	"github.com/berth-iot/berth/internal/store"
)

// Bounds of what waits in memory. A lane beyond them leaves what is on disk there until there is room.
const (
	parallel     = 4 // tries at once in a lane
	maxLanes     = 256
	sharedLanes  = 16 // take the destinations beyond maxLanes
	maxLane      = 1000
	maxLaneBytes = 4 << 20
	loadBatch    = 200
)

// record is a delivery as it is stored.
type record struct {
	Rule    string          `json:"rule"`
	Kind    string          `json:"kind"`
	OnError bool            `json:"onError,omitempty"` // is an error action itself
	Fields  json.RawMessage `json:"fields"`            // of the action, templates filled in
	Payload []byte          `json:"payload"`
	Binary  bool            `json:"binary,omitempty"`
	Depth   uint8           `json:"depth,omitempty"`
	ID      string          `json:"id,omitempty"` // see action.Message
	At      int64           `json:"at,omitempty"` // milliseconds
	Topic   string          `json:"topic,omitempty"`
	Thing   string          `json:"thing,omitempty"`
	Source  *source         `json:"source,omitempty"` // when the rule has an error action
}

// delivery is an action to be carried out for one message.
type delivery struct {
	record
	kind    action.Kind
	action  action.Action
	id      int64 // 0: not on disk
	durable bool
	created time.Time
	tries   int
	next    time.Time
	order   uint64 // of those that are due at the same time
	batch   string // see action.Batcher; empty for what goes alone
	receipt *router.Receipt
}

var deliveryTable = &store.Table{Name: "rule_delivery", Key: 1, Columns: []string{"id", "lane", "rule", "body", "created_at", "dead_at", "error"}}

// message is what an action gets.
func (d *delivery) message() *action.Message {
	return &action.Message{Payload: d.Payload, Binary: d.Binary, Depth: d.Depth, Rule: d.Rule, ID: d.ID, Time: time.UnixMilli(d.At), Topic: d.Topic, Thing: d.Thing}
}

// use sets the filled-in action.
func (d *delivery) use(a action.Action) {
	d.action = a
	if b, ok := a.(action.Batcher); ok {
		d.batch = b.Batch()
		if t, ok := a.(interface{ BatchByTopic() bool }); ok && d.batch != "" && t.BatchByTopic() {
			d.batch += "\n" + d.Topic
		}
	}
}

// lane is what waits for one destination.
type lane struct {
	name    string
	waiting deliveries
	order   uint64 // given to the last that came
	bytes   int
	busy    int // workers
	poke    chan struct{}
	failed  int // in a row
	paused  time.Time
	last    int64 // the highest id that is or was in memory
	spilled bool  // there is more on disk
	more    bool  // something was left on disk since the last look
}

// deliveries is a heap: the next to be tried is first.
type deliveries []*delivery

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	if !d[i].next.Equal(d[j].next) {
		return d[i].next.Before(d[j].next)
	}
	return d[i].order < d[j].order
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push implements heap.Interface.
func (d *deliveries) Push(x any) { *d = append(*d, x.(*delivery)) }

// Pop implements heap.Interface.
func (d *deliveries) Pop() any {
	n := len(*d) - 1
	x := (*d)[n]
	(*d)[n] = nil
	*d = (*d)[:n]
	return x
}

// queue holds the lanes.
type queue struct {
	s     *Service
	order sync.Mutex // held over queueing rows, so that their ids rise in the order of the commits

	mu     sync.Mutex
	lanes  map[string]*lane
	lastID int64

	// The identifiers of this node's deliveries are from first to below end; alone, a server has all.
	first, end int64
}

// deadAge is how long dead letters are kept.
const deadAge = 14 * 24 * time.Hour

func openQueue(ctx context.Context, s *Service) (*queue, error) {
	q := &queue{s: s, lanes: make(map[string]*lane), end: math.MaxInt64}
	if m := s.cfg.Store.Membership(); m != nil {
		q.first, q.end = m.Range()
	}
	s.inner.full = func(d *delivery) { s.refuseRoom(&rule{stats: s.counters(d.Rule)}, d.receipt) }
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM rule_delivery WHERE dead_at > 0 AND dead_at < ?`, s.now().Add(-deadAge).UnixMilli())
		return err
	})
	if err == nil {
		err = s.cfg.Store.QueryRow(ctx, `SELECT coalesce(max(id), ?) FROM rule_delivery WHERE id >= ? AND id < ?`, []any{q.first, q.first, q.end}, &q.lastID)
	}
	if err == nil {
		err = s.cfg.Store.Query(ctx, `SELECT DISTINCT lane FROM rule_delivery WHERE dead_at = 0 AND id >= ? AND id < ?`, []any{q.first, q.end}, func(row store.Row) error {
			l := &lane{poke: make(chan struct{}, 1), spilled: true, last: q.first}
			if err := row.Scan(&l.name); err != nil {
				return err
			}
			q.lanes[l.name] = l
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("load deliveries of rules: %w", err)
	}
	return q, nil
}

// resume begins with what the database holds.
func (q *queue) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lanes {
		q.work(l)
	}
}

// lane returns the lane of a delivery, perhaps a new one. The lock is held.
func (q *queue) lane(name string) *lane {
	l := q.lanes[name]
	if l == nil {
		l = &lane{name: name, poke: make(chan struct{}, 1), last: q.first}
		q.lanes[name] = l
	}
	return l
}

// laneName is the name of the lane that a delivery waits in.
func (q *queue) laneName(d *delivery) string {
	name := d.Kind + ":" + d.action.Destination()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lanes[name] == nil && len(q.lanes) >= maxLanes {
		h := fnv.New32a()
		h.Write([]byte(name))
		return fmt.Sprintf("shared:%d", h.Sum32()%sharedLanes)
	}
	return name
}

// add takes a delivery that is not to be stored; without room it is dropped and counted.
func (q *queue) add(d *delivery) {
	name := q.laneName(d)
	q.mu.Lock()
	l := q.lane(name)
	if l.spilled || !l.room() {
		q.mu.Unlock()
		q.s.refuseRoom(&rule{stats: q.s.counters(d.Rule)}, nil)
		return
	}
	q.push(l, d)
	q.mu.Unlock()
}

// put adds a delivery. The queue's lock is held.
func (l *lane) put(d *delivery) {
	if d.order == 0 {
		l.order++
		d.order = l.order
	}
	heap.Push(&l.waiting, d)
	l.bytes += len(d.Payload)
}

func (l *lane) room() bool {
	return len(l.waiting) == 0 || len(l.waiting) < maxLane && l.bytes < maxLaneBytes
}

// push puts a delivery into its lane and sees that somebody works on it. The lock is held.
func (q *queue) push(l *lane, d *delivery) {
	l.put(d)
	l.last = max(l.last, d.id)
	q.work(l)
}

func (q *queue) work(l *lane) {
	if l.busy < parallel && (l.busy == 0 || !l.paused.After(q.s.now())) {
		l.busy++
		q.s.workers.Go(func() { q.loop(l) })
		return
	}
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// store writes deliveries to disk; then they go to their lanes, and the receipt is released.
func (q *queue) store(list []*delivery, receipt *router.Receipt) {
	rows, names := q.rows(list)
	q.order.Lock()
	defer q.order.Unlock()
	q.number(list, rows)
	q.s.cfg.Store.Put(deliveryTable, rows, func(err error) {
		if receipt != nil {
			receipt.Release(err)
		}
		q.stored(list, names, err)
	})
}

// rows are deliveries as they are stored, without their numbers, and the names of their lanes.
func (q *queue) rows(list []*delivery) (rows [][]any, names []string) {
	for _, d := range list {
		body, err := json.Marshal(d.record)
		if err != nil {
			body = []byte("{}") // cannot be: all of it was JSON
		}
		name := q.laneName(d)
		names = append(names, name)
		rows = append(rows, []any{int64(0), name, d.Rule, q.s.seal(deliveryLabel, body), d.created.UnixMilli(), int64(0), ""})
	}
	return rows, names
}

func (q *queue) number(list []*delivery, rows [][]any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, d := range list {
		q.lastID++
		d.id, rows[i][0] = q.lastID, q.lastID
	}
}

// stored puts deliveries that are on disk now into their lanes.
func (q *queue) stored(list []*delivery, names []string, err error) {
	if err != nil {
		for _, d := range list {
			q.s.counters(d.Rule).dropped.Add(1)
			q.s.counters(d.Rule).fail(err, q.s.now())
		}
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, d := range list {
		l := q.lane(names[i])
		switch {
		case d.id <= l.last: // was read from disk meanwhile
		case l.spilled, !l.room():
			l.spilled, l.more = true, true
			q.work(l)
		default:
			q.push(l, d)
		}
	}
}

// loop works on a lane until nothing waits in it.
func (q *queue) loop(l *lane) {
	for {
		q.mu.Lock()
		if q.s.run.Err() != nil || len(l.waiting) == 0 && !l.spilled {
			if l.busy--; l.busy == 0 && len(l.waiting) == 0 && !l.spilled && q.lanes[l.name] == l {
				delete(q.lanes, l.name)
			}
			q.mu.Unlock()
			return
		}
		if l.spilled && len(l.waiting) < maxLane/2 && l.bytes < maxLaneBytes/2 {
			err := q.load(l)
			if len(l.waiting) == 0 {
				q.mu.Unlock()
				if err != nil {
					q.wait(l, time.Second)
				}
				continue
			}
		}
		due := l.waiting[0].next
		if l.paused.After(due) {
			due = l.paused
		}
		if full := q.fullAt(l); full.After(due) {
			due = full
		}
		if pause := due.Sub(q.s.now()); pause > 0 {
			if l.busy > 1 { // one is enough to wait
				l.busy--
				q.mu.Unlock()
				return
			}
			q.mu.Unlock()
			q.wait(l, pause)
			continue
		}
		list := q.take(l)
		if len(l.waiting) > 0 && l.failed == 0 {
			q.work(l)
		}
		q.mu.Unlock()
		q.try(l, list)
	}
}

func (q *queue) wait(l *lane, pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.poke:
	case <-q.s.run.Done():
	}
}

// load reads more of a lane from disk. The lock is held, but not while reading.
func (q *queue) load(l *lane) error {
	after := l.last
	l.more = false
	q.mu.Unlock()
	var list []*delivery
	rows := 0
	highest := after
	err := q.s.cfg.Store.Query(q.s.run, `SELECT id, body, created_at FROM rule_delivery WHERE dead_at = 0 AND lane = ? AND id > ? AND id < ? ORDER BY id LIMIT ?`,
		[]any{l.name, after, q.end, loadBatch}, func(row store.Row) error {
			rows++
			var id, created int64
			var body []byte
			if err := row.Scan(&id, &body, &created); err != nil {
				return err
			}
			highest = id
			d, err := q.s.restore(id, body, time.UnixMilli(created))
			if err != nil {
				q.s.cfg.Log.Error("a stored delivery cannot be read", "id", id, "error", err)
				return nil
			}
			list = append(list, d)
			return nil
		})
	q.mu.Lock()
	if err != nil {
		if q.s.run.Err() == nil {
			q.s.cfg.Log.Error("deliveries cannot be loaded", "lane", l.name, "error", err)
		}
		return err
	}
	if l.last != after {
		return nil // another worker has done it
	}
	l.last = highest
	if rows < loadBatch && !l.more {
		l.spilled = false
	}
	for _, d := range list {
		l.put(d)
	}
	return nil
}

func (s *Service) restore(id int64, body []byte, created time.Time) (*delivery, error) {
	d := &delivery{id: id, created: created, durable: true}
	body, _, err := s.unseal(deliveryLabel, body)
	if err == nil {
		err = json.Unmarshal(body, &d.record)
	}
	if err != nil {
		return nil, err
	}
	var ok bool
	if d.kind, ok = action.KindOf(d.Kind); !ok {
		return nil, fmt.Errorf("unknown action %q", d.Kind)
	}
	if d.At == 0 {
		d.At = created.UnixMilli()
	}
	if d.ID == "" {
		d.ID = strconv.FormatInt(id, 36)
	}
	a, err := d.kind.Decode(d.Fields)
	if err == nil {
		d.use(a)
	}
	return d, err
}

// pause is the time before the next try.
func (p Pace) pause(failed int) time.Duration {
	d := p.First
	for ; failed > 1 && d < p.Longest; failed-- {
		d *= 2
	}
	return min(d, p.Longest)
}

func (q *queue) tooOld(d *delivery, now time.Time) bool {
	switch p := q.s.cfg.Pace; {
	case !d.durable:
		return d.tries >= p.Tries
	case d.Source != nil && !d.OnError:
		return now.Sub(d.created) > p.ErrorAge
	default:
		return now.Sub(d.created) > p.Age
	}
}

// bury keeps a delivery that failed for good as a dead letter, if it is on disk, and starts the error
// action.
func (s *Service) bury(lane string, d *delivery, err error, now time.Time) {
	if d.id != 0 {
		body, _ := json.Marshal(d.record)
		s.cfg.Store.Put(deliveryTable, [][]any{{d.id, lane, d.Rule, s.seal(deliveryLabel, body), d.created.UnixMilli(), now.UnixMilli(), err.Error()}}, nil)
	} else {
		s.counters(d.Rule).dropped.Add(1)
	}
	s.fail(d, err)
}
