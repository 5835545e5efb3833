package apply

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// API is the control plane of AWS IoT, called by its REST paths. An answer that says no is an error, and
// ErrNotFound where there is nothing.
type API interface {
	Call(ctx context.Context, method, path string, query url.Values, header map[string]string, in, out any) error
}

// ErrNotFound is wrapped by an API's error for a resource that does not exist.
var ErrNotFound = errors.New("not found")

// Action is what is to be done with a resource.
type Action string

// Actions.
const (
	Create  Action = "create"
	Update  Action = "update"
	Replace Action = "replace" // AWS has no update for it: it is deleted and made again
	Keep    Action = "keep"
	Skip    Action = "skip" // a resource of another service
)

// Step is what a template means for one resource.
type Step struct {
	Resource string   `json:"resource"` // its name in the template
	Type     string   `json:"type"`
	Name     string   `json:"name,omitempty"`
	Action   Action   `json:"action"`
	Changes  []Change `json:"changes,omitempty"`
	Note     string   `json:"note,omitempty"`
}

// Options of Run.
type Options struct {
	Parameters map[string]string
	DryRun     bool
	Tell       func(Step) // hears of every step, once it is done
}

// Run compares every resource of a template with what the server has and, unless it is a dry run, makes
// or changes it. It stops at the first error; what was done before stays, and running again goes on. What
// is not in the template is left alone.
func Run(ctx context.Context, api API, t *Template, place Place, o Options) ([]Step, error) {
	for name := range o.Parameters {
		if _, ok := t.parameters[name]; !ok {
			return nil, bad("Parameters", "the template has no parameter %s", name)
		}
	}
	s := &scope{Template: t, Place: place, parameters: o.Parameters, refs: make(map[string]string), arns: make(map[string]string), deciding: make(map[string]bool)}
	// All is read before anything is changed: a mistake in the last resource stops the first.
	ready := make(map[string]kind)
	for _, name := range t.order {
		r := t.resources[name]
		if r.condition != "" {
			yes, err := s.condition(r.condition)
			if err != nil {
				return nil, err
			}
			if !yes {
				continue
			}
		}
		k, err := s.prepare(r)
		if err != nil {
			return nil, err
		}
		ready[name] = k
	}
	var steps []Step
	for _, name := range t.order {
		k := ready[name]
		if k == nil {
			continue
		}
		step, err := take(ctx, api, k, o.DryRun)
		step.Resource, step.Type = name, t.resources[name].kind
		if err != nil {
			return steps, fmt.Errorf("%s (%s %s): %w", name, step.Type, step.Name, err)
		}
		steps = append(steps, step)
		if o.Tell != nil {
			o.Tell(step)
		}
	}
	return steps, nil
}

func take(ctx context.Context, api API, k kind, dry bool) (Step, error) {
	step := Step{Name: k.name(), Action: Keep}
	if f, ok := k.(foreign); ok {
		step.Action, step.Note = Skip, f.note()
		return step, nil
	}
	now, err := k.read(ctx, api)
	switch {
	case errors.Is(err, ErrNotFound):
		step.Action = Create
		if !dry {
			err = k.create(ctx, api)
		} else {
			err = nil
		}
		return step, err
	case err != nil:
		return step, err
	}
	if step.Changes = compare("", normal(now), normal(k.wanted()), false); len(step.Changes) == 0 {
		return step, nil
	}
	step.Action = Update
	if !k.updates() {
		step.Action = Replace
	}
	if dry {
		return step, nil
	}
	if step.Action == Replace {
		if err := k.remove(ctx, api); err != nil {
			return step, err
		}
		return step, k.create(ctx, api)
	}
	return step, k.update(ctx, api, step.Changes)
}

// kind is a resource that knows how it is read, made and changed.
type kind interface {
	name() string
	// wanted is what the template says, in the API's members.
	wanted() map[string]any
	// read returns what the server has, in the same members.
	read(ctx context.Context, api API) (map[string]any, error)
	create(ctx context.Context, api API) error
	update(ctx context.Context, api API, changes []Change) error
	updates() bool // false if it has to be replaced
	remove(ctx context.Context, api API) error
}

// prepare evaluates a resource and settles how others refer to it.
func (s *scope) prepare(r *resource) (kind, error) {
	v, err := s.eval(r.name, r.properties)
	if err != nil {
		return nil, err
	}
	p, _ := v.(map[string]any)
	if p == nil {
		p = make(map[string]any)
	}
	if !strings.HasPrefix(r.kind, "AWS::IoT::") {
		return s.foreign(r, p), nil
	}
	k, err := s.native(r, p)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// foreign is a resource of another service: it is referred to, and not made.
type foreign struct{ kind, called string }

func (f foreign) name() string { return f.called }
func (f foreign) note() string {
	if strings.HasPrefix(f.kind, "AWS::IAM::") {
		return "roles are accepted and mean nothing here"
	}
	return "of another service: make it there"
}
func (foreign) wanted() map[string]any                            { return nil }
func (foreign) read(context.Context, API) (map[string]any, error) { return nil, nil }
func (foreign) create(context.Context, API) error                 { return nil }
func (foreign) update(context.Context, API, []Change) error       { return nil }
func (foreign) updates() bool                                     { return true }
func (foreign) remove(context.Context, API) error                 { return nil }

// foreign guesses how AWS would name a resource of another service.
func (s *scope) foreign(r *resource, p map[string]any) foreign {
	name := r.name
	parts := strings.Split(r.kind, "::")
	service, thing := strings.ToLower(parts[min(1, len(parts)-1)]), parts[len(parts)-1]
	for _, key := range []string{thing + "Name", "Name"} {
		if given, ok := p[key].(string); ok {
			name = given
		}
	}
	region, path := s.Region, name
	switch thing {
	case "Role", "User", "Policy":
		region, path = "", strings.ToLower(thing)+"/"+name
	case "Function":
		path = "function:" + name
	case "Table", "Stream", "DeliveryStream":
		path = strings.ToLower(thing) + "/" + name
	}
	s.arns[r.name] = fmt.Sprintf("arn:%s:%s:%s:%s:%s", s.Partition, service, region, s.Account, path)
	s.refs[r.name] = name
	switch thing {
	case "Queue":
		s.refs[r.name] = fmt.Sprintf("https://sqs.%s.amazonaws.com/%s/%s", s.Region, s.Account, name)
	case "Topic":
		s.refs[r.name] = s.arns[r.name]
	case "Bucket":
		s.arns[r.name] = "arn:" + s.Partition + ":s3:::" + name
	}
	return foreign{r.kind, name}
}

// lower turns the names of CloudFormation's properties into those of the API: the first letter, or the
// first letters of an abbreviation.
func lower(v any, keep []string) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = lower(v[i], keep)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			if slices.Contains(keep, key) {
				out[lowerFirst(key)] = item
				continue
			}
			out[lowerFirst(key)] = lower(item, keep)
		}
		return out
	}
	return v
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
