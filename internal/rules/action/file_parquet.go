package action

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/columns"
)

// maxFileColumns bounds a Parquet file; members of results beyond it are in the column _more.
const maxFileColumns = 2000

// rollName is the name that a journal gets when nothing is to be added to it.
func rollName(place string, now time.Time) string {
	return strings.TrimSuffix(place, journalEnd) + "." + now.UTC().Format(rollStamp) + journalEnd
}

// rolledName tells from the name of a rolled journal which file it becomes and where that is until it
// is whole.
func rolledName(place string) (name, unfinished string, ok bool) {
	base := strings.TrimSuffix(strings.TrimPrefix(path.Base(place), "."), journalEnd)
	if len(base) < len(rollStamp)+2 {
		return "", "", false
	}
	cut := len(base) - len(rollStamp)
	stamp := base[cut:]
	if _, err := time.Parse(rollStamp, stamp); err != nil || base[cut-1] != '.' {
		return "", "", false
	}
	base = base[:cut-1]
	end := path.Ext(base)
	base = strings.TrimSuffix(base, end) + "-" + stamp + end
	return path.Join(path.Dir(place), base), path.Join(path.Dir(place), "."+base+".new"), true
}

// finish makes a Parquet file of a journal that was rolled. It may be done again after a crash.
func (j *journals) finish(place string) {
	name, unfinished, ok := rolledName(place)
	if !ok {
		return
	}
	err := j.makeParquet(place, unfinished)
	if err == nil {
		err = j.root.Rename(unfinished, name)
	}
	if err == nil {
		err = j.syncFolder(path.Dir(name))
	}
	if err == nil {
		err = j.root.Remove(place)
	}
	if err != nil {
		j.c.log.Error("a file of a rule cannot be made", "file", name, "error", err)
	}
}

func (j *journals) makeParquet(place, to string) (err error) {
	in, err := j.root.Open(place)
	if err != nil {
		return err
	}
	defer in.Close()
	s := shape{kinds: make(map[string]memberKind)}
	if err := eachLine(in, s.look); err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := j.root.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := j.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	buffered := bufio.NewWriterSize(out, 256<<10)
	w := columns.NewWriter(buffered, s.columns())
	if err := eachLine(in, func(members map[string]json.RawMessage) error { return w.Write(s.row(members)) }); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return out.Sync()
}

// eachLine calls f with the members of every line; what is no object has its value as the member value.
// A line without end was never acknowledged.
func eachLine(r io.Reader, f func(members map[string]json.RawMessage) error) error {
	in := bufio.NewReaderSize(r, 256<<10)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		members := make(map[string]json.RawMessage)
		if !bytes.HasPrefix(line, []byte("{")) {
			members["value"] = line
		} else if err := json.Unmarshal(line, &members); err != nil {
			return fmt.Errorf("a line is not JSON: %w", err)
		}
		if err := f(members); err != nil {
			return err
		}
	}
}

// memberKind is a set of kinds of JSON values.
type memberKind uint8

const (
	isInteger memberKind = 1 << iota
	isNumber
	isString
	isBoolean
	isStructure
)

func kindOf(raw json.RawMessage) memberKind {
	switch raw[0] {
	case 'n':
		return 0
	case 't', 'f':
		return isBoolean
	case '"':
		return isString
	case '{', '[':
		return isStructure
	}
	if _, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return isInteger
	}
	return isNumber
}

// shape finds the columns of a file. A member with values of several kinds has a column for each, such
// as name.number; integers and other numbers together are numbers.
type shape struct {
	kinds  map[string]memberKind
	more   bool
	list   []columns.Column
	places map[place]int
}

type place struct {
	name string
	kind memberKind
}

const moreColumn = "_more"

func (s *shape) look(members map[string]json.RawMessage) error {
	for name, raw := range members {
		kind, known := s.kinds[name]
		if !known && len(s.kinds) >= maxFileColumns {
			s.more = true
			continue
		}
		s.kinds[name] = kind | kindOf(raw)
	}
	return nil
}

func (s *shape) columns() []columns.Column {
	s.places = make(map[place]int)
	for _, name := range slices.Sorted(maps.Keys(s.kinds)) {
		kinds := s.kinds[name]
		if kinds&isNumber != 0 && kinds&isInteger != 0 {
			kinds &^= isInteger
		}
		for _, k := range []struct {
			kind   memberKind
			column columns.Kind
			name   string
		}{{isInteger, columns.Integer, "number"}, {isNumber, columns.Number, "number"}, {isString, columns.Text, "string"},
			{isBoolean, columns.Boolean, "bool"}, {isStructure, columns.JSON, "json"}} {
			if kinds&k.kind == 0 {
				continue
			}
			column := columns.Column{Name: name, Kind: k.column}
			if kinds != k.kind {
				column.Name += "." + k.name
			}
			s.places[place{name, k.kind}] = len(s.list)
			s.list = append(s.list, column)
		}
	}
	if s.more || len(s.list) == 0 { // a file needs a column
		s.places[place{moreColumn, 0}] = len(s.list)
		s.list = append(s.list, columns.Column{Name: moreColumn, Kind: columns.JSON})
	}
	columns.Unique(s.list)
	return s.list
}

func (s *shape) row(members map[string]json.RawMessage) []columns.Value {
	row := make([]columns.Value, len(s.list))
	more := make(map[string]json.RawMessage)
	for name, raw := range members {
		kind := kindOf(raw)
		if _, known := s.kinds[name]; !known {
			more[name] = raw
			continue
		}
		i, ok := s.places[place{name, kind}]
		if !ok && kind == isInteger {
			kind = isNumber
			i, ok = s.places[place{name, kind}]
		}
		if !ok {
			continue // null
		}
		switch kind {
		case isInteger:
			n, _ := strconv.ParseInt(string(raw), 10, 64)
			row[i] = columns.IntegerValue(n)
		case isNumber:
			f, err := strconv.ParseFloat(string(raw), 64)
			if err != nil {
				f = math.Inf(int(math.Copysign(1, f))) // beyond a double
			}
			row[i] = columns.NumberValue(f)
		case isBoolean:
			row[i] = columns.BooleanValue(raw[0] == 't')
		case isString:
			var text string
			json.Unmarshal(raw, &text)
			row[i] = columns.TextValue(text)
		default:
			row[i] = columns.TextValue(string(raw))
		}
	}
	if i, ok := s.places[place{moreColumn, 0}]; ok && len(more) > 0 {
		if b, err := json.Marshal(more); err == nil {
			row[i] = columns.TextValue(string(b))
		}
	}
	return row
}
