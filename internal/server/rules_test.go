package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/rules"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/mqtt"
)

type object = map[string]any

// rule makes a rule for version 2016-03-23.
func (f *fixture) rule(name, sql string, actions ...object) {
	f.t.Helper()
	if actions == nil {
		actions = []object{}
	}
	f.api("POST", "/rules/"+name, object{"sql": sql, "awsIotSqlVersion": "2016-03-23", "actions": actions}, nil)
}

func republish(topic string) object {
	return object{"republish": object{"roleArn": "arn:aws:iam::000000000000:role/r", "topic": topic}}
}

func (f *fixture) ruleStats(name string) (v rules.Stats) {
	f.t.Helper()
	var out struct{ Rules []rules.Stats }
	f.api("GET", "/berth/rules", nil, &out)
	for _, r := range out.Rules {
		if r.Rule == name {
			return r
		}
	}
	f.t.Fatalf("no counters of rule %s in %+v", name, out)
	return v
}

func TestRulesAPI(t *testing.T) {
	t.Parallel()
	f := start(t)
	refused := func(method, path string, in any, status int, word string) {
		t.Helper()
		got, body := f.request(method, path, in)
		if got != status || !strings.Contains(string(body), word) {
			t.Errorf("%s %s: %d %s, want %d and %q", method, path, got, body, status, word)
		}
	}
	action := []object{republish("b")}
	refused("POST", "/rules/r", object{"sql": "SELECT * FORM 'a'", "actions": action}, 400, "line 1")
	refused("POST", "/rules/r", object{"sql": "SELECT * FROM 'a'", "actions": []object{republish("a/${")}}, 400, "")
	refused("POST", "/rules/r", object{"sql": "SELECT * FROM 'a'", "actions": []object{{"salesforce": object{}}}}, 400, "salesforce")
	refused("POST", "/rules/r", object{"sql": "SELECT * FROM 'a'", "actions": []object{{"republish": object{"topic": "b"}}}}, 400, "roleArn")
	refused("POST", "/rules/r", object{"sql": "SELECT * FROM 'a'"}, 400, "actions")
	refused("POST", "/rules/a-b", object{"sql": "SELECT * FROM 'a'", "actions": action}, 400, "ruleName")
	refused("GET", "/rules/r", nil, 401, "denied")

	f.api("POST", "/rules/r", object{"sql": "SELECT * FROM 'a/+'", "description": "d", "actions": action}, nil)
	refused("POST", "/rules/r", object{"sql": "SELECT * FROM 'a'", "actions": action}, 409, "exists")
	f.rule("s", "SELECT * FROM 'b'")
	for range 2 { // also after a restart
		var got struct {
			RuleARN string
			Rule    struct {
				RuleName, SQL, Description, AWSIoTSQLVersion string
				RuleDisabled                                 bool
				CreatedAt                                    float64
				Actions                                      []object
			}
		}
		f.api("GET", "/rules/r", nil, &got)
		if !strings.HasSuffix(got.RuleARN, ":rule/r") || got.Rule.AWSIoTSQLVersion != "2015-10-08" || got.Rule.Description != "d" || got.Rule.CreatedAt == 0 ||
			len(got.Rule.Actions) != 1 || got.Rule.Actions[0]["republish"].(object)["topic"] != "b" {
			t.Errorf("%+v", got)
		}
		var list struct {
			Rules []struct{ RuleName, TopicPattern string }
		}
		f.api("GET", "/rules?topic=a/x", nil, &list)
		if len(list.Rules) != 1 || list.Rules[0].TopicPattern != "a/+" {
			t.Errorf("%+v", list)
		}
		f.restart()
	}
	var first struct {
		Rules     []struct{ RuleName string }
		NextToken string
	}
	f.api("GET", "/rules?maxResults=1", nil, &first)
	f.api("GET", "/rules?maxResults=1&nextToken="+first.NextToken, nil, &first)
	if first.Rules[0].RuleName != "s" {
		t.Errorf("%+v", first)
	}
	f.api("POST", "/rules/r/disable", nil, nil)
	f.api("GET", "/rules?ruleDisabled=true", nil, &first)
	if len(first.Rules) != 1 || first.Rules[0].RuleName != "r" {
		t.Errorf("%+v", first)
	}
	f.api("PATCH", "/rules/r", object{"sql": "SELECT 1 AS n FROM 'c'", "actions": []object{}}, nil)
	f.api("DELETE", "/rules/r", nil, nil)
	refused("GET", "/rules/r", nil, 401, "")
}

