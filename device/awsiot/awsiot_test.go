package awsiot

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is the other end of a link: it grants every subscription and notes what is published.
type service struct {
	t      *testing.T
	answer func(s *service, topic string, v jsondoc.Value) // called for every publish

	mu   sync.Mutex
	conn net.Conn
	log  []string
}

func (s *service) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	var buf []byte
	for {
		h, body, size, err := mqtt.Frame(buf, 1<<20)
		if err != nil {
			s.t.Error(err)
			return
		}
		if body == nil {
			chunk := make([]byte, 4096)
			n, err := conn.Read(chunk)
			if err != nil {
				return
			}
			buf = append(buf, chunk[:n]...)
			continue
		}
		switch h.Type() {
		case mqtt.CONNECT:
			conn.Write((&mqtt.Connack{}).Append(nil, mqtt.V5))
		case mqtt.PINGREQ:
			conn.Write(mqtt.AppendPingresp(nil))
		case mqtt.SUBSCRIBE:
			var sub mqtt.Subscribe
			sub.Decode(body, mqtt.V5)
			conn.Write((&mqtt.Suback{PacketID: sub.PacketID, Codes: make([]mqtt.ReasonCode, len(sub.Subscriptions))}).Append(nil, mqtt.SUBACK, mqtt.V5))
		case mqtt.PUBLISH:
			var p mqtt.Publish
			p.Decode(h, body, mqtt.V5)
			v, err := jsondoc.Parse(p.Payload)
			if err != nil {
				s.t.Errorf("%s: %v", p.Payload, err)
			}
			short := string(p.Topic[strings.LastIndex(string(p.Topic), "/")+1:])
			if r := v.Get("state", "reported"); r.Exists() {
				short += " " + string(r.Append(nil))
			}
			s.mu.Lock()
			s.log = append(s.log, short)
			s.mu.Unlock()
			s.answer(s, string(p.Topic), v)
		}
		buf = buf[size:]
	}
}

func (s *service) send(topic, payload string) {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	conn.Write((&mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload)}).Append(nil, mqtt.V5))
}

func (s *service) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// start makes a link to a service.
func start(t *testing.T, s *service) (*link.Link, *event.Loop) {
	var servers sync.WaitGroup
	loop := event.NewLoop(nil)
	l, err := link.New(link.Config{Loop: loop, ClientID: "T", Random: func(n int64) int64 { return n - 1 }, Dial: func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		servers.Go(func() { s.serve(far) })
		return near, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close(context.Background())
		loop.Close()
		<-loop.Done()
		servers.Wait()
	})
	return l, loop
}

const shadowTopic = "$aws/things/T/shadow/"

// TestShadowOrderAndRate: get, apply, report; reports are gathered; what was refused for a while or
// lost with the connection comes again, with what is newer on top.
func TestShadowOrderAndRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		updates := 0
		svc := &service{t: t, answer: func(s *service, topic string, v jsondoc.Value) {
			token := string(v.Get("clientToken").Append(nil))
			switch {
			case strings.HasSuffix(topic, "/get"):
				s.send(topic+"/accepted", `{"state":{"desired":{"a":1},"delta":{"a":1}},"version":5,"clientToken":`+token+`}`)
			case strings.HasSuffix(topic, "/update"):
				updates++
				switch updates {
				case 2:
					s.send(topic+"/rejected", `{"code":429,"message":"busy","clientToken":`+token+`}`)
				case 4:
					s.conn.Close()
				case 6:
					s.send(topic+"/rejected", `{"code":400,"message":"no","clientToken":`+token+`}`)
				default:
					s.send(topic+"/accepted", `{"version":6,"clientToken":`+token+`}`)
				}
			}
		}}
		l, loop := start(t, svc)
		var deltas []string
		var failures []error
		shadow, err := NewShadow(ShadowConfig{Link: l, Loop: loop, Thing: "T", Presence: true, OnError: func(err error) { failures = append(failures, err) },
			OnDelta: func(d Delta) ([]byte, error) {
				deltas = append(deltas, string(d.State))
				if strings.Contains(string(d.State), "crash") {
					panic("delta")
				}
				return d.State, nil
			},
			Reported: func() []byte { return []byte(`{"fw":1}`) }})
		if err != nil {
			t.Fatal(err)
		}
		defer shadow.Close()
		results := make(map[string]error)
		report := func(patch string) {
			if err := shadow.Report([]byte(patch), func(err error) { results[patch] = err }); err != nil {
				t.Errorf("%s: %v", patch, err)
			}
		}
		report(`{"early":true}`)
		l.Start()
		time.Sleep(time.Second / 2)
		synctest.Wait()
		if got := svc.took(); !slices.Equal(got, []string{"get", `update {"early":true,"a":1,"fw":1,"connected":true}`}) || !slices.Equal(deltas, []string{`{"a":1}`}) {
			t.Errorf("at first %q, deltas %q", got, deltas)
		}
		// Three reports at once are one update, a second after the last; it is refused and comes again.
		report(`{"x":{"y":1}}`)
		report(`{"x":{"z":2}}`)
		report(`{"early":null}`)
		time.Sleep(time.Second)
		report(`{"x":{"y":3}}`)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := svc.took(); !slices.Equal(got, []string{`update {"x":{"y":1,"z":2},"early":null}`, `update {"x":{"y":3,"z":2},"early":null}`}) {
			t.Errorf("gathered %q", got)
		}
		// An older delta does nothing; a newer one is applied and answered; a crash harms nobody.
		svc.send(shadowTopic+"update/delta", `{"version":4,"state":{"a":0}}`)
		svc.send(shadowTopic+"update/delta", `{"version":7,"state":{"a":"crash"}}`)
		svc.send(shadowTopic+"update/delta", `not JSON`)
		time.Sleep(time.Second)
		synctest.Wait()
		var crash *event.CrashError
		if len(deltas) != 2 || len(failures) != 1 || !errors.As(failures[0], &crash) || len(svc.took()) != 0 {
			t.Errorf("deltas %q, failures %v", deltas, failures)
		}
		// The connection ends with an update on its way: it is made again after the get.
		report(`{"n":1}`)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := svc.took(); !slices.Equal(got, []string{`update {"n":1}`, "get", `update {"n":1,"a":1,"fw":1,"connected":true}`}) {
			t.Errorf("over an outage %q", got)
		}
		report(`{"bad":1}`)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		var r *Rejection
		if !errors.As(results[`{"bad":1}`], &r) || r.Code != "400" || results[`{"n":1}`] != nil || results[`{"x":{"y":3}}`] != nil || len(results) != 7 {
			t.Errorf("results %v", results)
		}
		for _, bad := range []string{`[]`, `{`, `{"a":"` + strings.Repeat("x", maxReport) + `"}`} {
			if err := shadow.Report([]byte(bad), nil); !errors.Is(err, ErrReport) {
				t.Errorf("%.20s: %v", bad, err)
			}
		}
	})
}

