package mosquitto

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-iot/berth/policy"
)

const prefix = "arn:aws:iot:us-east-1:000000000000:"

// set compiles documents for a client.
func set(t interface{ Fatal(...any) }, docs []string, user string) *policy.Set {
	var named []policy.Named
	for i, text := range docs {
		if len(text) > maxDocument {
			t.Fatal(fmt.Sprintf("document of %d characters", len(text)))
		}
		doc, err := policy.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		named = append(named, policy.Named{Name: fmt.Sprint(i), Doc: doc})
	}
	return policy.Compile(named, &policy.Context{ARNPrefix: prefix, Protocol: policy.MQTT, ClientID: "c1", Now: time.Now(),
		Extra: map[string][]string{"berth:UserName": {user}}})
}

// may is what Mosquitto decides.
func may(rules []Rule, access Access, name, user string) bool {
	allowed := false
	for _, r := range rules {
		filter := r.Filter
		if r.Pattern {
			filter = strings.NewReplacer("%c", "c1", "%u", user).Replace(filter)
		}
		if !matches(filter, name) {
			continue
		}
		if r.Access == Deny {
			return false
		}
		allowed = allowed || r.Access&access != 0
	}
	return allowed
}

// matches follows [MQTT-4.7].
func matches(filter, name string) bool {
	if strings.HasPrefix(name, "$") && !strings.HasPrefix(filter, "$") {
		return false
	}
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(n), level != "+" && level != n[i]:
			return i == len(n) && level == "#"
		}
	}
	return len(f) == len(n)
}

func TestTranslation(t *testing.T) {
	t.Parallel()
	acl, err := ParseACL(`
topic read public/#
user anna
topic write house/+/set
topic read house/#
topic deny house/secret/#
topic $SYS/broker/#
topic readwrite odd*name/?/$x/a b
pattern read home/%u/+
pattern write dev/%c/#
topic read plain/%c
`)
	if err != nil {
		t.Fatal(err)
	}
	rules := append(acl.Users["anna"], acl.Patterns...)
	tr := translate(rules)
	if len(tr.wide) > 0 {
		t.Errorf("wide: %q", tr.wide)
	}
	s := set(t, documents(tr, prefix, []string{"*"}), "anna")
	for _, name := range []string{"house", "house/1", "house/1/set", "house/1/2/set", "house/secret", "house/secret/set", "$SYS/broker/x", "$SYS/x", "$aws/x", "odd*name/?/$x/a b", "oddXname/?/$x/a b",
		"home/anna/1", "home/anna/1/2", "home/bert/1", "dev/c1", "dev/c1/x", "dev/c2/x", "plain/%c", "plain/c1", "public/x"} {
		for _, d := range directions {
			action := map[string]policy.Action{"Publish": policy.Publish, "Receive": policy.Receive}[d.name]
			if want, have := may(rules, d.access, name, "anna"), s.Allows(action, policy.KindTopic, name); want != have {
				t.Errorf("%s %s: %v, want %v", d.name, name, have, want)
			}
		}
	}
}

// TestTranslationNeverNarrower: what the rules allow and do not deny the policies allow as well, and what
// they allow beyond is noted.
func TestTranslationNeverNarrower(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.SampledFrom([]string{"a", "b", "+", ""})
		var rules []Rule
		for range rapid.IntRange(1, 5).Draw(t, "rules") {
			levels := rapid.SliceOfN(level, 1, 3).Draw(t, "levels")
			if rapid.Bool().Draw(t, "deep") {
				levels = append(levels, "#")
			}
			access := rapid.SampledFrom([]Access{Read, Write, Read | Write, Deny}).Draw(t, "access")
			if filter := strings.Join(levels, "/"); filter != "" {
				rules = append(rules, Rule{Access: access, Filter: filter})
			}
		}
		tr := translate(rules)
		s := set(t, documents(tr, prefix, []string{"*"}), "u")
		for range 20 {
			name := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "", "$x"}), 1, 4).Draw(t, "name"), "/")
			if name == "" {
				continue
			}
			want, have := may(rules, Read, name, "u"), s.Allows(policy.Receive, policy.KindTopic, name)
			if want != have && len(tr.wide) == 0 {
				t.Fatalf("%v: %q: policies say %v, rules %v, and there is no note", rules, name, have, want)
			}
			if want && !have && !strings.Contains(strings.Join(tr.wide, " "), "also denies") {
				t.Fatalf("%v: %q is allowed by the rules and not by the policies: %q", rules, name, tr.wide)
			}
		}
	})
}

