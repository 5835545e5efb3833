package action

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestInfluxLines(t *testing.T) {
	t.Parallel()
	const v2 = `"url":"http://i","bucket":"b","measurement":`
	for _, x := range []struct{ fields, payload, want string }{
		{`{` + v2 + `"m"}`, `{"a":1.50,"b":true,"c":"x","d":null,"e":{"f":[1]},"g":9007199254740993}`, `m a=1.50,b=true,c="x",e="{\"f\":[1]}",g=9007199254740993 1769860800000000000`},
		{`{` + v2 + `"my table,x=y","tags":{"room nr":"a=b, c","empty":""},"timestamp":"1700000000123"}`, `{"fi eld=,":"q\"\\ \n"}`,
			`my\ table\,x=y,room\ nr=a\=b\,\ c fi\ eld\=\,="q\"\\ ` + "\n" + `" 1700000000123000000`},
		{`{` + v2 + `"m","fields":{"a":"5i","b":"1e3","c":"text","d":"\"12\"","e":"false","f":"","g":"NaN","h":"7u","i":"i"},"timestamp":"5","precision":"s"}`, ``,
			`m a=5i,b=1e3,c="text",d="12",e=false,g="NaN",h=7u,i="i" 5000000000`},
		{`{` + v2 + `"m"}`, `{}`, ``}, {`{` + v2 + `"m"}`, `[1]`, ``}, {`{` + v2 + `"m"}`, `{"a":1e999}`, ``}, {`{` + v2 + `"m"}`, `{"a\nb":1}`, ``},
		{`{` + v2 + `"m","tags":{"a":"b\\"}}`, `{"a":1}`, ``}, {`{` + v2 + `"#m"}`, `{"a":1}`, ``}, {`{` + v2 + `"m","timestamp":"soon"}`, `{"a":1}`, ``},
		{`{` + v2 + `"m","timestamp":"9223372036854775807","precision":"s"}`, `{"a":1}`, ``},
	} {
		a := decode(t, "influx", x.fields).(*Influx)
		line, err := a.appendLine([]byte("before\n"), message("", x.payload))
		if x.want == "" {
			if !IsPermanent(err) {
				t.Errorf("%s %s: %s %v", x.fields, x.payload, line, err)
			}
			continue
		}
		if err != nil || string(line) != "before\n"+x.want+"\n" {
			t.Errorf("%s\n%s\nwant\n%s\n%v", x.fields, line, x.want, err)
		}
	}
}

