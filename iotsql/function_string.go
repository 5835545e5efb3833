package iotsql

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

func chr(_ *frame, v value) value {
	n, ok := v.toInt(down)
	if c := n.int64(); ok && c >= 0 && c < 128 {
		return text(string(rune(c)))
	}
	return undefined
}

// concat joins strings, or makes one array if there is any.
func concat(f *frame, args []value) value {
	switch len(args) {
	case 0:
		return undefined
	case 1:
		return args[0]
	}
	var arrays, texts bool
	for _, a := range args {
		arrays = arrays || a.kind == Array
		texts = texts || a.kind == String
	}
	if arrays {
		l := []value{}
		for _, a := range args {
			if a.kind == Array {
				l = append(l, a.list(f.asInt)...)
			} else {
				l = append(l, a)
			}
		}
		return list(l)
	}
	if !texts {
		return undefined
	}
	var b strings.Builder
	for _, a := range args {
		s, ok := a.toText()
		if !ok {
			return undefined
		}
		b.WriteString(s)
	}
	return text(b.String())
}

func texts(a, b value) (x, y string, ok bool) {
	x, ok1 := a.toText()
	y, ok2 := b.toText()
	return x, y, ok1 && ok2
}

func endsWith(_ *frame, a, b value) value {
	x, y, ok := texts(a, b)
	if !ok {
		return undefined
	}
	return boolean(strings.HasSuffix(x, y))
}

func startsWith(_ *frame, a, b value) value {
	x, y, ok := texts(a, b)
	if !ok {
		return undefined
	}
	return boolean(strings.HasPrefix(x, y))
}

// indexOf counts characters; -1 means not found.
func indexOf(_ *frame, a, b value) value {
	x, y, ok := texts(a, b)
	if !ok {
		return undefined
	}
	i := strings.Index(x, y)
	if i > 0 {
		i = count(x[:i])
	}
	return integer(int64(i))
}

func length(_ *frame, v value) value {
	s, ok := v.toText()
	if !ok {
		return undefined
	}
	return integer(int64(count(s)))
}

func numBytes(_ *frame, v value) value {
	s, ok := v.toText()
	if !ok {
		return undefined
	}
	return integer(int64(len(s)))
}

// upper makes SS of ß, as Java does.
func upper(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "ß", "SS")) }

const blanks = " \t" // what the guide calls white space

func trimLeft(s string) string  { return strings.TrimLeft(s, blanks) }
func trimRight(s string) string { return strings.TrimRight(s, blanks) }
func trimBoth(s string) string  { return strings.TrimSpace(s) }

// pad adds a number of spaces, at most 1000, whatever the string's length is.
func pad(left bool) func(f *frame, a, b value) value {
	return func(_ *frame, a, b value) value {
		s, ok1 := a.toText()
		n, ok2 := b.toNumber()
		if !ok1 || !ok2 {
			return undefined
		}
		spaces := strings.Repeat(" ", clamped(n.num(), 1000))
		if left {
			return text(spaces + s)
		}
		return text(s + spaces)
	}
}

// clamped cuts the decimals off and brings the number between 0 and high.
func clamped(n num, high int) int {
	i, ok := n.integer(towardsZero)
	if !ok { // too large for an Int, but with a sign
		i = num{coef: int64(n.sign()) * int64(high)}
	}
	return int(min(max(i.int64(), 0), int64(high)))
}

func replace(_ *frame, args []value) value {
	s, old, ok := texts(args[0], args[1])
	by, ok2 := args[2].toText()
	if !ok || !ok2 {
		return undefined
	}
	if grown := len(s) + (strings.Count(s, old))*(len(by)-len(old)); grown > maxText {
		return undefined
	}
	return text(strings.ReplaceAll(s, old, by))
}

// maxText bounds strings that grow by replacement, far above the largest message.
const maxText = 4 << 20

func substring(_ *frame, args []value) value {
	s, ok := args[0].toText()
	if !ok {
		return undefined
	}
	length := count(s)
	from, to := 0, length
	for i, bound := range []*int{&from, &to} {
		if i+1 < len(args) {
			n, ok := args[i+1].toNumber()
			if !ok {
				return undefined
			}
			*bound = clamped(n.num(), length)
		}
	}
	if from >= to {
		return text("")
	}
	return text(s[offset(s, from):offset(s, to)])
}

