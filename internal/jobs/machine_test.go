package jobs

import (
	"testing"
	"time"
)

// TestExecutionMachine is every state and every event.
func TestExecutionMachine(t *testing.T) {
	t.Parallel()
	const end = StopTimers | Finish
	type to struct {
		next    ExecutionStatus
		effects Effect
	}
	want := map[ExecutionStatus]map[ExecutionEvent]to{
		Queued: {
			Start: {InProgress, StartTimer}, Succeed: {Succeeded, end}, Fail: {Failed, end | MayRetry}, Reject: {Rejected, end},
			Leave: {Removed, end}, Cancel: {Canceled, end}, ForceCancel: {Canceled, end},
		},
		InProgress: {
			Start: {InProgress, 0}, Succeed: {Succeeded, end}, Fail: {Failed, end | MayRetry}, Reject: {Rejected, end},
			TimeOut: {TimedOut, end | MayRetry}, Leave: {Removed, end}, ForceCancel: {Canceled, end},
		},
	}
	for _, s := range ExecutionStatuses() {
		if s.Terminal() != (want[s] == nil) {
			t.Errorf("%s: terminal is %v", s, s.Terminal())
		}
		for e := range executionEvents {
			w, possible := want[s][e]
			next, effects, ok := s.After(e)
			if !possible {
				w = to{s, 0}
			}
			if ok != possible || next != w.next || effects != w.effects {
				t.Errorf("%s after event %d: %s, %b, %v; want %s, %b, %v", s, e, next, effects, ok, w.next, w.effects, possible)
			}
		}
	}
}

// TestJobMachine is every state and every event.
func TestJobMachine(t *testing.T) {
	t.Parallel()
	want := map[Status]map[Event]Status{
		Scheduled:          {Begin: JobInProgress, CancelJob: JobCanceled, ForceDelete: DeletionInProgress},
		JobInProgress:      {Complete: Completed, CancelJob: JobCanceled, ForceDelete: DeletionInProgress},
		Completed:          {Delete: DeletionInProgress, ForceDelete: DeletionInProgress},
		JobCanceled:        {CancelJob: JobCanceled, Delete: DeletionInProgress, ForceDelete: DeletionInProgress},
		DeletionInProgress: {ForceDelete: DeletionInProgress, Emptied: gone},
		gone:               {},
	}
	for s, events := range want {
		for e := range jobEvents {
			w, possible := events[e]
			if !possible {
				w = s
			}
			if next, ok := s.After(e); ok != possible || next != w {
				t.Errorf("%q after event %d: %q, %v; want %q, %v", s, e, next, ok, w, possible)
			}
		}
	}
}