// TestJobRequests: lost answers, wrong versions and executions that the service has ended.
func TestJobRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		starts, updates := 0, 0
		svc := &service{t: t, answer: func(s *service, topic string, v jsondoc.Value) {
			token := string(v.Get("clientToken").Append(nil))
			version, _ := v.Get("expectedVersion").Int()
			switch {
			case strings.HasSuffix(topic, "/start-next"):
				switch starts++; starts {
				case 1: // no answer
				case 2:
					s.send(topic+"/accepted", `{"timestamp":10,"execution":{"jobId":"a","status":"IN_PROGRESS","startedAt":10,"versionNumber":2,"executionNumber":1,"jobDocument":{"x":1}},"clientToken":`+token+`}`)
				case 3:
					s.send(topic+"/accepted", `{"timestamp":10,"execution":{"jobId":"b","status":"IN_PROGRESS","startedAt":10,"versionNumber":2,"executionNumber":1,"jobDocument":{}},"clientToken":`+token+`}`)
				default:
					s.send(topic+"/accepted", `{"timestamp":10,"clientToken":`+token+`}`)
				}
			case strings.HasSuffix(topic, "/a/update"):
				switch updates++; {
				case updates == 1 || version != 3:
					s.send(topic+"/rejected", `{"code":"VersionMismatch","message":"","executionState":{"status":"IN_PROGRESS","versionNumber":3},"clientToken":`+token+`}`)
				default:
					s.send(topic+"/accepted", `{"executionState":{"status":"SUCCEEDED","versionNumber":4},"clientToken":`+token+`}`)
				}
			case strings.HasSuffix(topic, "/b/update"):
				s.send(topic+"/rejected", `{"code":"InvalidStateTransition","message":"","executionState":{"status":"CANCELED","versionNumber":9},"clientToken":`+token+`}`)
			}
		}}
		l, _ := start(t, svc)
		var told []error
		var cancelled bool
		jobs, err := NewJobs(JobsConfig{Link: l, Thing: "T", OnError: func(err error) { told = append(told, err) }, Handle: func(ctx context.Context, j *Job) error {
			if j.ID == "a" {
				if string(j.Document) != `{"x":1}` || j.Resumed {
					t.Errorf("job %+v", j)
				}
				return nil
			}
			j.Progress(map[string]string{"p": "1"})
			<-ctx.Done()
			cancelled = true
			return ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer jobs.Close()
		l.Start()
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{"start-next", "start-next", "update", "update", "start-next", "update", "start-next"}
		if got := svc.took(); !slices.Equal(got, want) || !cancelled || !errors.Is(told[0], ErrTimeout) {
			t.Errorf("asked %q, cancelled %v, told %v", got, cancelled, told)
		}
		svc.send("$aws/things/T/jobs/notify-next", `{"timestamp":1,"execution":{"jobId":"c"}}`)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := svc.took(); !slices.Equal(got, []string{"start-next"}) {
			t.Errorf("after the notification %q", got)
		}
	})
}

// FuzzMessages: whatever a service sends, nothing breaks.
func FuzzMessages(f *testing.F) {
	f.Add("shadow/update/delta", []byte(`{"version":7,"state":{"a":1}}`))
	f.Add("shadow/get/accepted", []byte(`{"clientToken":"s-1","state":{"delta":{}}}`))
	f.Add("jobs/notify-next", []byte(`{"execution":{"jobId":"x"}}`))
	f.Add("jobs/start-next/accepted", []byte(`{"clientToken":"j-1","execution":{"jobId":"../x","statusDetails":[]}}`))
	loop := event.NewLoop(nil)
	f.Cleanup(func() { loop.Close(); <-loop.Done() })
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		l, err := link.New(link.Config{Loop: loop, Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("none") }})
		if err != nil {
			t.Fatal(err)
		}
		shadow, err := NewShadow(ShadowConfig{Link: l, Loop: loop, Thing: "T"})
		if err != nil {
			t.Fatal(err)
		}
		jobs, err := NewJobs(JobsConfig{Link: l, Thing: "T", Handle: func(context.Context, *Job) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		shadow.connected()
		jobs.restored()
		m := link.Message{Topic: "$aws/things/T/" + topic, Payload: payload}
		shadow.message(m)
		jobs.message(m)
		jobs.Close()
		shadow.Close()
		l.Close(context.Background())
	})
}
