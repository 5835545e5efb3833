package store

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// scan reads a result on a connection of its own, past database/sql and the driver, which make a value of
// each column, behind two locks, to be converted into another: three quarters of what a row costs.
func (s *sqlite) scan(ctx context.Context, query string, each func(row Row) error) (err error) {
	defer func() {
		if err = damaged(s.path, err); err != nil && ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	r := &rawRow{tls: libc.NewTLS()}
	defer r.tls.Close()
	defer r.close()
	if err := r.open(s.path, query); err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		switch rc := sqlite3.Xsqlite3_step(r.tls, r.stmt); rc {
		case sqlite3.SQLITE_ROW:
			if err := each(r); err != nil {
				return err
			}
		case sqlite3.SQLITE_DONE:
			return nil
		default:
			return fmt.Errorf("scan: %w", r.failure(rc))
		}
	}
}

// rawRow is a statement and the row at which it stands. It belongs to one goroutine.
type rawRow struct {
	tls      *libc.TLS
	db, stmt uintptr
}

// scanBusyMilliseconds is how long a scan waits for a lock; readers of a write-ahead log need none but while it is opened.
const scanBusyMilliseconds = 10_000

func (r *rawRow) open(path, query string) error {
	out := r.tls.Alloc(int(unsafe.Sizeof(uintptr(0))))
	defer r.tls.Free(int(unsafe.Sizeof(uintptr(0))))
	name, err := libc.CString(path)
	if err != nil {
		return err
	}
	defer libc.Xfree(r.tls, name)
	// The file is only read. The flag that says so would keep SQLite from making the index of its log.
	rc := sqlite3.Xsqlite3_open_v2(r.tls, name, out, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_NOMUTEX, 0)
	if r.db = *(*uintptr)(pointer(out)); rc != sqlite3.SQLITE_OK {
		return r.failure(rc)
	}
	sqlite3.Xsqlite3_busy_timeout(r.tls, r.db, scanBusyMilliseconds)
	text, err := libc.CString(query)
	if err != nil {
		return err
	}
	defer libc.Xfree(r.tls, text)
	rc = sqlite3.Xsqlite3_prepare_v2(r.tls, r.db, text, -1, out, 0)
	if r.stmt = *(*uintptr)(pointer(out)); rc != sqlite3.SQLITE_OK {
		return r.failure(rc)
	}
	return nil
}

func (r *rawRow) close() {
	if r.stmt != 0 {
		sqlite3.Xsqlite3_finalize(r.tls, r.stmt)
	}
	if r.db != 0 {
		sqlite3.Xsqlite3_close_v2(r.tls, r.db)
	}
}

// resultCode is an error of SQLite's, as the driver's own has one.
type resultCode struct {
	code int
	text string
}

func (e *resultCode) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.code) }

// Code is the extended result code (https://www.sqlite.org/rescode.html).
func (e *resultCode) Code() int { return e.code }

func (r *rawRow) failure(rc int32) error {
	e := &resultCode{code: int(rc), text: libc.GoString(sqlite3.Xsqlite3_errstr(r.tls, rc))}
	if r.db != 0 {
		e.code = int(sqlite3.Xsqlite3_extended_errcode(r.tls, r.db))
		e.text = libc.GoString(sqlite3.Xsqlite3_errmsg(r.tls, r.db))
	}
	return e
}

// pointer is an address of SQLite's memory, which the collector knows nothing of and does not move.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// bytes are those of a column, text or blob, until the next step; ok is false for NULL.
func (r *rawRow) bytes(column int) (b []byte, ok bool) {
	p := sqlite3.Xsqlite3_column_blob(r.tls, r.stmt, int32(column))
	if p == 0 {
		return nil, !r.null(column)
	}
	return unsafe.Slice((*byte)(pointer(p)), sqlite3.Xsqlite3_column_bytes(r.tls, r.stmt, int32(column))), true
}

func (r *rawRow) null(column int) bool {
	return sqlite3.Xsqlite3_column_type(r.tls, r.stmt, int32(column)) == sqlite3.SQLITE_NULL
}

