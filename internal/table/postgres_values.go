package table

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// quotes are names of measures as JSON strings.
type quotes struct {
	mu   sync.Mutex
	text map[string][]byte
}

func (q *quotes) of(name string) ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.text[name]; b != nil {
		return b, nil
	}
	b, err := json.Marshal(name)
	if q.text == nil || len(q.text) >= MaxMeasures {
		q.text = make(map[string][]byte)
	}
	q.text[name] = b
	return b, err
}

func (d *postgres) encode(names *names, values []numbered) ([]byte, error) {
	if !slices.IsSortedFunc(values, byNumber) {
		slices.SortStableFunc(values, byNumber)
	}
	out := append(make([]byte, 0, 24*len(values)+2), '{')
	for i, v := range values {
		if i+1 < len(values) && values[i+1].number == v.number {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		name, err := d.quotes.of(names.list[v.number])
		if err != nil {
			return nil, err
		}
		out = append(append(out, name...), ':')
		if v.value.kind == KindNumber {
			out = strconv.AppendFloat(out, v.value.number, 'g', -1, 64)
			continue
		}
		text, err := v.value.MarshalJSON()
		if err != nil {
			return nil, err
		}
		out = append(out, text...)
	}
	return append(out, '}'), nil
}

// values reads any JSON object: what others wrote has the measures that the table knows.
func (d *postgres) values(data []byte, names *names, keep func(uint32) bool, yield func(numbered)) error {
	var buffer [16]numbered
	list, ok := plainValues(data, names, keep, buffer[:0])
	if ok {
		for _, v := range list {
			yield(v)
		}
		return nil
	}
	var m Measures
	if err := m.UnmarshalJSON(data); err != nil {
		return fmt.Errorf("%w: %w", errEncoding, err)
	}
	list = make([]numbered, 0, len(m))
	for _, v := range m {
		n, ok := names.numbers[v.Name]
		if !ok {
			continue
		}
		if keep != nil && !keep(n) {
			v.Value.text = ""
		}
		list = append(list, numbered{n, v.Value})
	}
	slices.SortStableFunc(list, byNumber)
	for i, v := range list {
		if i+1 == len(list) || list[i+1].number != v.number {
			yield(v)
		}
	}
	return nil
}

// plainValues reads what encode wrote, as far as it has numbers, bools and texts without escapes, in
// the order of their numbers. For anything else ok is false.
func plainValues(b []byte, names *names, keep func(uint32) bool, list []numbered) (_ []numbered, ok bool) {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return nil, false
	}
	for b = b[1:]; len(b) > 1; {
		name, rest, ok := plainText(b)
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return nil, false
		}
		n, known := names.numbers[string(name)]
		if !known || len(list) > 0 && list[len(list)-1].number >= n {
			return nil, false
		}
		b = rest[1:]
		v := numbered{number: n}
		if text, rest, ok := plainText(b); ok {
			v.value.kind = KindString
			if keep == nil || keep(n) {
				v.value.text = string(text)
			}
			b = rest
		} else {
			end := bytes.IndexAny(b, ",}")
			if end < 0 {
				return nil, false
			}
			switch word := b[:end]; {
			case string(word) == "true", string(word) == "false":
				v.value = Bool(word[0] == 't')
			case plainNumber(word):
				f, err := strconv.ParseFloat(string(word), 64)
				if err != nil {
					return nil, false
				}
				v.value = Number(f)
			default:
				return nil, false
			}
			b = b[end:]
		}
		list = append(list, v)
		if len(b) == 0 || b[0] != ',' {
			break
		}
		b = b[1:]
		if len(b) < 2 {
			return nil, false
		}
	}
	return list, len(b) == 1 && b[0] == '}'
}

// plainText reads a JSON string of printable ASCII without escapes.
func plainText(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i, c := range b[1:] {
		switch {
		case c == '"':
			return b[1 : i+1], b[i+2:], true
		case c == '\\' || c < ' ' || c > '~':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// plainNumber reports whether a word has nothing but what numbers of JSON are made of, and begins like
// one.
func plainNumber(word []byte) bool {
	digits := bytes.TrimPrefix(word, []byte("-"))
	if len(digits) == 0 || digits[0] < '0' || digits[0] > '9' || digits[len(digits)-1] == '.' ||
		len(digits) > 1 && digits[0] == '0' && digits[1] != '.' && digits[1] != 'e' && digits[1] != 'E' {
		return false
	}
	for i, c := range word {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' || c == '.' && (i+1 == len(word) || word[i+1] < '0' || word[i+1] > '9') {
			return false
		}
	}
	return true
}
