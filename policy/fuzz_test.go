package policy

import (
	"strings"
	"testing"
)

// FuzzParse checks that no document makes the package panic, and that the
// tables and the documents give the same answers.
func FuzzParse(f *testing.F) {
	for _, inside := range []string{
		`"Effect":"Allow","Action":"iot:*","Resource":"*"`,
		`"Sid":"x","Effect":"Deny","NotAction":["iot:Connect"],"NotResource":["ARN:topic/${iot:Connection.Thing.ThingName}/*"]`,
		`"Effect":"Allow","Action":"iot:Subscribe","Resource":["ARN:topicfilter/a/+/?*","arn:aws:iot:*:*:topic*/a"]`,
		`"Effect":"Allow","Action":"*","Resource":"ARN:client/${iot:Certificate.Subject.CommonName.1}","Condition":{"ForAllValues:StringNotLikeIfExists":{"iot:ConnectAttributes":["Last*"]}}`,
		`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/$(*)${?}${iot:Connection.Thing.Attributes[Room]}","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"},"DateLessThan":{"aws:CurrentTime":"2027-01-01"},"Null":{"a":true}}`,
		`"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"ArnLike":{"iot:LastWillTopic":"arn:aws:iot:*:*:topic/${iot:ClientId}"},"NumericEquals":{"aws:EpochTime":1}}`,
	} {
		f.Add([]byte(statement(inside)), "lamp-1", "a/b")
	}
	f.Add([]byte(`{"Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:::topic/${"}}`), "", "")
	f.Fuzz(func(t *testing.T, doc []byte, clientID, name string) {
		d, err := Parse(doc)
		if err != nil {
			if _, ok := err.(*SyntaxError); !ok {
				t.Fatalf("error %T", err)
			}
			return
		}
		Lint(d)
		ctx := base()
		ctx.ClientID = clientID
		ctx.ConnectAttributes = []string{LastWill}
		ctx.LastWillTopic = arn + "topic/" + name
		set := Compile([]Named{{Name: "p", Doc: d}}, ctx)
		for a := range Action(numActions) {
			for _, n := range []string{name, clientID, "lamp-1/" + name, strings.ToUpper(name)} {
				got, why := set.Allows(a, a.Kind(), n), set.Explain(a, a.Kind(), n)
				if got != why.Allowed {
					t.Fatalf("%v on %q: Allows %v, Explain %v", a, n, got, why)
				}
				if why.Allowed && len(why.AllowedBy) == 0 || why.String() == "" {
					t.Fatalf("%v on %q: no reason", a, n)
				}
			}
		}
	})
}
