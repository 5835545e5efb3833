package jobs

// maxRetries is how often a thing may try a job again in all.
const maxRetries = 10

// Retry is how often an execution that failed or timed out is made again.
type Retry struct {
	Criteria []RetryCriterion `json:"criteriaList"`
}

// RetryCriterion is the number of retries after one kind of failure.
type RetryCriterion struct {
	FailureType     string `json:"failureType"` // FAILED, TIMED_OUT or ALL
	NumberOfRetries int64  `json:"numberOfRetries"`
}

// Check returns what is wrong.
func (r *Retry) Check() error {
	if r == nil {
		return nil
	}
	if n := len(r.Criteria); n < 1 || n > 2 {
		return invalid("jobExecutionsRetryConfig has %d criteria, not 1 or 2", n)
	}
	sum := int64(0)
	seen := make(map[string]bool)
	for _, c := range r.Criteria {
		switch c.FailureType {
		case "FAILED", "TIMED_OUT", "ALL":
		default:
			return invalid("failureType %q of jobExecutionsRetryConfig is not FAILED, TIMED_OUT or ALL", c.FailureType)
		}
		if c.NumberOfRetries < 0 || c.NumberOfRetries > maxRetries {
			return invalid("numberOfRetries is %d, not from 0 to %d", c.NumberOfRetries, maxRetries)
		}
		if seen[c.FailureType] || len(r.Criteria) > 1 && c.FailureType == "ALL" {
			return invalid("jobExecutionsRetryConfig names failureType %s beside another of the same failures", c.FailureType)
		}
		seen[c.FailureType] = true
		sum += c.NumberOfRetries
	}
	if sum > maxRetries {
		return invalid("%d retries are more than the %d that a thing may have", sum, maxRetries)
	}
	return nil
}

// Attempts are the retries that a thing has had of a job.
type Attempts struct{ Failed, TimedOut int64 }

// Allows reports whether an execution that ended so may be made again, and the retries with it.
func (r *Retry) Allows(s ExecutionStatus, had Attempts) (Attempts, bool) {
	if r == nil || s != Failed && s != TimedOut || had.Failed+had.TimedOut >= maxRetries {
		return had, false
	}
	for _, c := range r.Criteria {
		n := had.Failed + had.TimedOut
		switch c.FailureType {
		case "FAILED":
			n = had.Failed
		case "TIMED_OUT":
			n = had.TimedOut
		}
		if c.FailureType != "ALL" && c.FailureType != string(s) || n >= c.NumberOfRetries {
			continue
		}
		if s == Failed {
			had.Failed++
		} else {
			had.TimedOut++
		}
		return had, true
	}
	return had, false
}
