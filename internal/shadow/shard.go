package shadow

import (
	"errors"
	"slices"
	"sync"

	"github.com/berth-iot/berth/internal/router"
)

// maxWaiting bounds the requests, and the bytes of their payloads, that wait to be looked at.
const (
	maxWaiting      = 1 << 16
	maxWaitingBytes = 32 << 20
)

// maxNodes is the size from which a draft that takes many updates is opened anew, to be rid of nodes
// that were replaced.
const maxNodes = 1 << 16

// request is a get, update or delete on its way through a shard.
type request struct {
	id        ID
	op        operation
	payload   string
	tooLarge  bool // the payload was left behind
	throttled bool
	depth     uint8      // of the message, and of the answers: rules that answer answers come to an end
	reply     chan reply // of a REST call; nil for a message
}

type reply struct {
	payload []byte
	err     error
}

// shard handles the requests of some of the things on one goroutine: it takes all that came in,
// changes the documents in memory, writes them with one operation, and publishes the answers when
// that is on disk. A shadow that is being written takes its next requests after that, all at once:
// however fast they come, it costs one row per commit, and a write that fails takes nothing along.
type shard struct {
	service *Service

	mu       sync.Mutex
	ready    sync.Cond
	inbox    []*request
	bytes    int // of the payloads in inbox
	written  []*batch
	inflight map[string]int // by thing
	closed   bool
	stopped  chan struct{}

	// of the goroutine
	active    map[ID]*line
	writing   int // batches
	cache     *cache
	draft     draft
	publisher *router.Publisher
	message   router.Publication
	topic     []byte
	free      []*batch
	changes   []Change
	version   int64 // of the stored document that was opened last
}

// line is a shadow with requests waiting or being written.
type line struct {
	id       ID
	requests []*request
	busy     bool // being written
	queued   bool // to be looked at in this round
}

// batch is the outcome of one round: what is written together.
type batch struct {
	units   []unit
	results []result
	answers answers
	rows    [][]any
	err     error
	before  []int64 // versions that the rows replace, in a cluster
}

// unit is the part of a batch that concerns one shadow.
type unit struct {
	line        *line
	doc         *Document  // nil when it did not change
	requests    []*request // to be carried out again if another node was first; in a cluster only
	first, last int        // results
}

// result is what became of one request.
type result struct {
	request     *request
	token       string
	err         *Error
	first, last int // answers
}

func newShard(s *Service, cacheBytes int) *shard {
	sh := &shard{service: s, inflight: make(map[string]int), stopped: make(chan struct{}),
		active: make(map[ID]*line), cache: newCache(cacheBytes), publisher: s.cfg.Router.NewPublisher()}
	sh.ready.L = &sh.mu
	go sh.run()
	return sh
}

// submit queues a request. It never blocks: false says that it was dropped.
func (sh *shard) submit(r *request) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed || len(sh.inbox) >= maxWaiting || sh.bytes+len(r.payload) > maxWaitingBytes {
		sh.service.dropped.Add(1)
		return false
	}
	limit := sh.service.cfg.Inflight
	if n := sh.inflight[r.id.Thing]; limit > 0 && n >= limit {
		r.throttled = true
	} else {
		sh.inflight[r.id.Thing] = n + 1
	}
	sh.inbox = append(sh.inbox, r)
	sh.bytes += len(r.payload)
	if len(sh.inbox) == 1 {
		sh.ready.Signal()
	}
	return true
}

func (sh *shard) close() {
	sh.mu.Lock()
	sh.closed = true
	sh.ready.Signal()
	sh.mu.Unlock()
	<-sh.stopped
}

func (sh *shard) run() {
	defer close(sh.stopped)
	var inbox []*request
	var written []*batch
	var lines []*line
	for {
		sh.mu.Lock()
		for len(sh.inbox) == 0 && len(sh.written) == 0 && !(sh.closed && sh.writing == 0) {
			sh.ready.Wait()
		}
		inbox, sh.inbox, sh.bytes = sh.inbox, inbox[:0], 0
		written, sh.written = sh.written, written[:0]
		sh.mu.Unlock()
		if len(inbox) == 0 && len(written) == 0 {
			return
		}
		for i, b := range written {
			written[i] = nil
			sh.writing--
			lines = sh.finish(b, lines)
		}
		for i, r := range inbox {
			inbox[i] = nil
			l := sh.active[r.id]
			if l == nil {
				l = &line{id: r.id}
				sh.active[r.id] = l
			}
			l.requests = append(l.requests, r)
			if !l.busy && !l.queued {
				l.queued = true
				lines = append(lines, l)
			}
		}
		if len(lines) > 0 {
			sh.work(lines)
			clear(lines)
			lines = lines[:0]
		}
		sh.publisher.Flush()
	}
}

