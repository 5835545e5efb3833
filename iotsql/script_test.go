package iotsql

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

// script is the state of a .test file. Its lines are:
//
//	## page: section     the guide's page and section; everything goes back to its default
//	# …                  a remark
//	version, topic, client, principal, trace, property NAME VALUE, user KEY VALUE   the context
//	payload TEXT, payload64 BASE64, payloadhex HEX
//	eval EXPR => JSON, undefined, or error: part of the message
//	query SQL => output, no match, undefined, or error: part of the message
//	template TEXT => text, or error: part of the message
//	refuse SQL => part of the message or hint, after the place as line:column if given
type script struct {
	version Version
	ctx     *Context
	payload []byte
}

func newScript() *script {
	return &script{version: V2016, ctx: testContext(), payload: []byte("{}")}
}

// testContext answers every function in a way that can be foreseen.
func testContext() *Context {
	return &Context{
		Topic: "things/myThings/thingOne", ClientID: "lamp-1", Principal: "ba67293af50bf250", AccountID: "123456789012",
		TraceID: "12345678-1234-1234-1234-123456789012", SourceIP: "192.0.2.7", Time: time.UnixMilli(1481825251155),
		Random: func() float64 { return 0.25 },
		UUID:   func() string { return "123a4567-b89c-42d3-a456-789012345000" },
		ThingShadow: func(thing, shadow, role string) ([]byte, error) {
			if thing == "none" {
				return nil, errors.New("shadow not found")
			}
			return fmt.Appendf(nil, `{"state":{"reported":{"alarm":"ON","from":"%s/%s/%s"}}}`, thing, shadow, role), nil
		},
		RegistryData: func(api, thing, role string) ([]byte, error) {
			if api == "DescribeThing" {
				return fmt.Appendf(nil, `{"thingName":"%s","attributes":{"room":"hall"}}`, thing), nil
			}
			return []byte(`{"thingGroups":[{"groupName":"lamps"}]}`), nil
		},
		Lambda: func(arn string, in []byte) ([]byte, error) {
			if arn == "broken" {
				return []byte("not JSON"), nil
			}
			return fmt.Appendf(nil, `{"got":%s}`, in), nil
		},
		DynamoDB: func(table string, keys []Key, role string) ([]byte, error) {
			if table == "large" {
				return []byte(`"` + strings.Repeat("x", 9000) + `"`), nil
			}
			out := `{"location":"` + table + `"`
			for _, k := range keys {
				out += `,"` + k.Name + `":` + string(k.Value)
			}
			return []byte(out + "}"), nil
		},
		Secret: func(id, kind, role string) (string, error) {
			switch {
			case kind == "SecretBinary":
				return "AAEC", nil
			case id == "plain":
				return "opensesame", nil
			}
			return `{"API_KEY_VALUE":"k-1"}`, nil
		},
		Descriptors: func(bucket, key string) (*Descriptors, error) { return testDescriptors() },
		AvroSchema: func(bucket, key string) (*AvroSchema, error) {
			return ParseAvroSchema([]byte(key))
		},
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	total := 0
	for _, name := range files {
		n := countCases(t, name)
		total += n
		t.Run(strings.TrimSuffix(filepath.Base(name), ".test"), func(t *testing.T) {
			t.Parallel()
			runScript(t, name)
		})
	}
	t.Logf("%d cases in %d scripts", total, len(files))
}

func countCases(t *testing.T, name string) int {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), " => ")
}

