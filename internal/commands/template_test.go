package commands

import (
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

func temperature(format string) Definition {
	return Definition{
		Template:     `{"temperature":"${aws:iot:commandexecution::parameter:t}","text":"now ${aws:iot:commandexecution::parameter:t} °C","for":"${aws:iot:commandexecution::executionTimeoutSec}","n":[1,2.5],"free":"${aws:iot:commandexecution::parameter:free}"}`,
		Preprocessor: &Preprocessor{&Substitution{format}},
		Parameters: []Parameter{{Name: "t", Type: typeInteger, Default: &Value{I: pointer(int32(72))},
			Conditions: []Condition{{"IN_RANGE", Operand{Range: &Range{"60", "80"}}}}}},
	}
}

func TestPayloadTemplate(t *testing.T) {
	t.Parallel()
	c := &Command{ID: "c", Definition: temperature("JSON")}
	if err := c.Definition.check(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		parameters map[string]Value
		want       string
	}{
		{map[string]Value{"free": {S: pointer("<a>")}}, `{"for":30,"free":"<a>","n":[1,2.5],"temperature":72,"text":"now 72 °C"}`},
		{map[string]Value{"free": {B: pointer(true)}, "t": {I: pointer(int32(60))}}, `{"for":30,"free":true,"n":[1,2.5],"temperature":60,"text":"now 60 °C"}`},
		{map[string]Value{"free": {UL: pointer("18446744073709551615")}}, `{"for":30,"free":18446744073709551615,"n":[1,2.5],"temperature":72,"text":"now 72 °C"}`},
		{map[string]Value{"free": {BIN: []byte{1, 2}}}, `{"for":30,"free":"AQI=","n":[1,2.5],"temperature":72,"text":"now 72 °C"}`},
		{map[string]Value{"free": {D: pointer(1.5)}, "t": {I: pointer(int32(81))}}, ""},
		{map[string]Value{"free": {S: pointer("a")}, "t": {S: pointer("70")}}, ""},
		{map[string]Value{"free": {S: pointer("a")}, "other": {S: pointer("b")}}, ""},
		{map[string]Value{"free": {}}, ""},
		{nil, ""},
	} {
		got, kind, _, err := c.Payload(tc.parameters, 30)
		if tc.want == "" {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v: %s %v", tc.parameters, got, err)
			}
			continue
		}
		if err != nil || string(got) != tc.want || kind != contentJSON {
			t.Errorf("%v: %s %s %v\nwant %s", tc.parameters, kind, got, err, tc.want)
		}
	}
	c.Definition = temperature("CBOR")
	got, kind, _, err := c.Payload(map[string]Value{"free": {BIN: []byte{7}}}, 30)
	var tree struct {
		Temperature int    `cbor:"temperature"`
		Free        []byte `cbor:"free"`
		N           []any  `cbor:"n"`
	}
	if err := errors.Join(err, cbor.Unmarshal(got, &tree)); err != nil || kind != contentCBOR || tree.Temperature != 72 || string(tree.Free) != "\x07" || tree.N[0] != uint64(1) {
		t.Errorf("%s %v %+v", kind, err, tree)
	}
}

