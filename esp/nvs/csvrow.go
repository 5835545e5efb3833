package nvs

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// csvRow is one entry of a CSV file, by the names of its columns.
type csvRow struct {
	line                       int // where it begins, from 1
	key, kind, encoding, value string
}

// parseCSV reads the file as the generator does, by Python's csv module: any
// line end counts, lines that begin with # are dropped before quotes are
// looked at, a field is quoted only if the quote is its first character, and
// the columns may stand in any order.
func parseCSV(data []byte) ([]csvRow, error) {
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: not UTF-8 text", ErrCSV)
	}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
	records, err := splitCSV(strings.SplitAfter(text, "\n"))
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("%w: empty: the first line must be key,type,encoding,value", ErrCSV)
	}
	var columns []string
	for _, name := range records[0].fields {
		columns = append(columns, strings.TrimSpace(name))
	}
	for _, name := range []string{"key", "type", "encoding", "value"} {
		if !slices.Contains(columns, name) {
			return nil, fmt.Errorf("%w: line %d: no column %q: the first line must be key,type,encoding,value", ErrCSV, records[0].line, name)
		}
	}
	rows := make([]csvRow, 0, len(records)-1)
	for _, record := range records[1:] {
		if len(record.fields) == 1 && strings.TrimSpace(record.fields[0]) == "" {
			continue
		}
		if len(record.fields) > len(columns) && strings.Join(record.fields[len(columns):], "") != "" {
			return nil, fmt.Errorf("%w: line %d: %d fields, %d columns: put quotes around a value with commas", ErrCSV, record.line, len(record.fields), len(columns))
		}
		row := csvRow{line: record.line}
		for i, field := range record.fields[:min(len(columns), len(record.fields))] {
			switch columns[i] {
			case "key":
				row.key = field
			case "type":
				row.kind = strings.TrimSpace(field)
			case "encoding":
				row.encoding = strings.TrimSpace(field)
			case "value":
				row.value = field
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

type csvRecord struct {
	line   int
	fields []string
}

func splitCSV(lines []string) ([]csvRecord, error) {
	var records []csvRecord
	var record csvRecord
	var field strings.Builder
	const (
		start  = iota // of a field
		plain         // in a field without quotes
		quoted        // between quotes
		closed        // after a quote that ends the field or begins a doubled one
	)
	state := start
	for i, line := range lines {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if state == start && len(record.fields) == 0 {
			record.line = i + 1
			if line == "\n" || line == "" {
				continue
			}
		}
		for _, c := range line {
			switch {
			case state == quoted && c == '"':
				state = closed
			case state == quoted:
				field.WriteRune(c)
			case state == closed && c == '"':
				field.WriteRune(c)
				state = quoted
			case c == '\n':
				record.fields = append(record.fields, field.String())
				records = append(records, record)
				record, state = csvRecord{}, start
				field.Reset()
			case c == ',':
				record.fields = append(record.fields, field.String())
				field.Reset()
				state = start
			case state == start && c == '"':
				state = quoted
			default:
				field.WriteRune(c)
				state = plain
			}
		}
	}
	if state == quoted {
		return nil, fmt.Errorf("%w: line %d: a quote is never closed", ErrCSV, record.line)
	}
	if state != start || len(record.fields) > 0 {
		record.fields = append(record.fields, field.String())
		records = append(records, record)
	}
	return records, nil
}
