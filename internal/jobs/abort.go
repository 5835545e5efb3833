package jobs

// Abort is when a job is given up. Its criteria are looked at in their order.
type Abort struct {
	Criteria []AbortCriterion `json:"criteriaList"`
}

// AbortCriterion cancels a job when too many of its executions end badly.
type AbortCriterion struct {
	FailureType      string  `json:"failureType"` // FAILED, REJECTED, TIMED_OUT or ALL
	Action           string  `json:"action"`      // CANCEL
	Threshold        float64 `json:"thresholdPercentage"`
	MinExecutedThing int64   `json:"minNumberOfExecutedThings"`
}

// Check returns what is wrong.
func (a *Abort) Check() error {
	if a == nil {
		return nil
	}
	if len(a.Criteria) == 0 {
		return invalid("abortConfig has an empty criteriaList")
	}
	for _, c := range a.Criteria {
		switch c.FailureType {
		case "FAILED", "REJECTED", "TIMED_OUT", "ALL":
		default:
			return invalid("failureType %q of abortConfig is not FAILED, REJECTED, TIMED_OUT or ALL", c.FailureType)
		}
		switch {
		case c.Action != "CANCEL":
			return invalid("action %q of abortConfig is not CANCEL", c.Action)
		case !(c.Threshold > 0 && c.Threshold <= 100):
			return invalid("thresholdPercentage is %v, not above 0 and at most 100", c.Threshold)
		case c.MinExecutedThing < 1:
			return invalid("minNumberOfExecutedThings is %d, not at least 1", c.MinExecutedThing)
		}
	}
	return nil
}

// Counts are the things of a job by the status of their latest execution.
type Counts struct {
	Queued     int64 `json:"numberOfQueuedThings"`
	InProgress int64 `json:"numberOfInProgressThings"`
	Succeeded  int64 `json:"numberOfSucceededThings"`
	Failed     int64 `json:"numberOfFailedThings"`
	TimedOut   int64 `json:"numberOfTimedOutThings"`
	Rejected   int64 `json:"numberOfRejectedThings"`
	Removed    int64 `json:"numberOfRemovedThings"`
	Canceled   int64 `json:"numberOfCanceledThings"`
}

// of returns the place of a status.
func (c *Counts) of(s ExecutionStatus) *int64 {
	switch s {
	case Queued:
		return &c.Queued
	case InProgress:
		return &c.InProgress
	case Succeeded:
		return &c.Succeeded
	case Failed:
		return &c.Failed
	case TimedOut:
		return &c.TimedOut
	case Rejected:
		return &c.Rejected
	case Removed:
		return &c.Removed
	default:
		return &c.Canceled
	}
}

// Pending is the number of executions that have not ended.
func (c *Counts) Pending() int64 { return c.Queued + c.InProgress }

// Exceeded returns the first criterion that the counts meet, nil for none. The percentage is of the
// executions that devices or time-outs ended.
func (a *Abort) Exceeded(c Counts) *AbortCriterion {
	if a == nil {
		return nil
	}
	executed := c.Succeeded + c.Failed + c.TimedOut + c.Rejected
	for i := range a.Criteria {
		k := &a.Criteria[i]
		var bad int64
		switch k.FailureType {
		case "FAILED":
			bad = c.Failed
		case "REJECTED":
			bad = c.Rejected
		case "TIMED_OUT":
			bad = c.TimedOut
		default:
			bad = c.Failed + c.Rejected + c.TimedOut
		}
		if executed >= k.MinExecutedThing && bad > 0 && float64(bad)*100 >= k.Threshold*float64(executed) {
			return k
		}
	}
	return nil
}
