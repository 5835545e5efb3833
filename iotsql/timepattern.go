package iotsql

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// dialect is whose pattern letters count.
type dialect uint8

const (
	joda dialect = iota // DateTimeFormat of Joda-Time, for parse_time
	java                // DateTimeFormatter of Java 11, for time_to_epoch
)

// timePattern is a parsed date and time pattern.
type timePattern struct {
	dialect dialect
	items   []timeItem
}

// timeItem is a pattern letter repeated, or text.
type timeItem struct {
	letter byte
	n      int
	text   string
}

const (
	jodaLetters = "GCYxweEyDMdaKhHkmsSzZ"
	javaLetters = "GuyDMLdEaKhHkmsSAnNVzOXxZ"
)

func parseTimePattern(s string, d dialect) (*timePattern, error) {
	letters := jodaLetters
	if d == java {
		letters = javaLetters
	}
	if len(s) > maxPattern {
		return nil, fmt.Errorf("the time pattern is longer than %d bytes", maxPattern)
	}
	p := &timePattern{dialect: d}
	literal := func(t string) {
		if i := len(p.items) - 1; i >= 0 && p.items[i].letter == 0 {
			p.items[i].text += t
		} else {
			p.items = append(p.items, timeItem{text: t})
		}
	}
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\'':
			if i+1 < len(s) && s[i+1] == '\'' {
				literal("'")
				i += 2
				continue
			}
			for i++; ; i++ {
				if i >= len(s) {
					return nil, fmt.Errorf("the time pattern %s has an open quotation", quoted(s))
				}
				if s[i] == '\'' {
					if i+1 < len(s) && s[i+1] == '\'' {
						i++
					} else {
						break
					}
				}
				literal(s[i : i+1])
			}
			i++
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for i+n < len(s) && s[i+n] == c {
				n++
			}
			if strings.IndexByte(letters, c) < 0 {
				return nil, fmt.Errorf("the time pattern %s has the unknown letter %c", quoted(s), c)
			}
			p.items = append(p.items, timeItem{letter: c, n: n})
			i += n
		default:
			literal(s[i : i+1])
			i++
		}
	}
	return p, nil
}

