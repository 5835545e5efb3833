package stream

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/internal/files"
	"github.com/berth-iot/berth/internal/router"
)

// Bounds of the requests that wait. One beyond them is dropped: devices ask again for what did not
// come.
const (
	maxWaiting      = 8 // of one thing
	maxWaitingBytes = 16 << 20
	maxPayload      = 2*MaxBitmap + 8<<10 // a bitmap in hexadecimal and the rest
	requestOverhead = 256
	maxWorkers      = 4
	pause           = time.Millisecond // while a receiver's output piles up
)

// message is a device's request as it came.
type message struct {
	address
	payload []byte
	tooLong bool
	qos     byte
}

func (m *message) size() int { return len(m.payload) + requestOverhead }

// line are the requests of one thing, the first of them perhaps being answered.
type line struct {
	thing   string
	waiting []*message
}

// inbox takes requests from publishers, which must not block, to workers, which read files.
type inbox struct {
	mu      sync.Mutex
	ready   sync.Cond
	lines   map[string]*line
	turn    []*line // those whose first request nobody works on
	bytes   int
	closed  bool
	workers sync.WaitGroup

	blocks, sent, rejected, dropped atomic.Uint64
}

// Counts are what has happened since the start.
type Counts struct {
	Blocks, Bytes uint64 // sent; bytes of content
	Rejected      uint64 // requests
	Dropped       uint64 // requests that found too many waiting and got no answer
}

// Counts returns the counters.
func (s *Service) Counts() Counts {
	in := &s.inbox
	return Counts{in.blocks.Load(), in.sent.Load(), in.rejected.Load(), in.dropped.Load()}
}

func (in *inbox) start(s *Service) {
	in.ready.L = &in.mu
	in.lines = make(map[string]*line)
	for range min(maxWorkers, max(2, runtime.GOMAXPROCS(0))) {
		in.workers.Go(func() { in.work(newWorker(s)) })
	}
}

func (in *inbox) close() {
	in.mu.Lock()
	in.closed = true
	in.ready.Broadcast()
	in.mu.Unlock()
	in.workers.Wait()
}

// Owner returns the handler of a topic that devices ask on, nil for any other. See router.Own.
func (s *Service) Owner(name string) router.Handler {
	a, ok := parseTopic(name)
	if !ok {
		return nil
	}
	return func(p *router.Publication) {
		m := &message{address: a, qos: min(p.QoS, 1), tooLong: len(p.Payload) > maxPayload}
		if !m.tooLong {
			m.payload = append(m.payload, p.Payload...)
		}
		if !s.inbox.submit(m) {
			s.inbox.dropped.Add(1)
		}
	}
}

func (in *inbox) submit(m *message) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	l := in.lines[m.thing]
	if in.closed || in.bytes+m.size() > maxWaitingBytes || l != nil && len(l.waiting) >= maxWaiting {
		return false
	}
	in.bytes += m.size()
	if l == nil {
		l = &line{thing: m.thing}
		in.lines[m.thing] = l
		in.turn = append(in.turn, l)
		in.ready.Signal()
	}
	l.waiting = append(l.waiting, m)
	return true
}

// work answers requests until the inbox closes. Things take turns, so that one that asks much does
// not keep the others waiting.
func (in *inbox) work(w *worker) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		for len(in.turn) == 0 && !in.closed {
			in.ready.Wait()
		}
		if in.closed {
			return
		}
		l := in.turn[0]
		in.turn[0] = nil
		in.turn = in.turn[1:]
		m := l.waiting[0]
		in.mu.Unlock()
		w.answer(m)
		in.mu.Lock()
		in.bytes -= m.size()
		if l.waiting = l.waiting[1:]; len(l.waiting) == 0 {
			delete(in.lines, l.thing)
			continue
		}
		in.turn = append(in.turn, l)
		in.ready.Signal()
	}
}

// worker answers requests on one goroutine, with buffers of its own.
type worker struct {
	service     *Service
	publisher   *router.Publisher
	publication router.Publication
	mode        cbor.DecMode
	content     []byte // of a block
	payload     []byte
}

func newWorker(s *Service) *worker {
	return &worker{service: s, publisher: s.cfg.Router.NewPublisher(), publication: router.Publication{Origin: s.origin}, mode: decodeMode()}
}

func (w *worker) publish(m *message, verb string, payload []byte) {
	p := &w.publication
	p.Topic, p.Payload, p.QoS = m.prefix+verb+"/"+m.format.String(), payload, m.qos
	w.publisher.Publish(p)
}

// answer sends what a request asks for, or why not.
func (w *worker) answer(m *message) {
	s := w.service
	token, err := w.serve(m)
	if err != nil {
		r := (*rejection)(nil)
		if !errors.As(err, &r) {
			s.cfg.Log.Error("stream request failed", "thing", m.thing, "stream_id", m.stream, "error", err)
			r = &rejection{Code: codeInternal, Message: "an internal error occurred"}
		}
		s.inbox.rejected.Add(1)
		w.publish(m, "rejected", marshal(m.format, rejection{r.Code, r.Message, token}))
	}
	w.publisher.Flush()
	if w.publisher.Pressed {
		w.publisher.Pressed = false
		time.Sleep(pause)
	}
}

func (w *worker) serve(m *message) (token string, err error) {
	if !m.valid {
		return "", reject(codeTopic, "the topic is not $aws/things/THING/streams/STREAM/get or describe with json or cbor")
	}
	if m.tooLong {
		return "", reject(codeRequest, "the payload has more than %d bytes", maxPayload)
	}
	r, err := parse(m.format, w.mode, m.payload)
	if err != nil {
		return r.token, err
	}
	v, err := w.service.known(m.stream)
	if errors.Is(err, ErrNotFound) {
		return r.token, reject(codeNotFound, "stream %s does not exist", m.stream)
	}
	if err != nil {
		return r.token, err
	}
	if !m.get {
		w.publish(m, "description", marshal(m.format, describe(v, r.token)))
		return r.token, nil
	}
	c, err := r.choose(v)
	if err != nil {
		return r.token, err
	}
	return r.token, w.send(m, &r, c)
}

// send reads the blocks and publishes each.
func (w *worker) send(m *message, r *request, c selection) error {
	o := c.file.Object
	content, err := w.service.cfg.Files.Open(&files.File{Name: o.Name, Version: o.Version, SHA256: o.SHA256, Size: o.Size})
	if errors.Is(err, files.ErrNotFound) {
		return reject(codeNotFound, "the content of file %d has been deleted", c.file.ID)
	}
	if err != nil {
		return err
	}
	defer content.Close()
	if int64(cap(w.content)) < c.blockSize {
		w.content = make([]byte, c.blockSize)
	}
	b := block{token: r.token, fileID: c.file.ID}
	for _, id := range c.blocks {
		at := id * c.blockSize
		b.id, b.data = id, w.content[:min(c.blockSize, o.Size-at)]
		if n, err := content.ReadAt(b.data, at); n < len(b.data) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read file %q: %w", o.Name, err)
		}
		w.payload = b.append(m.format, w.payload[:0])
		w.publish(m, "data", w.payload)
		w.service.inbox.blocks.Add(1)
		w.service.inbox.sent.Add(uint64(len(b.data)))
	}
	return nil
}
