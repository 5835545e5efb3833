package defender

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Schedule is an audit that is run again and again.
type Schedule struct {
	Name      string   `json:"scheduledAuditName"`
	ARN       string   `json:"scheduledAuditArn"`
	Frequency string   `json:"frequency"`            // DAILY, WEEKLY, BIWEEKLY or MONTHLY
	Day       string   `json:"dayOfMonth,omitempty"` // 1 to 31 or LAST, with MONTHLY
	Weekday   string   `json:"dayOfWeek,omitempty"`  // SUN to SAT, with WEEKLY and BIWEEKLY
	Checks    []string `json:"targetCheckNames"`
	Due       Moment   `json:"due"`
	Meta
}

var (
	scheduleName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	dayOfMonth   = regexp.MustCompile(`^([1-9]|[12][0-9]|3[01])$|^LAST$`)
	weekdays     = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

func (c *Schedule) check() error {
	if !scheduleName.MatchString(c.Name) {
		return invalid("scheduledAuditName %q is not 1 to 128 of a-z, A-Z, 0-9, _ and -", c.Name)
	}
	weekly := c.Frequency == "WEEKLY" || c.Frequency == "BIWEEKLY"
	switch {
	case !weekly && c.Frequency != "DAILY" && c.Frequency != "MONTHLY":
		return invalid("there is no frequency %q", c.Frequency)
	case weekly != (c.Weekday != "") || weekly && !slices.Contains(weekdays, c.Weekday):
		return invalid("dayOfWeek, SUN to SAT, belongs to WEEKLY and BIWEEKLY")
	case (c.Frequency == "MONTHLY") != (c.Day != "") || c.Day != "" && !dayOfMonth.MatchString(c.Day):
		return invalid("dayOfMonth, 1 to 31 or LAST, belongs to MONTHLY")
	}
	return nil
}

// Next returns the first time after another at which the audit is due: midnight UTC of the day. With
// BIWEEKLY every other week counts, from a fixed one on. A month without the day has the audit on its
// last one.
func (c *Schedule) Next(after time.Time) time.Time {
	after = after.UTC()
	day := time.Date(after.Year(), after.Month(), after.Day(), 0, 0, 0, 0, time.UTC)
	for {
		day = day.AddDate(0, 0, 1)
		switch c.Frequency {
		case "WEEKLY", "BIWEEKLY":
			if weekdays[day.Weekday()] != c.Weekday || c.Frequency == "BIWEEKLY" && (day.Unix()/86400/7)%2 != 0 {
				continue
			}
		case "MONTHLY":
			last := time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
			want, err := strconv.Atoi(c.Day)
			if err != nil || want > last {
				want = last
			}
			if day.Day() != want {
				continue
			}
		}
		return day
	}
}

func (s *Service) scheduleARN(name string) string { return s.arn("scheduledaudit/" + name) }

// CreateScheduledAudit adds an audit. ErrAlreadyExists, ErrInvalid.
func (s *Service) CreateScheduledAudit(ctx context.Context, c Schedule) (arn string, err error) {
	if err := c.check(); err != nil {
		return "", err
	}
	if err := s.enabled(ctx, c.Checks); err != nil {
		return "", err
	}
	c.ARN, c.Due = s.scheduleARN(c.Name), Moment{c.Next(s.now())}
	defer s.wake()
	return c.ARN, s.createObject(ctx, kindSchedule, c.Name, c)
}

// DescribeScheduledAudit returns an audit. ErrNotFound.
func (s *Service) DescribeScheduledAudit(ctx context.Context, name string) (c Schedule, err error) {
	c.Meta, err = readObject(s.reader(ctx), kindSchedule, name, &c)
	return c, err
}

// UpdateScheduledAudit changes what is given. ErrNotFound, ErrInvalid.
func (s *Service) UpdateScheduledAudit(ctx context.Context, u Schedule) (arn string, err error) {
	if u.Checks != nil {
		if err := s.enabled(ctx, u.Checks); err != nil {
			return "", err
		}
	}
	defer s.wake()
	return s.scheduleARN(u.Name), updateObject(s, ctx, kindSchedule, u.Name, func(c *Schedule, _ Meta) error {
		if u.Frequency != "" {
			c.Frequency, c.Day, c.Weekday = u.Frequency, "", ""
		}
		if u.Day != "" {
			c.Day = u.Day
		}
		if u.Weekday != "" {
			c.Weekday = u.Weekday
		}
		if u.Checks != nil {
			c.Checks = u.Checks
		}
		c.Due = Moment{}
		if err := c.check(); err != nil {
			return err
		}
		c.Due = Moment{c.Next(s.now())}
		return nil
	})
}

// DeleteScheduledAudit removes an audit. ErrNotFound.
func (s *Service) DeleteScheduledAudit(ctx context.Context, name string) error {
	there, err := s.deleteObject(ctx, kindSchedule, name)
	if err == nil && !there {
		return refuse(ErrNotFound, "scheduled audit %s cannot be found", name)
	}
	return err
}

// ListScheduledAudits lists the audits by name.
func (s *Service) ListScheduledAudits(ctx context.Context, page Page) ([]Schedule, string, error) {
	list, _, err := listObjects[Schedule](s.reader(ctx), kindSchedule)
	if err != nil {
		return nil, "", err
	}
	return cut(list, page)
}