// work handles the requests of some shadows. Those that only read are answered now, the others when
// they are on disk.
func (sh *shard) work(lines []*line) {
	b := sh.batch()
	reads := sh.batch()
	for _, l := range lines {
		l.queued = false
		into := reads
		for _, r := range l.requests {
			if r.op != get && !r.throttled {
				into = b
				break
			}
		}
		if sh.handle(l, into) {
			l.busy = true
		} else if into == b { // nothing came of it: there is nothing to wait for
			last := len(b.units) - 1
			u := b.units[last]
			b.units = b.units[:last]
			sh.answer(b, u)
			sh.release(l)
		}
	}
	for _, u := range reads.units {
		sh.answer(reads, u)
		sh.release(u.line)
	}
	sh.recycle(reads)
	if len(b.units) == 0 {
		sh.recycle(b)
		return
	}
	sh.writing++
	done := func(err error) {
		b.err = err
		sh.mu.Lock()
		sh.written = append(sh.written, b)
		sh.mu.Unlock()
		sh.ready.Signal()
	}
	if sh.service.shared {
		sh.service.replace(b.rows, b.before, done)
		return
	}
	sh.service.cfg.Store.Put(table, b.rows, done)
}

// handle carries the waiting requests of one shadow out. It reports whether the document changed.
func (sh *shard) handle(l *line, b *batch) (changed bool) {
	w := &sh.draft
	w.reset()
	moment := sh.service.cfg.Now()
	now := moment.Unix()
	u := unit{line: l, first: len(b.results)}
	failure := sh.open(l.id, moment.Add(-versionKept).UnixMilli())
	for _, r := range l.requests {
		res := result{request: r, first: len(b.answers.list)}
		out := &b.answers
		var parsed update
		mark := len(w.nodes)
		switch {
		case r.tooLarge:
			res.err = errTooLarge()
		case r.op == set:
			parsed, res.err = w.parseUpdate(r.payload)
			res.token = parsed.clientToken
		default:
			res.token, res.err = w.parseToken(r.payload, r.op == remove)
		}
		if res.err != nil || r.throttled || r.op != set {
			w.truncate(mark) // only updates that are tried need their nodes
		}
		switch {
		case r.throttled:
			res.err = errThrottled()
		case res.err != nil:
		case failure != nil:
			res.err = failure
		case r.op == set:
			if res.err = w.apply(&parsed, now, out); res.err == nil {
				changed = true
			}
			if len(w.nodes) > maxNodes && w.open(w.document()) != nil {
				failure = errInternal()
			}
		case !w.live:
			res.err = errNotFound(r.id)
		case r.op == get:
			out.got(w, res.token, now)
		default:
			w.remove(res.token, now, moment.UnixMilli(), out)
			changed = true
		}
		sh.reject(&b.answers, &res, now)
		res.last = len(b.answers.list)
		b.results = append(b.results, res)
	}
	if changed && sh.service.shared {
		u.requests = slices.Clone(l.requests)
		b.before = append(b.before, sh.version)
	}
	clear(l.requests)
	l.requests = l.requests[:0]
	u.last = len(b.results)
	if changed {
		u.doc = w.document()
		b.rows = append(b.rows, []any{l.id.Thing, l.id.Shadow, u.doc.Version, u.doc.State, []byte(u.doc.stamps),
			moment.UnixMilli(), u.doc.Deleted})
	}
	b.units = append(b.units, u)
	return changed
}

// open makes the draft that of a shadow. Versions of shadows deleted before a time, in epoch
// milliseconds, are forgotten.
func (sh *shard) open(id ID, before int64) *Error {
	doc := sh.cache.get(id)
	if sh.service.shared {
		doc = nil // another node may have changed it
	}
	if doc == nil {
		var err error
		if doc, err = sh.service.load(id); err != nil {
			sh.service.cfg.Log.Error("shadow request failed", "thing", id.Thing, "shadow", id.Shadow, "error", err)
			return errInternal()
		}
		sh.cache.put(id, doc)
	}
	sh.version = doc.Version
	if doc.Deleted != 0 && doc.Deleted <= before {
		doc = &Document{}
	}
	if err := sh.draft.open(doc); err != nil {
		sh.service.cfg.Log.Error("shadow request failed", "thing", id.Thing, "shadow", id.Shadow, "error", err)
		return errInternal()
	}
	return nil
}

