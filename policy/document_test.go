package policy

import (
	"fmt"
	"strings"
	"testing"
)

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	const ok = `"Effect":"Allow","Action":"iot:Publish","Resource":"*"`
	tests := []struct{ doc, where, reason string }{
		{``, "", "not valid JSON"},
		{`{`, "", "not valid JSON"},
		{"{\n \"Version\": x}", "line 2, column 13", "not valid JSON"},
		{"{}\xff", "", "not valid UTF-8"},
		{`[]`, "", "is an array; give an object"},
		{`{} {}`, "", "after the end"},
		{`{"Version":"2012-10-17"}`, "Statement", "missing"},
		{`{"Version":"2012-10-18","Statement":{` + ok + `}}`, "Version", "unknown version"},
		{`{"Version":2012,"Statement":{` + ok + `}}`, "Version", "is a number; give a string"},
		{`{"Statement":[]}`, "Statement", "empty"},
		{`{"Statement":"x"}`, "Statement", "is a string; give an object"},
		{`{"Statement":["x"]}`, "Statement[0]", "is a string; give an object"},
		{`{"statement":[]}`, "statement", `write "Statement"`},
		{`{"Statement":{` + ok + `},"Foo":1}`, "Foo", "unknown key"},
		{`{"Statement":{` + ok + `},"Statement":{` + ok + `}}`, "Statement", "given twice"},
		{statement(ok + `,"Effect":"Deny"`), "Statement[0].Effect", "given twice"},
		{statement(`"Action":"iot:Publish","Resource":"*"`), "Statement[0].Effect", "missing"},
		{statement(`"Effect":"allow","Action":"iot:Publish","Resource":"*"`), "Statement[0].Effect", `give "Allow" or "Deny"`},
		{statement(`"Effect":"Allow","Resource":"*"`), "Statement[0].Action", "missing"},
		{statement(`"Effect":"Allow","Action":"iot:Publish"`), "Statement[0].Resource", "missing"},
		{statement(`"Effect":"Allow","Action":[],"Resource":"*"`), "Statement[0].Action", "empty"},
		{statement(`"Effect":"Allow","Action":["iot:Publish",1],"Resource":"*"`), "Statement[0].Action[1]", "is a number"},
		{statement(`"Effect":"Allow","Action":"Publish","Resource":"*"`), "Statement[0].Action", `write "iot:Publish"`},
		{statement(`"Effect":"Allow","Action":"iot:Pub lish","Resource":"*"`), "Statement[0].Action", "unexpected character"},
		{statement(`"Effect":"Allow","Action":"iot:","Resource":"*"`), "Statement[0].Action", "not an action"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"topic/a"`), "Statement[0].Resource", "not an ARN"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":["*","arn:aws:iot"]`), "Statement[0].Resource[1]", "too few parts"},
		{statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/${iot:ClientId"`), "Statement[0].Resource[0]", "not closed"},
		{statement(ok + `,"NotAction":"iot:Connect"`), "Statement[0].NotAction", "beside Action"},
		{statement(ok + `,"NotResource":"*"`), "Statement[0].NotResource", "beside Resource"},
		{statement(ok + `,"Principal":"*"`), "Statement[0].Principal", "no principal"},
		{statement(ok + `,"Actions":"*"`), "Statement[0].Actions", `write "Action"`},
		{statement(ok + `,"Sid":1`), "Statement[0].Sid", "give a string"},
		{statement(ok + `,"Condition":[]`), "Statement[0].Condition", "give an object"},
		{statement(ok + `,"Condition":{"StringIs":{"a":"b"}}`), "Statement[0].Condition.StringIs", "unknown operator"},
		{statement(ok + `,"Condition":{"stringequals":{"a":"b"}}`), "Statement[0].Condition.stringequals", `write "StringEquals"`},
		{statement(ok + `,"Condition":{"ForSome:Bool":{"a":"b"}}`), "Statement[0].Condition.ForSome:Bool", "unknown operator"},
		{statement(ok + `,"Condition":{"NullIfExists":{"a":"true"}}`), "Statement[0].Condition.NullIfExists", "Null takes neither"},
		{statement(ok + `,"Condition":{"Bool":"x"}`), "Statement[0].Condition.Bool", "condition keys"},
		{statement(ok + `,"Condition":{"Bool":{"a":{}}}`), "Statement[0].Condition.Bool.a", "is an object"},
		{statement(ok + `,"Condition":{"Bool":{"a":null}}`), "Statement[0].Condition.Bool.a", "is null"},
		{statement(ok + `,"Condition":{"Bool":{"a":"maybe"}}`), "Statement[0].Condition.Bool.a", "not a value for Bool"},
		{statement(ok + `,"Condition":{"NumericEquals":{"a":"x"}}`), "Statement[0].Condition.NumericEquals.a", "not a value"},
		{statement(ok + `,"Condition":{"DateEquals":{"a":"x"}}`), "Statement[0].Condition.DateEquals.a", "not a value"},
		{statement(ok + `,"Condition":{"IpAddress":{"a":"10.0.0.0/99"}}`), "Statement[0].Condition.IpAddress.a", "not a value"},
		{statement(ok + `,"Condition":{"BinaryEquals":{"a":"!"}}`), "Statement[0].Condition.BinaryEquals.a", "not a value"},
		{`{"Statement":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, "Statement", "nested too deeply"},
	}
	for _, tt := range tests {
		_, err := Parse([]byte(tt.doc))
		e, ok := err.(*SyntaxError)
		if !ok || !strings.HasPrefix(e.Where, tt.where) || tt.where == "" && e.Where != "" && !strings.HasPrefix(e.Where, "line") || !strings.Contains(e.Reason, tt.reason) {
			t.Errorf("Parse(%s): %v\nwant %s: %s", tt.doc, err, tt.where, tt.reason)
		}
	}
}

func TestParseShapes(t *testing.T) {
	t.Parallel()
	d := mustParse(t, `{"Id":"x","Statement":{"Sid":"s","Effect":"Deny","NotAction":["iot:Publish"],"NotResource":"*",
		"Condition":{"Bool":{"a":[true,"false"]},"NumericEquals":{"b":1.50}}}}`)
	s := d.Statements[0]
	got := fmt.Sprint(d.ID, d.Version, s.Sid, s.Effect, s.NotActions, s.NotResources, s.Conditions[0].Values, s.Conditions[1].Values)
	if want := "xsDeny[iot:Publish] [*] [true false] [1.50]"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCheckSize(t *testing.T) {
	t.Parallel()
	if err := CheckSize([]byte(strings.Repeat("ä \n\t", MaxSize))); err != nil {
		t.Error(err)
	}
	if err := CheckSize([]byte(strings.Repeat("ä ", MaxSize+1))); err == nil || !strings.Contains(err.Error(), "2049 characters") {
		t.Error(err)
	}
}
