package jobs

// Status is the state of a job.
//
//	SCHEDULED ──Begin──▶ IN_PROGRESS ──Complete──▶ COMPLETED ─┐
//	    │                    │                                │ Delete
//	    ├──Cancel, Abort─────┴──────────▶ CANCELED ───────────┤
//	    │                                   │ ▲               ▼
//	    └──ForceDelete (any state)          └─┘ Cancel   DELETION_IN_PROGRESS ──Emptied──▶ gone
//
// Continuous jobs complete only when their schedule ends. AWS IoT developer guide, "Jobs and job
// executions states".
type Status string

// Job states.
const (
	Scheduled          Status = "SCHEDULED"
	JobInProgress      Status = "IN_PROGRESS"
	Completed          Status = "COMPLETED"
	JobCanceled        Status = "CANCELED"
	DeletionInProgress Status = "DELETION_IN_PROGRESS"
	gone               Status = ""
)

// Statuses lists all states.
func Statuses() []Status {
	return []Status{Scheduled, JobInProgress, Completed, JobCanceled, DeletionInProgress}
}

// Valid reports whether there is such a state.
func (s Status) Valid() bool {
	for _, known := range Statuses() {
		if s == known {
			return true
		}
	}
	return false
}

// Event is something that happens to a job.
type Event uint8

// Events of jobs.
const (
	Begin       Event = iota // the start time has come
	Complete                 // every target has had its turn and no execution is pending
	CancelJob                // by request, schedule or abort criteria; again to force
	Delete                   // by request
	ForceDelete              // by request
	Emptied                  // the last execution has been deleted
	jobEvents
)

// After returns the state that follows an event; ok is false for one that cannot happen.
func (s Status) After(e Event) (next Status, ok bool) {
	switch {
	case e == Begin && s == Scheduled:
		return JobInProgress, true
	case e == Complete && s == JobInProgress:
		return Completed, true
	case e == CancelJob && (s == Scheduled || s == JobInProgress || s == JobCanceled):
		return JobCanceled, true
	case e == Delete && (s == Completed || s == JobCanceled):
		return DeletionInProgress, true
	case e == ForceDelete && s != gone:
		return DeletionInProgress, true
	case e == Emptied && s == DeletionInProgress:
		return gone, true
	}
	return s, false
}
