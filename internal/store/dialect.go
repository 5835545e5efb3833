package store

import (
	"database/sql"
	"net/url"
	"strings"

	_ "modernc.org/sqlite" // the driver named "sqlite"
)

// dialect is what differs between the databases that berth runs on.
type dialect interface {
	begin() string
	rebind(query string) string     // `?` placeholders into the dialect's own
	definition(query string) string // column types and options of a CREATE statement
}

type sqliteDialect struct{}

func (sqliteDialect) begin() string              { return "BEGIN IMMEDIATE" }
func (sqliteDialect) rebind(query string) string { return query }
func (sqliteDialect) definition(query string) string {
	return strings.NewReplacer("/*sqlite", "", "*/", "").Replace(query)
}

// openSQLite opens a pool on one file. synchronous=FULL is what makes a commit in WAL mode survive
// power loss; NORMAL would only survive a crash of the process.
func openSQLite(path string, readOnly bool) (*sql.DB, error) {
	q := url.Values{}
	for _, pragma := range []string{
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"temp_store(MEMORY)", "cache_size(-16384)",
	} {
		q.Add("_pragma", pragma)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	n := 1
	if readOnly {
		n = 4
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}
