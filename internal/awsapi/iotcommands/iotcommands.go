// Package iotcommands holds the operations on commands and their executions: those of the control
// plane, and the one of the jobs data plane that starts an execution.
package iotcommands

import (
	"context"
	"errors"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/commands"
)

type plane struct{ commands *commands.Service }

// ControlOperations returns the handlers of the control plane.
func ControlOperations(s *commands.Service) awsapi.Set {
	p := &plane{s}
	return awsapi.Set{Service: awsapi.IoT, Exception: exception, Handlers: translated(map[string]awsapi.Handler{
		"CreateCommand":          p.create,
		"GetCommand":             p.get,
		"UpdateCommand":          p.update,
		"DeleteCommand":          p.delete,
		"ListCommands":           p.list,
		"GetCommandExecution":    p.getExecution,
		"ListCommandExecutions":  p.listExecutions,
		"DeleteCommandExecution": p.deleteExecution,
	})}
}

// DataOperations returns the handler of the jobs data plane.
func DataOperations(s *commands.Service) awsapi.Set {
	p := &plane{s}
	return awsapi.Set{Service: awsapi.IoTJobsData, Handlers: translated(map[string]awsapi.Handler{
		"StartCommandExecution": p.start,
	})}
}

// translated turns refusals into the exceptions of these operations, whose names differ from those of
// the older ones.
func translated(handlers map[string]awsapi.Handler) map[string]awsapi.Handler {
	for name, h := range handlers {
		handlers[name] = func(ctx context.Context, req *awsapi.Request) (any, error) {
			answer, err := h(ctx, req)
			if err != nil {
				return nil, exception(err)
			}
			return answer, nil
		}
	}
	return handlers
}

func exception(err error) error {
	refusal := (*commands.Error)(nil)
	resource := ""
	if errors.As(err, &refusal) {
		resource = refusal.Resource
	}
	for _, x := range []struct {
		kind   error
		name   string
		status int
	}{
		{commands.ErrInvalid, "ValidationException", 400},
		{commands.ErrNotFound, "ResourceNotFoundException", 404},
		{commands.ErrConflict, "ConflictException", 409},
		{commands.ErrQuota, "ServiceQuotaExceededException", 402},
	} {
		if errors.Is(err, x.kind) {
			return &awsapi.Error{Type: x.name, Status: x.status, Message: err.Error(), ResourceID: resource}
		}
	}
	if e := (*awsapi.Error)(nil); errors.As(err, &e) && e.Type == "InvalidRequestException" {
		e.Type = "ValidationException"
	}
	return err
}

func page(req *awsapi.Request) (commands.Page, error) {
	n, err := req.Int("maxResults")
	p := commands.Page{Token: req.Query("nextToken")}
	if n != nil {
		if p.Limit = int(*n); *n < 1 || *n > commands.MaxPage {
			p.Limit = -1 // refused by the listing
		}
	}
	return p, err
}

func ascending(order string) (bool, error) {
	switch order {
	case "", "DESCENDING":
		return false, nil
	case "ASCENDING":
		return true, nil
	}
	return false, awsapi.Invalid("sortOrder is %q, not ASCENDING or DESCENDING", order)
}

// namespace refuses namespaces that berth does not have.
func namespace(name string) error {
	if name == "" || name == commands.Namespace {
		return nil
	}
	return awsapi.Invalid("namespace %q is not supported, only %s", name, commands.Namespace)
}

func (p *plane) create(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Namespace   string `json:"namespace"`
		DisplayName string `json:"displayName"`
		Description string `json:"description"`
		commands.Definition
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if err := namespace(in.Namespace); err != nil {
		return nil, err
	}
	c, err := p.commands.CreateCommand(ctx, commands.Command{ID: req.Path("commandId"), DisplayName: in.DisplayName, Description: in.Description, Definition: in.Definition})
	if err != nil {
		return nil, err
	}
	return struct {
		ID  string `json:"commandId"`
		ARN string `json:"commandArn"`
	}{c.ID, c.ARN}, nil
}

