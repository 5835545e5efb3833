package table

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseQuery reads a query from the parameters of an address:
//
//	thing, measure   any number of times
//	from, to         ParseTime, or like -1h before now
//	last             a duration before now, instead of from
//	order            asc or desc
//	limit, token     page
//	every            interval of samples
//	aggregate        any number of times, or separated by commas
//
// Errors are ErrInvalid; an unknown parameter is one.
func ParseQuery(name string, v url.Values, now time.Time) (Query, error) {
	q := Query{Table: name, Things: v["thing"], Measures: v["measure"], Token: v.Get("token")}
	for key, values := range v {
		if !slices.Contains([]string{"thing", "measure", "from", "to", "last", "order", "limit", "token", "every", "aggregate", "format"}, key) {
			return q, invalid("there is no parameter %.40q", key)
		}
		if len(values) > 1 && !slices.Contains([]string{"thing", "measure", "aggregate"}, key) {
			return q, invalid("%s is given %d times", key, len(values))
		}
	}
	var err error
	if q.From, q.To, err = ParseRange(v.Get("from"), v.Get("to"), v.Get("last"), now); err != nil {
		return q, err
	}
	switch v.Get("order") {
	case "", "asc":
	case "desc":
		q.Descending = true
	default:
		return q, invalid("order %q is not asc or desc", v.Get("order"))
	}
	if s := v.Get("limit"); s != "" {
		if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > MaxRows {
			return q, invalid("limit %q is not a number from 1 to %d", s, MaxRows)
		}
	}
	if s := v.Get("every"); s != "" {
		if q.Every, err = ParseDuration(s); err != nil {
			return q, err
		}
	}
	for _, list := range v["aggregate"] {
		for name := range strings.SplitSeq(list, ",") {
			q.Aggregates = append(q.Aggregates, Aggregate(name))
		}
	}
	check := q
	return q, check.check()
}

// ParseRange reads a range of times; see ParseQuery.
func ParseRange(from, to, last string, now time.Time) (begin, end int64, err error) {
	if last != "" {
		if from != "" {
			return 0, 0, invalid("give one of from and last")
		}
		from = "-" + last
	}
	if from != "" {
		if begin, err = parseMoment(from, now); err != nil {
			return 0, 0, err
		}
	}
	if to != "" {
		if end, err = parseMoment(to, now); err != nil {
			return 0, 0, err
		}
		if end == 0 || end < begin {
			return 0, 0, invalid("the end of the range is before its beginning")
		}
	}
	return begin, end, nil
}

func parseMoment(s string, now time.Time) (int64, error) {
	if s == "now" {
		return now.UnixMilli(), nil
	}
	if before, ok := strings.CutPrefix(s, "-"); ok {
		d, err := ParseDuration(before)
		if err != nil {
			return 0, err
		}
		return max(now.Add(-d).UnixMilli(), 0), nil
	}
	return ParseTime(s)
}

// ParseDuration is time.ParseDuration for durations above 0, with d for 24 hours and w for 7 days as
// the only unit: 30d, 2w.
func ParseDuration(s string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil || n == 0 || n > 36500 {
				return 0, invalid("duration %.40q is not like 10s, 5m, 1h, 30d or 2w", s)
			}
			return time.Duration(n) * length, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, invalid("duration %.40q is not like 10s, 5m, 1h, 30d or 2w", s)
	}
	return d, nil
}
