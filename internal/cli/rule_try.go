package cli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/iotsql"
	"github.com/berth-iot/berth/topic"
)

// ruleTest is a dry run of a rule's statement.
type ruleTest struct {
	sql, version, topic, payload string
	clientID, principal, account string
	at                           string
	explain                      bool
	templates, answers           []string
	properties, userProperties   []string
	descriptors, avroSchema      string
}

// ruleTestView is its outcome as it is printed.
type ruleTestView struct {
	Matched bool `json:"matched"`
	// Reason says why there was no match: topic or where.
	Reason string          `json:"reason,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	// ResultBase64 holds a result that is not JSON.
	ResultBase64 string            `json:"resultBase64,omitempty"`
	Undefined    bool              `json:"undefined,omitempty"`
	Templates    map[string]string `json:"templates,omitempty"`
	Steps        []iotsql.Step     `json:"steps,omitempty"`
	Warnings     []string          `json:"warnings,omitempty"`
}

func ruleTestCommand() *cobra.Command {
	var t ruleTest
	cmd := &cobra.Command{
		Use:   "test --sql STATEMENT --topic TOPIC --payload PAYLOAD",
		Short: "Try a rule's SQL on a message, without a server",
		Long: `Try a rule's SQL statement on one message, without a server.

Prints the result that the rule's actions would get, or says that FROM or WHERE let the message
pass by, which is no failure. A statement that CreateTopicRule would refuse with SqlParseException
is shown with the place of the mistake; the exit code is 1 then.

Without --sql-version the version is 2015-10-08, as in AWS IoT when a rule has no
awsIotSqlVersion; most rules want 2016-03-23.

Functions that ask something outside (get_thing_shadow, get_registry_data, aws_lambda,
get_dynamodb, get_secret) get their answer from --answer.`,
		Example: `  berth rule test --sql "SELECT temperature, topic(2) AS dev FROM 'dt/+/+' WHERE temperature > 30" \
    --topic dt/kettle-7/raw --payload '{"temperature": 31.5}'
  berth rule test --sql @rule.sql --sql-version 2016-03-23 --topic a/b --payload @message.json --explain
  berth rule test --sql "SELECT * FROM 'a/#'" --topic a/b --payload - --template 'out/${topic(2)}' -o json < message.json
  berth rule test --sql-version 2016-03-23 --sql "SELECT get_thing_shadow('T', 'role').state AS s FROM 'a'" \
    --topic a --payload '{}' --answer 'get_thing_shadow={"state":{"on":true}}'`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&t.sql, "sql", "", "`STATEMENT`, or @FILE")
	f.StringVar(&t.version, "sql-version", "", "awsIotSqlVersion: 2015-10-08, 2016-03-23 or beta (default 2015-10-08)")
	f.StringVar(&t.topic, "topic", "", "`TOPIC` that the message came to (default the filter of FROM, if it has no wildcards)")
	f.StringVar(&t.payload, "payload", "", "`PAYLOAD` of the message, @FILE, or - for standard input")
	f.StringVar(&t.clientID, "client-id", "", "client identifier that clientid() gives")
	f.StringVar(&t.principal, "principal", "", "certificate identifier or user that principal() gives")
	f.StringVar(&t.account, "account", "000000000000", "account that accountid() gives")
	f.StringVar(&t.at, "time", "", "moment that timestamp() gives, RFC 3339 (default now)")
	f.BoolVar(&t.explain, "explain", false, "show the value of every part of the statement")
	f.StringArrayVar(&t.templates, "template", nil, "substitution template `TEXT` of an action to expand; may be repeated")
	f.StringArrayVar(&t.answers, "answer", nil, "`FUNCTION=JSON` that a function outside answers, or FUNCTION=@FILE; may be repeated")
	f.StringArrayVar(&t.properties, "property", nil, "MQTT 5 property `NAME=VALUE`: format_indicator, content_type, response_topic, correlation_data; may be repeated")
	f.StringArrayVar(&t.userProperties, "user-property", nil, "MQTT 5 user property `KEY=VALUE`; may be repeated")
	f.StringVar(&t.descriptors, "descriptors", "", "`FILE` of protobuf descriptors for decode(…, 'proto', …), from protoc --include_imports --descriptor_set_out")
	f.StringVar(&t.avroSchema, "avro-schema", "", "`FILE` with the Avro schema for decode(…, 'avro', …)")
	return cmd
}

// inlineOrFile reads text given on the command line, @FILE, or - for standard input.
func inlineOrFile(cmd *cobra.Command, s string) ([]byte, error) {
	if s == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	if path, ok := strings.CutPrefix(s, "@"); ok {
		return os.ReadFile(path)
	}
	return []byte(s), nil
}

func (t *ruleTest) run(cmd *cobra.Command) error {
	if t.sql == "" || !cmd.Flags().Changed("payload") {
		return usagef("give --sql and --payload")
	}
	version, err := iotsql.ParseVersion(t.version)
	if err != nil {
		return usagef("--sql-version: %w", err)
	}
	sql, err := inlineOrFile(cmd, t.sql)
	if err != nil {
		return fmt.Errorf("--sql: %w", err)
	}
	q, err := iotsql.Parse(strings.TrimRight(string(sql), "\r\n"), version)
	if err != nil {
		return syntaxShown(cmd, err)
	}
	templates := make([]*iotsql.Template, len(t.templates))
	for i, s := range t.templates {
		if templates[i], err = q.Template(s); err != nil {
			return syntaxShown(cmd, err)
		}
	}
	payload, err := inlineOrFile(cmd, t.payload)
	if err != nil {
		return fmt.Errorf("--payload: %w", err)
	}
	ctx, err := t.context(cmd, q)
	if err != nil {
		return err
	}
	v := ruleTestView{Warnings: q.Warnings()}
	if !wantsJSON(cmd) {
		for _, w := range v.Warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", w)
		}
	}
	m := iotsql.NewMessage(ctx, payload)
	if !q.Matches(ctx.Topic) {
		v.Reason = "topic"
		filter, _ := q.Filter()
		return report(cmd, v, "no match: FROM '%s' does not match topic %s", filter, ctx.Topic)
	}
	var res iotsql.Result
	if t.explain {
		e := q.Explain(m)
		res, err, v.Steps = e.Result, e.Err, e.Steps
		if !wantsJSON(cmd) {
			printSteps(cmd, e)
		}
	} else {
		res, err = q.Eval(m, nil)
	}
	if err != nil {
		return evalHinted(fmt.Errorf("evaluate: %w", err))
	}
	if !res.Matched {
		v.Reason = "where"
		return report(cmd, v, "no match: WHERE is not true")
	}
	v.fill(res, m.IsJSON())
	if len(templates) > 0 {
		v.Templates = make(map[string]string, len(templates))
	}
	for i, tmpl := range templates {
		out, err := tmpl.Eval(m, nil)
		if err != nil {
			return evalHinted(fmt.Errorf("template %q: %w", t.templates[i], err))
		}
		v.Templates[t.templates[i]] = string(out)
	}
	if wantsJSON(cmd) {
		return emit(cmd, v, table{})
	}
	w := cmd.OutOrStdout()
	switch {
	case v.Undefined:
		fmt.Fprintln(w, "matched; the result is Undefined: the actions get an empty payload")
	default:
		if _, err := w.Write(append(res.JSON, '\n')); err != nil {
			return err
		}
	}
	for _, s := range t.templates {
		fmt.Fprintf(w, "%s -> %s\n", s, v.Templates[s])
	}
	return nil
}

func (v *ruleTestView) fill(res iotsql.Result, isJSON bool) {
	v.Matched, v.Undefined = true, res.Undefined
	switch {
	case res.Undefined:
	case json.Valid(res.JSON):
		v.Result = res.JSON
	case !isJSON && utf8.Valid(res.JSON):
		v.Result, _ = json.Marshal(string(res.JSON))
		v.ResultBase64 = base64.StdEncoding.EncodeToString(res.JSON)
	default:
		v.ResultBase64 = base64.StdEncoding.EncodeToString(res.JSON)
	}
}

// syntaxShown prints the line with a caret under the place, and makes the hint the error's.
func syntaxShown(cmd *cobra.Command, err error) error {
	var e *iotsql.SyntaxError
	if !errors.As(err, &e) {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), e.Caret())
	if e.Hint != "" {
		return hinted(e, e.Hint)
	}
	return e
}

func evalHinted(err error) error {
	switch {
	case errors.Is(err, iotsql.ErrUnavailable):
		return hinted(err, "give what it would return with --answer FUNCTION=JSON, --descriptors or --avro-schema")
	case errors.Is(err, iotsql.ErrPayload):
		return hinted(err, "encode(*, 'base64') takes any payload; decode reads it")
	}
	return err
}

func printSteps(cmd *cobra.Command, e *iotsql.Explanation) {
	tab := table{}
	for _, s := range e.Steps {
		value := s.Value
		if r := []rune(value); len(r) > 100 {
			value = string(r[:100]) + "…"
		}
		expr := s.Expression
		if r := []rune(expr); len(r) > 60 {
			expr = string(r[:60]) + "…"
		}
		tab.add(s.Clause, fmt.Sprintf("%d:%d", s.Line, s.Column), strings.Repeat("  ", s.Depth)+expr, s.Type.String(), value)
	}
	if len(tab.rows) > 0 {
		tab.header = []string{"CLAUSE", "PLACE", "EXPRESSION", "TYPE", "VALUE"}
		tab.write(cmd.OutOrStdout())
		fmt.Fprintln(cmd.OutOrStdout())
	}
	if e.Truncated {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: only the first steps are listed")
	}
}

// context gathers what surrounds the message.
func (t *ruleTest) context(cmd *cobra.Command, q *iotsql.Query) (*iotsql.Context, error) {
	if filter, ok := q.Filter(); t.topic == "" && ok {
		if topic.Wild(filter) {
			return nil, usagef("give --topic: FROM '%s' has wildcards", filter)
		}
		t.topic = filter
	}
	if t.topic != "" {
		if err := topic.AWS.CheckName(t.topic); err != nil {
			return nil, usagef("--topic: %w", err)
		}
	}
	ctx := &iotsql.Context{Topic: t.topic, ClientID: t.clientID, Principal: t.principal, AccountID: t.account, Time: time.Now(),
		Random: rand.Float64, UUID: uuid.NewString}
	if t.clientID != "" {
		ctx.TraceID = uuid.NewString()
	}
	if t.at != "" {
		at, err := time.Parse(time.RFC3339, t.at)
		if err != nil {
			return nil, usagef("--time: %w", err)
		}
		ctx.Time = at
	}
	if err := t.mqtt5(ctx); err != nil {
		return nil, err
	}
	if t.descriptors != "" {
		b, err := os.ReadFile(t.descriptors)
		if err != nil {
			return nil, fmt.Errorf("--descriptors: %w", err)
		}
		d, err := iotsql.ParseDescriptors(b)
		if err != nil {
			return nil, fmt.Errorf("--descriptors %s: %w", t.descriptors, err)
		}
		ctx.Descriptors = func(string, string) (*iotsql.Descriptors, error) { return d, nil }
	}
	if t.avroSchema != "" {
		b, err := os.ReadFile(t.avroSchema)
		if err != nil {
			return nil, fmt.Errorf("--avro-schema: %w", err)
		}
		s, err := iotsql.ParseAvroSchema(b)
		if err != nil {
			return nil, fmt.Errorf("--avro-schema %s: %w", t.avroSchema, err)
		}
		ctx.AvroSchema = func(string, string) (*iotsql.AvroSchema, error) { return s, nil }
	}
	return ctx, t.outside(cmd, ctx)
}

func (t *ruleTest) mqtt5(ctx *iotsql.Context) error {
	if len(t.properties)+len(t.userProperties) == 0 {
		return nil
	}
	p := new(iotsql.Properties)
	for _, s := range t.properties {
		k, v, _ := strings.Cut(s, "=")
		switch k {
		case "format_indicator":
			if v != "UTF8_DATA" && v != "UNSPECIFIED_BYTES" {
				return usagef("--property format_indicator: want UTF8_DATA or UNSPECIFIED_BYTES")
			}
			p.UTF8 = v == "UTF8_DATA"
		case "content_type":
			p.ContentType = v
		case "response_topic":
			p.ResponseTopic = v
		case "correlation_data":
			p.CorrelationData = []byte(v)
		default:
			return usagef("--property %q: want format_indicator, content_type, response_topic or correlation_data", k)
		}
	}
	for _, s := range t.userProperties {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return usagef("--user-property %q: want KEY=VALUE", s)
		}
		p.User = append(p.User, iotsql.UserProperty{Key: k, Value: v})
	}
	ctx.Properties = p
	return nil
}

// outside sets the functions that have an answer.
func (t *ruleTest) outside(cmd *cobra.Command, ctx *iotsql.Context) error {
	known := []string{"aws_lambda", "get_dynamodb", "get_registry_data", "get_secret", "get_thing_shadow"}
	for _, s := range t.answers {
		name, v, ok := strings.Cut(s, "=")
		if !ok || !slices.Contains(known, name) {
			return usagef("--answer %q: want FUNCTION=JSON for one of %s", s, strings.Join(known, ", "))
		}
		out, err := inlineOrFile(cmd, v)
		if err != nil {
			return fmt.Errorf("--answer %s: %w", name, err)
		}
		switch name {
		case "aws_lambda":
			ctx.Lambda = func(string, []byte) ([]byte, error) { return out, nil }
		case "get_dynamodb":
			ctx.DynamoDB = func(string, []iotsql.Key, string) ([]byte, error) { return out, nil }
		case "get_registry_data":
			ctx.RegistryData = func(_, _, _ string) ([]byte, error) { return out, nil }
		case "get_secret":
			ctx.Secret = func(_, _, _ string) (string, error) { return string(out), nil }
		case "get_thing_shadow":
			ctx.ThingShadow = func(_, _, _ string) ([]byte, error) { return out, nil }
		}
	}
	return nil
}
