package policy

import (
	"fmt"
	"strings"
	"testing"
)

// fleetPolicy is what a device usually has.
const fleetPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:us-east-1:000000000000:client/${iot:Connection.Thing.ThingName}","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"true"}}},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["arn:aws:iot:us-east-1:000000000000:topic/$aws/things/${iot:Connection.Thing.ThingName}/*","arn:aws:iot:us-east-1:000000000000:topic/dt/${iot:Connection.Thing.ThingName}/*"]},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:us-east-1:000000000000:topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/*"}]}`

func twentyStatements() string {
	var b strings.Builder
	b.WriteString(`{"Version":"2012-10-17","Statement":[`)
	for i := range 20 {
		effect, resource := "Allow", fmt.Sprintf("fleet/%d/*/state", i)
		if i%5 == 4 {
			effect, resource = "Deny", fmt.Sprintf("fleet/%d/secret/*", i)
		}
		fmt.Fprintf(&b, `{"Effect":%q,"Action":["iot:Publish","iot:Receive"],"Resource":"%stopic/%s"},`, effect, arn, resource)
	}
	return strings.TrimSuffix(b.String(), ",") + "]}"
}

func BenchmarkAllows(b *testing.B) {
	one := func(resource string) string {
		return statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/` + resource + `"`)
	}
	for _, bb := range []struct {
		name, doc, topic string
		want             bool
	}{
		{"Literal", one("dt/lamp-1/telemetry"), "dt/lamp-1/telemetry", true},
		{"Prefix", one("dt/lamp-1/*"), "dt/lamp-1/telemetry", true},
		{"Variable", fleetPolicy, "dt/lamp-1/telemetry", true},
		{"Glob", one("dt/*/telemetry"), "dt/lamp-1/telemetry", true},
		{"Question", one("dt/lamp-?/tele*y"), "dt/lamp-1/telemetry", true},
		{"Everything", one("*"), "dt/lamp-1/telemetry", true},
		{"Denied", fleetPolicy, "dt/lamp-2/telemetry", false},
		{"TwentyStatements", twentyStatements(), "fleet/18/lamp-1/state", true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			set := compile(b, base(), bb.doc)
			if set.Allows(Publish, KindTopic, bb.topic) != bb.want {
				b.Fatal("wrong answer")
			}
			b.ReportAllocs()
			for b.Loop() {
				set.Allows(Publish, KindTopic, bb.topic)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	named := []Named{{Name: "p", Doc: mustParse(b, fleetPolicy)}}
	ctx := base()
	b.ReportAllocs()
	for b.Loop() {
		Compile(named, ctx)
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse([]byte(fleetPolicy)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExplain(b *testing.B) {
	set := compile(b, base(), fleetPolicy)
	b.ReportAllocs()
	for b.Loop() {
		_ = set.Explain(Publish, KindTopic, "dt/lamp-2/telemetry").String()
	}
}

func TestAllowsDoesNotAllocate(t *testing.T) {
	set := compile(t, base(), fleetPolicy, twentyStatements(), statement(`"Effect":"Allow","Action":"iot:Publish","NotResource":"ARN:topic/*?"`))
	for _, name := range []string{"dt/lamp-1/x", "fleet/18/x/state", "fleet/4/secret/x", "nothing/ü"} {
		if n := testing.AllocsPerRun(100, func() { set.Allows(Publish, KindTopic, name) }); n != 0 {
			t.Errorf("Allows(%q) allocates %v times", name, n)
		}
	}
}
