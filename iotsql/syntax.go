package iotsql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError is a statement or template that cannot be meant. AWS IoT answers CreateTopicRule and
// ReplaceTopicRule with SqlParseException then.
type SyntaxError struct {
	// Offset is the place in bytes from the beginning; Line and Column count from 1, columns in
	// characters.
	Offset, Line, Column int
	// Message says what was expected and what was found; Hint, if not empty, what to do about it.
	Message, Hint string

	source string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("parse SQL: line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Caret returns the line of the source that holds the mistake, and below it a line with a caret
// under the place.
func (e *SyntaxError) Caret() string {
	at := min(e.Offset, len(e.source))
	start := strings.LastIndexByte(e.source[:at], '\n') + 1
	line := e.source[start:]
	if i := strings.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	line = strings.TrimRight(strings.ReplaceAll(line, "\t", " "), "\r ")
	column := e.Column - 1
	if column > 120 { // keep the place in sight
		runes := []rune(line)
		cut := min(column-60, len(runes))
		line, column = "…"+string(runes[cut:]), column-cut+1
	}
	if runes := []rune(line); len(runes) > 160 {
		line = string(runes[:160]) + "…"
	}
	return line + "\n" + strings.Repeat(" ", column) + "^"
}

func syntaxError(source string, offset int, hint, format string, args ...any) *SyntaxError {
	offset = min(offset, len(source))
	before := source[:offset]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return &SyntaxError{Offset: offset, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Hint: hint, source: source}
}

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokWord
	tokVariable
	tokNumber
	tokText
	tokSymbol
)

// token is a word, a number and so on. text is its characters, for a string those between the
// quotes, undoubled.
type token struct {
	kind     tokenKind
	text     string
	pos, end int
}

func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end"
	case tokText:
		return "string " + quoted(t.text)
	}
	return t.text
}

// is reports whether the token is the keyword or symbol.
func (t token) is(s string) bool {
	return t.kind == tokSymbol && t.text == s || t.kind == tokWord && strings.EqualFold(t.text, s)
}

type lexer struct {
	src string
	pos int
}

func wordStart(c byte) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func wordPart(c byte) bool { return wordStart(c) || c >= '0' && c <= '9' }

func (l *lexer) next() (token, error) {
	s := l.src
	for l.pos < len(s) && strings.IndexByte(" \t\r\n", s[l.pos]) >= 0 {
		l.pos++
	}
	start := l.pos
	done := func(kind tokenKind, end int) (token, error) {
		l.pos = end
		return token{kind, s[start:end], start, end}, nil
	}
	if start >= len(s) {
		return token{kind: tokEnd, pos: len(s), end: len(s)}, nil
	}
	c := s[start]
	switch {
	case wordStart(c):
		i := start + 1
		for i < len(s) && wordPart(s[i]) {
			i++
		}
		if !utf8.ValidString(s[start:i]) {
			return token{}, syntaxError(s, start, "", "the name is not UTF-8")
		}
		return done(tokWord, i)
	case c == '@':
		i := start + 1
		for i < len(s) && s[i] < utf8.RuneSelf && s[i] != '$' && wordPart(s[i]) {
			i++
		}
		if n := i - start - 1; n == 0 || n > 64 {
			return token{}, syntaxError(s, start, "a variable is @ and up to 64 letters, digits and underscores", "expected the name of a variable after @")
		}
		return done(tokVariable, i)
	case c >= '0' && c <= '9':
		return l.number(start)
	case c == '\'' || c == '"':
		return l.text(start)
	}
	for _, sym := range [...]string{"<>", "<=", ">=", "!="} {
		if strings.HasPrefix(s[start:], sym) {
			return done(tokSymbol, start+2)
		}
	}
	if strings.HasPrefix(s[start:], "--") || strings.HasPrefix(s[start:], "/*") {
		return token{}, syntaxError(s, start, "take the comment out", "AWS IoT SQL has no comments")
	}
	if strings.IndexByte("()[]{},.:*/%+-=<>", c) >= 0 {
		return done(tokSymbol, start+1)
	}
	_, size := utf8.DecodeRuneInString(s[start:])
	hint := ""
	switch c {
	case ';':
		hint = "a rule has one statement, without a semicolon"
	case '`':
		hint = "strings stand in single quotes; get(object, 'key') reads a key with special characters"
	case '|', '&':
		hint = "write AND and OR; + joins strings"
	}
	return token{}, syntaxError(s, start, hint, "unexpected character %s", quoted(s[start:start+size]))
}

func (l *lexer) number(start int) (token, error) {
	s, i := l.src, start
	digits := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	digits()
	if i+1 < len(s) && s[i] == '.' && s[i+1] >= '0' && s[i+1] <= '9' {
		i++
		digits()
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		end := i
		i++
		if i < len(s) && (s[i] == '-' || s[i] == '+') {
			i++
		}
		if !digits() {
			i = end
		}
	}
	if i < len(s) && wordPart(s[i]) {
		return token{}, syntaxError(s, start, "get(object, 'key') reads a key that begins with a digit", "a number cannot be followed by %s", quoted(s[i:i+1]))
	}
	l.pos = i
	return token{tokNumber, s[start:i], start, i}, nil
}

// text reads a string in either kind of quotes; a doubled quote stands for one.
func (l *lexer) text(start int) (token, error) {
	s, q := l.src, l.src[start]
	var b strings.Builder
	for i := start + 1; i < len(s); i++ {
		if s[i] != q {
			continue
		}
		b.WriteString(s[start+1 : i])
		if i+1 < len(s) && s[i+1] == q {
			b.WriteByte(q)
			start, i = i+1, i+1
			continue
		}
		first := l.pos
		l.pos = i + 1
		if !utf8.ValidString(b.String()) {
			return token{}, syntaxError(s, first, "", "the string is not UTF-8")
		}
		return token{tokText, b.String(), first, i + 1}, nil
	}
	return token{}, syntaxError(s, l.pos, "a quote inside a string is doubled", "the string that begins here has no end")
}

// quoted shows text in a message, cut short.
func quoted(s string) string {
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return "'" + s + "'"
}
