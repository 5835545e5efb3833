package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// posts are messages that a rule sends to an HTTP server, which is away at times.
type posts struct {
	tally
	*httptest.Server
	publishers []*publisher
	replays    bool // what has been given up is tried again: the day of tries may have passed

	mu      sync.Mutex
	got     map[string]map[int]int // by topic
	enable  string
	offline time.Time // the server answers 503 until then
}

func newPosts(t testing.TB) *posts {
	w := &posts{tally: tally{kind: "rule to an HTTP server, at least once"}, got: make(map[string]map[int]int)}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	for i := range 2 {
		p := newPublisher(fmt.Sprintf("poster-%d", i), 1, fmt.Sprintf("post/%d", i))
		p.acked, p.pause = w.acked, time.Millisecond
		w.publishers = append(w.publishers, p)
	}
	return w
}

func (w *posts) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	var c struct{ EnableURL string }
	var p payload
	switch {
	case json.Unmarshal(body, &c) == nil && c.EnableURL != "":
		w.enable = c.EnableURL
	case time.Now().Before(w.offline) || rand.N(20) == 0:
		rw.WriteHeader(503)
	case json.Unmarshal(body, &p) != nil || p.N == 0:
		rw.WriteHeader(400)
	default:
		if w.got[p.T] == nil {
			w.got[p.T] = make(map[int]int)
		}
		if w.got[p.T][p.N]++; w.got[p.T][p.N] == 2 {
			w.again()
		}
	}
}

func (w *posts) prepare(s *site) {
	s.must("POST", "/destinations", object{"destinationConfiguration": object{"httpUrlConfiguration": object{"confirmationUrl": w.URL}}}, nil)
	token := ""
	eventually(s.t, 10*time.Second, "a confirmation is asked for", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		token = w.enable[strings.LastIndex(w.enable, "/")+1:]
		return token != ""
	})
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/confirmdestination/%s", s.where().HTTPPort, token))
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	s.must("POST", "/rules/post", object{"sql": "SELECT n, topic() AS t FROM 'post/+'", "awsIotSqlVersion": "2016-03-23",
		"actions": []object{{"http": object{"url": w.URL + "/in"}}}}, nil)
}

func (w *posts) write(ctx context.Context, s *site) {
	w.mu.Lock()
	w.offline = time.Now().Add(rand.N(400 * time.Millisecond))
	w.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, p := range w.publishers {
		wg.Go(func() { p.run(s, ctx.Done()) })
	}
}

// check waits for everything at the end only: until then the queue outlives the kills.
func (w *posts) check(s *site, everything bool) {
	if !everything {
		return
	}
	if w.replays {
		s.must("POST", "/berth/rules/post/replay", nil, nil)
	}
	for deadline := time.Now().Add(120 * time.Second); w.missing(nil) > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	w.missing(func(topic string, n int) { w.loss("message %d of %s", n, topic) })
}

func (w *posts) missing(visit func(topic string, n int)) int {
	count := 0
	for _, p := range w.publishers {
		p.acknowledged(func(topic string, n int) {
			w.mu.Lock()
			got := w.got[topic][n] > 0
			w.mu.Unlock()
			if got {
				return
			}
			if count++; visit != nil {
				visit(topic, n)
			}
		})
	}
	return count
}

// readings are messages that a rule puts into a table. They are sent once each, so that a row is there
// once or, without an acknowledgement, perhaps not.
type readings struct {
	tally
	publishers []*publisher
	passing    bool // rows are removed after a time: they are not looked for
}

func newReadings() *readings {
	w := &readings{tally: tally{kind: "rule to a table"}}
	for i := range 2 {
		p := newPublisher(fmt.Sprintf("sensor-%d", i), 1, fmt.Sprintf("reading/%d", i))
		p.acked, p.forgets, p.pause = w.acked, true, time.Millisecond
		w.publishers = append(w.publishers, p)
	}
	return w
}

func (w *readings) prepare(s *site) {
	s.must("POST", "/rules/readings", object{"sql": "SELECT n FROM 'reading/+'", "awsIotSqlVersion": "2016-03-23",
		"actions": []object{{"table": object{"table": "readings"}}}}, nil)
}

func (w *readings) write(ctx context.Context, s *site) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, p := range w.publishers {
		wg.Go(func() { p.run(s, ctx.Done()) })
	}
}

func (w *readings) check(s *site, everything bool) {
	if !everything || w.passing {
		return
	}
	for _, p := range w.publishers {
		var rows map[int]int
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			rows = w.rows(s, p.id)
			missing := 0
			p.acknowledged(func(_ string, n int) {
				if rows[n] == 0 {
					missing++
				}
			})
			if missing == 0 || time.Now().After(deadline) {
				break
			}
		}
		p.acknowledged(func(topic string, n int) {
			if rows[n] == 0 {
				w.loss("row of message %d of %s", n, topic)
			}
		})
		for n, count := range rows {
			if count > 1 {
				w.double("row of message %d of %s: %d", n, p.id, count)
			}
		}
	}
}

func (w *readings) rows(s *site, thing string) map[int]int {
	found := make(map[int]int)
	for token := ""; ; {
		var page struct {
			Rows      []struct{ Measures struct{ N int } }
			NextToken string
		}
		s.must("GET", "/berth/tables/readings/rows?limit=1000&thing="+thing+"&token="+url.QueryEscape(token), nil, &page)
		for _, r := range page.Rows {
			found[r.Measures.N]++
		}
		if token = page.NextToken; token == "" {
			return found
		}
	}
}
