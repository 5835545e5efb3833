// Package transfer moves what an AWS IoT account holds into another one, through the same REST API on
// both sides: AWS, berth, or anything else that speaks it.
//
// For each kind of resource it reads both accounts, compares, and makes what is missing or differs.
// Nothing is remembered between runs: a second one finds everything as it should be, and one that was
// interrupted goes on where the other stopped. Nothing is ever deleted in the target.
//
// ARNs of the source account become those of the target, in names, policies, templates and rules alike.
// Private keys do not move: AWS IoT keeps none, and devices go on with those that they have.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say what is moved.
type Options struct {
	DryRun bool     // compare only
	Only   []string // names of kinds; empty for all
	Prefix string   // of names: things, groups, policies, …; certificates follow their things
	// Overwrite also makes those things like the source's that devices and operators change in the
	// target once it is in use: shadows and the statuses of certificates.
	Overwrite bool
	Parallel  int // requests at a time; 0 for 8
	// Progress is told what is being done; nil for nobody. It is called concurrently.
	Progress func(Step)
}

// Step is how far one kind has come.
type Step struct {
	Kind  string
	Doing string // "reading" or "writing"
	Done  int
	Total int // 0 while it is not known
}

// States of an item.
const (
	New        = "new"        // made, or to be made in a dry run
	Same       = "same"       // was there already
	Changed    = "changed"    // differed, and was made the same
	Kept       = "kept"       // differs, and is left as it is
	Impossible = "impossible" // cannot be moved by anybody
	Failed     = "failed"     // the target refused it
)

// Item is one thing that was compared.
type Item struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	State string `json:"state"`
	// Note says why, and what is to be done; "" where there is nothing to say.
	Note string `json:"note,omitempty"`
}

// Count is the outcome for one kind.
type Count struct {
	Kind       string `json:"kind"`
	Found      int    `json:"found"`
	New        int    `json:"new"`
	Same       int    `json:"same"`
	Changed    int    `json:"changed"`
	Kept       int    `json:"kept"`
	Impossible int    `json:"impossible"`
	Failed     int    `json:"failed"`
	// Note is about the kind as a whole, such as that the source does not have it.
	Note string `json:"note,omitempty"`
}

// Report is what a run did, or would do.
type Report struct {
	Source  string   `json:"source"` // the beginning of its ARNs
	Target  string   `json:"target"`
	DryRun  bool     `json:"dryRun"`
	Kinds   []Count  `json:"kinds"`
	Items   []Item   `json:"items"` // those that are not the same, and those with a note
	Notes   []string `json:"notes"`
	Seconds float64  `json:"seconds"`
}

// Total adds up all kinds.
func (r *Report) Total() Count {
	sum := Count{Kind: "total"}
	for _, c := range r.Kinds {
		sum.Found += c.Found
		sum.New += c.New
		sum.Same += c.Same
		sum.Changed += c.Changed
		sum.Kept += c.Kept
		sum.Impossible += c.Impossible
		sum.Failed += c.Failed
	}
	return sum
}

// KindNames are the names that Options.Only takes, in the order of writing.
func KindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// object is a JSON object; numbers are json.Number.
type object = map[string]any

// kind is one kind of resource.
type kind struct {
	name string
	// read returns what an account holds, by name, in the form that is compared and written.
	read func(ctx context.Context, r *reader) (map[string]object, error)
	// write makes one in the target; have is nil if it is not there. A note is about what could not be
	// the same.
	write func(ctx context.Context, w *writer, name string, want, have object) (note string, err error)
	// covers reports whether have needs no change; nil for equality.
	covers func(want, have object) bool
	// refuse says why a new one is impossible, or "".
	refuse func(w *writer, name string, want object) string
	// rank orders those of a kind that hang on each other; nil for any order.
	rank func(want object) int
	// live ones are changed by devices and operators of the target: see Options.Overwrite.
	live bool
	// remark is a note on one that moves, or "".
	remark func(want object) string
}

// Run moves everything from source to target. The error is one of reading, or of the context; what the
// target refuses is in the report.
func Run(ctx context.Context, source, target *Account, opts Options) (*Report, error) {
	if opts.Parallel <= 0 {
		opts.Parallel = 8
	}
	for _, name := range opts.Only {
		if !slices.Contains(KindNames(), name) {
			return nil, fmt.Errorf("there is no kind %q: there are %s", name, strings.Join(KindNames(), ", "))
		}
	}
	start := time.Now()
	if err := source.identify(ctx); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if err := target.identify(ctx); err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	rep := &Report{Source: source.prefix, Target: target.prefix, DryRun: opts.DryRun, Items: []Item{}, Notes: []string{
		"no private keys were moved: AWS IoT keeps none, devices go on with theirs",
		"shadows begin with a version of their own in the target, and without the times of their values",
		"the devices' endpoint, retained messages, sessions and metrics are no part of this"}}
	t := &transfer{opts: opts, from: newReader(source, &opts), to: newReader(target, &opts), w: &writer{Account: target}, report: rep}
	t.w.source = t.from
	for _, k := range kinds() {
		if len(opts.Only) > 0 && !slices.Contains(opts.Only, k.name) {
			continue
		}
		if err := t.move(ctx, k); err != nil {
			return rep, err
		}
	}
	rep.Seconds = time.Since(start).Seconds()
	return rep, ctx.Err()
}