func TestRulesRepublish(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.rule("hot", "SELECT temperature AS t, topic(2) AS dev FROM 'dt/+/+' WHERE temperature > 30", republish("hot/${topic(2)}"))
	f.rule("ingested", "SELECT *, topic() AS at FROM 'nothing'", republish("in"))
	f.rule("loop", "SELECT * FROM 'loop'", republish("loop"))
	f.rule("presence", "SELECT clientId FROM '$aws/events/presence/disconnected/+'", republish("gone"))
	c := f.connect(nil, "c", 5)
	c.sub(1, "hot/#", "in", "gone")
	c.pub(1, "dt/k/raw", `{"temperature":20}`)
	c.pub(1, "dt/k/raw", `{"temperature":31.5}`)
	c.want("hot/k", `{"t":31.5,"dev":"k"}`)
	c.pub(0, "dt/k/raw", `{"temperature":32}`)
	c.want("hot/k", `{"t":32,"dev":"k"}`)
	c.pub(1, "$aws/rules/ingested/x/y", `{"a":1}`)
	c.want("in", `{"a":1,"at":"x/y"}`)
	if v := f.ruleStats("hot"); v.Matched != 3 || v.WhereFalse != 1 || v.Delivered != 2 {
		t.Errorf("%+v", v)
	}
	c.pub(1, "loop", `{}`)
	eventually(t, "the loop ends", func() bool { return f.ruleStats("loop").Failed == 1 })
	if v := f.ruleStats("loop"); v.Matched != 17 || !strings.Contains(v.LastError, "loop") {
		t.Errorf("%+v", v)
	}
	d := f.connect(nil, "d", 5)
	d.bye()
	c.want("gone", `{"clientId":"d"}`)
	f.api("POST", "/rules/hot/disable", nil, nil)
	c.pub(1, "dt/k/raw", `{"temperature":33}`)
	c.pub(1, "$aws/rules/ingested/z", `{}`)
	c.want("in", `{"at":"z"}`)
}

// TestRulesShadowLoop: a rule that answers a shadow's answers comes to an end.
func TestRulesShadowLoop(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.rule("loop", "SELECT state FROM '$aws/things/lamp/shadow/update/accepted'", republish("$$aws/things/lamp/shadow/update"))
	c := f.connect(nil, "c", 5)
	c.pub(1, "$aws/things/lamp/shadow/update", `{"state":{"reported":{"n":1}}}`)
	eventually(t, "the loop ends", func() bool { return f.ruleStats("loop").Failed == 1 })
	if v := f.ruleStats("loop"); v.Matched != 17 || !strings.Contains(v.LastError, "loop") {
		t.Errorf("%+v", v)
	}
}

