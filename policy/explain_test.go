package policy

import (
	"slices"
	"strings"
	"testing"
)

func TestDecision(t *testing.T) {
	t.Parallel()
	set := Compile([]Named{
		{Name: "fleet", Version: "3", Target: arn + "thinggroup/lamps", Doc: mustParse(t, statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/*"`))},
		{Name: "own", Version: "1", Target: arn + "cert/c0ffee", Doc: mustParse(t, statement(`"Sid":"NoSecrets","Effect":"Deny","Action":"iot:Publish","Resource":"ARN:topic/secret/*"`))},
	}, base())

	d := set.Explain(Publish, KindTopic, "a")
	if !d.Allowed || d.Explicit || d.Policy != "fleet" || d.PolicyVersion != "3" || d.Target != arn+"thinggroup/lamps" || d.Statement != 0 || len(d.AllowedBy) != 1 || d.DeniedBy != nil {
		t.Errorf("allowed: %+v", d)
	}
	if got, want := d.String(), `allowed: policy "fleet" version 3 Statement[0] allows iot:Publish on topic/a`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d = set.Explain(Publish, KindTopic, "secret/a")
	if d.Allowed || !d.Explicit || d.Policy != "own" || d.Sid != "NoSecrets" || len(d.AllowedBy) != 1 || len(d.DeniedBy) != 1 {
		t.Errorf("explicit: %+v", d)
	}
	if got, want := d.String(), `denied: policy "own" version 1 Statement[0] "NoSecrets" denies iot:Publish on topic/secret/a`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d = set.Explain(Subscribe, KindTopicFilter, "a/#")
	if got, want := d.String(), `denied: no statement allows iot:Subscribe on topicfilter/a/# (policies: fleet, own); no Allow statement names iot:Subscribe`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := Compile(nil, base()).Explain(Connect, KindClient, "c").String(); got != "denied: no policy is attached that could allow iot:Connect on client/c" {
		t.Error(got)
	}
}

func TestNearMisses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		what, inside string
		ctx          func(*Context)
		action       Action
		name         string
		want         string
	}{
		{"topic for topicfilter", `"Action":"iot:Subscribe","Resource":"ARN:topic/a/*"`, nil, Subscribe, "a/b", "names topic/, but iot:Subscribe is checked against topicfilter/"},
		{"topicfilter for topic", `"Action":["iot:Publish","iot:Receive"],"Resource":"ARN:topicfilter/a/*"`, nil, Receive, "a/b", "names topicfilter/, but iot:Receive is checked against topic/"},
		{"plus", `"Action":"iot:Subscribe","Resource":"ARN:topicfilter/a/+/c"`, nil, Subscribe, "a/b/c", "has + or # in"},
		{"hash", `"Action":"iot:Publish","Resource":"ARN:topic/a/#"`, nil, Publish, "a/b/c", "has + or # in"},
		{"region", `"Action":"iot:Publish","Resource":"arn:aws:iot:eu-west-1:000000000000:topic/a"`, nil, Publish, "a", "is for arn:aws:iot:eu-west-1:000000000000:, but the resources here begin with " + arn},
		{"account", `"Action":"iot:Publish","Resource":"arn:aws:iot:us-east-1:123456789012:topic/*"`, nil, Publish, "a", "is for arn:aws:iot:us-east-1:123456789012:"},
		{"kind left out", `"Action":"iot:Connect","Resource":"ARN:lamp-1"`, nil, Connect, "lamp-1", "without client/ before the name"},
		{"not attached", `"Action":"iot:Connect","Resource":"ARN:client/${iot:Connection.Thing.ThingName}"`, func(c *Context) { c.Thing = nil }, Connect, "lamp-1",
			"would allow it with a value for ${iot:Connection.Thing.ThingName}, but the certificate is not attached to a thing named like the client identifier \"lamp-1\""},
		{"HTTP", `"Action":"iot:Publish","Resource":"ARN:topic/${iot:Connection.Thing.ThingName}"`, func(c *Context) { c.Protocol = HTTP }, Publish, "lamp-1", "exist for MQTT only"},
		{"attribute", `"Action":"iot:Publish","Resource":"ARN:topic/${iot:Connection.Thing.Attributes[Floor]}"`, nil, Publish, "2", `thing "lamp-1" has none`},
		{"not substituted", `"Action":"iot:Publish","Resource":"ARN:topic/${iot:Connection.Thing.Attributes[bad]}"`, nil, Publish, "a+b", `its value "a+b" is not substituted`},
		{"no certificate", `"Action":"iot:Publish","Resource":"ARN:topic/${iot:Certificate.SerialNumber}"`, nil, Publish, "1", "presented no certificate"},
		{"condition", `"Action":"iot:Connect","Resource":"*","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"true"}}`, func(c *Context) { c.ThingAttached = false }, Connect, "x",
			`its condition Bool iot:Connection.Thing.IsAttached does not hold: the key is "false"`},
		{"condition without value", `"Action":"iot:Connect","Resource":"*","Condition":{"StringEquals":{"berth:None":"x"}}`, nil, Connect, "x", "berth:None does not hold: the key has no value here"},
		{"case", `"Action":"iot:Publish","Resource":"ARN:topic/Lamp/*"`, nil, Publish, "lamp/1", "differs in upper and lower case only"},
		{"retain", `"Action":"iot:Publish","Resource":"ARN:topic/a"`, nil, RetainPublish, "a", "needs iot:RetainPublish as well"},
		{"receive", `"Action":"iot:Subscribe","Resource":"*"`, nil, Receive, "a", "iot:Subscribe alone delivers nothing"},
		{"connect", `"Action":"iot:Publish","Resource":"*"`, nil, Connect, "a", "every device needs iot:Connect"},
		{"any", `"Action":"iot:ListRetainedMessages","Resource":"ARN:topic/*"`, nil, ListRetainedMessages, "", `write Resource "*"`},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			ctx := base()
			if tt.ctx != nil {
				tt.ctx(ctx)
			}
			d := compile(t, ctx, statement(`"Effect":"Allow",`+tt.inside)).Explain(tt.action, tt.action.Kind(), tt.name)
			if d.Allowed || d.Explicit || !strings.Contains(strings.Join(d.NearMisses, "\n"), tt.want) {
				t.Errorf("near misses %q\nwant %s", d.NearMisses, tt.want)
			}
		})
	}
	old := strings.Replace(statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/${iot:ClientId}"`), VersionCurrent, VersionOld, 1)
	if d := compile(t, base(), old).Explain(Publish, KindTopic, "lamp-1"); !strings.Contains(d.String(), `variables need "Version": "2012-10-17"`) {
		t.Error(d)
	}
}

func TestMissingContextValues(t *testing.T) {
	t.Parallel()
	ctx := base()
	ctx.Thing = nil
	set := compile(t, ctx, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
		{"Effect":"Deny","Action":"iot:Connect","Resource":"*","Condition":{"StringEquals":{"berth:None":"x","iot:ClientId":"${iot:Certificate.SerialNumber}"}}},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:Other}"}]}`)
	got := set.Explain(Connect, KindClient, "lamp-1").MissingContextValues
	slices.Sort(got)
	if want := []string{"berth:None", "iot:Certificate.SerialNumber", "iot:Connection.Thing.ThingName"}; !slices.Equal(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	tests := []struct{ doc, want string }{ // want "" means no warning
		{statement(`"Effect":"Allow","Action":"iot:*","Resource":"*"`), "allows every action on every resource"},
		{statement(`"Effect":"Allow","Action":"iot:Connect","Resource":"ARN:client/*"`), "any client identifier"},
		{statement(`"Effect":"Allow","Action":"iot:Connect","Resource":"ARN:client/${iot:Connection.Thing.ThingName}"`), ""},
		{statement(`"Effect":"Allow","Action":"iot:Subscribe","Resource":"ARN:topic/a"`), "checked against topicfilter/, not topic/"},
		{statement(`"Effect":"Allow","Action":["iot:Subscribe","iot:Receive"],"Resource":["ARN:topicfilter/*"]`), "subscribing to every topic"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topicfilter/a"`), "checked against topic/, not topicfilter/"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/*"`), "publishing to every topic"},
		{statement(`"Effect":"Allow","Action":"iot:Receive","Resource":"ARN:topic/*"`), "receiving from every topic"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/a/+"`), "plain characters"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/a/${iot:ClientID}"`), ""},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/a/${iot:Client}"`), "${iot:Client} is not a variable"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/a/${iot:Certificate.Subject.CommonName.List}"`), "a list cannot be substituted"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:lamp"`), "no kind of resource"},
		{statement(`"Effect":"Allow","Action":"iot:Publsh","Resource":"*"`), "not an action that the data plane checks"},
		{statement(`"Effect":"Allow","NotAction":"iot:Publish","Resource":"*"`), "NotAction"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","NotResource":"*"`), "NotResource"},
		{statement(`"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"Bool":{"iot:Attached":"true"}}`), "condition key iot:Attached is unknown"},
		{statement(`"Effect":"Allow","Action":"iot:Subscribe","Resource":"ARN:topicfilter/a"`), "no message will arrive"},
		{statement(`"Effect":"Deny","Action":"iot:Subscribe","Resource":"ARN:topicfilter/a"`), "still receives"},
		{`{"Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:us-east-1:000000000000:topic/${iot:ClientId}"}}`, `variables need "Version"`},
		{`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:us-east-1:000000000000:topic/a"},
			{"Sid":"a","Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:us-east-1:000000000000:topic/b"}]}`, "used twice"},
	}
	for _, tt := range tests {
		got := Lint(mustParse(t, tt.doc))
		if tt.want == "" && got != nil || !strings.Contains(strings.Join(got, "\n"), tt.want) {
			t.Errorf("Lint(%s) = %q, want %q", tt.doc, got, tt.want)
		}
	}
}