func TestLargeACL(t *testing.T) {
	t.Parallel()
	var rules []Rule
	for i := range 200 {
		rules = append(rules, Rule{Access: Read | Write, Filter: fmt.Sprintf("site/building-%d/#", i)})
	}
	docs := documents(translate(rules), prefix, []string{"*"})
	s := set(t, docs, "u")
	for i := range 200 {
		if !s.Allows(policy.Publish, policy.KindTopic, fmt.Sprintf("site/building-%d/x", i)) {
			t.Errorf("building %d is not allowed by %d documents", i, len(docs))
		}
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"/m/acl":      "topic read a\nuser anna\ntopic b\n",
		"/m/passwd":   "anna:$6$c2FsdA==$" + strings.Repeat("A", 86) + "==\nbad:plain\n",
		"/m/d/b.conf": "max_keepalive 60\nfancy_option 1\n", "/m/d/a.txt": "listener x",
	}
	read := func(path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, errors.New(path + " does not exist")
	}
	list := func(string) ([]string, error) { return []string{"b.conf", "a.txt"}, nil }
	p, err := NewPlan(`
per_listener_settings false
listener 1883
listener 8883 10.0.0.1
cafile /m/ca.crt
certfile /m/s.crt
keyfile /m/s.key
require_certificate true
use_identity_as_username true
listener 9001
protocol websockets
acl_file /m/acl
password_file /m/passwd
persistence true
persistent_client_expiration 2w
message_size_limit 1000
connection cloud
address example.com
topic # out
include_dir /m/d
`, prefix, read, list)
	if err != nil {
		t.Fatal(err)
	}
	want := `# Settings of berth serve, taken over from mosquitto.conf.
semantics: mqtt
mqtt-plain: ":1883"
allow-insecure: true
mqtt: "10.0.0.1:8883"
max-payload: 1000
max-keep-alive: 60s
session-expiry: 336h
`
	if diff := cmp.Diff(want, p.YAML()); diff != "" {
		t.Error(diff)
	}
	if len(p.Users) != 1 || p.Users[0].Name != "anna" || len(p.Policies) != 1 || p.Policies[0].Name != "mosquitto-user-anna" {
		t.Errorf("users %v, policies %v", p.Users, p.Policies)
	}
	var about []string
	for _, n := range p.Notes {
		about = append(about, n.About+": "+n.Text)
	}
	all := strings.Join(about, "\n")
	for _, words := range []string{"berth ca register /m/ca.crt", "use_identity_as_username true", "bridge cloud", "persistence", "user bad: not moved", "fancy_option",
		"listener 9001: WebSocket without TLS", "listener 1883: is without TLS", "--certificate /m/s.crt --key /m/s.key"} {
		if !strings.Contains(all, words) {
			t.Errorf("no note says %q:\n%s", words, all)
		}
	}
	if _, err := NewPlan("acl_file /none\nlistener 1883\n", prefix, read, list); err == nil {
		t.Error("a file that is not there is no error")
	}
}

func TestAnonymousDefaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": true, "listener 1883": false, "port 1883": false, "listener 1883\nallow_anonymous true": true, "allow_anonymous false": false,
		"per_listener_settings true\nlistener 1\nallow_anonymous true\nlistener 2": true} {
		c, err := ParseConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		if have := c.Anonymous(c.Open()[0]); have != want {
			t.Errorf("%q: %v, want %v", text, have, want)
		}
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"topic", "user", "topic read", "frob x", "topic a/#/b", "topic read a+"} {
		if a, err := ParseACL(text); err == nil && text != "topic read" { // a topic called read
			t.Errorf("ACL %q is taken: %+v", text, a)
		}
	}
	for _, text := range []string{"listener", "listener x", "listener 70000", "port -1"} {
		if _, err := ParseConfig(text); err == nil {
			t.Errorf("configuration %q is taken", text)
		}
	}
	for _, text := range []string{"anna", ":x"} {
		if _, err := ParsePasswords(text); err == nil {
			t.Errorf("password file %q is taken", text)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, text := range []string{"", "listener 1883 127.0.0.1\nallow_anonymous true\n", "per_listener_settings true\nlistener 1\nacl_file x\nconnection b\ntopic # both\nport 1\n",
		"persistent_client_expiration 14d\nclientid_prefixes\nmax_keepalive 99999999999\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := NewPlan(text, prefix, func(string) ([]byte, error) { return []byte("user a\ntopic b\n"), nil }, func(string) ([]string, error) { return nil, nil })
		if err != nil {
			return
		}
		for _, one := range p.Policies {
			if _, err := policy.Parse([]byte(one.Document)); err != nil {
				t.Errorf("policy %s: %v\n%s", one.Name, err, one.Document)
			}
		}
	})
}

func FuzzParseACL(f *testing.F) {
	for _, text := range []string{"topic read a/#\nuser x\ntopic deny +/b\npattern readwrite %u/%c/+\n", "topic readwrite a b\n", "# c\n\nuser a b\ntopic $SYS/#", "topic ${x}/*\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseACL(text)
		if err != nil || len(text) > 4096 {
			return
		}
		rules := append(append([]Rule{}, a.Anonymous...), a.Patterns...)
		for _, user := range a.Order {
			rules = append(rules, a.Users[user]...)
		}
		for _, r := range rules {
			if strings.ContainsAny(r.Filter, "\x00\x01") || len(r.Filter) > 200 {
				return
			}
		}
		for _, doc := range documents(translate(rules), prefix, []string{"*"}) {
			if _, err := policy.Parse([]byte(doc)); err != nil {
				t.Errorf("%v\n%s", err, doc)
			}
		}
	})
}

func FuzzParsePasswords(f *testing.F) {
	for _, text := range []string{"a:$6$c2FsdA==$" + strings.Repeat("A", 86) + "==\n", "a:$7$101$c2FsdA==$" + strings.Repeat("A", 86) + "==\nb:x\n#\n", "a:b:c", "a:$7$-1$$"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		logins, err := ParsePasswords(text)
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, l := range logins {
			if seen[l.Name] || l.Name == "" {
				t.Errorf("name %q comes twice or is empty", l.Name)
			}
			seen[l.Name] = true
		}
	})
}