// offset returns the index of a character in bytes.
func offset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// maxPattern bounds regular expressions, of which every message may bring its own.
const maxPattern = 1000

// pattern returns the way to a function's regular expression: compiled once if it is a literal. The
// syntax is RE2's; lookaround and back references of Java's do not exist there.
func pattern(a arg) (get func(f *frame) *regexp.Regexp, warning string) {
	compile := func(s string) *regexp.Regexp {
		if len(s) > maxPattern {
			return nil
		}
		re, err := regexp.Compile(s)
		if err != nil {
			return nil
		}
		return re
	}
	if s, ok := a.text(); ok {
		re := compile(s)
		if re == nil {
			warning = "the regular expression cannot be used (RE2 syntax, without lookaround and back references): always Undefined"
		}
		return func(*frame) *regexp.Regexp { return re }, warning
	}
	do := a.do
	return func(f *frame) *regexp.Regexp {
		s, ok := do(f).toText()
		if !ok {
			return nil
		}
		return compile(s)
	}, ""
}

func regexpMatches(args []arg) (fn, string) {
	in := args[0].do
	re, warning := pattern(args[1])
	return func(f *frame) value {
		s, ok := in(f).toText()
		r := re(f)
		if !ok || r == nil {
			return undefined
		}
		return boolean(r.MatchString(s))
	}, warning
}

func regexpSubstr(args []arg) (fn, string) {
	in := args[0].do
	re, warning := pattern(args[1])
	return func(f *frame) value {
		s, ok := in(f).toText()
		r := re(f)
		if !ok || r == nil {
			return undefined
		}
		at := r.FindStringIndex(s)
		if at == nil {
			return undefined
		}
		return text(s[at[0]:at[1]])
	}, warning
}

func regexpReplace(args []arg) (fn, string) {
	in, by := args[0].do, args[2].do
	re, warning := pattern(args[1])
	return func(f *frame) value {
		s, ok1 := in(f).toText()
		t, ok2 := by(f).toText()
		r := re(f)
		if !ok1 || !ok2 || r == nil {
			return undefined
		}
		out, ok := replaceAll(r, s, t)
		if !ok {
			return undefined
		}
		return text(out)
	}, warning
}

// replaceAll understands a replacement as Java does: $1 and ${name} are groups, a backslash takes
// the next character as it is. ok is false for a group that does not exist.
func replaceAll(r *regexp.Regexp, s, by string) (string, bool) {
	var b []byte
	last := 0
	for _, at := range r.FindAllStringSubmatchIndex(s, -1) {
		b = append(b, s[last:at[0]]...)
		last = at[1]
		for i := 0; i < len(by); i++ {
			switch {
			case by[i] == '\\':
				if i++; i == len(by) {
					return "", false
				}
				b = append(b, by[i])
			case by[i] == '$':
				g, n := group(r, by[i+1:])
				if g < 0 {
					return "", false
				}
				i += n
				if at[2*g] >= 0 {
					b = append(b, s[at[2*g]:at[2*g+1]]...)
				}
			default:
				b = append(b, by[i])
			}
		}
		if len(b) > maxText {
			return "", false
		}
	}
	return string(b) + s[last:], true
}

// group reads a reference after its $ and returns the group and the length; -1 for none.
func group(r *regexp.Regexp, s string) (g, n int) {
	if strings.HasPrefix(s, "{") {
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return -1, 0
		}
		return r.SubexpIndex(s[1:end]), end + 1
	}
	if s == "" || s[0] < '0' || s[0] > '9' {
		return -1, 0
	}
	g, n = int(s[0]-'0'), 1
	for n < len(s) && s[n] >= '0' && s[n] <= '9' && g*10+int(s[n]-'0') <= r.NumSubexp() {
		g = g*10 + int(s[n]-'0')
		n++
	}
	if g > r.NumSubexp() {
		return -1, 0
	}
	return g, n
}

// characterAt returns the character of a string at an index.
func characterAt(s string, i int64) (string, bool) {
	if i < 0 || i >= int64(len(s)) {
		return "", false
	}
	at := offset(s, int(i))
	if at == len(s) {
		return "", false
	}
	_, size := utf8.DecodeRuneInString(s[at:])
	return s[at : at+size], true
}
