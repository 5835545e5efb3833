package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

func ruleCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "rule",
		Short: "Rules: what becomes of messages",
		Example: `  berth rule test --sql "SELECT temperature FROM 'dt/#' WHERE temperature > 30" --topic dt/1 --payload '{"temperature":31}'
  berth rule create hot --sql "SELECT temperature FROM 'dt/#' WHERE temperature > 30" --republish 'hot/${topic(2)}'
  berth rule stats
  berth rule tail hot`,
	}, ruleTestCommand(), ruleCreateCommand(t), ruleListCommand(t), ruleShowCommand(t), ruleDeleteCommand(t),
		ruleSwitchCommand(t, true), ruleSwitchCommand(t, false), ruleStatsCommand(t), ruleTailCommand(t), ruleDeadCommand(t), ruleReplayCommand(t))
	t.addFlags(cmd)
	return cmd
}

// ruleView is a rule as it is printed.
type ruleView struct {
	ruleFields
	ARN       string `json:"ruleArn,omitempty"`
	Topic     string `json:"topicPattern,omitempty"`
	CreatedAt string `json:"createdAt,omitempty"`
}

// ruleFields are those that are printed as the server gives them.
type ruleFields struct {
	Name        string `json:"ruleName"`
	SQL         string `json:"sql,omitempty"`
	Version     string `json:"awsIotSqlVersion,omitempty"`
	Description string `json:"description,omitempty"`
	Disabled    bool   `json:"ruleDisabled"`
	Actions     any    `json:"actions,omitempty"`
	ErrorAction any    `json:"errorAction,omitempty"`
}

