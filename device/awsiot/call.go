// Package awsiot speaks the services of AWS IoT from the device's side, over a link: shadows, jobs,
// provisioning by claim and the renewal of certificates (AWS IoT developer guide, "Reserved topics").
//
// Nothing here waits for the network. What the services do on answers runs on the network's
// goroutine and returns at once; what the application does about it runs on the event loop, jobs
// on a goroutine of their own.
package awsiot

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/link"
)

// ErrTimeout is the result of a request that was not answered in time.
var ErrTimeout = errors.New("no answer in time")

// Rejection is a request that a service refused.
type Rejection struct {
	Code    string // such as "404" of shadows, "VersionMismatch" of jobs
	Message string

	state jsondoc.Value // executionState of jobs
}

func (r *Rejection) Error() string { return fmt.Sprintf("rejected: %s %s", r.Code, r.Message) }

// caller makes requests whose answers carry their client token.
type caller struct {
	link    *link.Link
	prefix  string // of tokens, different for every service and start
	timeout time.Duration

	mu      sync.Mutex
	n       uint64
	waiting map[string]*call
}

type call struct {
	done  func(answer jsondoc.Value, err error)
	timer *time.Timer
}

func newCaller(l *link.Link, prefix string, timeout time.Duration) *caller {
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	return &caller{link: l, prefix: prefix, timeout: timeout, waiting: make(map[string]*call)}
}

// call publishes a request. done runs once, later and without a lock: with the answer, a *Rejection, ErrTimeout
// or the link's error. Requests have QoS 0: one that got lost is asked again in the order that the
// service needs, not in that of a queue.
func (c *caller) call(topic string, body jsondoc.Value, done func(jsondoc.Value, error)) {
	c.mu.Lock()
	c.n++
	token := c.prefix + strconv.FormatUint(c.n, 36)
	pending := &call{done: done}
	pending.timer = time.AfterFunc(c.timeout, func() { c.finish(token, jsondoc.Value{}, fmt.Errorf("%s: %w", topic, ErrTimeout)) })
	c.waiting[token] = pending
	c.mu.Unlock()
	body.Set("clientToken", jsondoc.String(token))
	err := c.link.Publish(link.Publication{Topic: topic, Payload: body.Append(nil), Urgent: true}, func(err error) {
		if err != nil {
			c.finish(token, jsondoc.Value{}, err)
		}
	})
	if err != nil {
		go c.finish(token, jsondoc.Value{}, err)
	}
}

func (c *caller) finish(token string, answer jsondoc.Value, err error) bool {
	c.mu.Lock()
	pending := c.waiting[token]
	delete(c.waiting, token)
	c.mu.Unlock()
	if pending == nil {
		return false
	}
	pending.timer.Stop()
	pending.done(answer, err)
	return true
}

// cancel ends every request with an error.
func (c *caller) cancel(err error) {
	c.mu.Lock()
	var tokens []string
	for token := range c.waiting {
		tokens = append(tokens, token)
	}
	c.mu.Unlock()
	for _, token := range tokens {
		c.finish(token, jsondoc.Value{}, err)
	}
}

// answer takes a message on a topic that ends in accepted or rejected. It reports whether it was
// the answer to a request.
func (c *caller) answer(m link.Message) bool {
	accepted := strings.HasSuffix(m.Topic, "/accepted")
	if !accepted && !strings.HasSuffix(m.Topic, "/rejected") {
		return false
	}
	v, err := jsondoc.Parse(m.Payload)
	if err != nil {
		return false
	}
	if accepted {
		return c.finish(v.Get("clientToken").Text(), v, nil)
	}
	r := &Rejection{Code: v.Get("code").Text(), Message: v.Get("message").Text(), state: v.Get("executionState")}
	if n, ok := v.Get("code").Int(); ok {
		r.Code = strconv.FormatInt(n, 10)
	}
	return c.finish(v.Get("clientToken").Text(), jsondoc.Value{}, r)
}
