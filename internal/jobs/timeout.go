package jobs

import "time"

const maxTimeoutMinutes = 10080

// Timeout is how long an execution may be in progress.
type Timeout struct {
	InProgressMinutes *int64 `json:"inProgressTimeoutInMinutes,omitempty"`
}

// Check returns what is wrong.
func (t *Timeout) Check() error {
	if t == nil || t.InProgressMinutes == nil {
		return nil
	}
	if n := *t.InProgressMinutes; n < 1 || n > maxTimeoutMinutes {
		return invalid("inProgressTimeoutInMinutes is %d, not from 1 to %d", n, maxTimeoutMinutes)
	}
	return nil
}

// Timers are the two time-outs of an execution; a zero time is a timer that does not run.
//
//	           Start, configured                 Started(step), n > 0
//	InProgress: off ───────▶ running      Step: off ◀──────▶ running (a new n starts it again)
//	                                                 n = -1
//
// Both end with the execution. The earlier one ends it.
type Timers struct{ InProgress, Step time.Time }

// Started begins the in-progress timer.
func (t Timers) Started(cfg *Timeout, now time.Time) Timers {
	if cfg != nil && cfg.InProgressMinutes != nil {
		t.InProgress = now.Add(time.Duration(*cfg.InProgressMinutes) * time.Minute)
	}
	return t
}

// Stepped applies a device's stepTimeoutInMinutes: nil leaves the timer, -1 ends it.
func (t Timers) Stepped(minutes *int64, now time.Time) Timers {
	switch {
	case minutes == nil:
	case *minutes < 0:
		t.Step = time.Time{}
	default:
		t.Step = now.Add(time.Duration(*minutes) * time.Minute)
	}
	return t
}

// Due is when the execution times out; zero for never.
func (t Timers) Due() time.Time {
	switch {
	case t.InProgress.IsZero():
		return t.Step
	case t.Step.IsZero() || t.InProgress.Before(t.Step):
		return t.InProgress
	}
	return t.Step
}

// checkStep returns what is wrong with a device's stepTimeoutInMinutes.
func checkStep(minutes *int64, mayEnd bool) error {
	if minutes == nil || mayEnd && *minutes == -1 || *minutes >= 1 && *minutes <= maxTimeoutMinutes {
		return nil
	}
	return invalid("stepTimeoutInMinutes is %d, not from 1 to %d", *minutes, maxTimeoutMinutes)
}