func ruleCreateCommand(t *target) *cobra.Command {
	var sql, version, topic, store, file string
	var replace bool
	cmd := &cobra.Command{
		Use:   "create NAME (--sql STATEMENT (--republish TOPIC | --table TABLE) | --file FILE)",
		Short: "Create a rule",
		Long: `Create a rule, or replace it with --replace.

--file takes the document that aws iot create-topic-rule has as --topic-rule-payload, with any actions,
and with those that only berth has. --sql makes a rule of version 2016-03-23 that publishes its result
to a topic, or writes it as a row of a table.`,
		Example: `  berth rule create hot --sql "SELECT temperature FROM 'dt/#' WHERE temperature > 30" --republish 'hot/${topic(2)}'
  berth rule create store --sql "SELECT * FROM 'dt/#'" --table readings
  berth rule create store --file rule.json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var document json.RawMessage
			switch {
			case file != "" && sql == "" && topic == "" && store == "":
				b, err := inlineOrFile(cmd, "@"+file)
				if err != nil {
					return fmt.Errorf("--file: %w", err)
				}
				if err := json.Unmarshal(b, &document); err != nil {
					return fmt.Errorf("--file %s: %w", file, err)
				}
			case file == "" && sql != "" && (topic == "") != (store == ""):
				b, err := inlineOrFile(cmd, sql)
				if err != nil {
					return fmt.Errorf("--sql: %w", err)
				}
				action := map[string]any{"table": map[string]string{"table": store}}
				if topic != "" {
					action = map[string]any{"republish": map[string]string{"roleArn": "arn:aws:iam::000000000000:role/rule", "topic": topic}}
				}
				if document, err = json.Marshal(map[string]any{"sql": string(b), "awsIotSqlVersion": version, "actions": []any{action}}); err != nil {
					return err
				}
			default:
				return usagef("give --sql and one of --republish and --table, or --file")
			}
			var p types.TopicRulePayload
			if err := json.Unmarshal(document, &p); err != nil {
				return fmt.Errorf("create rule %q: %w", args[0], err)
			}
			if err := t.createRule(cmd, args[0], replace, document, &p); err != nil {
				return err
			}
			return emit(cmd, ruleView{ruleFields: ruleFields{Name: args[0], SQL: text(p.Sql)}}, table{rows: [][]string{{"rule", args[0]}}})
		},
	}
	f := cmd.Flags()
	f.StringVar(&sql, "sql", "", "`STATEMENT`, or @FILE")
	f.StringVar(&version, "sql-version", "2016-03-23", "awsIotSqlVersion")
	f.StringVar(&topic, "republish", "", "`TOPIC` to publish the result to; may hold ${…}, and begins with $$ if it is reserved")
	f.StringVar(&store, "table", "", "`TABLE` that the result becomes a row of; may hold ${…}")
	f.StringVar(&file, "file", "", "`FILE` with the rule as JSON")
	f.BoolVar(&replace, "replace", false, "replace the rule of this name")
	return cmd
}

// createRule sends the document to berth, which knows more actions than the SDK, and what the SDK reads
// of it to AWS.
func (t *target) createRule(cmd *cobra.Command, name string, replace bool, document json.RawMessage, p *types.TopicRulePayload) error {
	if !t.aws {
		return t.ruleDocument(cmd, name, replace, document)
	}
	if p.Actions == nil {
		p.Actions = []types.Action{}
	}
	for _, a := range p.Actions {
		if a == (types.Action{}) {
			return fmt.Errorf("create rule %q: AWS does not have one of its actions", name)
		}
	}
	api, err := t.control(cmd)
	if err != nil {
		return err
	}
	if replace {
		_, err = api.ReplaceTopicRule(cmd.Context(), &iot.ReplaceTopicRuleInput{RuleName: &name, TopicRulePayload: p})
	} else {
		_, err = api.CreateTopicRule(cmd.Context(), &iot.CreateTopicRuleInput{RuleName: &name, TopicRulePayload: p})
	}
	if err != nil {
		return apiError("create rule \""+name+"\"", err)
	}
	return nil
}

func ruleListCommand(t *target) *cobra.Command {
	var topic string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the rules",
		Example: "  berth rule list --topic dt/kettle-7/raw",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			in := &iot.ListTopicRulesInput{}
			if topic != "" {
				in.Topic = &topic
			}
			list, shown := []ruleView{}, table{header: []string{"RULE", "FROM", "STATE", "CREATED"}}
			for pages := iot.NewListTopicRulesPaginator(api, in); pages.HasMorePages(); {
				out, err := pages.NextPage(cmd.Context())
				if err != nil {
					return apiError("list rules", err)
				}
				for _, r := range out.Rules {
					v := ruleView{ARN: text(r.RuleArn), Topic: text(r.TopicPattern), CreatedAt: timestamp(r.CreatedAt),
						ruleFields: ruleFields{Name: text(r.RuleName), Disabled: r.RuleDisabled != nil && *r.RuleDisabled}}
					list = append(list, v)
					shown.add(v.Name, v.Topic, ruleState(v.Disabled), v.CreatedAt)
				}
			}
			return emit(cmd, list, shown)
		},
	}
	cmd.Flags().StringVar(&topic, "topic", "", "only rules that a message to this `TOPIC` triggers")
	return cmd
}

func ruleState(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func ruleShowCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a rule",
		Example: "  berth rule show hot -o json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := t.showRule(cmd, args[0])
			if err != nil {
				return err
			}
			actions, err := json.Marshal(v.Actions)
			if err != nil {
				return err
			}
			return emit(cmd, v, table{rows: [][]string{{"rule", v.Name}, {"sql", v.SQL}, {"version", v.Version}, {"state", ruleState(v.Disabled)},
				{"description", v.Description}, {"created", v.CreatedAt}, {"actions", string(actions)}}})
		},
	}
}

// showRule reads a rule: from berth as it is, since the SDK does not know all of its actions.
func (t *target) showRule(cmd *cobra.Command, name string) (v ruleView, err error) {
	fail := func(err error) (ruleView, error) { return v, apiError("show rule \""+name+"\"", err) }
	if !t.aws {
		var answer struct {
			ARN  string `json:"ruleArn"`
			Rule struct {
				CreatedAt float64 `json:"createdAt"` // seconds, unlike ruleView's
				ruleFields
			} `json:"rule"`
		}
		if err := t.own(cmd.Context(), http.MethodGet, "/rules/"+url.PathEscape(name), nil, &answer); err != nil {
			return fail(err)
		}
		created := time.UnixMilli(int64(answer.Rule.CreatedAt * 1000))
		return ruleView{ARN: answer.ARN, CreatedAt: timestamp(&created), ruleFields: answer.Rule.ruleFields}, nil
	}
	api, err := t.control(cmd)
	if err != nil {
		return v, err
	}
	out, err := api.GetTopicRule(cmd.Context(), &iot.GetTopicRuleInput{RuleName: &name})
	if err != nil {
		return fail(err)
	}
	r := out.Rule
	v = ruleView{ARN: text(out.RuleArn), CreatedAt: timestamp(r.CreatedAt), ruleFields: ruleFields{Name: text(r.RuleName), SQL: text(r.Sql),
		Version: text(r.AwsIotSqlVersion), Description: text(r.Description), Disabled: r.RuleDisabled != nil && *r.RuleDisabled, Actions: plainFields(r.Actions)}}
	if r.ErrorAction != nil {
		v.ErrorAction = plainFields(r.ErrorAction)
	}
	return v, nil
}

// plainFields gives fields of the API their names in JSON, and leaves out what is not set.
func plainFields(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var tree any
	if json.Unmarshal(b, &tree) != nil {
		return nil
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			named := make(map[string]any)
			for name, x := range v {
				if x != nil {
					named[string(unicode.ToLower(rune(name[0])))+name[1:]] = walk(x)
				}
			}
			return named
		}
		return v
	}
	return walk(tree)
}

func ruleDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a rule",
		Example: "  berth rule delete hot",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if _, err := api.DeleteTopicRule(cmd.Context(), &iot.DeleteTopicRuleInput{RuleName: &args[0]}); err != nil {
				return apiError("delete rule \""+args[0]+"\"", err)
			}
			return emit(cmd, ruleView{ruleFields: ruleFields{Name: args[0]}}, table{rows: [][]string{{"deleted", args[0]}}})
		},
	}
}

func ruleSwitchCommand(t *target, enable bool) *cobra.Command {
	verb := "disable"
	if enable {
		verb = "enable"
	}
	return &cobra.Command{
		Use:     verb + " NAME",
		Short:   string(unicode.ToUpper(rune(verb[0]))) + verb[1:] + " a rule",
		Example: "  berth rule " + verb + " hot",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if enable {
				_, err = api.EnableTopicRule(cmd.Context(), &iot.EnableTopicRuleInput{RuleName: &args[0]})
			} else {
				_, err = api.DisableTopicRule(cmd.Context(), &iot.DisableTopicRuleInput{RuleName: &args[0]})
			}
			if err != nil {
				return apiError(verb+" rule \""+args[0]+"\"", err)
			}
			return emit(cmd, ruleView{ruleFields: ruleFields{Name: args[0], Disabled: !enable}}, table{rows: [][]string{{verb + "d", args[0]}}})
		},
	}
}

// ruleStats are the counters of a rule, as the server gives them.
type ruleStats struct {
	Name        string     `json:"ruleName"`
	Matched     uint64     `json:"matched"`
	WhereFalse  uint64     `json:"whereFalse"`
	Failed      uint64     `json:"failed"`
	Retried     uint64     `json:"retried"`
	Dropped     uint64     `json:"dropped"`
	Delivered   uint64     `json:"delivered"`
	Waiting     int64      `json:"waiting"`
	Dead        int64      `json:"dead"`
	LastError   string     `json:"lastError,omitempty"`
	LastErrorAt *time.Time `json:"lastErrorAt,omitempty"`
	Actions     []struct {
		Action    string `json:"action"`
		Delivered uint64 `json:"delivered"`
		Failed    uint64 `json:"failed"`
		Latency   struct {
			Count   uint64   `json:"count"`
			Sum     float64  `json:"sumSeconds"`
			P50     float64  `json:"p50Seconds"`
			P99     float64  `json:"p99Seconds"`
			Buckets []uint64 `json:"buckets"`
		} `json:"latency"`
	} `json:"actions"`
}

// slowest is a latency of the slowest of a rule's actions.
func (r *ruleStats) slowest(of func(p50, p99 float64) float64) string {
	most := -1.0
	for _, a := range r.Actions {
		if a.Latency.Count > 0 {
			most = max(most, of(a.Latency.P50, a.Latency.P99))
		}
	}
	if most < 0 {
		return "-"
	}
	return time.Duration(most * 1e9).Round(10 * time.Microsecond).String()
}

func ruleStatsCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Show what the rules have done",
		Long: `Show what the rules have done since they were created: messages that FROM matched, those that WHERE
stopped, actions that were delivered, failed for good, are tried again or were dropped, and what waits
on disk or is kept as a dead letter. Half of the deliveries took at most P50, and all but one of a
hundred P99; -o json has both for each kind of action, and the counts behind them.`,
		Example: "  berth rule stats",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out struct {
				Rules []ruleStats `json:"rules"`
			}
			if err := t.own(cmd.Context(), http.MethodGet, "/berth/rules", nil, &out); err != nil {
				return err
			}
			shown := table{header: []string{"RULE", "MATCHED", "WHERE FALSE", "DELIVERED", "FAILED", "RETRIED", "DROPPED", "WAITING", "DEAD", "P50", "P99", "LAST ERROR"}}
			n := func(v uint64) string { return strconv.FormatUint(v, 10) }
			for _, r := range out.Rules {
				shown.add(r.Name, n(r.Matched), n(r.WhereFalse), n(r.Delivered), n(r.Failed), n(r.Retried), n(r.Dropped),
					strconv.FormatInt(r.Waiting, 10), strconv.FormatInt(r.Dead, 10), r.slowest(func(p50, _ float64) float64 { return p50 }),
					r.slowest(func(_, p99 float64) float64 { return p99 }), r.LastError)
			}
			return emit(cmd, out.Rules, shown)
		},
	}
}

func ruleDeadCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "dead-letters NAME",
		Short:   "List what a rule could not deliver",
		Example: "  berth rule dead-letters store",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out struct {
				List []struct {
					ID        int64     `json:"id"`
					Rule      string    `json:"ruleName"`
					Action    string    `json:"action"`
					Error     string    `json:"error"`
					CreatedAt time.Time `json:"createdAt"`
					DiedAt    time.Time `json:"diedAt"`
					Payload   []byte    `json:"payload"`
				} `json:"deadLetters"`
			}
			if err := t.own(cmd.Context(), http.MethodGet, "/berth/rules/"+url.PathEscape(args[0])+"/dead-letters", nil, &out); err != nil {
				return err
			}
			shown := table{header: []string{"ID", "ACTION", "CREATED", "ERROR"}}
			for _, d := range out.List {
				shown.add(strconv.FormatInt(d.ID, 10), d.Action, timestamp(&d.CreatedAt), d.Error)
			}
			return emit(cmd, out.List, shown)
		},
	}
}

func ruleReplayCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "replay NAME",
		Short:   "Deliver a rule's dead letters again",
		Example: "  berth rule replay store",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out struct {
				Replayed int `json:"replayed"`
			}
			if err := t.own(cmd.Context(), http.MethodPost, "/berth/rules/"+url.PathEscape(args[0])+"/replay", nil, &out); err != nil {
				return err
			}
			return emit(cmd, out, table{rows: [][]string{{"replayed", strconv.Itoa(out.Replayed)}}})
		},
	}
}