// TestRulesTable writes readings without going through a queue, and once, however often they come.
func TestRulesTable(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.rule("store", "SELECT temperature, state FROM 'dt/+'", object{"table": object{"table": "readings"}},
		object{"timestream": object{"roleArn": "r", "databaseName": "house", "tableName": "climate", "timestamp": object{"value": "${at}", "unit": "SECONDS"},
			"dimensions": []object{{"name": "device", "value": "${topic(2)}"}, {"name": "floor", "value": "2"}}}})
	c := f.connect(nil, "kettle", 5)
	at := time.Now().Unix() - 60
	c.pub(1, "dt/k7", fmt.Sprintf(`{"temperature":21.5,"state":{"on":true},"at":%d}`, at))
	// The acknowledgement has waited for the disk: rows are there at once.
	rows := func(name string) (out []struct {
		Time     int64
		Thing    string
		Measures object
	}) {
		var page struct {
			Rows []struct {
				Time     int64
				Thing    string
				Measures object
			}
		}
		f.api("GET", "/berth/tables/"+name+"/rows", nil, &page)
		return page.Rows
	}
	if r := rows("readings"); len(r) != 1 || r[0].Thing != "kettle" || r[0].Measures["temperature"] != 21.5 || r[0].Measures["state"].(object)["on"] != true {
		t.Errorf("%+v", r)
	}
	if r := rows("house.climate"); len(r) != 1 || r[0].Thing != "k7/2" || r[0].Time != at*1000 || r[0].Measures["floor"] != "2" || r[0].Measures["device"] != "k7" {
		t.Errorf("%+v", r)
	}
	// What cannot be a row is a dead letter.
	c.pub(1, "dt/k7", `{"other":1}`)
	eventually(t, "both actions failed", func() bool { v := f.ruleStats("store"); return v.Failed == 2 && v.Dead == 2 && v.Waiting == 0 })
	v := f.ruleStats("store")
	if v.Delivered != 2 || !strings.Contains(v.LastError, "no measures") || len(v.Actions) != 2 || v.Actions[0].Latency.Count != 1 {
		t.Errorf("%+v", v)
	}
}

// TestRulesWill is the pattern of the developer guide for wills that change a shadow.
func TestRulesWill(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("POST", "/things/lamp", object{}, nil)
	f.rule("lwt", "SELECT * FROM 'my/things/+/update'", republish("$$aws/things/${topic(3)}/shadow/update"))
	f.connect(nil, "lamp", 5, func(o *client.Options) {
		o.Will = &mqtt.Will{Topic: "my/things/lamp/update", Payload: []byte(`{"state":{"reported":{"connected":"false"}}}`)}
	})
	f.connect(nil, "lamp", 5) // takes over: the first connection ends with its will
	eventually(t, "the shadow knows", func() bool {
		status, body := f.request("GET", "/things/lamp/shadow", nil)
		return status == 200 && strings.Contains(string(body), `"connected":"false"`)
	})
}

// endpoint is an HTTP destination.
type endpoint struct {
	*httptest.Server
	down    atomic.Bool
	mu      sync.Mutex
	got     map[string]int
	headers http.Header
	enable  string
}

func newEndpoint(t testing.TB) *endpoint {
	e := &endpoint{got: make(map[string]int)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if e.down.Load() {
			w.WriteHeader(503)
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		var c struct{ EnableURL, ConfirmationToken string }
		if json.Unmarshal(body, &c) == nil && c.EnableURL != "" && r.URL.Query().Get("confirmationToken") == c.ConfirmationToken {
			e.enable = c.EnableURL
			return
		}
		if r.URL.Path == "/refuse" {
			w.WriteHeader(400)
			return
		}
		e.got[string(body)]++
		e.headers = r.Header.Clone()
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.got)
}

// confirm makes the endpoint a destination and confirms it.
func (f *fixture) confirm(e *endpoint) {
	f.t.Helper()
	var made struct{ TopicRuleDestination struct{ ARN, Status string } }
	f.api("POST", "/destinations", object{"destinationConfiguration": object{"httpUrlConfiguration": object{"confirmationUrl": e.URL}}}, &made)
	if made.TopicRuleDestination.Status != "IN_PROGRESS" {
		f.t.Errorf("%+v", made)
	}
	enable := ""
	eventually(f.t, "a confirmation is asked for", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		enable = e.enable
		return enable != ""
	})
	token := enable[strings.LastIndex(enable, "/")+1:]
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/confirmdestination/%s", f.Ready.HTTPPort, token))
	if err != nil || resp.StatusCode != 200 {
		f.t.Fatalf("confirm: %v %v", resp, err)
	}
	resp.Body.Close()
	f.api("GET", "/destinations/"+made.TopicRuleDestination.ARN, nil, &made)
	if made.TopicRuleDestination.Status != "ENABLED" {
		f.t.Errorf("%+v", made)
	}
}

