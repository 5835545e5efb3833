package authorizer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

var ctx = context.Background()

const yes = `{"isAuthenticated":true,"principalId":"P","policyDocuments":[{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}],"refreshAfterInSeconds":300}`

// newService is a service over a new store and the address of a function that answers what a request
// names in its token.
func newService(t *testing.T, now func() time.Time, answer http.HandlerFunc) (*Service, string, func() *Service) {
	t.Helper()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	open := func() *Service {
		s, err := Open(ctx, Config{Store: db, ARN: func(r string) string { return "arn:" + r }, Now: now, InUse: func(_ *store.Tx, name string) (string, error) {
			if name == "used" {
				return "d", nil
			}
			return "", nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return open(), server.URL, open
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	s, url, reopen := newService(t, nil, nil)
	for name, a := range map[string]Authorizer{
		"bad name":       {Name: "a b", Function: url, SigningDisabled: true},
		"no function":    {Name: "a", SigningDisabled: true},
		"bad function":   {Name: "a", Function: "exec:/bin/sh", SigningDisabled: true},
		"no keys":        {Name: "a", Function: url, TokenKeyName: "t"},
		"no token name":  {Name: "a", Function: url, PublicKeys: map[string]string{"k": "x"}},
		"bad key":        {Name: "a", Function: url, TokenKeyName: "t", PublicKeys: map[string]string{"k": "x"}},
		"bad status":     {Name: "a", Function: url, SigningDisabled: true, Status: "SLEEPING"},
		"bad token name": {Name: "a", Function: url, SigningDisabled: true, TokenKeyName: "t?"},
	} {
		if _, err := s.Create(ctx, a); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"a", "b", "used"} {
		if _, err := s.Create(ctx, Authorizer{Name: name, Function: url, SigningDisabled: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(ctx, Authorizer{Name: "a", Function: url, SigningDisabled: true}); !errors.Is(err, registry.ErrAlreadyExists) {
		t.Error(err)
	}
	if _, err := s.SetDefault(ctx, "none"); !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
	for range 2 {
		if _, err := s.SetDefault(ctx, "a"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.SetDefault(ctx, "b"); !errors.Is(err, registry.ErrAlreadyExists) {
		t.Error(err)
	}
	inactive, token := Inactive, "token"
	if _, err := s.Update(ctx, "b", Update{Status: &inactive, TokenKeyName: &token}); err != nil {
		t.Error(err)
	}
	s = reopen()
	if a, err := s.Default(); err != nil || a.Name != "a" {
		t.Errorf("%+v %v", a, err)
	}
	if b, err := s.Describe("b"); err != nil || b.Status != Inactive || b.TokenKeyName != "token" || b.ARN != "arn:authorizer/b" {
		t.Errorf("%+v %v", b, err)
	}
	names := func(status string, descending bool, size int) (out string) {
		for page := (registry.Page{Limit: size}); ; {
			list, next, err := s.List(status, descending, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				out += a.Name + " "
			}
			if page.Token = next; next == "" {
				return out
			}
		}
	}
	if got := names("", false, 1) + names("", true, 2) + names(Inactive, false, 0); got != "a b used used b a b " {
		t.Error(got)
	}
	for _, name := range []string{"a", "used"} {
		err := s.Delete(ctx, name)
		if e, ok := errors.AsType[*registry.Error](err); !ok || e.Kind != registry.ErrDeleteConflict || e.ID != "" || e.ARN != "" { // a DeleteConflictException has a message only
			t.Errorf("%s: %+v", name, err)
		}
	}
	if err := s.Delete(ctx, "b"); err != nil {
		t.Error(err)
	}
	if err := s.ClearDefault(ctx); err != nil {
		t.Error(err)
	}
	if err := s.ClearDefault(ctx); !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
	if err := s.Delete(ctx, "a"); !errors.Is(err, registry.ErrDeleteConflict) { // ACTIVE
		t.Error(err)
	}
}

func TestWhoseTurn(t *testing.T) {
	t.Parallel()
	asked := ""
	s, url, _ := newService(t, nil, func(w http.ResponseWriter, r *http.Request) { asked = r.URL.Path; io.WriteString(w, yes) })
	for _, name := range []string{"a", "b", "off"} {
		if _, err := s.Create(ctx, Authorizer{Name: name, Function: url + "/" + name, SigningDisabled: true}); err != nil {
			t.Fatal(err)
		}
	}
	off := Inactive
	if _, err := s.Update(ctx, "off", Update{Status: &off}); err != nil {
		t.Fatal(err)
	}
	check := func(name string, r Request, want string) {
		t.Helper()
		asked = ""
		_, err := s.Authenticate(ctx, &r)
		if asked != want || want == "" && !errors.Is(err, ErrNoAuthorizer) || want != "" && err != nil {
			t.Errorf("%s: asked %q, want %q: %v", name, asked, want, err)
		}
	}
	user := func(name string) *MQTT { return &MQTT{UserName: "u?x-amz-customauthorizer-name=" + name} }
	check("nothing", Request{MQTT: &MQTT{}}, "")
	check("named", Request{MQTT: user("a")}, "/a")
	check("inactive", Request{MQTT: user("off")}, "")
	check("not there", Request{MQTT: user("c")}, "")
	check("domain", Request{MQTT: &MQTT{}, Default: "a"}, "/a")
	check("domain, the same", Request{MQTT: user("a"), Default: "a"}, "/a")
	check("domain, another", Request{MQTT: user("b"), Default: "a"}, "")
	check("domain, another may be", Request{MQTT: user("b"), Default: "a", Override: true}, "/b")
	check("header", Request{HTTP: &HTTP{Headers: map[string]string{nameField: "b"}}}, "/b")
	check("query", Request{HTTP: &HTTP{Query: nameField + "=b"}}, "/b")
	if _, err := s.SetDefault(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	check("default", Request{MQTT: &MQTT{}}, "/b")
	check("default, another", Request{MQTT: user("a"), Override: true}, "/a")
	if _, err := s.Authenticate(ctx, &Request{MQTT: &MQTT{UserName: "u?a=%"}}); !errors.Is(err, ErrCredentials) {
		t.Error(err)
	}
}

func TestParseQuery(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]map[string]string{
		"":                   {},
		"a=1&b=2":            {"a": "1", "b": "2"},
		"a=x+y%2Bz%3D==":     {"a": "x+y+z==="},
		"SDK=C&Version=4&&x": {"SDK": "C", "Version": "4", "x": ""},
		"a%20b=c":            {"a b": "c"},
		"a=1&a=2":            nil,
		"a=%g":               nil,
		"%=":                 nil,
	} {
		got, err := parseQuery(query)
		if (err == nil) != (want != nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v %v", query, got, err)
		}
	}
}

func TestParseDecision(t *testing.T) {
	t.Parallel()
	document := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`
	text, _ := json.Marshal(document)
	long := strings.Replace(document, `"*"`, `"`+strings.Repeat("x", 2048)+`"`, 1)
	for answer, want := range map[string]string{
		yes: "",
		`{"isAuthenticated":true,"principalId":"p1","policyDocuments":[` + string(text) + `],"disconnectAfterInSeconds":86400}`: "",
		`{"isAuthenticated":false}`:                                                                                          "",
		`{"isAuthenticated":true}`:                                                                                           "principalId",
		`{"isAuthenticated":true,"principalId":"a b"}`:                                                                       "principalId",
		`{"isAuthenticated":true,"principalId":"a","refreshAfterInSeconds":299}`:                                             "refreshAfterInSeconds",
		`{"isAuthenticated":true,"principalId":"a","disconnectAfterInSeconds":86401}`:                                        "disconnectAfterInSeconds",
		`{"isAuthenticated":true,"principalId":"a","disconnectAfterInSeconds":300.5}`:                                        "disconnectAfterInSeconds",
		`{"isAuthenticated":true,"principalId":"a","policyDocuments":[` + strings.Repeat(document+",", 10) + document + `]}`: "11 policy documents",
		`{"isAuthenticated":true,"principalId":"a","policyDocuments":[` + long + `]}`:                                        "the limit is 2048",
		`{"isAuthenticated":true,"principalId":"a","policyDocuments":[{"a":1}]}`:                                             "policy document 1",
		`{"errorMessage":"boom"}`:                                                                                            "no isAuthenticated",
		`null`:                                                                                                               "no isAuthenticated",
		`[]`:                                                                                                                 "JSON",
		``:                                                                                                                   "JSON",
	} {
		d, err := parseDecision([]byte(answer), "x")
		if want == "" && (err != nil || d.Refresh < minInterval || d.Disconnect != 86400*time.Second || len(d.Policies) != len(d.Documents)) {
			t.Errorf("%.80s: %+v %v", answer, d, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.80s: %v, want %q", answer, err, want)
		}
	}
}

// TestCache: only requests of the same connection and credentials share an answer, only where the
// authorizer says so, and only until it is to be asked again.
func TestCache(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	now := time.Unix(1_800_000_000, 0)
	s, url, _ := newService(t, func() time.Time { return now }, func(w http.ResponseWriter, _ *http.Request) { calls.Add(1); io.WriteString(w, yes) })
	for name, keep := range map[string]bool{"keep": true, "ask": false} {
		if _, err := s.Create(ctx, Authorizer{Name: name, Function: url, SigningDisabled: true, CacheHTTP: keep}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(name, connection, token, length string) {
		t.Helper()
		if _, err := s.Authenticate(ctx, &Request{Connection: connection, HTTP: &HTTP{Headers: map[string]string{nameField: name, "tok": token, "content-length": length}}}); err != nil {
			t.Fatal(err)
		}
	}
	for i, step := range []struct {
		do   func()
		want int64
	}{
		{func() { ask("keep", "1", "a", "1") }, 1},
		{func() { ask("keep", "1", "a", "2") }, 1},
		{func() { ask("keep", "2", "a", "1") }, 2},
		{func() { ask("keep", "1", "b", "1") }, 3},
		{func() { ask("ask", "1", "a", "1"); ask("ask", "1", "a", "1") }, 5},
		{func() { now = now.Add(301 * time.Second); ask("keep", "1", "a", "1") }, 6},
	} {
		if step.do(); calls.Load() != step.want {
			t.Errorf("step %d: %d calls, want %d", i, calls.Load(), step.want)
		}
	}
}

// TestGate: an authorizer that hangs takes its own places only, and its clients do not queue without
// end.
func TestGate(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s, url, _ := newService(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		io.WriteString(w, yes)
	})
	for _, name := range []string{"slow", "quick"} {
		if _, err := s.Create(ctx, Authorizer{Name: name, Function: url + "/" + name, SigningDisabled: true}); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, maxCalls)
	for range maxCalls {
		go func() {
			_, err := s.Authenticate(ctx, &Request{MQTT: &MQTT{}, Default: "slow"})
			done <- err
		}()
	}
	slow, err := s.Describe("slow")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(4 * time.Second); len(slow.gate.slots) < maxCalls && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	impatient, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Authenticate(impatient, &Request{MQTT: &MQTT{}, Default: "slow"}); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	slow.gate.waiting.Add(maxWaiting)
	if _, err := s.Authenticate(ctx, &Request{MQTT: &MQTT{}, Default: "slow"}); !errors.Is(err, ErrBusy) {
		t.Errorf("many more: %v", err)
	}
	slow.gate.waiting.Add(-maxWaiting)
	if _, err := s.Authenticate(ctx, &Request{MQTT: &MQTT{}, Default: "quick"}); err != nil {
		t.Errorf("another authorizer: %v", err)
	}
	close(release)
	for range maxCalls {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func FuzzUserName(f *testing.F) {
	for _, s := range []string{"", "u", "u?", "u?x-amz-customauthorizer-name=a&x-amz-customauthorizer-signature=b%2B%3D&tok=c", "?a&&=&%", "u?a=1&a=2", "?%zz", "?SDK=C&Version=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, userName string) {
		fields, err := userNameQuery(userName)
		if err != nil {
			return
		}
		if len(fields) > maxFields {
			t.Errorf("%d fields", len(fields))
		}
		query := make(url.Values)
		for name, value := range fields {
			query.Set(name, value)
		}
		again, err := parseQuery(strings.ReplaceAll(query.Encode(), "+", "%20"))
		if err != nil || len(again) != len(fields) {
			t.Fatalf("%q read as %q, read again as %q: %v", userName, fields, again, err)
		}
		for name, value := range fields {
			if again[name] != value {
				t.Errorf("%q is %q, read again %q", name, value, again[name])
			}
		}
	})
}

func FuzzDecision(f *testing.F) {
	f.Add([]byte(yes))
	f.Add([]byte(`{"isAuthenticated":true,"principalId":"p","policyDocuments":["{}"],"refreshAfterInSeconds":1e3}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		d, err := parseDecision(answer, "x")
		if err == nil && d.Authenticated && (!principalPattern.MatchString(d.PrincipalID) || d.Refresh < minInterval || d.Refresh > maxInterval || len(d.Policies) > maxDocuments) {
			t.Errorf("%+v", d)
		}
	})
}
