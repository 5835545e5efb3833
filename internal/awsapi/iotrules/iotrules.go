// Package iotrules holds the operations on topic rules and their destinations.
package iotrules

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/redaction"
	"github.com/berth-iot/berth/internal/rules"
	"github.com/berth-iot/berth/iotsql"
)

type plane struct{ rules *rules.Service }

// Operations returns the handlers.
func Operations(s *rules.Service) awsapi.Set {
	p := &plane{s}
	handlers := map[string]awsapi.Handler{
		"CreateTopicRule":             p.create,
		"ReplaceTopicRule":            p.replace,
		"GetTopicRule":                p.get,
		"ListTopicRules":              p.list,
		"EnableTopicRule":             p.enable(true),
		"DisableTopicRule":            p.enable(false),
		"DeleteTopicRule":             p.delete,
		"CreateTopicRuleDestination":  p.createDestination,
		"GetTopicRuleDestination":     p.getDestination,
		"ListTopicRuleDestinations":   p.listDestinations,
		"UpdateTopicRuleDestination":  p.updateDestination,
		"DeleteTopicRuleDestination":  p.deleteDestination,
		"ConfirmTopicRuleDestination": p.confirm,
	}
	for name, h := range handlers {
		handlers[name] = func(ctx context.Context, req *awsapi.Request) (any, error) {
			answer, err := h(ctx, req)
			if err != nil {
				return nil, exception(err)
			}
			return answer, nil
		}
	}
	return awsapi.Set{Service: awsapi.IoT, Handlers: handlers}
}

func exception(err error) error {
	if syntax := (*iotsql.SyntaxError)(nil); errors.As(err, &syntax) {
		message := err.Error()
		if syntax.Hint != "" {
			message += " (" + syntax.Hint + ")"
		}
		return &awsapi.Error{Type: "SqlParseException", Status: 400, Message: message}
	}
	refusal := (*rules.Error)(nil)
	if !errors.As(err, &refusal) {
		return err
	}
	for _, x := range []struct {
		kind   error
		name   string
		status int
	}{
		{rules.ErrInvalid, "InvalidRequestException", 400},
		{rules.ErrNotFound, "UnauthorizedException", 401},
		{rules.ErrExists, "ResourceAlreadyExistsException", 409},
		{rules.ErrLimit, "LimitExceededException", 410},
	} {
		if errors.Is(err, x.kind) {
			return &awsapi.Error{Type: x.name, Status: x.status, Message: err.Error(), ResourceARN: refusal.ARN}
		}
	}
	return err
}

func payload(req *awsapi.Request) (rules.Payload, error) {
	var p rules.Payload
	err := req.Decode(&p)
	return p, err
}

func (p *plane) create(ctx context.Context, req *awsapi.Request) (any, error) {
	in, err := payload(req)
	if err != nil {
		return nil, err
	}
	return nil, p.rules.CreateTopicRule(ctx, req.Path("ruleName"), in)
}

func (p *plane) replace(ctx context.Context, req *awsapi.Request) (any, error) {
	in, err := payload(req)
	if err != nil {
		return nil, err
	}
	return nil, p.rules.ReplaceTopicRule(ctx, req.Path("ruleName"), in)
}

func (p *plane) get(_ context.Context, req *awsapi.Request) (any, error) {
	r, err := p.rules.GetTopicRule(req.Path("ruleName"))
	if err != nil {
		return nil, err
	}
	type rule struct {
		Name    string      `json:"ruleName"`
		Created awsapi.Time `json:"createdAt"`
		rules.Payload
	}
	answer := struct {
		ARN  string `json:"ruleArn"`
		Rule rule   `json:"rule"`
	}{r.ARN, rule{r.Name, awsapi.Time(r.Created), r.Payload}}
	if req.Caller.Role == awsapi.RoleAdmin {
		return answer, nil
	}
	// Actions hold what other systems are opened with.
	b, err := json.Marshal(answer)
	return redaction.JSON(b), err
}

// page reads maxResults and nextToken, which holds the last name of the page before.
func page(req *awsapi.Request, most int64) (after string, n int, err error) {
	limit, err := req.Int("maxResults")
	if err != nil {
		return "", 0, err
	}
	n = int(most)
	if limit != nil {
		if *limit < 1 || *limit > most {
			return "", 0, awsapi.Invalid("maxResults is %d, not from 1 to %d", *limit, most)
		}
		n = int(*limit)
	}
	b, err := base64.RawURLEncoding.DecodeString(req.Query("nextToken"))
	if err != nil {
		return "", 0, awsapi.Invalid("nextToken is not one of ours")
	}
	return string(b), n, nil
}

func token(more bool, last string) string {
	if !more {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(last))
}

