// Package columns writes Parquet files whose columns are known only when the program runs. Files are
// compressed with Snappy and have row groups of bounded size, so that memory does not grow with rows.
package columns

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"
)

// Kind is what a column holds.
type Kind uint8

// The kinds, with their types in Parquet.
const (
	Time    Kind = iota // milliseconds since 1970, UTC: INT64, TIMESTAMP(MILLIS)
	Text                // BYTE_ARRAY, STRING
	JSON                // BYTE_ARRAY, JSON
	Number              // DOUBLE
	Integer             // INT64
	Boolean             // BOOLEAN
)

// Column describes a column. Names are to be different, see [Unique].
type Column struct {
	Name     string
	Kind     Kind
	Required bool // never empty
}

// Unique changes names that come twice, by a number at their end. Those that come first stay.
func Unique(list []Column) {
	seen := make(map[string]bool, len(list))
	for i := range list {
		name := list[i].Name
		for n := 2; seen[list[i].Name]; n++ {
			list[i].Name = name + "_" + strconv.Itoa(n)
		}
		seen[list[i].Name] = true
	}
}

// Value is a cell; the zero Value is an empty one.
type Value = parquet.Value

// IntegerValue, NumberValue, BooleanValue and TextValue make cells: of Time and Integer, Number,
// Boolean, Text and JSON. The text is not copied before Write returns.
func IntegerValue(n int64) Value  { return parquet.Int64Value(n) }
func NumberValue(f float64) Value { return parquet.DoubleValue(f) }
func BooleanValue(b bool) Value   { return parquet.BooleanValue(b) }
func TextValue(text string) Value { return parquet.ByteArrayValue([]byte(text)) }

// Bounds of a row group.
const (
	groupRows  = 128 << 10
	groupBytes = 32 << 20
)

// Writer writes rows. The file is complete after Close.
type Writer struct {
	out     *parquet.GenericWriter[any]
	columns []Column
	row     parquet.Row
	rows    int
	bytes   int
}

// NewWriter begins a file.
func NewWriter(w io.Writer, list []Column) *Writer {
	schema := parquet.NewSchema("row", newRoot(list))
	return &Writer{columns: list, out: parquet.NewGenericWriter[any](w, schema, parquet.Compression(&parquet.Snappy), parquet.PageBufferSize(256<<10),
		parquet.CreatedBy("berth", "", ""))}
}

// Write writes a row with one cell for each column. A cell that is empty where it must not be is an error.
func (w *Writer) Write(cells []Value) error {
	if len(cells) != len(w.columns) {
		return fmt.Errorf("write row: %d cells for %d columns", len(cells), len(w.columns))
	}
	w.row = w.row[:0]
	for i, c := range cells {
		defined := 1
		switch {
		case c.IsNull() && w.columns[i].Required:
			return fmt.Errorf("write row: column %q is empty", w.columns[i].Name)
		case c.IsNull() || w.columns[i].Required:
			defined = 0
		}
		w.row = append(w.row, c.Level(0, defined, i))
		w.bytes += 9
		if k := w.columns[i].Kind; !c.IsNull() && (k == Text || k == JSON) {
			w.bytes += len(c.ByteArray())
		}
	}
	if _, err := w.out.WriteRows([]parquet.Row{w.row}); err != nil {
		return fmt.Errorf("write row: %w", err)
	}
	if w.rows++; w.rows < groupRows && w.bytes < groupBytes {
		return nil
	}
	w.rows, w.bytes = 0, 0
	return w.out.Flush()
}

// Close writes what is left and the footer; it does not close what is written to.
func (w *Writer) Close() error { return w.out.Close() }

// root is a group whose fields keep their order; parquet.Group sorts them.
type root struct {
	parquet.Group
	fields []parquet.Field
}

func newRoot(list []Column) root {
	r := root{Group: make(parquet.Group, len(list))}
	place := make(map[string]int, len(list))
	for i, c := range list {
		var n parquet.Node
		switch c.Kind {
		case Time:
			n = parquet.Timestamp(parquet.Millisecond)
		case Text:
			n = parquet.String()
		case JSON:
			n = parquet.JSON()
		case Number:
			n = parquet.Leaf(parquet.DoubleType)
		case Integer:
			n = parquet.Leaf(parquet.Int64Type)
		default:
			n = parquet.Leaf(parquet.BooleanType)
		}
		if !c.Required {
			n = parquet.Optional(n)
		}
		r.Group[c.Name], place[c.Name] = n, i
	}
	r.fields = r.Group.Fields()
	slices.SortFunc(r.fields, func(a, b parquet.Field) int { return place[a.Name()] - place[b.Name()] })
	return r
}

// Fields implements parquet.Node.
func (r root) Fields() []parquet.Field { return r.fields }
