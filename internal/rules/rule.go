package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/rules/action"
	"github.com/berth-iot/berth/iotsql"
	"github.com/berth-iot/berth/topic"
)

// Payload is a rule as it is created (AWS IoT API reference, TopicRulePayload).
type Payload struct {
	SQL         string        `json:"sql"`
	Description string        `json:"description,omitempty"`
	Version     string        `json:"awsIotSqlVersion,omitempty"`
	Disabled    bool          `json:"ruleDisabled"`
	Actions     []ActionField `json:"actions"`
	ErrorAction ActionField   `json:"errorAction,omitempty"`
}

// ActionField is an action: its kind as the only key, with its fields.
type ActionField map[string]json.RawMessage

// Rule is a rule as it is kept.
type Rule struct {
	Name    string
	ARN     string
	Created time.Time
	Filter  string // of FROM; empty for rules that only Basic Ingest triggers
	Payload
}

// rule is a rule ready to be carried out.
type rule struct {
	Rule
	query   *iotsql.Query
	actions []*plan
	onError *plan
	slow    bool // asks something outside of the process
	traced  bool // wants the UUID of the message
	stats   *counters
}

// plan is an action with its templates.
type plan struct {
	kind   action.Kind
	fields *document
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_]{1,128}$`)

// checkName says why a name is not one of a rule.
func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return invalid("ruleName %q: a name has 1 to %d characters of a-z, A-Z, 0-9 and _", name, MaxName)
	}
	return nil
}

// external are the functions that ask something outside of the server or take long.
var external = []string{"aws_lambda", "get_dynamodb", "get_registry_data", "get_secret", "get_thing_shadow", "machinelearning_predict"}

// compile checks a rule. Mistakes in statements and templates are *iotsql.SyntaxError, all others
// *Error. The payload's actions are left with the known fields only.
func compile(p *Payload) (*rule, error) {
	if p.SQL == "" {
		return nil, invalid("sql is missing")
	}
	version, err := iotsql.ParseVersion(p.Version)
	if err != nil {
		return nil, invalid("awsIotSqlVersion: %v", err)
	}
	p.Version = string(version)
	if p.Actions == nil {
		return nil, invalid("actions is missing")
	}
	if len(p.Actions) > MaxActions {
		return nil, invalid("a rule has %d actions, more than %d", len(p.Actions), MaxActions)
	}
	q, err := iotsql.Parse(p.SQL, version)
	if err != nil {
		return nil, err
	}
	r := &rule{query: q}
	if filter, ok := q.Filter(); ok {
		if _, _, shared := topic.SplitShare(filter); shared {
			return nil, invalid("FROM '%s': a rule has no shared subscription", filter)
		}
		r.Filter = filter
	}
	sources := strings.ToLower(p.SQL)
	for i := range p.Actions {
		a, err := compileAction(q, p.Actions[i])
		if err != nil {
			return nil, fmt.Errorf("actions[%d]: %w", i, err)
		}
		r.actions = append(r.actions, a)
		sources += a.fields.source
	}
	if len(p.ErrorAction) > 0 {
		if r.onError, err = compileAction(q, p.ErrorAction); err != nil {
			return nil, fmt.Errorf("errorAction: %w", err)
		}
		for _, f := range r.onError.fields.called {
			if slices.Contains(external, f) {
				return nil, invalid("errorAction: %s asks something outside, which an error action must not", f)
			}
		}
	}
	size, _ := json.Marshal(p)
	if len(size) > MaxSize {
		return nil, invalid("the rule has %d bytes, more than %d", len(size), MaxSize)
	}
	for _, f := range external {
		r.slow = r.slow || strings.Contains(sources, f)
	}
	if slices.Contains(q.Functions(), "decode") || strings.Contains(sources, "decode") {
		r.slow = r.slow || strings.Contains(sources, "proto") || strings.Contains(sources, "avro")
	}
	r.traced = r.onError != nil || strings.Contains(sources, "traceid")
	r.Payload = *p
	return r, nil
}

func compileAction(q *iotsql.Query, f ActionField) (*plan, error) {
	if len(f) != 1 {
		return nil, invalid("an action has exactly one kind, not %d", len(f))
	}
	for name, raw := range f {
		kind, ok := action.KindOf(name)
		if !ok {
			if why := action.Unsupported(name); why != "" {
				return nil, invalid("berth cannot carry out the action %q: %s", name, why)
			}
			return nil, invalid("there is no action %q", name)
		}
		a, err := kind.Decode(raw)
		if err != nil {
			return nil, invalid("%v", err)
		}
		if err := a.Validate(); err != nil {
			return nil, invalid("%v", err)
		}
		if f[name], err = json.Marshal(a); err != nil {
			return nil, invalid("%s: %v", name, err)
		}
		d, err := parseDocument(q, f[name])
		if err != nil {
			if syntax := (*iotsql.SyntaxError)(nil); errors.As(err, &syntax) {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return nil, invalid("%s: %v", name, err)
		}
		return &plan{kind, d}, nil
	}
	return nil, nil
}
