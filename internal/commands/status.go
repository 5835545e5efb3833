package commands

import "slices"

// Status is where an execution stands, as others see it.
type Status string

// The six states of AWS.
const (
	Created    Status = "CREATED"
	InProgress Status = "IN_PROGRESS"
	Succeeded  Status = "SUCCEEDED"
	Failed     Status = "FAILED"
	Rejected   Status = "REJECTED"
	TimedOut   Status = "TIMED_OUT"
)

// Statuses lists all states.
func Statuses() []Status { return []Status{Created, InProgress, Succeeded, Failed, Rejected, TimedOut} }

// Valid reports whether there is such a state.
func (s Status) Valid() bool { return slices.Contains(Statuses(), s) }

// State is a status and whether it is the last one. TIMED_OUT is both: the service's own is open to
// the device's late answer, the device's is final.
//
//	              Progress ┌──┐
//	CREATED ──────────────▶ IN_PROGRESS ──┬─ Succeed ─▶ SUCCEEDED
//	   │                         │        ├─ Fail ────▶ FAILED
//	   │  Expire          Expire │        ├─ Reject ──▶ REJECTED
//	   └────────▶ TIMED_OUT ◀────┘        └─ TimeOut ─▶ TIMED_OUT, final
//	                  │
//	                  └─ Succeed, Fail, Reject, TimeOut as above; no Progress
//
// CREATED takes the four last events, too. AWS IoT developer guide, "Command execution status".
type State struct {
	Status Status
	Final  bool
}

// Event is something that happens to an execution.
type Event uint8

// All but the last come from the device.
const (
	Progress Event = iota
	Succeed
	Fail
	Reject
	TimeOut
	Expire // the service has waited long enough
	events
)

// eventOf is the event that a device reports with a status.
func eventOf(s Status) (Event, error) {
	switch s {
	case InProgress:
		return Progress, nil
	case Succeeded:
		return Succeed, nil
	case Failed:
		return Fail, nil
	case Rejected:
		return Reject, nil
	case TimedOut:
		return TimeOut, nil
	}
	return 0, invalid("status is %q, not one of IN_PROGRESS, SUCCEEDED, FAILED, REJECTED and TIMED_OUT", s)
}

// After returns the state that follows an event, or ErrTransition.
func (s State) After(e Event) (State, error) {
	open := s.Status == Created || s.Status == InProgress
	switch {
	case s.Final:
	case e == Progress && open:
		return State{Status: InProgress}, nil
	case e == Expire && open:
		return State{Status: TimedOut}, nil
	case e == Succeed:
		return State{Succeeded, true}, nil
	case e == Fail:
		return State{Failed, true}, nil
	case e == Reject:
		return State{Rejected, true}, nil
	case e == TimeOut:
		return State{TimedOut, true}, nil
	}
	if s.Final {
		return s, refuse(ErrTransition, "the execution has ended as %s", s.Status)
	}
	return s, refuse(ErrTransition, "the execution is %s", s.Status)
}
