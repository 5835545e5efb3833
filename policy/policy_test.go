package policy

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const arn = "arn:aws:iot:us-east-1:000000000000:"

// base is a connection of thing lamp-1 with its certificate attached.
func base() *Context {
	return &Context{
		ARNPrefix:     arn,
		ClientID:      "lamp-1",
		SourceIP:      netip.MustParseAddr("192.0.2.7"),
		Thing:         &Thing{Name: "lamp-1", Type: "lamp", Attributes: map[string]string{"Room": "kitchen", "bad": "a+b"}},
		ThingAttached: true,
		CertificateID: "c0ffee",
		DomainName:    "iot.example.com",
		Now:           time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Extra:         map[string][]string{"berth:Site": {"north"}, "berth:Rank": {"7"}, "berth:Tags": {"a", "b"}},
	}
}

func mustParse(t testing.TB, doc string) *Document {
	t.Helper()
	d, err := Parse([]byte(doc))
	if err != nil {
		t.Fatalf("Parse(%s): %v", doc, err)
	}
	return d
}

func compile(t testing.TB, ctx *Context, docs ...string) *Set {
	t.Helper()
	named := make([]Named, len(docs))
	for i, doc := range docs {
		named[i] = Named{Name: fmt.Sprintf("p%d", i+1), Version: "1", Doc: mustParse(t, doc)}
	}
	return Compile(named, ctx)
}

// statement wraps the inside of one statement, ARN standing for the prefix.
func statement(s string) string {
	return `{"Version":"2012-10-17","Statement":[{` + strings.ReplaceAll(s, "ARN:", arn) + `}]}`
}