func TestRolloutRate(t *testing.T) {
	t.Parallel()
	grow := &Rollout{Exponential: &Exponential{BaseRatePerMinute: 50, IncrementFactor: 2, Increase: Increase{NotifiedThings: 1000}}}
	success := &Rollout{MaximumPerMinute: new(int64(120)), Exponential: &Exponential{BaseRatePerMinute: 50, IncrementFactor: 1.5, Increase: Increase{SucceededThings: 10}}}
	for _, tc := range []struct {
		r                   *Rollout
		notified, succeeded int64
		want                int64
	}{
		{nil, 0, 0, 1000}, {&Rollout{}, 5, 5, 1000}, {&Rollout{MaximumPerMinute: new(int64(7))}, 0, 0, 7},
		{grow, 0, 0, 50}, {grow, 999, 0, 50}, {grow, 1000, 0, 100}, {grow, 2000, 0, 200}, {grow, 3000, 0, 400}, {grow, 1 << 40, 0, 1000},
		{success, 1000, 9, 50}, {success, 1000, 10, 75}, {success, 1000, 20, 112}, {success, 1000, 30, 120},
	} {
		if got := tc.r.Rate(tc.notified, tc.succeeded); got != tc.want {
			t.Errorf("%+v after %d notified, %d succeeded: %d, want %d", tc.r, tc.notified, tc.succeeded, got, tc.want)
		}
	}
	for _, bad := range []*Rollout{
		{MaximumPerMinute: new(int64(-1))},
		{MaximumPerMinute: new(int64(0))},
		{Exponential: &Exponential{BaseRatePerMinute: 0, IncrementFactor: 2, Increase: Increase{NotifiedThings: 1}}},
		{Exponential: &Exponential{BaseRatePerMinute: 1, IncrementFactor: 1, Increase: Increase{NotifiedThings: 1}}},
		{Exponential: &Exponential{BaseRatePerMinute: 1, IncrementFactor: 6, Increase: Increase{NotifiedThings: 1}}},
		{Exponential: &Exponential{BaseRatePerMinute: 1, IncrementFactor: 2}},
		{Exponential: &Exponential{BaseRatePerMinute: 1, IncrementFactor: 2, Increase: Increase{NotifiedThings: 1, SucceededThings: 1}}},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	n, w, next := Window{}.Allow(10, now)
	if n != 10 || w.Start != now || !next.Equal(now.Add(time.Minute)) {
		t.Fatal(n, w, next)
	}
	w.Count = 10
	if n, _, next = w.Allow(10, now.Add(59*time.Second)); n != 0 || !next.Equal(now.Add(time.Minute)) {
		t.Error(n, next)
	}
	if n, _, _ = w.Allow(15, now.Add(59*time.Second)); n != 5 {
		t.Error("a higher rate in the same minute:", n)
	}
	if n, w, _ = w.Allow(10, now.Add(time.Minute)); n != 10 || w.Count != 0 {
		t.Error(n, w)
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	a := &Abort{Criteria: []AbortCriterion{
		{"FAILED", "CANCEL", 50, 4}, {"REJECTED", "CANCEL", 10, 10}, {"ALL", "CANCEL", 90, 2}}}
	for _, tc := range []struct {
		c    Counts
		want string
	}{
		{Counts{}, ""},
		{Counts{Failed: 1, Queued: 9}, ""}, // one execution is below every minimum
		{Counts{Failed: 2}, "ALL"},
		{Counts{Failed: 2, Succeeded: 2}, "FAILED"},
		{Counts{Failed: 2, Succeeded: 3}, ""},
		{Counts{Failed: 2, Canceled: 9, Removed: 9, Succeeded: 2}, "FAILED"}, // these were not executed
		{Counts{Rejected: 1, Succeeded: 9}, "REJECTED"},
		{Counts{TimedOut: 10, Rejected: 1}, "ALL"},
	} {
		got := ""
		if k := a.Exceeded(tc.c); k != nil {
			got = k.FailureType
		}
		if got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.c, got, tc.want)
		}
	}
	for _, bad := range []AbortCriterion{{"X", "CANCEL", 1, 1}, {"ALL", "X", 1, 1}, {"ALL", "CANCEL", 101, 1}, {"ALL", "CANCEL", 1, 0}} {
		if (&Abort{Criteria: []AbortCriterion{bad}}).Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	one := func(kind string, n int64) *Retry { return &Retry{[]RetryCriterion{{kind, n}}} }
	both := &Retry{[]RetryCriterion{{"FAILED", 1}, {"TIMED_OUT", 2}}}
	for _, tc := range []struct {
		r    *Retry
		s    ExecutionStatus
		had  Attempts
		want bool
	}{
		{nil, Failed, Attempts{}, false},
		{one("FAILED", 2), Failed, Attempts{1, 0}, true},
		{one("FAILED", 2), Failed, Attempts{2, 0}, false},
		{one("FAILED", 2), TimedOut, Attempts{}, false},
		{one("ALL", 2), TimedOut, Attempts{1, 0}, true},
		{one("ALL", 2), TimedOut, Attempts{1, 1}, false},
		{one("ALL", 10), Rejected, Attempts{}, false},
		{both, Failed, Attempts{0, 2}, true},
		{both, TimedOut, Attempts{1, 1}, true},
		{both, TimedOut, Attempts{1, 2}, false},
	} {
		had, ok := tc.r.Allows(tc.s, tc.had)
		if ok != tc.want || ok && had.Failed+had.TimedOut != tc.had.Failed+tc.had.TimedOut+1 {
			t.Errorf("%+v %s after %+v: %v %+v", tc.r, tc.s, tc.had, ok, had)
		}
	}
	for _, bad := range []*Retry{{}, one("X", 1), one("ALL", 11), {[]RetryCriterion{{"FAILED", 6}, {"TIMED_OUT", 5}}}, {[]RetryCriterion{{"ALL", 1}, {"FAILED", 1}}}} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestTimers(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	minutes := func(n int64) *int64 { return &n }
	tm := Timers{}.Started(&Timeout{InProgressMinutes: new(int64(10))}, now)
	if due := tm.Due(); !due.Equal(now.Add(10 * time.Minute)) {
		t.Error("in progress:", due)
	}
	if due := tm.Stepped(minutes(20), now).Due(); !due.Equal(now.Add(10 * time.Minute)) {
		t.Error("a later step:", due)
	}
	tm = tm.Stepped(minutes(2), now)
	if due := tm.Stepped(nil, now.Add(time.Minute)).Due(); !due.Equal(now.Add(2 * time.Minute)) {
		t.Error("an earlier step:", due)
	}
	if due := tm.Stepped(minutes(-1), now).Due(); !due.Equal(now.Add(10 * time.Minute)) {
		t.Error("a step that ended:", due)
	}
	if due := (Timers{}).Started(nil, now).Due(); !due.IsZero() {
		t.Error("no timer:", due)
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tc := range []struct{ cron, from, want string }{
		{"cron(30 18 ? * MON *)", "2026-11-21 00:00", "2026-11-23 18:30"},
		{"cron(0 2 * * ? *)", "2026-11-21 02:00", "2026-11-21 02:00"},
		{"cron(0 2 * * ? *)", "2026-11-21 02:01", "2026-11-22 02:00"},
		{"cron(0/15 8-9 1,15 JAN ? 2027)", "2026-11-21 00:00", "2027-01-01 08:00"},
		{"cron(45 23 31 12 ? *)", "2026-11-21 00:00", "2026-12-31 23:45"},
		{"cron(0 0 29 2 ? *)", "2026-11-21 00:00", "2028-02-29 00:00"},
	} {
		c, err := ParseCron(tc.cron)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := c.Next(at(tc.from)); !got.Equal(at(tc.want)) {
			t.Errorf("%s after %s: %s, want %s", tc.cron, tc.from, got, tc.want)
		}
	}
	for _, bad := range []string{"", "cron()", "0 2 * * ? *", "cron(60 2 * * ? *)", "cron(0 2 * * ?)", "cron(0 2 L * ? *)", "cron(5-1 2 * * ? *)", "cron(*/0 2 * * ? *)", "cron(0 2 * X ? *)"} {
		if _, err := ParseCron(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	s := &Schedule{Maintenances: []MaintenanceWindow{{"cron(0 2 * * ? *)", 60}, {"cron(30 2 * * ? *)", 60}}}
	for _, tc := range []struct {
		now   string
		open  bool
		until string
	}{
		{"2026-11-21 01:59", false, "2026-11-21 02:00"},
		{"2026-11-21 02:00", true, "2026-11-21 03:00"},
		{"2026-11-21 02:59", true, "2026-11-21 03:30"},
		{"2026-11-21 03:29", true, "2026-11-21 03:30"},
		{"2026-11-21 03:30", false, "2026-11-22 02:00"},
	} {
		if open, until := s.Open(at(tc.now)); open != tc.open || !until.Equal(at(tc.until)) {
			t.Errorf("%s: %v until %s", tc.now, open, until)
		}
	}
	now := at("2026-11-21 00:00")
	for _, bad := range []*Schedule{
		{StartTime: "2026-11-21 00:29"}, {StartTime: "2028-01-01 00:00"}, {StartTime: "soon"},
		{EndTime: "2026-11-21 00:29"}, {EndTime: "2029-01-01 00:00"}, {EndBehavior: "CANCEL"},
		{EndTime: "2026-11-22 00:00", EndBehavior: "X"},
		{Maintenances: []MaintenanceWindow{{"cron(0 2 * * ? *)", 60}}}, // of a snapshot job
	} {
		if bad.Check(false, now) == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if err := (&Schedule{StartTime: "2026-11-21T00:30:00Z", EndTime: "2026-11-21 01:00", EndBehavior: "FORCE_CANCEL"}).Check(false, now); err != nil {
		t.Error(err)
	}
}

// FuzzCron checks that a pattern's next time is never before the time asked for.
func FuzzCron(f *testing.F) {
	f.Add("cron(0/15 8-9 1,15 JAN ? 2027)", int64(1700000000))
	f.Add("cron(0 0 29 2 ? *)", int64(0))
	f.Fuzz(func(t *testing.T, s string, seconds int64) {
		c, err := ParseCron(s)
		if err != nil {
			return
		}
		from := time.Unix(seconds%(1<<33), 0)
		if next := c.Next(from); !next.IsZero() && next.Before(from) {
			t.Errorf("%s is before %s", next, from)
		}
	})
}

// FuzzBody checks that no payload is a panic.
func FuzzBody(f *testing.F) {
	f.Add(`{"status":"SUCCEEDED","expectedVersion":"1","statusDetails":{"a":"b"},"clientToken":"t"}`)
	f.Add(`{"stepTimeoutInMinutes":-1}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, s string) {
		if _, _, err := parseBody(s); err != nil && !isRefusal(err) {
			t.Error(err)
		}
	})
}

// FuzzResolve checks that what is not a placeholder stays.
func FuzzResolve(f *testing.F) {
	f.Add(`{"url":"${aws:iot:s3-presigned-url:https://s3.amazonaws.com/b/k}"}`)
	f.Add(`${aws:iot:`)
	f.Fuzz(func(t *testing.T, s string) {
		no := func(string, time.Duration) (string, bool) { return "", false }
		if got := resolve(s, time.Minute, no); got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestPlaceholders(t *testing.T) {
	t.Parallel()
	sign := func(address string, expires time.Duration) (string, bool) {
		return `https://h/` + address[len("berth://"):] + `?a=1&b="` + expires.String(), address != "berth://other"
	}
	for _, tc := range [][2]string{
		{`{}`, `{}`},
		{`{"u":"${aws:iot:s3-presigned-url:berth://fw}"}`, `{"u":"https://h/fw?a=1&b=\"1m0s"}`},
		{`"${aws:iot:s3-presigned-url-v2:berth://fw} ${aws:iot:x:y}"`, `"https://h/fw?a=1&b=\"1m0s ${aws:iot:x:y}"`},
		{`"${aws:iot:s3-presigned-url:berth://other}"`, `"${aws:iot:s3-presigned-url:berth://other}"`},
	} {
		if got := resolve(tc[0], time.Minute, sign); got != tc[1] {
			t.Errorf("%s became %s", tc[0], got)
		}
	}
	for _, m := range ManagedTemplates() {
		if err := checkDocument(m.Document); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
	m, err := DescribeManagedTemplate("AWS-Download-File", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.fill(map[string]string{"filePath": "/tmp/f"}); err == nil {
		t.Error("a missing parameter is accepted")
	}
	got, err := m.fill(map[string]string{"filePath": `/tmp/"f"`, "downloadUrl": "https://h/f"})
	if err != nil || checkDocument(got) != nil {
		t.Errorf("%v: %s", err, got)
	}
}