// transfer is one run.
type transfer struct {
	opts     Options
	from, to *reader
	w        *writer
	report   *Report
}

// writer is the target.
type writer struct {
	*Account
	source *reader
}

// move moves one kind.
func (t *transfer) move(ctx context.Context, k kind) error {
	t.from.kind, t.to.kind = k.name, k.name
	count := Count{Kind: k.name}
	want, err := k.read(ctx, t.from)
	if lacking(err) {
		count.Note = "the source does not have this"
		t.report.Kinds = append(t.report.Kinds, count)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s of the source: %w", k.name, err)
	}
	want = rewrite(want, t.from.prefix, t.to.prefix)
	count.Found = len(want)
	if len(want) == 0 {
		t.report.Kinds = append(t.report.Kinds, count)
		return nil
	}
	have, err := k.read(ctx, t.to)
	if lacking(err) {
		have, count.Note = nil, "the target does not have this"
	} else if err != nil {
		return fmt.Errorf("read %s of the target: %w", k.name, err)
	}
	items := t.compare(k, want, have, count.Note != "")
	if !t.opts.DryRun {
		if err := t.write(ctx, k, items, want, have); err != nil {
			return err
		}
	}
	for _, item := range items {
		switch item.State {
		case New:
			count.New++
		case Same:
			count.Same++
		case Changed:
			count.Changed++
		case Kept:
			count.Kept++
		case Impossible:
			count.Impossible++
		case Failed:
			count.Failed++
		}
		if item.State != Same || item.Note != "" {
			t.report.Items = append(t.report.Items, *item)
		}
	}
	t.report.Kinds = append(t.report.Kinds, count)
	return nil
}

// compare says for each item what is to be done.
func (t *transfer) compare(k kind, want, have map[string]object, lacking bool) []*Item {
	var items []*Item
	for _, name := range slices.Sorted(maps.Keys(want)) {
		item := &Item{Kind: k.name, Name: name, State: New}
		items = append(items, item)
		there := have[name]
		covers := k.covers
		if covers == nil {
			covers = equal
		}
		switch {
		case lacking:
			item.State, item.Note = Impossible, "the target has no operations for it"
		case there != nil && covers(want[name], there):
			item.State = Same
		case there != nil && k.live && !t.opts.Overwrite:
			item.State, item.Note = Kept, "differs: what the target has may be newer; --overwrite replaces it"
		case there != nil:
			item.State = Changed
		}
		if there == nil && k.refuse != nil && item.State == New {
			if why := k.refuse(t.w, name, want[name]); why != "" {
				item.State, item.Note = Impossible, why
			}
		}
		if item.Note == "" && item.State != Same && k.remark != nil {
			item.Note = k.remark(want[name])
		}
	}
	return items
}

// write makes what is new or has changed, those of one rank at a time.
func (t *transfer) write(ctx context.Context, k kind, items []*Item, want, have map[string]object) error {
	ranks := make(map[int][]*Item)
	total := 0
	for _, item := range items {
		if item.State != New && item.State != Changed {
			continue
		}
		rank := 0
		if k.rank != nil {
			rank = k.rank(want[item.Name])
		}
		ranks[rank] = append(ranks[rank], item)
		total++
	}
	var mu sync.Mutex
	done := 0
	for _, rank := range slices.Sorted(maps.Keys(ranks)) {
		err := each(ctx, t.opts.Parallel, ranks[rank], func(ctx context.Context, item *Item) error {
			note, err := k.write(ctx, t.w, item.Name, want[item.Name], have[item.Name])
			var refused *Error
			var fixed unchangeable
			switch {
			case errors.As(err, &fixed):
				item.State, item.Note = Kept, fixed.Error()
			case errors.As(err, &refused):
				item.State, item.Note = Failed, failure(refused)
			case err != nil:
				return err
			case note != "":
				item.Note = note
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			t.opts.tell(Step{k.name, "writing", done, total})
			return nil
		})
		if err != nil {
			return fmt.Errorf("write %s: %w", k.name, err)
		}
	}
	return nil
}

func (o *Options) tell(s Step) {
	if o.Progress != nil {
		o.Progress(s)
	}
}

// each calls do for every element, n at a time, until one fails.
func each[T any](ctx context.Context, n int, list []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var wg sync.WaitGroup
	for range min(n, len(list)) {
		wg.Go(func() {
			for x := range work {
				if err := do(ctx, x); err != nil {
					cancel(err)
				}
			}
		})
	}
feed:
	for _, x := range list {
		select {
		case work <- x:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

// unchangeable is why something that differs has to stay as it is.
type unchangeable string

func (u unchangeable) Error() string { return string(u) }

// failure says what the target answered and what can be done about it.
func failure(e *Error) string {
	text := e.Error()
	switch e.Code {
	case "LimitExceededException", "VersionsLimitExceededException":
		text += ": raise the limit or remove what is not needed, then run again"
	case "AccessDeniedException", "UnauthorizedException", "ForbiddenException":
		text += ": give the credentials that permission, then run again"
	case "ResourceNotFoundException":
		text += ": move what it refers to first (all kinds at once do)"
	case "SqlParseException", "InvalidRequestException":
		text += ": change it in the source, or make it in the target by hand"
	}
	return text
}