func runScript(t *testing.T, name string) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := newScript()
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for line := 1; scan.Scan(); line++ {
		text := strings.TrimSpace(scan.Text())
		if text == "" || strings.HasPrefix(text, "# ") || text == "#" {
			continue
		}
		if strings.HasPrefix(text, "## ") {
			s = newScript()
			continue
		}
		if err := s.run(text); err != nil {
			t.Errorf("%s:%d: %s\n%v", name, line, text, err)
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
}

func (s *script) run(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	var err error
	switch word {
	case "version":
		s.version, err = ParseVersion(strings.Trim(rest, "'"))
		return err
	case "topic":
		s.ctx.Topic = rest
		return nil
	case "client":
		s.ctx.ClientID = rest
		return nil
	case "principal":
		s.ctx.Principal = rest
		return nil
	case "trace":
		s.ctx.TraceID = rest
		return nil
	case "property", "user":
		return s.property(word, rest)
	case "payload":
		s.payload = []byte(rest)
		return nil
	case "payload64":
		s.payload, err = base64.StdEncoding.DecodeString(rest)
		return err
	case "payloadhex":
		s.payload, err = hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
		return err
	}
	i := strings.LastIndex(" "+rest+" ", " => ")
	if i < 0 {
		return errors.New("no =>")
	}
	in, want := strings.TrimSpace(rest[:i]), strings.TrimSpace(rest[i+2:])
	var got string
	switch word {
	case "eval":
		got = s.eval(in)
	case "query":
		got = s.query(in)
	case "template":
		got = s.template(in)
	case "refuse":
		return s.refuse(in, want)
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	if part, ok := strings.CutPrefix(want, "error: "); ok && strings.HasPrefix(got, "error: ") && strings.Contains(got, part) {
		return nil
	}
	if got != want {
		return fmt.Errorf("got  %s\nwant %s", got, want)
	}
	return nil
}

func (s *script) property(word, rest string) error {
	if s.ctx.Properties == nil {
		s.ctx.Properties = new(Properties)
	}
	p := s.ctx.Properties
	k, v, _ := strings.Cut(rest, " ")
	if word == "user" {
		p.User = append(p.User, UserProperty{k, v})
		return nil
	}
	switch k {
	case "utf8":
		p.UTF8 = true
	case "content_type":
		p.ContentType = v
	case "response_topic":
		p.ResponseTopic = v
	case "correlation_data":
		p.CorrelationData = []byte(v)
	default:
		return fmt.Errorf("no property %q", k)
	}
	return nil
}

func (s *script) eval(in string) string {
	out := s.query("SELECT " + in + " AS r")
	out, ok := strings.CutPrefix(out, `{"r":`)
	switch {
	case ok:
		return strings.TrimSuffix(out, "}")
	case out == "{}":
		return "undefined"
	}
	return out
}

func (s *script) query(in string) string {
	q, err := Parse(in, s.version)
	if err != nil {
		return "error: " + err.Error()
	}
	// What is printed means the same.
	again, err := Parse(q.String(), s.version)
	if err != nil {
		return fmt.Sprintf("printed as %s: %v", q, err)
	}
	if again.String() != q.String() {
		return fmt.Sprintf("printed as %s, then as %s", q, again)
	}
	if !q.Matches(s.ctx.Topic) {
		return "no match"
	}
	got := s.result(q)
	if other := s.result(again); other != got {
		return fmt.Sprintf("%s, but printed and parsed again %s", got, other)
	}
	if e := q.Explain(NewMessage(s.ctx, s.payload)); shown(e.Result, e.Err) != got {
		return fmt.Sprintf("%s, but explained %s", got, shown(e.Result, e.Err))
	}
	return got
}

func (s *script) result(q *Query) string { return shown(q.Eval(NewMessage(s.ctx, s.payload), nil)) }

func shown(r Result, err error) string {
	switch {
	case err != nil:
		return "error: " + err.Error()
	case !r.Matched:
		return "no match"
	case r.Undefined:
		return "undefined"
	}
	return string(r.JSON)
}

// template takes a statement's SET clause before the text, divided by ;;.
func (s *script) template(in string) string {
	sql := "SELECT *"
	if set, rest, ok := strings.Cut(in, ";;"); ok {
		sql, in = set+" SELECT *", strings.TrimSpace(rest)
	}
	q, err := Parse(sql, s.version)
	if err != nil {
		return "error: " + err.Error()
	}
	tmpl, err := q.Template(in)
	if err != nil {
		return "error: " + err.Error()
	}
	out, err := tmpl.Eval(NewMessage(s.ctx, s.payload), nil)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(out)
}

func (s *script) refuse(in, want string) error {
	_, err := Parse(in, s.version)
	if err == nil {
		return errors.New("was accepted")
	}
	e, ok := err.(*SyntaxError)
	if !ok {
		return fmt.Errorf("error of type %T", err)
	}
	full := fmt.Sprintf("%d:%d %s; %s", e.Line, e.Column, e.Message, e.Hint)
	var line, col int
	if n, _ := fmt.Sscanf(want, "%d:%d ", &line, &col); n == 2 {
		_, want, _ = strings.Cut(want, " ")
		if line != e.Line || col != e.Column {
			return fmt.Errorf("got %s", full)
		}
	}
	if !strings.Contains(full, want) {
		return fmt.Errorf("got %s", full)
	}
	return nil
}
