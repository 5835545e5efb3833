package admin

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/iotsql"
	"github.com/berth-iot/berth/topic"
)

// DryRun asks what a rule's statement makes of a message. Nothing is published and no action runs.
type DryRun struct {
	SQL       string   `json:"sql"`
	Version   string   `json:"awsIotSqlVersion"`
	Topic     string   `json:"topic"`         // empty: the statement is only checked
	Payload   string   `json:"payload"`       // or
	Bytes     []byte   `json:"payloadBase64"` // of a payload that is not text
	ClientID  string   `json:"clientId"`
	Templates []string `json:"templates"` // substitution templates to expand
}

// DryRunAnswer is what came out. Functions that ask something outside (shadows, the registry, Lambda
// functions, tables, secrets) are not called: a statement that needs one answers with error.
type DryRunAnswer struct {
	Filter    string            `json:"topicPattern"`
	Warnings  []string          `json:"warnings,omitempty"`
	Matched   bool              `json:"matched"`
	Reason    string            `json:"reason,omitempty"` // why there is no match: topic or where
	Error     string            `json:"error,omitempty"`
	Undefined bool              `json:"undefined,omitempty"`
	Result    json.RawMessage   `json:"result,omitempty"`
	Bytes     []byte            `json:"resultBase64,omitempty"` // of a result that is not JSON
	Templates map[string]string `json:"templates,omitempty"`
	Steps     []iotsql.Step     `json:"steps,omitempty"`
}

func (h *handler) dryRun(_ context.Context, _ *http.Request, body []byte) (any, error) {
	var in DryRun
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	version, err := iotsql.ParseVersion(in.Version)
	if err != nil {
		return nil, awsapi.Invalid("awsIotSqlVersion: %v", err)
	}
	q, err := iotsql.Parse(in.SQL, version)
	if err != nil {
		return nil, sqlException(err)
	}
	templates := make([]*iotsql.Template, len(in.Templates))
	for i, s := range in.Templates {
		if templates[i], err = q.Template(s); err != nil {
			return nil, sqlException(err)
		}
	}
	out := DryRunAnswer{Warnings: q.Warnings()}
	out.Filter, _ = q.Filter()
	if in.Topic == "" {
		return out, nil
	}
	if err := topic.AWS.CheckName(in.Topic); err != nil {
		return nil, awsapi.Invalid("topic: %v", err)
	}
	if !q.Matches(in.Topic) {
		out.Reason = "topic"
		return out, nil
	}
	if in.Bytes == nil {
		in.Bytes = []byte(in.Payload)
	}
	m := iotsql.NewMessage(&iotsql.Context{Topic: in.Topic, ClientID: in.ClientID, AccountID: "000000000000", Time: time.Now(), TraceID: uuid.NewString(),
		Random: rand.Float64, UUID: uuid.NewString}, in.Bytes)
	e := q.Explain(m)
	out.Steps = e.Steps
	if e.Err != nil {
		out.Error = explained(e.Err)
		return out, nil
	}
	if !e.Result.Matched {
		out.Reason = "where"
		return out, nil
	}
	out.Matched, out.Undefined = true, e.Result.Undefined
	switch {
	case out.Undefined:
	case json.Valid(e.Result.JSON):
		out.Result = e.Result.JSON
	default:
		out.Bytes = e.Result.JSON
	}
	out.Templates = make(map[string]string, len(templates))
	for i, t := range templates {
		b, err := t.Eval(m, nil)
		switch {
		case err != nil:
			out.Error = "template " + in.Templates[i] + ": " + explained(err)
			return out, nil
		case utf8.Valid(b):
			out.Templates[in.Templates[i]] = string(b)
		}
	}
	return out, nil
}

func explained(err error) string {
	switch {
	case errors.Is(err, iotsql.ErrUnavailable):
		return err.Error() + ": a dry run asks nothing outside; berth rule test takes an answer with --answer"
	case errors.Is(err, iotsql.ErrPayload):
		return err.Error() + ": encode(*, 'base64') takes any payload"
	}
	return err.Error()
}

// sqlException says where the mistake is, as CreateTopicRule does.
func sqlException(err error) error {
	message := err.Error()
	if syntax := (*iotsql.SyntaxError)(nil); errors.As(err, &syntax) && syntax.Hint != "" {
		message += " (" + syntax.Hint + ")"
	}
	return &awsapi.Error{Type: "SqlParseException", Status: http.StatusBadRequest, Message: message}
}