func TestDefinitions(t *testing.T) {
	t.Parallel()
	payload := func(n int, kind string) Definition { return Definition{Payload: &Payload{make([]byte, n), kind}} }
	template := func(text string, change ...func(*Definition)) Definition {
		d := Definition{Template: text, Preprocessor: &Preprocessor{&Substitution{"JSON"}}}
		for _, f := range change {
			f(&d)
		}
		return d
	}
	with := func(p ...Parameter) Definition {
		d := payload(1, "")
		d.Parameters = p
		return d
	}
	const hole = `"${aws:iot:commandexecution::parameter:p}"`
	for name, tc := range map[string]struct {
		d  Definition
		ok bool
	}{
		"payload":            {payload(MaxPayload, "application/json"), true},
		"no type":            {payload(1, ""), true},
		"too large":          {payload(MaxPayload+1, ""), false},
		"empty":              {payload(0, ""), false},
		"type":               {payload(1, "json"), false},
		"nothing":            {Definition{}, false},
		"both":               {template(hole, func(d *Definition) { d.Payload = &Payload{Content: []byte("x")} }), false},
		"template":           {template(hole), true},
		"long template":      {template(`["` + strings.Repeat("a", MaxPayload) + `",` + hole + `]`), false},
		"no placeholder":     {template(`{}`), false},
		"not JSON":           {template(`{"a":${aws:iot:commandexecution::parameter:p}}`), false},
		"no preprocessor":    {template(hole, func(d *Definition) { d.Preprocessor = nil }), false},
		"format":             {template(hole, func(d *Definition) { d.Preprocessor.Substitution.OutputFormat = "XML" }), false},
		"other placeholder":  {template(`"${aws:iot:commandexecution::what}"`), false},
		"open placeholder":   {template(`"${aws:iot:commandexecution::parameter:p"`), false},
		"role":               {template(hole, func(d *Definition) { d.Role = "arn:aws:iam::000000000000:role/r" }), false},
		"twice":              {with(Parameter{Name: "a"}, Parameter{Name: "a"}), false},
		"name":               {with(Parameter{Name: "a b"}), false},
		"kind":               {with(Parameter{Name: "a", Type: "FLOAT"}), false},
		"default":            {with(Parameter{Name: "a", Type: typeLong, Default: &Value{L: pointer(int64(1))}}), true},
		"default's type":     {with(Parameter{Name: "a", Type: typeLong, Default: &Value{I: pointer(int32(1))}}), false},
		"default's members":  {with(Parameter{Name: "a", Default: &Value{I: pointer(int32(1)), B: pointer(true)}}), false},
		"default's range":    {with(Parameter{Name: "a", Default: &Value{D: pointer(3.5)}, Conditions: []Condition{{"GREATER_THAN", Operand{Number: "3.5"}}}}), false},
		"unsigned":           {with(Parameter{Name: "a", Default: &Value{UL: pointer("-1")}}), false},
		"condition of bool":  {with(Parameter{Name: "a", Type: typeBoolean, Conditions: []Condition{{"EQUALS", Operand{String: "true"}}}}), false},
		"order of strings":   {with(Parameter{Name: "a", Type: typeString, Conditions: []Condition{{"LESS_THAN", Operand{String: "x"}}}}), false},
		"operand":            {with(Parameter{Name: "a", Type: typeDouble, Conditions: []Condition{{"EQUALS", Operand{String: "x"}}}}), false},
		"operand's number":   {with(Parameter{Name: "a", Type: typeDouble, Conditions: []Condition{{"EQUALS", Operand{Number: "1e999999999"}}}}), false},
		"operator":           {with(Parameter{Name: "a", Conditions: []Condition{{"LIKE", Operand{Number: "1"}}}}), false},
		"empty set":          {with(Parameter{Name: "a", Type: typeInteger, Conditions: []Condition{{"IN_SET", Operand{}}}}), false},
		"range without ends": {with(Parameter{Name: "a", Type: typeInteger, Conditions: []Condition{{"IN_RANGE", Operand{}}}}), false},
	} {
		if err := tc.d.check(); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	number, word := Value{L: pointer(int64(9007199254740993))}, Value{S: pointer("ON")}
	for _, tc := range []struct {
		v    Value
		c    Condition
		want bool
	}{
		{number, Condition{"EQUALS", Operand{Number: "9007199254740993"}}, true},
		{number, Condition{"EQUALS", Operand{Number: "9007199254740992"}}, false},
		{number, Condition{"NOT_EQUALS", Operand{Number: "1"}}, true},
		{number, Condition{"LESS_THAN", Operand{Number: "1e300"}}, true},
		{number, Condition{"LESS_THAN_EQUALS", Operand{Number: "9007199254740993"}}, true},
		{number, Condition{"GREATER_THAN", Operand{Number: "9007199254740993"}}, false},
		{number, Condition{"GREATER_THAN_EQUALS", Operand{Number: "9007199254740993"}}, true},
		{number, Condition{"IN_SET", Operand{Numbers: []string{"1", "9007199254740993"}}}, true},
		{number, Condition{"NOT_IN_SET", Operand{Numbers: []string{"1"}}}, true},
		{number, Condition{"IN_RANGE", Operand{Range: &Range{"0", "9007199254740993"}}}, true},
		{number, Condition{"NOT_IN_RANGE", Operand{Range: &Range{"0", "9007199254740993"}}}, false},
		{word, Condition{"EQUALS", Operand{String: "ON"}}, true},
		{word, Condition{"NOT_EQUALS", Operand{String: "ON"}}, false},
		{word, Condition{"IN_SET", Operand{Strings: []string{"ON", "OFF"}}}, true},
		{word, Condition{"NOT_IN_SET", Operand{Strings: []string{"ON", "OFF"}}}, false},
		{word, Condition{"LESS_THAN", Operand{Number: "1"}}, false},
	} {
		if got := tc.c.holds(&tc.v); got != tc.want {
			t.Errorf("%s %+v: %v", tc.v.text(), tc.c, got)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(temperature("JSON").Template, "x")
	f.Add(`["${aws:iot:commandexecution::parameter:a}",{"k":"a${aws:iot:commandexecution::parameter:b}${"}]`, "${aws:iot:commandexecution::parameter:a}")
	f.Fuzz(func(t *testing.T, template, value string) {
		c := &Command{Definition: Definition{Template: template, Preprocessor: &Preprocessor{&Substitution{"CBOR"}}}}
		if c.Definition.check() != nil || value == "" {
			return
		}
		_, names, err := parseTemplate(template)
		if err != nil {
			t.Fatal(err)
		}
		parameters := make(map[string]Value)
		for name := range names {
			parameters[name] = Value{S: &value}
		}
		payload, _, _, err := c.Payload(parameters, 1)
		if err != nil || cbor.Wellformed(payload) != nil {
			t.Fatalf("%q: %x %v", template, payload, err)
		}
	})
}