func TestInflux(t *testing.T) {
	t.Parallel()
	c, s := newCloud(t)
	c.status = 204
	a := decode(t, "influx", `{"url":"`+c.URL+`/","org":"o p","bucket":"b","token":"secret","measurement":"m"}`).(*Influx)
	list := []Delivery{{a, message("", `{"a":1}`)}, {a, message("", `no`)}, {a, message("", `{"a":2}`)}}
	errs := a.DoBatch(t.Context(), s, list)
	if errs[0] != nil || !IsPermanent(errs[1]) || errs[2] != nil {
		t.Error(errs)
	}
	if c.request.URL.String() != "/api/v2/write?bucket=b&org=o+p&precision=ns" || c.request.Header.Get("Authorization") != "Token secret" || strings.Count(c.body, "\n") != 2 {
		t.Error(c.request.URL, c.request.Header, c.body)
	}
	b := decode(t, "influx", `{"url":"`+c.URL+`","database":"d","retentionPolicy":"r","username":"u","password":"p","measurement":"m"}`)
	if err := b.Do(t.Context(), s, list[0].Message); err != nil {
		t.Fatal(err)
	}
	if user, password, _ := c.request.BasicAuth(); c.request.URL.String() != "/write?db=d&precision=ns&rp=r" || user != "u" || password != "p" {
		t.Error(c.request.URL, c.request.Header)
	}
	for status, permanent := range map[int]bool{400: true, 401: true, 404: true, 413: true, 429: false, 500: false, 503: false} {
		c.status, c.answer = status, `{"message":"why"}`
		if err := b.Do(context.Background(), s, list[0].Message); err == nil || IsPermanent(err) != permanent || !strings.Contains(err.Error(), "why") {
			t.Errorf("%d: %v", status, err)
		}
	}
	c.Close()
	if err := b.Do(t.Context(), s, list[0].Message); err == nil || IsPermanent(err) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func FuzzInfluxLine(f *testing.F) {
	f.Add("m", "t", "v", "f", "text", `{"a":1}`)
	f.Add("m ,=", "a=b", "x\\", "\n", `5i`, `{"a,b":"\"\\"}`)
	f.Fuzz(func(t *testing.T, measurement, tag, value, field, text, payload string) {
		for _, a := range []*Influx{{Measurement: measurement, Tags: map[string]string{tag: value}, Fields: map[string]string{field: text}},
			{Measurement: measurement, Tags: map[string]string{tag: value}}} {
			line, err := a.appendLine(nil, message("", payload))
			if err == nil && (len(line) == 0 || line[len(line)-1] != '\n') {
				t.Fatalf("%q", line)
			}
			if err == nil && strings.Count(string(line), "\n") > 1+strings.Count(text+payload, "\n")+strings.Count(payload, `\n`)+strings.Count(strings.ToLower(payload), `\u000a`) {
				t.Fatalf("%q has line breaks that were not in a text", line)
			}
		}
	})
}

func TestOpenSearch(t *testing.T) {
	t.Parallel()
	c, s := newCloud(t)
	c.answer = `{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":429,"error":{"reason":"busy"}}},{"index":{"status":400,"error":{"type":"mapper_parsing_exception"}}}]}`
	endpoint := strings.Replace(c.URL, "http://", "http://u:p@", 1)
	make := func(kind, id string) *OpenSearch {
		return decode(t, kind, `{"roleArn":"r","endpoint":"`+endpoint+`","index":"logs","type":"event","id":"`+id+`"}`).(*OpenSearch)
	}
	list := []Delivery{{make("openSearch", "1"), message("", "{\n\"a\": 1}")}, {make("openSearch", "x"), message("", `[1]`)}, {make("openSearch", "2"), message("", `{"b":1}`)}, {make("openSearch", "3"), message("", `{"c":1}`)}}
	errs := list[0].Action.(*OpenSearch).DoBatch(t.Context(), s, list)
	if errs[0] != nil || !IsPermanent(errs[1]) || errs[2] == nil || IsPermanent(errs[2]) || !IsPermanent(errs[3]) {
		t.Error(errs)
	}
	if user, password, _ := c.request.BasicAuth(); c.request.Method != http.MethodPost || c.request.URL.Path != "/_bulk" || user != "u" || password != "p" || c.request.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Error(c.request.Method, c.request.URL, c.request.Header)
	}
	if want := `{"index":{"_id":"1","_index":"logs"}}` + "\n" + `{"a":1}` + "\n"; !strings.HasPrefix(c.body, want) || strings.Count(c.body, "\n") != 6 {
		t.Error(c.body)
	}
	c.answer = `{"items":[{"index":{"status":201}}]}`
	if err := make("elasticsearch", "1").Do(t.Context(), s, list[0].Message); err != nil || !strings.Contains(c.body, `"_type":"event"`) {
		t.Error(err, c.body)
	}
	if d := list[0].Action.Destination(); strings.Contains(d, "p@") {
		t.Error(d)
	}
	for _, answer := range []string{``, `{}`, `{"items":[]}`, `[]`} {
		c.answer = answer
		if err := make("openSearch", "1").Do(t.Context(), s, list[0].Message); err == nil || IsPermanent(err) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	for status, permanent := range map[int]bool{401: true, 403: true, 429: false, 502: false} {
		c.status = status
		if err := make("openSearch", "1").Do(t.Context(), s, list[0].Message); err == nil || IsPermanent(err) != permanent {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestOpenSearchSigned: requests to a domain of AWS carry a signature.
func TestOpenSearchSigned(t *testing.T) {
	t.Parallel()
	_, s := newCloud(t)
	header := http.Header{}
	o := &OpenSearch{kind: "openSearch"}
	if err := o.sign(t.Context(), s, "https://search-x.eu-west-1.es.amazonaws.com/_bulk", header, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(header.Get("Authorization"), "/eu-west-1/es/aws4_request") {
		t.Error(header)
	}
	header = http.Header{}
	if err := o.sign(t.Context(), s, "https://localhost:9200/_bulk", header, nil); err != nil || len(header) != 0 {
		t.Error(header, err)
	}
}