func (r *rawRow) integer(column int) (int64, error) {
	n := sqlite3.Xsqlite3_column_int64(r.tls, r.stmt, int32(column))
	if n == 0 && r.null(column) {
		return 0, fmt.Errorf("scan column %d: it is NULL", column)
	}
	return n, nil
}

// Scan implements Row.
func (r *rawRow) Scan(dest ...any) error {
	if n := int(sqlite3.Xsqlite3_column_count(r.tls, r.stmt)); n != len(dest) {
		return fmt.Errorf("scan %d columns into %d values", n, len(dest))
	}
	for i, d := range dest {
		var n int64
		var err error
		switch d := d.(type) {
		case *string:
			b, ok := r.bytes(i)
			if !ok {
				return fmt.Errorf("scan column %d: it is NULL", i)
			}
			*d = string(b)
		case *[]byte:
			*d = nil
			if b, ok := r.bytes(i); ok {
				*d = append(make([]byte, 0, len(b)), b...)
			}
		case *int64:
			*d, err = r.integer(i)
		case *int:
			n, err = r.integer(i)
			*d = int(n)
			if int64(*d) != n {
				err = tooLarge(i, n)
			}
		case *byte:
			n, err = r.integer(i)
			*d = byte(n)
			if int64(*d) != n {
				err = tooLarge(i, n)
			}
		case *uint32:
			n, err = r.integer(i)
			*d = uint32(n)
			if int64(*d) != n {
				err = tooLarge(i, n)
			}
		case *bool:
			n, err = r.integer(i)
			*d = n != 0
		default:
			err = r.reflect(i, reflect.ValueOf(d))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func tooLarge(column int, n int64) error {
	return fmt.Errorf("scan column %d: %d does not fit", column, n)
}

// reflect scans into the less common types.
func (r *rawRow) reflect(column int, d reflect.Value) error {
	if d.Kind() != reflect.Pointer || d.IsNil() {
		return fmt.Errorf("scan column %d into %s: want a pointer", column, d.Kind())
	}
	switch d = d.Elem(); d.Kind() {
	case reflect.String:
		b, ok := r.bytes(column)
		if !ok {
			return fmt.Errorf("scan column %d: it is NULL", column)
		}
		d.SetString(string(b))
	case reflect.Slice:
		if d.Type().Elem().Kind() != reflect.Uint8 {
			return fmt.Errorf("scan column %d into %s", column, d.Type())
		}
		if b, ok := r.bytes(column); ok {
			d.SetBytes(append(make([]byte, 0, len(b)), b...))
		} else {
			d.SetZero()
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := r.integer(column)
		if err == nil && d.OverflowInt(n) {
			err = tooLarge(column, n)
		}
		d.SetInt(n)
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := r.integer(column)
		if err == nil && (n < 0 || d.OverflowUint(uint64(n))) {
			err = tooLarge(column, n)
		}
		d.SetUint(uint64(n))
		return err
	case reflect.Bool:
		n, err := r.integer(column)
		d.SetBool(n != 0)
		return err
	case reflect.Float32, reflect.Float64:
		f := sqlite3.Xsqlite3_column_double(r.tls, r.stmt, int32(column))
		if f == 0 && r.null(column) || d.Kind() == reflect.Float32 && math.Abs(f) > math.MaxFloat32 {
			return fmt.Errorf("scan column %d: no number that fits", column)
		}
		d.SetFloat(f)
	case reflect.Interface:
		switch sqlite3.Xsqlite3_column_type(r.tls, r.stmt, int32(column)) {
		case sqlite3.SQLITE_NULL:
			d.SetZero()
		case sqlite3.SQLITE_INTEGER:
			d.Set(reflect.ValueOf(sqlite3.Xsqlite3_column_int64(r.tls, r.stmt, int32(column))))
		case sqlite3.SQLITE_FLOAT:
			d.Set(reflect.ValueOf(sqlite3.Xsqlite3_column_double(r.tls, r.stmt, int32(column))))
		case sqlite3.SQLITE_TEXT:
			b, _ := r.bytes(column)
			d.Set(reflect.ValueOf(string(b)))
		default:
			b, _ := r.bytes(column)
			d.Set(reflect.ValueOf(append([]byte{}, b...)))
		}
	default:
		return fmt.Errorf("scan column %d into %s", column, d.Type())
	}
	return nil
}