// reject writes the refusal of a request that came as a message.
func (sh *shard) reject(out *answers, res *result, now int64) {
	if res.err == nil || res.request.reply != nil {
		return
	}
	o := getRejected
	switch res.request.op {
	case set:
		o = updateRejected
	case remove:
		o = deleteRejected
	}
	out.rejected(o, res.err, res.token, now)
}

// finish answers a batch after its commit and adds to lines the shadows with more to do.
func (sh *shard) finish(b *batch, lines []*line) []*line {
	if errors.Is(b.err, errOvertaken) {
		return sh.again(b, lines)
	}
	if b.err != nil {
		sh.fail(b)
	} else if o := sh.service.observer.Load(); o != nil {
		for _, u := range b.units {
			sh.changes = append(sh.changes, Change{u.line.id, u.doc})
		}
		(*o).ShadowsChanged(sh.changes)
		clear(sh.changes)
		sh.changes = sh.changes[:0]
	}
	for _, u := range b.units {
		if b.err != nil {
			sh.cache.drop(u.line.id)
		} else {
			sh.cache.put(u.line.id, u.doc)
		}
		sh.answer(b, u)
		u.line.busy = false
		if len(u.line.requests) > 0 {
			u.line.queued = true
			lines = append(lines, u.line)
		} else {
			sh.release(u.line)
		}
	}
	sh.recycle(b)
	return lines
}

// fail turns every answer of a batch that could not be written into a refusal.
func (sh *shard) fail(b *batch) {
	sh.service.cfg.Log.Error("shadows could not be written", "shadows", len(b.units), "error", b.err)
	now := sh.service.cfg.Now().Unix()
	for _, u := range b.units {
		for i := u.first; i < u.last; i++ {
			if res := &b.results[i]; res.err == nil {
				res.err = errInternal()
				res.first = len(b.answers.list)
				sh.reject(&b.answers, res, now)
				res.last = len(b.answers.list)
			}
		}
	}
}

// answer publishes the answers to the requests of one shadow and hands them to REST callers. Room
// for the thing's next requests is made first, since an answer may be what a device waits for.
func (sh *shard) answer(b *batch, u unit) {
	results := b.results[u.first:u.last]
	sh.mu.Lock()
	for i := range results {
		if thing := u.line.id.Thing; results[i].request.throttled {
			continue
		} else if n := sh.inflight[thing]; n > 1 {
			sh.inflight[thing] = n - 1
		} else {
			delete(sh.inflight, thing)
		}
	}
	sh.mu.Unlock()
	sh.topic = append(sh.topic[:0], u.line.id.prefix()...)
	prefix := len(sh.topic)
	for i := range results {
		res := &results[i]
		r := res.request
		if res.err != nil {
			sh.service.rejected.Add(1)
		} else {
			sh.service.accepted.Add(1)
		}
		if r.reply != nil {
			if res.err != nil {
				r.reply <- reply{err: res.err}
				continue
			}
			first := b.answers.list[res.first]
			r.reply <- reply{payload: append([]byte{}, b.answers.payload(first)...)}
			if r.op == get {
				continue
			}
		}
		for _, a := range b.answers.list[res.first:res.last] {
			sh.topic = append(sh.topic[:prefix], a.outcome.suffix()...)
			route := sh.publisher.Route(sh.topic)
			m := &sh.message
			m.Topic, m.Payload, m.QoS, m.Origin, m.Depth = route.Topic, b.answers.payload(a), 1, sh.service.origin, res.request.depth
			sh.publisher.PublishTo(route, m)
		}
	}
}

// release forgets a shadow that has nothing more to do.
func (sh *shard) release(l *line) { delete(sh.active, l.id) }

func (sh *shard) batch() *batch {
	if n := len(sh.free); n > 0 {
		b := sh.free[n-1]
		sh.free = sh.free[:n-1]
		return b
	}
	return &batch{}
}

// recycle keeps the buffers of a batch for the next one, unless they have grown beyond what an
// ordinary round needs.
func (sh *shard) recycle(b *batch) {
	if cap(b.answers.buf) > 1<<20 || len(sh.free) >= 4 {
		return
	}
	clear(b.units)
	clear(b.results)
	*b = batch{units: b.units[:0], results: b.results[:0], answers: answers{b.answers.buf[:0], b.answers.list[:0]}}
	sh.free = append(sh.free, b)
}
