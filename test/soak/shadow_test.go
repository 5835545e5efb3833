package soak

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// dial connects a client that keeps no state, and hands it every message.
func dial(s *site, clientID string) (*client.Client, <-chan client.Message, error) {
	box := make(chan client.Message, 1000)
	c, err := client.Dial(context.Background(), client.Options{Address: s.plain(), ClientID: clientID, Version: mqtt.V311, CleanStart: true,
		OnMessage: func(m client.Message) {
			select {
			case box <- m:
			default:
			}
		}})
	return c, box, err
}

var errGone = errors.New("the server is gone")

var asked atomic.Int64

// ask publishes a request to a service and returns its answer. A thing's topics give answers to requests
// of an earlier connection too, which came late: there a token tells them apart.
func ask(ctx context.Context, c *client.Client, box <-chan client.Message, topic string, in object) (accepted bool, answer []byte, err error) {
	token := ""
	if strings.HasPrefix(topic, "$aws/things/") {
		token = fmt.Sprint("ask-", asked.Add(1))
		in["clientToken"] = token
	}
	b, err := json.Marshal(in)
	if err != nil {
		return false, nil, err
	}
	if _, err := c.Publish(ctx, client.Message{Topic: topic, Payload: b, QoS: 1}); err != nil {
		return false, nil, err
	}
	for {
		select {
		case m := <-box:
			var got struct{ ClientToken string }
			outcome, ok := strings.CutPrefix(m.Topic, topic+"/")
			if ok && (outcome == "accepted" || outcome == "rejected") && json.Unmarshal(m.Payload, &got) == nil && got.ClientToken == token {
				return outcome == "accepted", m.Payload, nil
			}
		case <-c.Done():
			return false, nil, errGone
		case <-time.After(20 * time.Second):
			return false, nil, fmt.Errorf("no answer on %s", topic)
		case <-ctx.Done():
			return false, nil, ctx.Err()
		}
	}
}

// shadows counts upwards in a few shadows, each by one writer. Every update is made once, so that a
// shadow's version is its count.
type shadows struct {
	tally
	list []*shadowWriter
}

type shadowWriter struct {
	thing, name string
	tried       int // highest count that was sent
	acked       int // highest that was accepted
}

func newShadows() *shadows {
	w := &shadows{tally: tally{kind: "shadow updates, classic and named"}}
	for i := range 4 {
		w.list = append(w.list, &shadowWriter{thing: fmt.Sprintf("lamp-%d", i), name: []string{"", "light"}[i%2]})
	}
	return w
}

func (w *shadows) prepare(*site) {}

func (v *shadowWriter) path() string { return "/things/" + v.thing + "/shadow?name=" + v.name }

func (v *shadowWriter) topic() string {
	if v.name == "" {
		return "$aws/things/" + v.thing + "/shadow/update"
	}
	return "$aws/things/" + v.thing + "/shadow/name/" + v.name + "/update"
}

// state returns count and version.
func (v *shadowWriter) state(ctx context.Context, s *site) (n, version int, err error) {
	var got struct {
		State   struct{ Reported struct{ N int } }
		Version int
	}
	path := v.path()
	if v.name == "" {
		path = strings.TrimSuffix(path, "?name=")
	}
	err = s.call(ctx, "GET", path, nil, &got)
	if isMissing(err) {
		return 0, 0, nil
	}
	return got.State.Reported.N, got.Version, err
}

func (w *shadows) write(ctx context.Context, s *site) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, v := range w.list {
		wg.Go(func() { w.count(ctx, s, v) })
	}
}

