package jobs

// ExecutionStatus is the state of a job on one thing.
//
//	                      Start                    Succeed  SUCCEEDED
//	(new) ──▶ QUEUED ─────────────▶ IN_PROGRESS ─┬────────▶ FAILED ────┐ retry criteria allow:
//	             │                      │  ▲     │  Fail    TIMED_OUT ─┴─▶ a new execution, QUEUED,
//	             │                      └──┘     │  TimeOut               with the next number
//	             │                      Start    │  Reject  REJECTED
//	             ├──────────────────────────────▶┤  Leave   REMOVED
//	             │  Succeed Fail Reject Leave    │  Cancel  CANCELED
//	             └─ Cancel ForceCancel ──────────┴─ (IN_PROGRESS: ForceCancel only)
//
// AWS IoT developer guide, "Jobs and job executions states".
type ExecutionStatus string

// Execution states. All but the first two are terminal.
const (
	Queued     ExecutionStatus = "QUEUED"
	InProgress ExecutionStatus = "IN_PROGRESS"
	Succeeded  ExecutionStatus = "SUCCEEDED"
	Failed     ExecutionStatus = "FAILED"
	TimedOut   ExecutionStatus = "TIMED_OUT"
	Rejected   ExecutionStatus = "REJECTED"
	Removed    ExecutionStatus = "REMOVED"
	Canceled   ExecutionStatus = "CANCELED"
)

// ExecutionStatuses lists all states.
func ExecutionStatuses() []ExecutionStatus {
	return []ExecutionStatus{Queued, InProgress, Succeeded, Failed, TimedOut, Rejected, Removed, Canceled}
}

// Valid reports whether there is such a state.
func (s ExecutionStatus) Valid() bool {
	for _, known := range ExecutionStatuses() {
		if s == known {
			return true
		}
	}
	return false
}

// Terminal reports whether nothing can happen to the execution any more.
func (s ExecutionStatus) Terminal() bool { return s != Queued && s != InProgress }

// ExecutionEvent is something that happens to an execution.
type ExecutionEvent uint8

// The first four come from the device, the others from the service.
const (
	Start ExecutionEvent = iota
	Succeed
	Fail
	Reject
	TimeOut
	Leave // the thing is no target any more
	Cancel
	ForceCancel
	executionEvents
)

// Effect is what an event asks for besides the new state. It is a set of bits.
type Effect uint8

const (
	// StartTimer begins the in-progress time-out.
	StartTimer Effect = 1 << iota
	// StopTimers ends both time-outs.
	StopTimers
	// Finish says that the execution has ended: job events, abort criteria, completion.
	Finish
	// MayRetry says that the retry criteria decide about another execution.
	MayRetry
)

// After returns the state that follows an event and what else is to be done; ok is false for an event
// that cannot happen in this state, which leaves everything as it is.
func (s ExecutionStatus) After(e ExecutionEvent) (next ExecutionStatus, effects Effect, ok bool) {
	if s.Terminal() {
		return s, 0, false
	}
	const end = StopTimers | Finish
	switch e {
	case Start:
		if s == Queued {
			return InProgress, StartTimer, true
		}
		return InProgress, 0, true
	case Succeed:
		return Succeeded, end, true
	case Fail:
		return Failed, end | MayRetry, true
	case Reject:
		return Rejected, end, true
	case TimeOut:
		if s == InProgress {
			return TimedOut, end | MayRetry, true
		}
	case Leave:
		return Removed, end, true
	case Cancel:
		if s == Queued {
			return Canceled, end, true
		}
	case ForceCancel:
		return Canceled, end, true
	}
	return s, 0, false
}

// deviceEvent is the event that a device's update to a status means.
func deviceEvent(s ExecutionStatus) (ExecutionEvent, bool) {
	switch s {
	case InProgress:
		return Start, true
	case Succeeded:
		return Succeed, true
	case Failed:
		return Fail, true
	case Rejected:
		return Reject, true
	}
	return 0, false
}
