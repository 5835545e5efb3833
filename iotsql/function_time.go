package iotsql

import (
	"strings"
	"time"
)

// parseTime formats milliseconds since 1970 by a pattern of Joda-Time.
func parseTime(args []arg) (fn, string) {
	get, warning := timePatternOf(args[0], joda)
	ms := args[1].do
	zone := func(*frame) *time.Location { return time.UTC }
	if len(args) == 3 {
		zone = zoneOf(args[2])
	}
	return func(f *frame) value {
		p, loc := get(f), zone(f)
		n, ok := ms(f).toInt(halfAway)
		if !ok || p == nil || loc == nil {
			return undefined
		}
		i := n.int64()
		if i > maxMillis || i < -maxMillis {
			return undefined
		}
		return text(string(p.append(nil, time.UnixMilli(i).In(loc))))
	}, warning
}

// maxMillis keeps years within four digits.
const maxMillis = 253402300799999

// timeToEpoch reads a time by a pattern of Java's DateTimeFormatter.
func timeToEpoch(args []arg) (fn, string) {
	in := args[0].do
	get, warning := timePatternOf(args[1], java)
	return func(f *frame) value {
		s, ok := in(f).toText()
		p := get(f)
		if !ok || p == nil {
			return undefined
		}
		t, ok := p.parse(s)
		if !ok {
			return undefined
		}
		return integer(t.UnixMilli())
	}, warning
}

func timePatternOf(a arg, d dialect) (get func(f *frame) *timePattern, warning string) {
	if s, ok := a.text(); ok {
		p, err := parseTimePattern(s, d)
		if err != nil {
			return func(*frame) *timePattern { return nil }, err.Error() + ": always Undefined"
		}
		return func(*frame) *timePattern { return p }, ""
	}
	do := a.do
	return func(f *frame) *timePattern {
		s, ok := do(f).toText()
		if !ok {
			return nil
		}
		p, _ := parseTimePattern(s, d)
		return p
	}, ""
}

func zoneOf(a arg) func(f *frame) *time.Location {
	if s, ok := a.text(); ok {
		loc := zone(s)
		return func(*frame) *time.Location { return loc }
	}
	do := a.do
	return func(f *frame) *time.Location {
		v := do(f)
		if v.kind != String {
			return nil
		}
		return zone(v.str)
	}
}

// zone finds a time zone: an identifier of the time zone database, UTC or GMT with or without an
// offset, an offset alone. It returns nil for none.
func zone(s string) *time.Location {
	rest := s
	for _, prefix := range [...]string{"UTC", "GMT", "UT"} {
		if strings.HasPrefix(s, prefix) {
			rest = s[len(prefix):]
			break
		}
	}
	if rest == "" && s != "" || s == "Z" {
		return time.UTC
	}
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		if seconds, n := offsetSeconds(rest); n == len(rest) {
			return time.FixedZone(s, seconds)
		}
		return nil
	}
	if s == "" || s == "Local" || strings.ContainsAny(s, `\.`) || len(s) > 64 || s[0] == '/' {
		return nil
	}
	loc, err := time.LoadLocation(s)
	if err != nil {
		return nil
	}
	return loc
}

// offsetSeconds reads +h, +hh, +hhmm, +hh:mm or with seconds, and returns the length it took; 0 for
// none.
func offsetSeconds(s string) (seconds, n int) {
	if s == "" || s[0] != '+' && s[0] != '-' {
		return 0, 0
	}
	n = 1
	unit := 3600
	for part := range 3 {
		at := n
		if part > 0 && at < len(s) && s[at] == ':' {
			at++
		}
		v, d := 0, 0
		for d < 2 && at+d < len(s) && s[at+d] >= '0' && s[at+d] <= '9' {
			v = v*10 + int(s[at+d]-'0')
			d++
		}
		if d == 0 || d == 1 && part > 0 {
			break
		}
		if part == 0 && v > 18 || part > 0 && v > 59 {
			return 0, 0
		}
		seconds += v * unit
		unit /= 60
		n = at + d
	}
	if n == 1 {
		return 0, 0
	}
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, n
}