func (p *plane) get(ctx context.Context, req *awsapi.Request) (any, error) {
	c, err := p.commands.GetCommand(ctx, req.Path("commandId"))
	if err != nil {
		return nil, err
	}
	return struct {
		ID          string      `json:"commandId"`
		ARN         string      `json:"commandArn"`
		Namespace   string      `json:"namespace"`
		DisplayName string      `json:"displayName,omitempty"`
		Description string      `json:"description,omitempty"`
		Created     awsapi.Time `json:"createdAt"`
		Updated     awsapi.Time `json:"lastUpdatedAt"`
		Deprecated  bool        `json:"deprecated"`
		Pending     bool        `json:"pendingDeletion"`
		commands.Definition
	}{c.ID, c.ARN, commands.Namespace, c.DisplayName, c.Description, awsapi.Time(c.Created), awsapi.Time(c.Updated),
		!c.Deprecated.IsZero(), !c.Deletion.IsZero(), c.Definition}, nil
}

func (p *plane) update(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		DisplayName *string `json:"displayName"`
		Description *string `json:"description"`
		Deprecated  *bool   `json:"deprecated"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	c, err := p.commands.UpdateCommand(ctx, req.Path("commandId"), commands.Update(in))
	if err != nil {
		return nil, err
	}
	return struct {
		ID          string      `json:"commandId"`
		DisplayName string      `json:"displayName,omitempty"`
		Description string      `json:"description,omitempty"`
		Deprecated  bool        `json:"deprecated"`
		Updated     awsapi.Time `json:"lastUpdatedAt"`
	}{c.ID, c.DisplayName, c.Description, !c.Deprecated.IsZero(), awsapi.Time(c.Updated)}, nil
}

// delete answers 202 for a deletion that is scheduled, 204 for one that is done.
func (p *plane) delete(ctx context.Context, req *awsapi.Request) (any, error) {
	pending, err := p.commands.DeleteCommand(ctx, req.Path("commandId"))
	if err != nil {
		return nil, err
	}
	if pending {
		return &awsapi.Response{Status: 202}, nil
	}
	return &awsapi.Response{Status: 204}, nil
}

func (p *plane) list(ctx context.Context, req *awsapi.Request) (any, error) {
	if err := namespace(req.Query("namespace")); err != nil {
		return nil, err
	}
	up, err := ascending(req.Query("sortOrder"))
	if err != nil {
		return nil, err
	}
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.commands.ListCommands(ctx, commands.Filter{Parameter: req.Query("commandParameterName"), Ascending: up}, page)
	if err != nil {
		return nil, err
	}
	type command struct {
		ARN         string      `json:"commandArn"`
		ID          string      `json:"commandId"`
		DisplayName string      `json:"displayName,omitempty"`
		Deprecated  bool        `json:"deprecated"`
		Created     awsapi.Time `json:"createdAt"`
		Updated     awsapi.Time `json:"lastUpdatedAt"`
		Pending     bool        `json:"pendingDeletion"`
	}
	out := struct {
		Commands []command `json:"commands"`
		Next     string    `json:"nextToken,omitempty"`
	}{[]command{}, next}
	for _, c := range list {
		out.Commands = append(out.Commands, command{c.ARN, c.ID, c.DisplayName, !c.Deprecated.IsZero(), awsapi.Time(c.Created), awsapi.Time(c.Updated), false})
	}
	return out, nil
}

func (p *plane) start(ctx context.Context, req *awsapi.Request) (any, error) {
	if req.Caller.AccessKeyID == "" {
		return nil, &awsapi.Error{Type: "AccessDeniedException", Status: 403, Message: "StartCommandExecution needs a request with a signature"}
	}
	var in struct {
		Target     *string                   `json:"targetArn"`
		Command    *string                   `json:"commandArn"`
		Parameters map[string]commands.Value `json:"parameters"`
		Timeout    *int64                    `json:"executionTimeoutSeconds"`
		Token      string                    `json:"clientToken"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Target == nil:
		return nil, awsapi.Missing("targetArn")
	case in.Command == nil:
		return nil, awsapi.Missing("commandArn")
	}
	id, err := p.commands.StartCommandExecution(ctx, commands.Start{Target: *in.Target, Command: *in.Command, Parameters: in.Parameters,
		TimeoutSeconds: in.Timeout, Token: in.Token})
	if err != nil {
		return nil, err
	}
	return struct {
		ID string `json:"executionId"`
	}{id}, nil
}

func (p *plane) target(req *awsapi.Request) (string, error) {
	if arn := req.Query("targetArn"); arn != "" {
		return arn, nil
	}
	return "", awsapi.Missing("targetArn")
}

