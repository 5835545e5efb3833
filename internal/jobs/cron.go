package jobs

import (
	"strconv"
	"strings"
	"time"
)

// Cron is a time pattern: cron(minutes hours day-of-month month day-of-week year), in UTC. Fields
// take numbers, names of months and days, lists, ranges, steps, * and ?; L, W and # are not
// supported. Days of the week count from 1 for Sunday (AWS's cron expressions).
type Cron struct {
	minute, hour, day, month, weekday uint64 // bits
	anyDay, anyWeekday                bool
	years                             map[int]bool // nil for any
}

// ParseCron reads a pattern.
func ParseCron(s string) (Cron, error) {
	var c Cron
	inner, ok := strings.CutPrefix(strings.TrimSpace(s), "cron(")
	if ok {
		inner, ok = strings.CutSuffix(inner, ")")
	}
	f := strings.Fields(inner)
	if !ok || len(f) != 6 {
		return c, invalid("%q is not cron(minutes hours day-of-month month day-of-week year)", s)
	}
	months := []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	days := []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
	var err error
	set := func(field string, lo, hi int, names []string, into *uint64) {
		list, e := cronField(field, lo, hi, names)
		if e != nil && err == nil {
			err = invalid("%q in %q: %v", field, s, e)
		}
		for _, n := range list {
			*into |= 1 << n
		}
	}
	set(f[0], 0, 59, nil, &c.minute)
	set(f[1], 0, 23, nil, &c.hour)
	set(f[2], 1, 31, nil, &c.day)
	set(f[3], 1, 12, months, &c.month)
	set(f[4], 1, 7, days, &c.weekday)
	c.anyDay, c.anyWeekday = f[2] == "?" || f[2] == "*", f[4] == "?" || f[4] == "*"
	if f[5] != "*" && f[5] != "?" {
		list, e := cronField(f[5], 1970, 2199, nil)
		if e != nil && err == nil {
			err = invalid("%q in %q: %v", f[5], s, e)
		}
		c.years = make(map[int]bool)
		for _, y := range list {
			c.years[y] = true
		}
	}
	return c, err
}

func cronField(s string, lo, hi int, names []string) ([]int, error) {
	value := func(s string) (int, error) {
		for i, name := range names {
			if strings.EqualFold(s, name) {
				return i + 1, nil
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return 0, invalid("%q is not from %d to %d", s, lo, hi)
		}
		return n, nil
	}
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		span, step, stepped := strings.Cut(part, "/")
		by := 1
		if stepped {
			n, err := strconv.Atoi(step)
			if err != nil || n < 1 {
				return nil, invalid("step %q is not a number above 0", step)
			}
			by = n
		}
		from, to := lo, hi
		if span != "*" && span != "?" {
			first, last, ranged := strings.Cut(span, "-")
			n, err := value(first)
			if err != nil {
				return nil, err
			}
			from, to = n, n
			if ranged {
				if to, err = value(last); err != nil {
					return nil, err
				}
				if to < from {
					return nil, invalid("range %q runs backwards", span)
				}
			} else if stepped {
				to = hi
			}
		}
		for n := from; n <= to; n += by {
			out = append(out, n)
		}
	}
	return out, nil
}

func (c *Cron) matchesDay(t time.Time) bool {
	if c.month>>uint(t.Month())&1 == 0 || c.years != nil && !c.years[t.Year()] {
		return false
	}
	day := c.day>>uint(t.Day())&1 == 1
	weekday := c.weekday>>uint(t.Weekday()+1)&1 == 1
	switch {
	case c.anyDay:
		return weekday
	case c.anyWeekday:
		return day
	}
	return day || weekday
}

// Next returns the first matching minute at or after a time; zero if there is none within the next
// four years.
func (c *Cron) Next(t time.Time) time.Time {
	t = t.UTC()
	if whole := t.Truncate(time.Minute); whole.Before(t) {
		t = whole.Add(time.Minute)
	}
	for days := 0; days < 4*366; days++ {
		if c.matchesDay(t) {
			for day := t.Day(); t.Day() == day; t = t.Add(time.Minute) {
				if c.hour>>uint(t.Hour())&1 == 0 {
					t = t.Truncate(time.Hour).Add(59 * time.Minute)
					continue
				}
				if c.minute>>uint(t.Minute())&1 == 1 {
					return t
				}
			}
			continue
		}
		t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}
}