func (p *plane) list(_ context.Context, req *awsapi.Request) (any, error) {
	after, n, err := page(req, 10000)
	if err != nil {
		return nil, err
	}
	f := rules.RuleFilter{Topic: req.Query("topic")}
	if req.Query("ruleDisabled") != "" {
		disabled, err := req.Bool("ruleDisabled", false)
		if err != nil {
			return nil, err
		}
		f.Disabled = &disabled
	}
	type rule struct {
		ARN      string      `json:"ruleArn"`
		Name     string      `json:"ruleName"`
		Topic    string      `json:"topicPattern,omitempty"`
		Created  awsapi.Time `json:"createdAt"`
		Disabled bool        `json:"ruleDisabled"`
	}
	out := struct {
		Rules []rule `json:"rules"`
		Next  string `json:"nextToken,omitempty"`
	}{Rules: []rule{}}
	list, more := p.rules.ListTopicRules(f, after, n)
	for _, r := range list {
		out.Rules = append(out.Rules, rule{r.ARN, r.Name, r.Filter, awsapi.Time(r.Created), r.Disabled})
		out.Next = token(more, r.Name)
	}
	return out, nil
}

func (p *plane) enable(enabled bool) awsapi.Handler {
	return func(ctx context.Context, req *awsapi.Request) (any, error) {
		return nil, p.rules.EnableTopicRule(ctx, req.Path("ruleName"), enabled)
	}
}

func (p *plane) delete(ctx context.Context, req *awsapi.Request) (any, error) {
	return nil, p.rules.DeleteTopicRule(ctx, req.Path("ruleName"))
}

type httpURL struct {
	ConfirmationURL string `json:"confirmationUrl"`
}

type destination struct {
	ARN     string      `json:"arn"`
	Status  string      `json:"status"`
	Created awsapi.Time `json:"createdAt"`
	Updated awsapi.Time `json:"lastUpdatedAt"`
	Reason  string      `json:"statusReason,omitempty"`
	HTTP    *httpURL    `json:"httpUrlProperties,omitempty"`
	Summary *httpURL    `json:"httpUrlSummary,omitempty"`
}

func view(d rules.Destination) destination {
	return destination{ARN: d.ARN, Status: d.Status, Created: awsapi.Time(d.Created), Updated: awsapi.Time(d.Updated), Reason: d.Reason, HTTP: &httpURL{d.URL}}
}

type oneDestination struct {
	Destination destination `json:"topicRuleDestination"`
}

func (p *plane) createDestination(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Configuration *struct {
			HTTP *httpURL `json:"httpUrlConfiguration"`
			VPC  any      `json:"vpcConfiguration"`
		} `json:"destinationConfiguration"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Configuration == nil:
		return nil, awsapi.Missing("destinationConfiguration")
	case in.Configuration.VPC != nil:
		return nil, awsapi.Invalid("berth has no destinations in a VPC")
	case in.Configuration.HTTP == nil:
		return nil, awsapi.Missing("destinationConfiguration.httpUrlConfiguration")
	}
	d, err := p.rules.CreateTopicRuleDestination(ctx, in.Configuration.HTTP.ConfirmationURL)
	if err != nil {
		return nil, err
	}
	return oneDestination{view(d)}, nil
}

func (p *plane) getDestination(_ context.Context, req *awsapi.Request) (any, error) {
	d, err := p.rules.GetTopicRuleDestination(req.Path("arn"))
	if err != nil {
		return nil, err
	}
	return oneDestination{view(d)}, nil
}

func (p *plane) listDestinations(_ context.Context, req *awsapi.Request) (any, error) {
	after, n, err := page(req, 1000)
	if err != nil {
		return nil, err
	}
	out := struct {
		List []destination `json:"destinationSummaries"`
		Next string        `json:"nextToken,omitempty"`
	}{List: []destination{}}
	list, more := p.rules.ListTopicRuleDestinations(after, n)
	for _, d := range list {
		v := view(d)
		v.Summary, v.HTTP = v.HTTP, nil
		out.List = append(out.List, v)
		out.Next = token(more, d.ID)
	}
	return out, nil
}

func (p *plane) updateDestination(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		ARN    string `json:"arn"`
		Status string `json:"status"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return struct{}{}, p.rules.UpdateTopicRuleDestination(ctx, in.ARN, in.Status)
}

func (p *plane) deleteDestination(ctx context.Context, req *awsapi.Request) (any, error) {
	return struct{}{}, p.rules.DeleteTopicRuleDestination(ctx, req.Path("arn"))
}

func (p *plane) confirm(ctx context.Context, req *awsapi.Request) (any, error) {
	return struct{}{}, p.rules.ConfirmTopicRuleDestination(ctx, req.Path("confirmationToken"))
}

// Confirmation is where a destination confirms itself, without a signature: it has the token.
func Confirmation(s *rules.Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := s.ConfirmTopicRuleDestination(r.Context(), r.PathValue("token")); err != nil {
			e := awsapi.ErrorOf(exception(err))
			w.Header().Set("x-amzn-ErrorType", e.Type)
			w.WriteHeader(e.Status)
			fmt.Fprintf(w, `{"message":%q}`, e.Message)
			return
		}
		fmt.Fprint(w, "{}")
	}
}