// check asks both evaluators.
func check(t *testing.T, set *Set, a Action, kind Kind, name string, want bool) {
	t.Helper()
	if got := set.Allows(a, kind, name); got != want {
		t.Errorf("Allows(%v, %v, %q) = %v, want %v\n%v", a, kind, name, got, want, set.Explain(a, kind, name))
	}
	if got := set.Explain(a, kind, name); got.Allowed != want {
		t.Errorf("Explain(%v, %v, %q) = %v, want %v", a, kind, name, got, want)
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	tests := []struct {
		resource string
		action   Action
		name     string
		want     bool
	}{
		{`"*"`, Publish, "a/b", true},
		{`"ARN:topic/a/b"`, Publish, "a/b", true},
		{`"ARN:topic/a/b"`, Publish, "a/b/c", false},
		{`"ARN:topic/a/b"`, Publish, "A/b", false},
		{`"ARN:topic/a/*"`, Publish, "a/b/c", true},
		{`"ARN:topic/a/*"`, Publish, "a/", true},
		{`"ARN:topic/a/*"`, Publish, "a", false},
		{`"ARN:topic/*/b"`, Publish, "x/y/b", true},
		{`"ARN:topic/*/b"`, Publish, "x/y/c", false},
		{`"ARN:topic/a/?"`, Publish, "a/b", true},
		{`"ARN:topic/a/?"`, Publish, "a/ü", true},
		{`"ARN:topic/a/?"`, Publish, "a/世", true},
		{`"ARN:topic/a/?"`, Publish, "a/bc", false},
		{`"ARN:topic/a/?"`, Publish, "a/", false},
		{`"ARN:topic/a?c*e"`, Publish, "abcde", true},
		{`"ARN:topic/a?c*e"`, Publish, "abce", true},
		{`"ARN:topic/a?c*e"`, Publish, "ace", false},
		{`["ARN:topic/a","ARN:topic/b"]`, Publish, "b", true},
		// + and # are literal, * crosses levels.
		{`"ARN:topicfilter/some/+/topic"`, Subscribe, "some/+/topic", true},
		{`"ARN:topicfilter/some/+/topic"`, Subscribe, "some/x/topic", false},
		{`"ARN:topicfilter/some/*/topic"`, Subscribe, "some/+/topic", true},
		{`"ARN:topicfilter/a/#"`, Subscribe, "a/#", true},
		{`"ARN:topicfilter/a/#"`, Subscribe, "a/b", false},
		{`"ARN:topicfilter/a/*"`, Subscribe, "a/#", true},
		{`"ARN:topicfilter/a/*"`, Subscribe, "a/b/+/#", true},
		// The kind counts.
		{`"ARN:topic/a"`, Subscribe, "a", false},
		{`"ARN:topicfilter/a"`, Publish, "a", false},
		{`"ARN:client/lamp-1"`, Connect, "lamp-1", true},
		{`"ARN:lamp-1"`, Connect, "lamp-1", false},
		{`"ARN:thing/lamp-1"`, GetThingShadow, "lamp-1", true},
		{`"ARN:thing/lamp-1"`, GetThingShadow, "lamp-1/config", false},
		{`"ARN:thing/lamp-1/*"`, GetThingShadow, "lamp-1/config", true},
		{`"ARN:rolealias/r"`, AssumeRoleWithCertificate, "r", true},
		{`"*"`, ListRetainedMessages, "", true},
		{`"ARN:topic/*"`, ListRetainedMessages, "", false},
		// Wildcards in and across the parts of the ARN.
		{`"arn:aws:iot:*:*:topic/a"`, Publish, "a", true},
		{`"arn:aws:iot:*:*:topic/a"`, Publish, "b", false},
		{`"arn:aws:iot:us-east-?:*:topic/a*"`, Publish, "ab", true},
		{`"arn:aws:iot:eu-west-1:000000000000:topic/a"`, Publish, "a", false},
		{`"arn:aws:iot:us-east-1:111111111111:topic/*"`, Publish, "a", false},
		{`"arn:aws:iot:*"`, Publish, "a", true},
		{`"arn:*:*:*:*:*/a"`, Publish, "x/a", true},
		{`"ARN:*"`, Subscribe, "#", true},
		{`"ARN:topic*/a"`, Subscribe, "a", true},
		{`"ARN:topic*/a"`, Publish, "a", true},
		{`"ARN:top?c/a"`, Publish, "a", true},
		// Special variables are the characters themselves.
		{`"ARN:topic/a/${*}"`, Publish, "a/*", true},
		{`"ARN:topic/a/${*}"`, Publish, "a/b", false},
		{`"ARN:topic/a/$(?)b"`, Publish, "a/?b", true},
		{`"ARN:topic/a/$(?)b"`, Publish, "a/xb", false},
		{`"ARN:topic/${$}aws/x"`, Publish, "$aws/x", true},
		{`"ARN:topic/$($)aws/x"`, Publish, "$aws/x", true},
		{`"ARN:topic/$aws/things/*"`, Publish, "$aws/things/t", true},
	}
	for _, tt := range tests {
		set := compile(t, base(), statement(fmt.Sprintf(`"Effect":"Allow","Action":%q,"Resource":%s`, tt.action, tt.resource)))
		check(t, set, tt.action, tt.action.Kind(), tt.name, tt.want)
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		actions string
		want    []Action
	}{
		{`"Action":"iot:Publish"`, []Action{Publish}},
		{`"Action":"IOT:pUBLISH"`, []Action{Publish}},
		{`"Action":["iot:Publish","iot:Receive"]`, []Action{Publish, Receive}},
		{`"Action":"iot:Pub*"`, []Action{Publish}},
		{`"Action":"iot:*Publish"`, []Action{Publish, RetainPublish}},
		{`"Action":"iot:GetThing?hadow"`, []Action{GetThingShadow}},
		{`"Action":"iot:Get*"`, []Action{GetThingShadow, GetRetainedMessage, GetPendingJobExecutions}},
		{`"Action":"s3:*"`, nil},
		{`"NotAction":["iot:*Thing*","iot:*Job*","iot:*Retain*","iot:Delete*","iot:Assume*"]`, []Action{Connect, Publish, Subscribe, Receive}},
	}
	for _, tt := range tests {
		set := compile(t, base(), statement(tt.actions+`,"Effect":"Allow","Resource":"*"`))
		want := map[Action]bool{}
		for _, a := range tt.want {
			want[a] = true
		}
		for a := range Action(numActions) {
			check(t, set, a, a.Kind(), "x", want[a])
		}
	}
	for _, all := range []string{"*", "iot:*"} {
		set := compile(t, base(), statement(`"Effect":"Allow","Resource":"*","Action":"`+all+`"`))
		for a := range Action(numActions) {
			check(t, set, a, a.Kind(), "x", true)
			if got, ok := ParseAction(strings.ToUpper(a.String())); !ok || got != a {
				t.Errorf("ParseAction(%v) = %v, %v", a, got, ok)
			}
		}
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1025)
	tests := []struct {
		what     string
		ctx      func(*Context)
		resource string
		name     string
		want     bool
	}{
		{"thing name", nil, "${iot:Connection.Thing.ThingName}/x", "lamp-1/x", true},
		{"thing name, another's", nil, "${iot:Connection.Thing.ThingName}/x", "lamp-2/x", false},
		{"case of the key", nil, "${IOT:connection.THING.thingname}/x", "lamp-1/x", true},
		{"type", nil, "${iot:Connection.Thing.ThingTypeName}", "lamp", true},
		{"attribute", nil, "${iot:Connection.Thing.Attributes[Room]}/t", "kitchen/t", true},
		{"attribute name has case", nil, "${iot:Connection.Thing.Attributes[room]}/t", "kitchen/t", false},
		{"attribute missing", nil, "${iot:Connection.Thing.Attributes[none]}/t", "/t", false},
		{"attribute with wildcard", nil, "${iot:Connection.Thing.Attributes[bad]}", "a+b", false},
		{"is attached", nil, "${iot:Connection.Thing.IsAttached}", "true", true},
		{"client id", nil, "${iot:ClientId}/*", "lamp-1/x/y", true},
		{"source address", nil, "${aws:SourceIp}", "192.0.2.7", true},
		{"certificate id", nil, "${iot:CertificateId}", "c0ffee", true},
		{"domain name", nil, "${iot:DomainName}", "iot.example.com", true},
		{"extra key", nil, "${BERTH:site}", "north", true},
		{"extra key with two values", nil, "${berth:Tags}", "a", false},
		{"unknown", nil, "${iot:Nothing}", "${iot:Nothing}", false},
		{"two variables", nil, "${iot:ClientId}/${berth:Site}/?", "lamp-1/north/z", true},
		{"client id +", func(c *Context) { c.ClientID = "+" }, "my/${iot:ClientId}/topic", "my/+/topic", false},
		{"client id *", func(c *Context) { c.ClientID = "*" }, "my/${iot:ClientId}/topic", "my/x/topic", false},
		{"client id * as text", func(c *Context) { c.ClientID = "*" }, "my/${iot:ClientId}/topic", "my/*/topic", false},
		{"text stays, and is not matched", func(c *Context) { c.ClientID = "$x" }, "${iot:ClientId}", "${iot:ClientId}", false},
		{"client id too long", func(c *Context) { c.ClientID = long }, "${iot:ClientId}", long, false},
		{"client id of 1024", func(c *Context) { c.ClientID = long[1:] }, "${iot:ClientId}", long[1:], true},
		{"no client id", func(c *Context) { c.ClientID = "" }, "${iot:ClientId}/a", "/a", false},
		{"no thing", func(c *Context) { c.Thing = nil }, "${iot:Connection.Thing.ThingName}", "lamp-1", false},
		{"HTTP has no thing", func(c *Context) { c.Protocol = HTTP }, "${iot:Connection.Thing.ThingName}", "lamp-1", false},
		{"not UTF-8", func(c *Context) { c.ClientID = "a\xff" }, "${iot:ClientId}", "a\xff", false},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			ctx := base()
			if tt.ctx != nil {
				tt.ctx(ctx)
			}
			doc := statement(fmt.Sprintf(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/%s"`, tt.resource))
			check(t, compile(t, ctx, doc), Publish, KindTopic, tt.name, tt.want)
			// A Deny matches what an Allow matches.
			all := statement(`"Effect":"Allow","Action":"*","Resource":"*"`)
			deny := strings.Replace(doc, "Allow", "Deny", 1)
			check(t, compile(t, ctx, all, deny), Publish, KindTopic, tt.name, !tt.want)
			// Without the current version the text is only text.
			for _, version := range []string{`"Version":"2008-10-17",`, ""} {
				old := strings.Replace(doc, `"Version":"2012-10-17",`, version, 1)
				check(t, compile(t, ctx, old), Publish, KindTopic, tt.name, tt.name == tt.resource)
			}
		})
	}
}

func TestUnresolvedLeavesOtherResources(t *testing.T) {
	t.Parallel()
	ctx := base()
	ctx.Thing = nil
	set := compile(t, ctx, statement(`"Effect":"Allow","Action":"iot:Publish","Resource":["ARN:topic/${iot:Connection.Thing.ThingName}","ARN:topic/common"]`))
	check(t, set, Publish, KindTopic, "common", true)
	check(t, set, Publish, KindTopic, "lamp-1", false)
}

func TestDenyAndNot(t *testing.T) {
	t.Parallel()
	all := statement(`"Effect":"Allow","Action":"iot:*","Resource":"*"`)
	set := compile(t, base(), all, statement(`"Effect":"Deny","Action":"iot:Subscribe","Resource":"ARN:topicfilter/a/restricted/*"`))
	check(t, set, Subscribe, KindTopicFilter, "a/restricted/x", false)
	// A wider filter passes, and so do the messages.
	check(t, set, Subscribe, KindTopicFilter, "a/#", true)
	check(t, set, Receive, KindTopic, "a/restricted/x", true)

	set = compile(t, base(), statement(`"Effect":"Allow","Action":"iot:Publish","NotResource":["ARN:topic/secret/*","ARN:topic/x"]`))
	check(t, set, Publish, KindTopic, "a", true)
	check(t, set, Publish, KindTopic, "x", false)
	check(t, set, Publish, KindTopic, "secret/a", false)

	set = compile(t, base(), all, statement(`"Effect":"Deny","NotAction":"iot:Connect","NotResource":"ARN:topic/${iot:ClientId}/*"`))
	check(t, set, Publish, KindTopic, "lamp-1/a", true)
	check(t, set, Publish, KindTopic, "lamp-2/a", false)
	check(t, set, Subscribe, KindTopicFilter, "lamp-1/a", false)
	check(t, set, Connect, KindClient, "any", true)

	// Without a value, NotResource lets nothing through either way.
	ctx := base()
	ctx.Thing = nil
	const not = `"Action":"iot:Publish","NotResource":"ARN:topic/${iot:Connection.Thing.ThingName}"`
	check(t, compile(t, ctx, statement(`"Effect":"Allow",`+not)), Publish, KindTopic, "a", false)
	check(t, compile(t, ctx, all, statement(`"Effect":"Deny",`+not)), Publish, KindTopic, "a", false)

	set = Compile(nil, base())
	check(t, set, Publish, KindTopic, "a", false)
	check(t, Compile(nil, nil), Connect, KindClient, "a", false)
}

func TestOtherKindsAreLookedUp(t *testing.T) {
	t.Parallel()
	set := compile(t, base(), statement(`"Effect":"Allow","Action":"iot:ListNamedShadowsForThing","Resource":"*"`))
	check(t, set, ListNamedShadowsForThing, KindThing, "lamp-1", true)
	check(t, set, ListNamedShadowsForThing, KindAny, "", true)
	check(t, set, Action(200), KindAny, "", false)
	set = compile(t, base(), statement(`"Effect":"Allow","Action":"iot:ListNamedShadowsForThing","Resource":"ARN:thing/lamp-1"`))
	check(t, set, ListNamedShadowsForThing, KindThing, "lamp-1", true)
	check(t, set, ListNamedShadowsForThing, KindAny, "", false)
}

func TestHandMadeDocument(t *testing.T) {
	t.Parallel()
	doc := &Document{Version: VersionCurrent, Statements: []Statement{{
		Effect: Allow, Actions: []string{"iot:Publish"}, Resources: []string{arn + "topic/${iot:ClientId}"},
		Conditions: []Condition{{Operator: "Bool", Key: "iot:Connection.Thing.IsAttached", Values: []string{"true"}}},
	}}}
	set := Compile([]Named{{Name: "p", Doc: doc}, {Name: "none"}}, base())
	check(t, set, Publish, KindTopic, "lamp-1", true)
	doc.Statements = append(doc.Statements, Statement{Effect: Deny, Actions: []string{"iot:Publish"}, Resources: []string{"${"}})
	check(t, Compile([]Named{{Name: "p", Doc: doc}}, base()), Publish, KindTopic, "lamp-1", false)
}

func TestManyStatements(t *testing.T) {
	t.Parallel()
	var topics []string
	for i := range 40 {
		topics = append(topics, fmt.Sprintf(`"ARN:topic/t%d"`, i))
	}
	set := compile(t, base(), statement(`"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":[`+strings.Join(topics, ",")+`]`))
	check(t, set, Publish, KindTopic, "t39", true)
	check(t, set, Receive, KindTopic, "t0", true)
	check(t, set, Publish, KindTopic, "t40", false)
	if set.index[Publish] != set.index[Receive] {
		t.Error("equal actions do not share a table")
	}
}

func TestUntil(t *testing.T) {
	t.Parallel()
	const allow = `"Effect":"Allow","Action":"iot:Publish","Resource":"*","Condition":`
	ctx := base()
	if until := compile(t, ctx, statement(allow+`{"StringEquals":{"iot:ClientId":"lamp-1"}}`)).Until(); !until.IsZero() {
		t.Errorf("Until = %v without a clock", until)
	}
	doc := statement(allow + `{"DateGreaterThan":{"aws:CurrentTime":"2026-03-01T12:00:05Z"},"NumericLessThan":{"aws:EpochTime":"1772366409"}}`)
	want := []struct {
		at      int // seconds after base
		allowed bool
	}{{0, false}, {5, false}, {6, true}, {8, true}, {9, false}}
	for _, w := range want {
		ctx := base()
		ctx.Now = ctx.Now.Add(time.Duration(w.at) * time.Second)
		check(t, compile(t, ctx, doc), Publish, KindTopic, "a", w.allowed)
	}
	// Following Until never misses a change.
	at := ctx.Now
	var seen []string
	for range 10 {
		c := base()
		c.Now = at
		set := compile(t, c, doc)
		seen = append(seen, fmt.Sprint(at.Sub(ctx.Now), set.Allows(Publish, KindTopic, "a")))
		if at = set.Until(); at.IsZero() {
			break
		}
	}
	if got := strings.Join(seen, " "); got != "0s false 5s false 6s true 9s false 10s false" {
		t.Errorf("timeline %s", got)
	}
}

func TestParseResource(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, prefix string
		kind       Kind
		name       string
		ok         bool
	}{
		{arn + "topic/a:b/c", arn, KindTopic, "a:b/c", true},
		{arn + "topicfilter/#", arn, KindTopicFilter, "#", true},
		{"*", "", KindAny, "", true},
		{arn + "cert/x", "", 0, "", false},
		{"arn:aws:iot", "", 0, "", false},
		{"a:b:c:d:e:topic/x", "", 0, "", false},
	} {
		prefix, kind, name, ok := ParseResource(tt.in)
		if ok != tt.ok || ok && (prefix != tt.prefix || kind != tt.kind || name != tt.name) {
			t.Errorf("ParseResource(%q) = %q, %v, %q, %v", tt.in, prefix, kind, name, ok)
		}
	}
}

func TestSetDoesNotKeepContext(t *testing.T) {
	t.Parallel()
	ctx := base()
	ctx.Certificate = &x509.Certificate{}
	set := compile(t, ctx, statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/${berth:Site}"`))
	ctx.Extra["berth:Site"][0] = "south"
	*ctx = Context{}
	check(t, set, Publish, KindTopic, "north", true)
}
