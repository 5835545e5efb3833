package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// bench is a service over a database of its own. Under synctest its clock is the bubble's.
type bench struct {
	*Service
	t   testing.TB
	dir string
	db  *store.DB
	reg *registry.Registry
	now func() time.Time // may be nil
}

const (
	thingARN = "arn:aws:iot:us-east-1:000000000000:thing/"
	groupARN = "arn:aws:iot:us-east-1:000000000000:thinggroup/"
)

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	b.open()
	return b
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) open() {
	ctx := context.Background()
	var err error
	b.db = storetest.Open(b.t, b.dir)
	b.reg, err = registry.Open(ctx, b.db, registry.Config{})
	b.check(err)
	r, err := router.New(ctx, topic.AWS, b.db)
	b.check(err)
	b.Service, err = Open(ctx, Config{Store: b.db, Router: r, Registry: b.reg, Now: b.now})
	b.check(err)
	b.reg.Observe(b.Service)
}

func (b *bench) close() {
	b.Service.Close()
	b.db.Close()
}

func (b *bench) restart() {
	b.close()
	b.open()
}

// things makes n things T0000, T0001, …, in a group if it has a name.
func (b *bench) things(group string, n int) {
	ctx := context.Background()
	if group != "" {
		_, err := b.reg.CreateThingGroup(ctx, registry.NewThingGroup{Name: group})
		b.check(err)
	}
	for i := range n {
		_, err := b.reg.CreateThing(ctx, registry.NewThing{Name: fmt.Sprintf("T%04d", i)})
		b.check(err)
		if group != "" {
			b.check(b.reg.AddThingToThingGroup(ctx, group, fmt.Sprintf("T%04d", i)))
		}
	}
}

func (b *bench) create(id string, d Definition, selection string, targets ...string) {
	b.t.Helper()
	_, err := b.CreateJob(context.Background(), NewJob{ID: id, Selection: selection, Targets: targets, Document: "{}", Definition: d})
	b.check(err)
}

func (b *bench) describe(id string) *Job {
	b.t.Helper()
	synctest.Wait()
	j, err := b.DescribeJob(context.Background(), id)
	b.check(err)
	return j
}

func (b *bench) counts(id string, want Counts) {
	b.t.Helper()
	if got := b.describe(id).Counts; got != want {
		b.t.Fatalf("%s: %+v\nwant %+v", id, got, want)
	}
}

func (b *bench) say(thing, id string, s ExecutionStatus) {
	b.t.Helper()
	_, err := b.UpdateJobExecution(context.Background(), thing, UpdateRequest{Job: id, Status: s})
	b.check(err)
}

// settle lets what is due happen. The store's goroutines are no part of the fake clock's waiting, so
// a moment passes.
func settle() {
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func TestRolloutAndRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		b.things("G", 300)
		b.create("j", Definition{Rollout: &Rollout{MaximumPerMinute: new(int64(100))}}, "", groupARN+"G", thingARN+"T0000")
		settle()
		b.counts("j", Counts{Queued: 100})
		b.restart() // in the middle: the minute's share is not given again
		settle()
		b.counts("j", Counts{Queued: 100})
		time.Sleep(time.Minute)
		settle()
		b.counts("j", Counts{Queued: 200})
		b.restart()
		time.Sleep(time.Minute)
		settle()
		b.counts("j", Counts{Queued: 300})
		if j := b.describe("j"); j.Status != JobInProgress || j.Concurrent {
			t.Errorf("%+v", j)
		}
		list, token, err := b.ListJobExecutionsForJob(context.Background(), "j", Queued, Page{})
		b.check(err)
		rest, last, err := b.ListJobExecutionsForJob(context.Background(), "j", Queued, Page{Token: token})
		b.check(err)
		seen := make(map[string]bool)
		for _, e := range append(list, rest...) {
			if seen[e.Thing] || e.Number != 1 {
				t.Errorf("%s twice, or number %d", e.Thing, e.Number)
			}
			seen[e.Thing] = true
		}
		if len(seen) != 300 || last != "" {
			t.Errorf("%d executions", len(seen))
		}
		for i := range 300 {
			b.say(fmt.Sprintf("T%04d", i), "j", Succeeded)
		}
		if j := b.describe("j"); j.Status != Completed || j.Counts != (Counts{Succeeded: 300}) || j.Completed.IsZero() {
			t.Errorf("%+v", j)
		}
	})
}

func TestTimeoutAndRetryAcrossRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		b.things("", 2)
		ctx := context.Background()
		b.create("j", Definition{Timeout: &Timeout{InProgressMinutes: new(int64(10))}, Retry: &Retry{[]RetryCriterion{{"TIMED_OUT", 1}}}}, "", thingARN+"T0000", thingARN+"T0001")
		settle()
		step := int64(3)
		e, err := b.StartNextPendingJobExecution(ctx, "T0000", StartRequest{Step: &step})
		b.check(err)
		if e.Remaining == nil || *e.Remaining != 180 {
			t.Errorf("%+v", e)
		}
		b.say("T0001", "j", InProgress)
		time.Sleep(2 * time.Minute)
		b.restart() // in the middle of both timers
		settle()
		b.counts("j", Counts{InProgress: 2})
		time.Sleep(time.Minute)
		settle()
		b.counts("j", Counts{InProgress: 1, Queued: 1}) // the step timer, and another try
		if e, err := b.DescribeJobExecution(ctx, "T0000", "j", 0); err != nil || e.Number != 2 || e.RetryAttempt != 1 || e.Status != Queued {
			t.Errorf("%+v %v", e, err)
		}
		if e, err := b.DescribeJobExecution(ctx, "T0000", "j", 1); err != nil || e.Status != TimedOut {
			t.Errorf("%+v %v", e, err)
		}
		b.say("T0000", "j", InProgress)
		time.Sleep(8 * time.Minute)
		settle()
		b.counts("j", Counts{InProgress: 1, Queued: 1}) // T0001 timed out and tries again
		time.Sleep(3 * time.Minute)
		settle()
		b.counts("j", Counts{TimedOut: 1, Queued: 1}) // T0000 had its retry
		_, err = b.UpdateJobExecution(ctx, "T0000", UpdateRequest{Job: "j", Status: Succeeded})
		if !errors.Is(err, ErrTransition) {
			t.Errorf("a late answer: %v", err)
		}
		b.say("T0001", "j", Succeeded)
		if j := b.describe("j"); j.Status != Completed || j.Counts != (Counts{TimedOut: 1, Succeeded: 1}) {
			t.Errorf("%+v", j)
		}
	})
}

func TestAbortCancelsWhatIsQueued(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		b.things("G", 600)
		b.create("j", Definition{Abort: &Abort{[]AbortCriterion{{"FAILED", "CANCEL", 50, 2}}}}, "", groupARN+"G")
		settle()
		b.counts("j", Counts{Queued: 600})
		b.say("T0002", "j", InProgress)
		b.say("T0000", "j", Failed)
		b.counts("j", Counts{Queued: 598, InProgress: 1, Failed: 1})
		b.say("T0001", "j", Failed)
		settle()
		j := b.describe("j")
		if j.Status != JobCanceled || j.Counts != (Counts{Canceled: 597, InProgress: 1, Failed: 2}) {
			t.Errorf("%+v", j)
		}
		b.say("T0002", "j", Succeeded) // may finish
		if j := b.describe("j"); j.Status != JobCanceled || j.Counts.Succeeded != 1 {
			t.Errorf("%+v", j)
		}
		b.check(b.DeleteJob(context.Background(), "j", false))
		settle()
		if _, err := b.DescribeJob(context.Background(), "j"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		var left int
		b.check(b.db.QueryRow(context.Background(), `SELECT count(*) FROM job_execution`, nil, &left))
		if left != 0 {
			t.Errorf("%d executions are left", left)
		}
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		ctx := context.Background()
		b.things("G", 3)
		b.create("j", Definition{}, "", groupARN+"G")
		settle()
		b.say("T0000", "j", InProgress)
		if err := b.CancelJobExecution(ctx, "T0000", "j", false, nil, nil); !errors.Is(err, ErrTransition) {
			t.Error(err)
		}
		version := int64(9)
		if err := b.CancelJobExecution(ctx, "T0000", "j", true, &version, nil); !errors.Is(err, ErrVersionMismatch) {
			t.Error(err)
		}
		b.check(b.CancelJobExecution(ctx, "T0001", "j", false, nil, map[string]string{"why": "test"}))
		_, err := b.CancelJob(ctx, "j", false, "REASON_1", "because")
		b.check(err)
		b.counts("j", Counts{Canceled: 2, InProgress: 1})
		_, err = b.CancelJob(ctx, "j", true, "", "")
		b.check(err)
		j := b.describe("j")
		if j.Counts != (Counts{Canceled: 3}) || !j.ForceCanceled || j.ReasonCode != "REASON_1" || j.Comment != "because" {
			t.Errorf("%+v", j)
		}
		if _, err := b.CancelJob(ctx, "none", false, "", ""); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if _, err := b.CancelJob(ctx, "j", false, "lower case", ""); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	})
}

func TestContinuousJobFollowsGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		ctx := context.Background()
		b.things("G", 2)
		_, err := b.reg.CreateThingGroup(ctx, registry.NewThingGroup{Name: "child", Parent: "G"})
		b.check(err)
		for _, name := range []string{"late", "other"} {
			_, err = b.reg.CreateThing(ctx, registry.NewThing{Name: name})
			b.check(err)
		}
		b.create("j", Definition{}, Continuous, groupARN+"G")
		settle()
		b.counts("j", Counts{Queued: 2})
		b.check(b.reg.AddThingToThingGroup(ctx, "child", "late"))
		settle()
		b.counts("j", Counts{Queued: 3})
		b.say("T0000", "j", Succeeded)
		b.check(b.reg.RemoveThingFromThingGroup(ctx, "child", "late"))
		b.check(b.reg.RemoveThingFromThingGroup(ctx, "G", "T0000"))
		settle()
		b.counts("j", Counts{Queued: 1, Removed: 1, Succeeded: 1})
		b.check(b.reg.AddThingToThingGroup(ctx, "child", "late"))
		b.check(b.reg.AddThingToThingGroup(ctx, "G", "T0000"))
		settle()
		b.counts("j", Counts{Queued: 2, Succeeded: 1}) // one that has ended is not made again
		_, err = b.AssociateTargets(ctx, "j", []string{thingARN + "other"}, "")
		b.check(err)
		settle()
		b.counts("j", Counts{Queued: 3, Succeeded: 1})
		b.check(b.reg.DeleteThing(ctx, "other", nil))
		settle()
		b.counts("j", Counts{Queued: 2, Removed: 1, Succeeded: 1})
		b.say("T0001", "j", Succeeded)
		b.say("late", "j", Succeeded)
		if j := b.describe("j"); j.Status != JobInProgress {
			t.Errorf("a continuous job is %s", j.Status)
		}
		b.restart()
		settle()
		b.counts("j", Counts{Removed: 1, Succeeded: 3})
		if _, err := b.AssociateTargets(ctx, "none", []string{thingARN + "late"}, ""); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

// TestClockSetBack: a job that was made before the clock was set back goes on at once, not when the old
// time comes again.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		b.things("", 2)
		b.now = func() time.Time { return time.Now().Add(240 * time.Hour) }
		b.restart()
		b.worker.close() // it stops before it has seen the job
		b.create("j", Definition{}, Snapshot, thingARN+"T0000", thingARN+"T0001")
		b.now = nil
		b.restart()
		settle()
		b.counts("j", Counts{Queued: 2})
	})
}

func TestScheduledJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		b.things("", 2)
		at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
		for _, end := range []string{StopRollout, EndCancel, EndForceCancel} {
			b.create(end, Definition{Schedule: &Schedule{StartTime: at(time.Hour), EndTime: at(2 * time.Hour), EndBehavior: end}}, "", thingARN+"T0000", thingARN+"T0001")
		}
		b.create("never", Definition{Schedule: &Schedule{StartTime: at(time.Hour)}}, "", thingARN+"T0000")
		_, err := b.CancelJob(context.Background(), "never", false, "", "")
		b.check(err)
		settle()
		if j := b.describe(EndCancel); j.Status != Scheduled || j.Counts != (Counts{}) {
			t.Errorf("%+v", j)
		}
		time.Sleep(30 * time.Minute)
		b.restart()
		time.Sleep(30 * time.Minute)
		settle()
		for _, end := range []string{StopRollout, EndCancel, EndForceCancel} {
			b.counts(end, Counts{Queued: 2})
			b.say("T0000", end, InProgress)
		}
		b.counts("never", Counts{})
		time.Sleep(time.Hour)
		settle()
		b.counts(StopRollout, Counts{Queued: 1, InProgress: 1})
		b.counts(EndCancel, Counts{Canceled: 1, InProgress: 1})
		b.counts(EndForceCancel, Counts{Canceled: 2})
		b.say("T0000", StopRollout, Succeeded)
		b.say("T0001", StopRollout, Rejected)
		if j := b.describe(StopRollout); j.Status != Completed {
			t.Errorf("%+v", j)
		}
	})
}

func TestMaintenanceWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // begins at midnight, UTC
		b := newBench(t)
		defer func() { b.close() }()
		b.things("G", 1)
		b.create("j", Definition{Schedule: &Schedule{Maintenances: []MaintenanceWindow{{"cron(0 2 * * ? *)", 60}}}}, Continuous, groupARN+"G")
		settle()
		b.counts("j", Counts{})
		if j := b.describe("j"); len(j.Windows) != 1 || j.Windows[0].UTC().Hour() != 2 {
			t.Errorf("%v", j.Windows)
		}
		time.Sleep(2 * time.Hour)
		settle()
		b.counts("j", Counts{Queued: 1})
	})
}

func TestEndedJobsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer func() { b.close() }()
		b.things("", 1)
		b.create("old", Definition{}, "", thingARN+"T0000")
		b.create("open", Definition{}, "", thingARN+"T0000")
		settle()
		b.say("T0000", "old", Succeeded)
		time.Sleep(3 * time.Hour)
		b.describe("old")
		b.check(b.db.Write(context.Background(), func(tx *store.Tx) error { // years later
			_, err := tx.Exec(`UPDATE job SET completed_at = completed_at - ? WHERE job_id = 'old'`, kept.Milliseconds())
			return err
		}))
		time.Sleep(longest)
		settle()
		if _, err := b.DescribeJob(context.Background(), "old"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		b.counts("open", Counts{Queued: 1})
	})
}

func TestManyThingsDoNotBlock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	defer b.close()
	b.things("G", 1000)
	start := time.Now()
	b.create("j", Definition{Rollout: &Rollout{MaximumPerMinute: new(int64(1 << 30))}}, "", groupARN+"G")
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("creation took %v", took)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		j, err := b.DescribeJob(context.Background(), "j")
		b.check(err)
		if j.Counts.Queued == 1000 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", j.Counts)
		}
	}
}

func TestDefinitionChecks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	defer b.close()
	b.things("", 1)
	good := NewJob{ID: "j", Targets: []string{thingARN + "T0000"}, Document: "{}"}
	for name, change := range map[string]func(*NewJob){
		"id":           func(j *NewJob) { j.ID = "a b" },
		"selection":    func(j *NewJob) { j.Selection = "X" },
		"no document":  func(j *NewJob) { j.Document = "" },
		"no JSON":      func(j *NewJob) { j.Document = "x" },
		"long":         func(j *NewJob) { j.Document = `"` + strings.Repeat("x", maxDocument) + `"` },
		"two sources":  func(j *NewJob) { j.DocumentSource = "https://h/d" },
		"target":       func(j *NewJob) { j.Targets = []string{"T0000"} },
		"account":      func(j *NewJob) { j.Targets = []string{"arn:aws:iot:us-east-1:111111111111:thing/T0000"} },
		"many targets": func(j *NewJob) { j.Targets = make([]string, maxTargets+1) },
		"description":  func(j *NewJob) { j.Description = "a\nb" },
		"time-out":     func(j *NewJob) { j.Timeout = &Timeout{new(int64(10081))} },
		"zero rate":    defined(t, `{"jobExecutionsRolloutConfig":{"maximumPerMinute":0}}`),
		"zero timeout": defined(t, `{"timeoutConfig":{"inProgressTimeoutInMinutes":0}}`),
		"expiry":       func(j *NewJob) { j.Presigned = &PresignedURL{ExpiresInSeconds: 59} },
		"template":     func(j *NewJob) { j.Document, j.TemplateARN = "", "arn:other" },
		"parameters":   func(j *NewJob) { j.DocumentParameters = map[string]string{"a": "b"} },
		"placeholders": func(j *NewJob) { j.Document = `"` + strings.Repeat(placeholderOpen+"x}", 11) + `"` },
	} {
		in := good
		change(&in)
		if _, err := b.CreateJob(context.Background(), in); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// defined changes a job's definition as a request's JSON would.
func defined(t *testing.T, definition string) func(*NewJob) {
	return func(j *NewJob) {
		if err := json.Unmarshal([]byte(definition), &j.Definition); err != nil {
			t.Error(err)
		}
	}
}
