package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/berth-iot/berth/internal/rules/action"
)

// stream is a Kinesis data stream within the process.
type stream struct {
	mu      sync.Mutex
	down    func() bool
	block   chan struct{} // calls wait until it is closed
	refuse  string        // a call with such a record is refused as a whole
	full    map[string]bool
	calls   []int // records of each that was answered
	tries   int
	records []string
	seen    map[string]int
}

// RoundTrip implements http.RoundTripper.
func (s *stream) RoundTrip(r *http.Request) (*http.Response, error) {
	var in struct{ Records []struct{ Data []byte } }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	block := s.block
	s.mu.Unlock()
	if block != nil {
		<-block
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	answer := func(status int, body any) (*http.Response, error) {
		b, _ := json.Marshal(body)
		return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(b)), Header: http.Header{}, Request: r}, nil
	}
	if s.down != nil && s.down() {
		return answer(503, nil)
	}
	type result struct{ SequenceNumber, ErrorCode string }
	var results []result
	failed := 0
	for _, x := range in.Records {
		if s.refuse != "" && strings.Contains(string(x.Data), s.refuse) {
			return answer(400, map[string]string{"__type": "InvalidArgumentException", "message": "a record is bad"})
		}
	}
	for _, x := range in.Records {
		data := string(x.Data)
		if s.full[data] {
			delete(s.full, data)
			failed++
			results = append(results, result{ErrorCode: "ProvisionedThroughputExceededException"})
			continue
		}
		s.records = append(s.records, data)
		s.seen[data]++
		results = append(results, result{SequenceNumber: "1"})
	}
	s.calls = append(s.calls, len(in.Records))
	return answer(200, map[string]any{"FailedRecordCount": failed, "Records": results})
}

// flow opens an engine with a rule that writes to a stream.
func flow(t testing.TB, pace Pace) (*bench, *stream) {
	s := &stream{seen: make(map[string]int), full: make(map[string]bool)}
	b := open(t, t.TempDir(), pace)
	b.services.AWS = &action.AWS{Fixed: &aws.Config{Region: "us-east-1", HTTPClient: &http.Client{Transport: s},
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}}
	b.create("r", `{"sql":"SELECT n FROM 'n'","actions":[{"kinesis":{"roleArn":"r","streamName":"s","partitionKey":"k"}}]}`)
	return b, s
}

func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// TestBatchesOfALane: what waits while the destination is slow goes together, in the order in which it
// came, whatever its QoS; what fails of it is tried again without the rest.
func TestBatchesOfALane(t *testing.T) {
	t.Parallel()
	b, s := flow(t, quick)
	const messages = 600
	release := make(chan struct{})
	s.block = release
	s.full[`{"n":7}`], s.full[`{"n":400}`] = true, true
	for i := range messages {
		b.send(byte(i%2), "n", fmt.Sprintf(`{"n":%d}`, i))
	}
	close(release)
	b.eventually("all are delivered", func() bool { return s.count() == messages })
	b.eventually("all are counted", func() bool { v, _ := b.Stats("r"); return v.Delivered == messages && v.Retried == 2 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) != messages {
		t.Errorf("%d records: something came twice", len(s.records))
	}
	if len(s.calls) > 20 {
		t.Errorf("%d calls for %d records", len(s.calls), messages)
	}
	waiting, dead, err := b.Waiting(context.Background(), "r")
	if waiting != 0 || dead != 0 || err != nil {
		b.eventually("nothing is left on disk", func() bool { w, d, _ := b.Waiting(context.Background(), "r"); return w == 0 && d == 0 })
	}
	if v, _ := b.Stats("r"); len(v.Actions) != 1 || v.Actions[0].Delivered != messages || v.Actions[0].Latency.Count != messages || v.Actions[0].Latency.P99 <= 0 {
		t.Errorf("%+v", v)
	}
}

// TestSpoiledBatch: one record that a destination refuses takes no other along.
func TestSpoiledBatch(t *testing.T) {
	t.Parallel()
	b, s := flow(t, quick)
	release := make(chan struct{})
	s.block, s.refuse = release, "bad"
	for i := range 50 {
		b.send(1, "n", fmt.Sprintf(`{"n":%d}`, i))
	}
	b.send(1, "n", `{"n":"bad"}`)
	close(release)
	b.eventually("all but one are delivered", func() bool { v, _ := b.Stats("r"); return v.Delivered == 50 && v.Failed == 1 })
	b.eventually("one is a dead letter", func() bool { w, d, _ := b.Waiting(context.Background(), "r"); return w == 0 && d == 1 })
}

// TestGoneForAnHour: nothing is lost or given up, few tries are made, and nobody waits.
func TestGoneForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := flow(t, Pace{})
		back := time.Now().Add(time.Hour)
		s.down = func() bool { return time.Now().Before(back) }
		const messages = 3000
		begin := time.Now()
		for i := range messages {
			b.send(1, "n", fmt.Sprintf(`{"n":%d}`, i))
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("publishers waited %v", d)
		}
		time.Sleep(time.Until(back) + 5*time.Minute)
		synctest.Wait()
		if n := s.count(); n != messages {
			t.Errorf("%d of %d", n, messages)
		}
		s.mu.Lock()
		if s.tries > 300 {
			t.Errorf("%d tries in an hour", s.tries)
		}
		s.mu.Unlock()
		if w, d, err := b.Waiting(context.Background(), "r"); w != 0 || d != 0 || err != nil {
			t.Errorf("%d wait, %d are dead: %v", w, d, err)
		}
		b.close()
	})
}

