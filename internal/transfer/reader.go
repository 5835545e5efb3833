package transfer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// reader reads one account. What several kinds need is read once.
type reader struct {
	*Account
	opts *Options
	kind string // for the progress

	things     memo[map[string]object]
	principals memo[map[string]object]
	groups     memo[map[string]object]
}

func newReader(a *Account, opts *Options) *reader { return &reader{Account: a, opts: opts} }

// memo is read once.
type memo[T any] struct {
	read  bool
	value T
}

func (m *memo[T]) get(read func() (T, error)) (T, error) {
	if m.read {
		return m.value, nil
	}
	v, err := read()
	if err == nil {
		m.read, m.value = true, v
	}
	return v, err
}

// keeps reports whether a name is among those that are moved.
func (r *reader) keeps(name string) bool { return strings.HasPrefix(name, r.opts.Prefix) }

// pages reads all pages of a list. AWS pages with nextToken, or with marker and nextMarker.
func (r *reader) pages(ctx context.Context, op string, in args, key string) ([]any, error) {
	var all []any
	next := make(args)
	for k, v := range in {
		next[k] = v
	}
	for {
		out, err := r.call(ctx, op, next)
		if err != nil {
			return nil, err
		}
		items, _ := out[key].([]any)
		all = append(all, items...)
		token, marker := str(out, "nextToken"), str(out, "nextMarker")
		switch {
		case token != "":
			next["?nextToken"] = token
		case marker != "":
			next["?marker"] = marker
		default:
			return all, nil
		}
	}
}

// names reads all pages of a list and returns one field of each that the prefix keeps.
func (r *reader) names(ctx context.Context, op string, in args, key, field string) ([]string, error) {
	all, err := r.pages(ctx, op, in, key)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, x := range all {
		name, ok := x.(string)
		if o, isObject := x.(object); isObject {
			name, ok = o[field].(string)
		}
		if ok && r.keeps(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// describe calls one for every name, several at a time; nil results are left out, and so is what was
// deleted meanwhile.
func (r *reader) describe(ctx context.Context, names []string, one func(ctx context.Context, name string) (object, error)) (map[string]object, error) {
	all := make(map[string]object, len(names))
	var mu sync.Mutex
	done := 0
	err := each(ctx, r.opts.Parallel, names, func(ctx context.Context, name string) error {
		o, err := one(ctx, name)
		if is(err, "ResourceNotFoundException") {
			o, err = nil, nil
		}
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if o != nil {
			all[name] = o
		}
		done++
		r.opts.tell(Step{r.kind, "reading", done, len(names)})
		return nil
	})
	return all, err
}

// tagged adds the tags of a resource.
func (r *reader) tagged(ctx context.Context, o object, arn string) (object, error) {
	if arn == "" {
		return o, nil
	}
	list, err := r.pages(ctx, "ListTagsForResource", args{"resourceArn": arn}, "tags")
	if lacking(err) || is(err, "ResourceNotFoundException") {
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	tags := make(object)
	for _, x := range list {
		if t, ok := x.(object); ok {
			tags[str(t, "Key")] = str(t, "Value")
		}
	}
	if len(tags) > 0 {
		o["tags"] = tags
	}
	return o, nil
}

// tag makes the tags of a resource those of want.
func (w *writer) tag(ctx context.Context, arn string, want, have object) error {
	tags, old := obj(want, "tags"), obj(have, "tags")
	var set []any
	for k, v := range tags {
		if old[k] != v {
			set = append(set, object{"Key": k, "Value": v})
		}
	}
	var gone []any
	for k := range old {
		if _, ok := tags[k]; !ok {
			gone = append(gone, k)
		}
	}
	if len(set) > 0 {
		if _, err := w.call(ctx, "TagResource", args{"resourceArn": arn, "tags": set}); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		if _, err := w.call(ctx, "UntagResource", args{"resourceArn": arn, "tagKeys": gone}); err != nil {
			return err
		}
	}
	return nil
}

// arn is one of the target's.
func (w *writer) arn(resource string) string { return w.prefix + resource }

// everything is names without the prefix.
func (r *reader) everything(ctx context.Context, op string, in args, key string) ([]string, error) {
	all, err := r.pages(ctx, op, in, key)
	return strs(object{"": all}, ""), err
}

// describeMany lists for every name what belongs to it, as "NAME OTHER".
func (r *reader) describeMany(ctx context.Context, names []string, others func(ctx context.Context, name string) ([]string, error)) (map[string]object, error) {
	out := make(map[string]object)
	var mu sync.Mutex
	_, err := r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		found, err := others(ctx, name)
		mu.Lock()
		defer mu.Unlock()
		for _, other := range found {
			out[name+" "+other] = object{}
		}
		return nil, err
	})
	return out, err
}

// byNumber sorts versions such as 1, 2, 10 or "1", "2", "10".
func byNumber(list []object, key string) {
	slices.SortFunc(list, func(a, b object) int {
		x, _ := strconv.Atoi(fmt.Sprint(a[key]))
		y, _ := strconv.Atoi(fmt.Sprint(b[key]))
		return x - y
	})
}