func padded(dst []byte, v, n int) []byte {
	if v < 0 {
		dst, v = append(dst, '-'), -v
	}
	var buf [20]byte
	s := strconv.AppendInt(buf[:0], int64(v), 10)
	for range min(n, 40) - len(s) {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

// append formats by Joda-Time's letters.
func (p *timePattern) append(dst []byte, t time.Time) []byte {
	for _, it := range p.items {
		switch it.letter {
		case 0:
			dst = append(dst, it.text...)
		case 'G':
			dst = append(dst, "AD"...)
		case 'C':
			dst = padded(dst, t.Year()/100, it.n)
		case 'y', 'Y':
			dst = appendYear(dst, t.Year(), it.n)
		case 'x':
			year, _ := t.ISOWeek()
			dst = appendYear(dst, year, it.n)
		case 'w':
			_, week := t.ISOWeek()
			dst = padded(dst, week, it.n)
		case 'e':
			dst = padded(dst, (int(t.Weekday())+6)%7+1, it.n)
		case 'E':
			dst = appendName(dst, t.Weekday().String(), it.n)
		case 'D':
			dst = padded(dst, t.YearDay(), it.n)
		case 'M':
			if it.n >= 3 {
				dst = appendName(dst, t.Month().String(), it.n)
			} else {
				dst = padded(dst, int(t.Month()), it.n)
			}
		case 'd':
			dst = padded(dst, t.Day(), it.n)
		case 'a':
			dst = append(dst, t.Format("PM")...)
		case 'K':
			dst = padded(dst, t.Hour()%12, it.n)
		case 'h':
			dst = padded(dst, (t.Hour()+11)%12+1, it.n)
		case 'H':
			dst = padded(dst, t.Hour(), it.n)
		case 'k':
			dst = padded(dst, (t.Hour()+23)%24+1, it.n)
		case 'm':
			dst = padded(dst, t.Minute(), it.n)
		case 's':
			dst = padded(dst, t.Second(), it.n)
		case 'S':
			var buf [9]byte
			s := append(padded(buf[:0], t.Nanosecond(), 9), "0000000000000000000000000000000"...)
			dst = append(dst, s[:min(it.n, 30)]...)
		case 'z':
			name, offset := t.Zone()
			if name == "" || name[0] == '+' || name[0] == '-' {
				name = t.Format("-07:00")
			}
			if offset == 0 && t.Location() == time.UTC {
				name = "UTC"
			}
			dst = append(dst, name...)
		case 'Z':
			switch {
			case it.n == 1:
				dst = append(dst, t.Format("-0700")...)
			case it.n == 2:
				dst = append(dst, t.Format("-07:00")...)
			default:
				dst = append(dst, t.Location().String()...)
			}
		}
	}
	return dst
}

func appendYear(dst []byte, year, n int) []byte {
	if n == 2 {
		return padded(dst, (year%100+100)%100, 2)
	}
	return padded(dst, year, n)
}

func appendName(dst []byte, name string, n int) []byte {
	if n < 4 {
		name = name[:3]
	}
	return append(dst, name...)
}

// moment is what a text has said about a time so far.
type moment struct {
	year, month, day, yearDay    int
	hour, hour12, minute, second int
	nano                         int
	pm, hasPM, bc                bool
	loc                          *time.Location
}

// parse reads a time by Java's letters. Without a zone it is UTC, without a time midnight.
func (p *timePattern) parse(s string) (time.Time, bool) {
	m := moment{year: -1, month: 1, day: 1, hour: -1, hour12: -1, loc: time.UTC}
	for i, it := range p.items {
		adjacent := i+1 < len(p.items) && p.items[i+1].letter != 0 && p.items[i+1].numeric()
		var ok bool
		if s, ok = m.read(s, it, adjacent); !ok {
			return time.Time{}, false
		}
	}
	if s != "" || m.year < 0 {
		return time.Time{}, false
	}
	return m.time()
}

func (it timeItem) numeric() bool {
	if it.letter == 'M' || it.letter == 'L' {
		return it.n < 3
	}
	return strings.IndexByte("uyDdKhHkmsSAnN", it.letter) >= 0
}

func (m *moment) time() (time.Time, bool) {
	if m.hour < 0 {
		m.hour = 0
		if m.hour12 >= 0 {
			m.hour = m.hour12
			if m.hasPM && m.pm {
				m.hour += 12
			}
		}
	}
	if m.bc {
		m.year = 1 - m.year
	}
	if m.yearDay > 0 {
		t := time.Date(m.year, 1, m.yearDay, m.hour, m.minute, m.second, m.nano, m.loc)
		return t, t.Year() == m.year
	}
	if m.hour > 23 || m.minute > 59 || m.second > 59 {
		return time.Time{}, false
	}
	date := time.Date(m.year, time.Month(m.month), m.day, 12, 0, 0, 0, time.UTC)
	if date.Day() != m.day || int(date.Month()) != m.month {
		return time.Time{}, false
	}
	return time.Date(m.year, time.Month(m.month), m.day, m.hour, m.minute, m.second, m.nano, m.loc), true
}

// read takes one item off the text.
func (m *moment) read(s string, it timeItem, adjacent bool) (string, bool) {
	switch it.letter {
	case 0:
		return strings.CutPrefix(s, it.text)
	case 'G':
		for _, e := range [...]struct {
			text string
			bc   bool
		}{{"Anno Domini", false}, {"Before Christ", true}, {"AD", false}, {"BC", true}} {
			if rest, ok := cutFold(s, e.text); ok {
				m.bc = e.bc
				return rest, true
			}
		}
		return s, false
	case 'E':
		for d := range 7 {
			name := time.Weekday(d).String()
			if rest, ok := cutFold(s, cutName(name, it.n)); ok {
				return rest, true
			}
		}
		return s, false
	case 'a':
		for i, name := range [...]string{"AM", "PM"} {
			if rest, ok := cutFold(s, name); ok {
				m.pm, m.hasPM = i == 1, true
				return rest, true
			}
		}
		return s, false
	case 'M', 'L':
		if it.n >= 3 {
			for i := time.January; i <= time.December; i++ {
				if rest, ok := cutFold(s, cutName(i.String(), it.n)); ok {
					m.month = int(i)
					return rest, true
				}
			}
			return s, false
		}
	case 'V', 'z', 'O', 'X', 'x', 'Z':
		return m.readZone(s, it)
	case 'S':
		v, rest, ok := digits(s, it.n, it.n)
		for range 9 - it.n {
			v *= 10
		}
		m.nano = v
		return rest, ok && it.n <= 9
	}
	return m.readNumber(s, it, adjacent)
}

func (m *moment) readNumber(s string, it timeItem, adjacent bool) (string, bool) {
	least, most := it.n, it.n
	switch {
	case it.n == 1:
		most = 19
		if adjacent {
			most = 1
		}
	case (it.letter == 'y' || it.letter == 'u') && it.n != 2 && !adjacent:
		most = 9
	}
	v, rest, ok := digits(s, least, min(most, 10))
	if !ok {
		return s, false
	}
	switch it.letter {
	case 'u', 'y':
		m.year = v
		if it.n == 2 {
			m.year += 2000
		}
		ok = v <= 9999
	case 'D':
		m.yearDay = v
		ok = v >= 1 && v <= 366
	case 'M', 'L':
		m.month = v
		ok = v >= 1 && v <= 12
	case 'd':
		m.day = v
		ok = v >= 1 && v <= 31
	case 'H':
		m.hour = v
		ok = v <= 23
	case 'k':
		m.hour = v % 24
		ok = v >= 1 && v <= 24
	case 'K':
		m.hour12 = v
		ok = v <= 11
	case 'h':
		m.hour12 = v % 12
		ok = v >= 1 && v <= 12
	case 'm':
		m.minute = v
	case 's':
		m.second = v
	case 'n':
		m.nano = v
		ok = v < 1e9
	case 'A': // milliseconds of the day
		m.hour, m.minute, m.second, m.nano = v/3600000, v/60000%60, v/1000%60, v%1000*1e6
	default: // N, nanoseconds of the day, does not fit
		ok = false
	}
	return rest, ok
}

// readZone reads identifiers, names and offsets alike: V, z, O, X, x and Z differ in what they
// print, and a text says which it is.
func (m *moment) readZone(s string, it timeItem) (string, bool) {
	if (it.letter == 'X' || it.letter == 'z' || it.letter == 'V') && (s == "Z" || strings.HasPrefix(s, "Z ")) {
		return s[1:], true
	}
	end := 0
	for end < len(s) && (wordPart(s[end]) && s[end] != '$' || s[end] == '/' || end > 0 && strings.IndexByte("+-:", s[end]) >= 0 || s[end] == '+' || s[end] == '-') {
		end++
	}
	if _, n := offsetSeconds(s); n > 0 {
		end = n
	}
	if end == 0 {
		return s, false
	}
	name := s[:end]
	if it.letter == 'X' || it.letter == 'x' || it.letter == 'Z' && it.n < 4 {
		if name[0] != '+' && name[0] != '-' {
			return s, false
		}
	}
	if loc := abbreviation(name); loc != nil {
		m.loc = loc
	} else if m.loc = zone(name); m.loc == nil {
		return s, false
	}
	return s[end:], true
}

// abbreviation knows the short zone names that Java reads and that the time zone database does not
// have as identifiers with daylight saving time.
func abbreviation(s string) *time.Location {
	ids := map[string]string{"PST": "America/Los_Angeles", "PDT": "America/Los_Angeles", "MST": "America/Denver", "MDT": "America/Denver",
		"CST": "America/Chicago", "CDT": "America/Chicago", "EST": "America/New_York", "EDT": "America/New_York",
		"BST": "Europe/London", "CET": "Europe/Paris", "CEST": "Europe/Paris", "JST": "Asia/Tokyo", "IST": "Asia/Kolkata"}
	if id, ok := ids[s]; ok {
		return zone(id)
	}
	return nil
}

func cutName(name string, n int) string {
	if n < 4 {
		return name[:3]
	}
	return name
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// digits reads at least and at most so many digits.
func digits(s string, least, most int) (v int, rest string, ok bool) {
	n := 0
	for n < len(s) && n < most && s[n] >= '0' && s[n] <= '9' {
		if v < math.MaxInt/16 { // enough for any year, on 32 bits too
			v = v*10 + int(s[n]-'0')
		}
		n++
	}
	return v, s[n:], n >= least && n > 0
}