func (w *shadows) count(ctx context.Context, s *site, v *shadowWriter) {
	c, box, err := dial(s, v.thing)
	if err != nil {
		return
	}
	defer c.Close(context.Background())
	if _, err := c.Subscribe(ctx, mqtt.Subscription{Filter: v.topic() + "/+", QoS: 1}); err != nil {
		return
	}
	n, _, err := v.state(ctx, s)
	for ; err == nil && ctx.Err() == nil; n++ {
		time.Sleep(w.pause)
		v.tried = max(v.tried, n+1)
		in := object{"state": object{"reported": object{"n": n + 1}}}
		if v.name != "" {
			in["version"] = n
		}
		accepted, answer, err := ask(ctx, c, box, v.topic(), in)
		if err != nil {
			return
		}
		if !accepted {
			w.answered(&refused{v.topic(), 0, string(answer)})
			if n, _, err = v.state(ctx, s); err != nil {
				return
			}
			n--
			continue
		}
		var got struct{ Version int }
		if json.Unmarshal(answer, &got); got.Version != n+1 {
			w.double("%s: update %d has made version %d", v.topic(), n+1, got.Version)
		}
		v.acked = max(v.acked, n+1)
		w.acked(1)
	}
}

func (w *shadows) check(s *site, _ bool) {
	for _, v := range w.list {
		n, version, err := v.state(context.Background(), s)
		switch {
		case err != nil || n < v.acked:
			w.loss("%s: count %d, %d was accepted: %v", v.topic(), n, v.acked, err)
		case n > v.tried:
			w.disorder("%s: count %d, no more than %d were sent", v.topic(), n, v.tried)
		case n != version:
			w.double("%s: count %d is version %d", v.topic(), n, version)
		}
	}
}

// retained replaces and removes the retained messages of a few topics, each by one writer.
type retained struct {
	tally
	list []*retainedWriter
}

type retainedWriter struct {
	topic        string
	tried, acked int // numbers of changes; every fifth removes
}

func newRetained() *retained {
	w := &retained{tally: tally{kind: "retained messages: set, removed"}}
	for i := range 3 {
		w.list = append(w.list, &retainedWriter{topic: fmt.Sprintf("keep/%d", i)})
	}
	return w
}

func (w *retained) prepare(*site) {}

func (v *retainedWriter) clientID() string { return "retained-" + url.PathEscape(v.topic) }

func retainedPayload(n int) []byte {
	if n%5 == 0 {
		return nil
	}
	return fmt.Append(nil, n)
}

func (w *retained) write(ctx context.Context, s *site) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, v := range w.list {
		wg.Go(func() {
			c, _, err := dial(s, v.clientID())
			if err != nil {
				return
			}
			defer c.Close(context.Background())
			for ctx.Err() == nil {
				v.tried++
				if _, err := c.Publish(ctx, client.Message{Topic: v.topic, Payload: retainedPayload(v.tried), QoS: 1, Retain: true}); err != nil {
					return
				}
				v.acked = v.tried
				w.acked(1)
				time.Sleep(w.pause)
			}
		})
	}
}

// check: what is retained is the acknowledged message, or the one after it whose acknowledgement did not
// come.
func (w *retained) check(s *site, _ bool) {
	for _, v := range w.list {
		// What the last connection has sent is taken, or never will be, when another has taken over.
		if c, _, err := dial(s, v.clientID()); err == nil {
			c.Close(context.Background())
		}
		var got struct{ Payload string }
		err := s.call(context.Background(), "GET", "/retainedMessage/"+url.PathEscape(v.topic), nil, &got)
		if err != nil && !isMissing(err) {
			w.loss("%s: %v", v.topic, err)
			continue
		}
		text, _ := base64.StdEncoding.DecodeString(got.Payload)
		if string(text) != string(retainedPayload(v.acked)) && string(text) != string(retainedPayload(v.tried)) {
			w.loss("%s: %q is retained, %d is acknowledged, %d sent", v.topic, text, v.acked, v.tried)
		}
		// What was not acknowledged is known now.
		v.acked = v.tried
		if string(text) != string(retainedPayload(v.tried)) {
			v.tried++
			if len(text) > 0 {
				fmt.Sscan(string(text), &v.acked)
			} else {
				v.acked = v.tried - 1 - (v.tried-1)%5
			}
			v.tried = v.acked
		}
	}
}