func (p *plane) getExecution(ctx context.Context, req *awsapi.Request) (any, error) {
	target, err := p.target(req)
	if err != nil {
		return nil, err
	}
	withResult, err := req.Bool("includeResult", false)
	if err != nil {
		return nil, err
	}
	e, err := p.commands.GetCommandExecution(ctx, req.Path("executionId"), target)
	if err != nil {
		return nil, err
	}
	if !withResult {
		e.Result = nil
	}
	return struct {
		ID         string                     `json:"executionId"`
		Command    string                     `json:"commandArn"`
		Target     string                     `json:"targetArn"`
		Status     commands.Status            `json:"status"`
		Reason     *commands.Reason           `json:"statusReason,omitempty"`
		Result     map[string]commands.Result `json:"result,omitempty"`
		Parameters map[string]commands.Value  `json:"parameters,omitempty"`
		Timeout    int64                      `json:"executionTimeoutSeconds"`
		Created    awsapi.Time                `json:"createdAt"`
		Updated    awsapi.Time                `json:"lastUpdatedAt"`
		Started    awsapi.Time                `json:"startedAt"`
		Completed  awsapi.Time                `json:"completedAt,omitzero"`
		Expires    awsapi.Time                `json:"timeToLive"`
	}{e.ID, e.CommandARN, e.TargetARN, e.State.Status, e.Reason, e.Result, e.Parameters, int64(e.Timeout / time.Second),
		awsapi.Time(e.Created), awsapi.Time(e.Updated), awsapi.Time(e.Created), awsapi.Time(e.Completed), awsapi.Time(e.Expires)}, nil
}

func (p *plane) deleteExecution(ctx context.Context, req *awsapi.Request) (any, error) {
	target, err := p.target(req)
	if err != nil {
		return nil, err
	}
	return struct{}{}, p.commands.DeleteCommandExecution(ctx, req.Path("executionId"), target)
}

// timeFilter is a range of time; yyyy-MM-dd'T'HH:mm in UTC, with seconds and a zone if one likes.
type timeFilter struct {
	After  string `json:"after"`
	Before string `json:"before"`
}

func (f *timeFilter) domain(name string) (*commands.TimeFilter, error) {
	if f == nil {
		return nil, nil
	}
	parse := func(member, text string) (time.Time, error) {
		if text == "" {
			return time.Time{}, nil
		}
		for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", time.RFC3339} {
			if t, err := time.Parse(layout, text); err == nil {
				return t, nil
			}
		}
		return time.Time{}, awsapi.Invalid("%s.%s is %q, which has not the form yyyy-MM-dd'T'HH:mm", name, member, text)
	}
	after, err := parse("after", f.After)
	if err != nil {
		return nil, err
	}
	before, err := parse("before", f.Before)
	return &commands.TimeFilter{After: after, Before: before}, err
}

func (p *plane) listExecutions(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Namespace string          `json:"namespace"`
		Status    commands.Status `json:"status"`
		Order     string          `json:"sortOrder"`
		Started   *timeFilter     `json:"startedTimeFilter"`
		Completed *timeFilter     `json:"completedTimeFilter"`
		Target    string          `json:"targetArn"`
		Command   string          `json:"commandArn"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if err := namespace(in.Namespace); err != nil {
		return nil, err
	}
	f := commands.ExecutionFilter{Command: in.Command, Target: in.Target, Status: in.Status}
	var err error
	if f.Ascending, err = ascending(in.Order); err != nil {
		return nil, err
	}
	if f.Started, err = in.Started.domain("startedTimeFilter"); err != nil {
		return nil, err
	}
	if f.Completed, err = in.Completed.domain("completedTimeFilter"); err != nil {
		return nil, err
	}
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.commands.ListCommandExecutions(ctx, f, page)
	if err != nil {
		return nil, err
	}
	type execution struct {
		Command   string          `json:"commandArn"`
		ID        string          `json:"executionId"`
		Target    string          `json:"targetArn"`
		Status    commands.Status `json:"status"`
		Created   awsapi.Time     `json:"createdAt"`
		Started   awsapi.Time     `json:"startedAt"`
		Completed awsapi.Time     `json:"completedAt,omitzero"`
	}
	out := struct {
		Executions []execution `json:"commandExecutions"`
		Next       string      `json:"nextToken,omitempty"`
	}{[]execution{}, next}
	for _, e := range list {
		out.Executions = append(out.Executions, execution{e.CommandARN, e.ID, e.TargetARN, e.State.Status, awsapi.Time(e.Created), awsapi.Time(e.Created), awsapi.Time(e.Completed)})
	}
	return out, nil
}