func TestRulesHTTP(t *testing.T) {
	t.Parallel()
	f := start(t)
	e := newEndpoint(t)
	send := object{"http": object{"url": e.URL + "/in/${topic(2)}", "headers": []object{{"key": "X-Device", "value": "${topic(2)}"}}}}
	f.rule("post", "SELECT v FROM 'p/+'", send)
	f.rule("other", "SELECT v FROM 'p/+'", republish("o"))
	c := f.connect(nil, "c", 5)
	c.sub(1, "o", "failed/#")
	c.pub(1, "p/a", `{"v":0}`)
	c.want("o", `{"v":0}`)
	eventually(t, "a dead letter", func() bool { return f.ruleStats("post").Dead == 1 })
	f.confirm(e)
	f.api("POST", "/berth/rules/post/replay", nil, nil)
	eventually(t, "the dead letter is delivered", func() bool { return e.count() == 1 && f.ruleStats("post").Dead == 0 })

	e.down.Store(true)
	for i := 1; i <= 20; i++ {
		c.pub(1, "p/a", fmt.Sprintf(`{"v":%d}`, i)) // acknowledged, and other rules go on
		c.want("o", fmt.Sprintf(`{"v":%d}`, i))
	}
	f.restart()
	e.down.Store(false)
	eventually(t, "everything is delivered", func() bool { return e.count() == 21 })
	eventually(t, "nothing waits", func() bool { return f.ruleStats("post").Waiting == 0 })
	e.mu.Lock()
	if e.headers.Get("X-Device") != "a" || e.headers.Get("Content-Type") != "application/json" {
		t.Error(e.headers)
	}
	e.mu.Unlock()

	f.api("POST", "/rules/bad", object{"sql": "SELECT * FROM 'x'", "actions": []object{{"http": object{"url": e.URL + "/refuse"}}},
		"errorAction": republish("failed/${topic()}")}, nil)
	c = f.connect(nil, "c", 5)
	c.sub(1, "failed/#")
	c.pub(1, "x", "binary\x00")
	m := c.next()
	var failed struct {
		RuleName, Topic, ClientID string
		Payload                   []byte `json:"base64OriginalPayload"`
		Failures                  []struct{ FailedAction, ErrorMessage string }
	}
	if err := json.Unmarshal(m.Payload, &failed); err != nil || m.Topic != "failed/x" || failed.RuleName != "bad" || failed.ClientID != "c" ||
		string(failed.Payload) != "binary\x00" || failed.Failures[0].FailedAction != "HttpAction" || !strings.Contains(failed.Failures[0].ErrorMessage, "400") {
		t.Errorf("%s %s %v", m.Topic, m.Payload, err)
	}
}

// TestRulesKill kills the server under a publisher: what was acknowledged reaches the destination.
func TestRulesKill(t *testing.T) {
	t.Parallel()
	v := &victim{fixture: &fixture{t: t, dir: t.TempDir(), cfg: server.Defaults(), Server: &server.Server{}}}
	v.cfg.Data, v.cfg.Database, v.cfg.PlainPolicy = v.dir, storetest.URL(t, v.dir), "plain"
	v.cfg.MQTT, v.cfg.HTTPS, v.cfg.HTTP, v.cfg.MQTTPlain = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	v.cfg.AdminKeyID, v.cfg.AdminSecret = adminID, adminSecret
	v.start()
	defer func() { v.kill() }()
	v.api("POST", "/policies/plain", map[string]string{"policyDocument": allowAll}, nil)
	e := newEndpoint(t)
	v.confirm(e)
	v.rule("post", "SELECT n FROM 'n'", object{"http": object{"url": e.URL}}, object{"table": object{"table": "t", "thing": "x"}})
	next := 0
	for round := range 3 {
		e.down.Store(round%2 == 0)
		c := v.connect(nil, "c", 5)
		for range 20 {
			c.pub(1, "n", fmt.Sprintf(`{"n":%d}`, next))
			next++
		}
		v.kill()
		v.start()
	}
	e.down.Store(false)
	eventually(t, "everything acknowledged is there", func() bool { return e.count() == next })
	var page struct{ Rows []object }
	v.api("GET", "/berth/tables/t/rows?limit=1000", nil, &page)
	if len(page.Rows) != next {
		t.Errorf("%d rows of %d messages", len(page.Rows), next)
	}
}