// TestCountersLast: counters and latencies are there after a restart, and go with the rule.
func TestCountersLast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, dir, quick)
	b.create("r", `{"sql":"SELECT n FROM 'n' WHERE n > 1","actions":[{"republish":{"roleArn":"r","topic":"m"}}]}`)
	b.send(1, "n", `{"n":1}`)
	b.send(1, "n", `{"n":2}`)
	b.eventually("it is republished", func() bool { v, _ := b.Stats("r"); return v.Delivered == 1 })
	b.close()
	b = open(t, dir, quick)
	v, err := b.Stats("r")
	if err != nil || v.Matched != 2 || v.WhereFalse != 1 || v.Delivered != 1 || len(v.Actions) != 1 || v.Actions[0].Latency.Count != 1 {
		t.Fatalf("%+v %v", v, err)
	}
	if err := b.DeleteTopicRule(context.Background(), "r"); err != nil {
		t.Fatal(err)
	}
	b.close()
	b = open(t, dir, quick)
	b.create("r", `{"sql":"SELECT n FROM 'n'","actions":[]}`)
	if v, _ := b.Stats("r"); v.Matched != 0 {
		t.Errorf("%+v", v)
	}
}

// TestTail looks on at a rule.
func TestTail(t *testing.T) {
	t.Parallel()
	b, s := flow(t, quick)
	s.full[`{"n":1}`] = true
	tail, err := b.Tail("r")
	if err != nil {
		t.Fatal(err)
	}
	b.send(1, "n", `{"n":1}`)
	var id string
	for i, want := range []string{"matched", "retried", "delivered"} {
		e := <-tail.Events
		if e.Outcome != want || e.Rule != "r" || e.Topic != "n" || string(e.Result.bytes) != `{"n":1}` {
			t.Fatalf("%+v", e)
		}
		switch i {
		case 0:
			if string(e.Message.bytes) != `{"n":1}` {
				t.Errorf("%+v", e)
			}
		case 1:
			if id = e.ID; e.Error == "" || e.Destination != "s" || e.Action != "kinesis" {
				t.Errorf("%+v", e)
			}
		case 2:
			if e.ID != id {
				t.Errorf("%+v", e)
			}
		}
	}
	b.send(0, "n", `no JSON`)
	if e := <-tail.Events; e.Outcome != "error" || !strings.Contains(e.Error, "JSON") {
		t.Errorf("%+v", e)
	}
	// Who does not read misses events, and holds nobody up.
	for i := range tailRoom + 10 {
		b.send(0, "n", fmt.Sprintf(`no JSON %d`, i))
	}
	for range tailRoom {
		<-tail.Events
	}
	b.send(0, "n", `no JSON`)
	if e := <-tail.Events; e.Missed != 10 {
		t.Errorf("%d missed", e.Missed)
	}
	tail.Close()
	tail.Close()
	if b.counters("r").watched.Load() != nil {
		t.Error("still looked on")
	}
	if _, err := b.Tail("other"); err == nil {
		t.Error("no such rule")
	}
}

// TestLinger: the first message of a batch waits for others, and no longer.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, t.TempDir(), quick)
		var mu sync.Mutex
		var got []string
		var at []time.Duration
		seen := func() ([]string, []time.Duration) {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(got), slices.Clone(at)
		}
		begin := time.Now()
		b.services.HTTP = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			if body, _ := io.ReadAll(r.Body); r.URL.Query().Get("confirmationToken") == "" {
				mu.Lock()
				got, at = append(got, string(body)), append(at, time.Since(begin))
				mu.Unlock()
			}
			return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
		})}
		b.trust("http://sink")
		b.create("r", `{"sql":"SELECT n FROM 'n/#'","actions":[{"http":{"url":"http://sink/","enableBatching":true,"batchConfig":{"maxBatchOpenMs":100,"maxBatchSize":3}}}]}`)
		b.send(0, "n/1", `{"n":1}`)
		time.Sleep(50 * time.Millisecond)
		b.send(1, "n/1", `{"n":2}`)
		if got, at := seen(); len(got) != 0 {
			t.Fatalf("%q after %v", got, at)
		}
		time.Sleep(time.Second)
		if got, at := seen(); len(got) != 1 || got[0] != `[{"n":1},{"n":2}]` || at[0] != 100*time.Millisecond {
			t.Fatalf("%q after %v", got, at)
		}
		now := time.Since(begin)
		for i := range 3 { // a full one does not wait
			b.send(0, "n/1", fmt.Sprintf(`{"n":%d}`, i))
		}
		if got, at := seen(); len(got) != 2 || got[1] != `[{"n":0},{"n":1},{"n":2}]` || at[1] != now {
			t.Fatalf("%q after %v", got, at)
		}
		b.send(0, "n/1", `{"n":1}`)
		b.send(0, "n/2", `{"n":2}`)
		time.Sleep(time.Second)
		if got, _ := seen(); len(got) != 4 {
			t.Fatalf("%q: topics are kept apart", got)
		}
		b.close()
	})
}

type transport func(r *http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }
