package jobs

import "time"

// Bounds of a schedule (AWS IoT developer guide, "Job scheduling configuration").
const (
	minAhead  = 30 * time.Minute
	maxAhead  = 366 * 24 * time.Hour
	maxLength = 2 * 366 * 24 * time.Hour
)

// What happens to a job at its end time.
const (
	StopRollout    = "STOP_ROLLOUT"
	EndCancel      = "CANCEL"
	EndForceCancel = "FORCE_CANCEL"
)

// Schedule is when a job starts, ends and may roll out. Times are texts such as 2026-01-02T15:04:00Z
// or "2026-01-02 15:04", in UTC.
type Schedule struct {
	StartTime    string              `json:"startTime,omitempty"`
	EndTime      string              `json:"endTime,omitempty"`
	EndBehavior  string              `json:"endBehavior,omitempty"`
	Maintenances []MaintenanceWindow `json:"maintenanceWindows,omitempty"`
}

// MaintenanceWindow is a repeated span of time in which a job may roll out.
type MaintenanceWindow struct {
	StartTime string `json:"startTime"` // see Cron
	Minutes   int64  `json:"durationInMinutes"`
}

// ParseTime reads a time of a schedule.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, invalid("%q is not a time such as 2026-01-02T15:04:00Z or 2026-01-02 15:04", s)
}

// Span returns start and end; zero for none. Check must have found nothing wrong.
func (s *Schedule) Span() (start, end time.Time) {
	if s == nil {
		return start, end
	}
	if s.StartTime != "" {
		start, _ = ParseTime(s.StartTime)
	}
	if s.EndTime != "" {
		end, _ = ParseTime(s.EndTime)
	}
	return start, end
}

// Check returns what is wrong at the time of creation.
func (s *Schedule) Check(continuous bool, now time.Time) error {
	if s == nil {
		return nil
	}
	start, from := now, now
	if s.StartTime != "" {
		t, err := ParseTime(s.StartTime)
		if err != nil {
			return err
		}
		if t.Before(now.Add(minAhead)) || t.After(now.Add(maxAhead)) {
			return invalid("startTime %s is not from 30 minutes to one year ahead", s.StartTime)
		}
		start, from = t, t
	}
	switch s.EndBehavior {
	case "", StopRollout, EndCancel, EndForceCancel:
	default:
		return invalid("endBehavior %q is not STOP_ROLLOUT, CANCEL or FORCE_CANCEL", s.EndBehavior)
	}
	if s.EndTime != "" {
		t, err := ParseTime(s.EndTime)
		if err != nil {
			return err
		}
		if t.Before(start.Add(minAhead)) || t.After(from.Add(maxLength)) {
			return invalid("endTime %s is not from 30 minutes to two years after the start", s.EndTime)
		}
	} else if s.EndBehavior != "" {
		return invalid("endBehavior needs an endTime")
	}
	if len(s.Maintenances) > 0 && !continuous {
		return invalid("maintenanceWindows are for continuous jobs")
	}
	for _, w := range s.Maintenances {
		if _, err := ParseCron(w.StartTime); err != nil {
			return err
		}
		if w.Minutes < 1 || w.Minutes > 1430 {
			return invalid("durationInMinutes is %d, not from 1 to 1430", w.Minutes)
		}
	}
	return nil
}

// Open reports whether a job may roll out at a time, and when that changes next: the end of the
// maintenance window, or the beginning of the next one. Zero means never.
func (s *Schedule) Open(now time.Time) (open bool, until time.Time) {
	if s == nil || len(s.Maintenances) == 0 {
		return true, time.Time{}
	}
	for _, w := range s.Maintenances {
		c, err := ParseCron(w.StartTime)
		if err != nil {
			continue
		}
		length := time.Duration(w.Minutes) * time.Minute
		// The window that is open now, if any, began within its length before now.
		start := c.Next(now.Add(-length + time.Nanosecond))
		switch {
		case start.IsZero():
		case !start.After(now):
			if end := start.Add(length); !open || end.After(until) {
				open, until = true, end
			}
		case !open && (until.IsZero() || start.Before(until)):
			until = start
		}
	}
	return open, until
}
