package factory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Step is how far a board has come.
type Step string

// Steps, in their order. A board that stopped before StepDone goes on at its step.
const (
	StepNew      Step = "NEW"      // known, and its key is made
	StepIssuing  Step = "ISSUING"  // a certificate was asked for; whether it came is not known
	StepIssued   Step = "ISSUED"   // the certificate is here
	StepAttached Step = "ATTACHED" // thing, policies and certificate belong together
	StepWritten  Step = "WRITTEN"  // and are in the flash, verified
	StepDone     Step = "DONE"     // older certificates are revoked, the key is gone from here
)

// Record is one board in the journal.
type Record struct {
	MAC           string    `json:"mac"`
	Chip          string    `json:"chip"`
	Serial        string    `json:"serial,omitempty"`
	Thing         string    `json:"thing"`
	Step          Step      `json:"step"`
	CertificateID string    `json:"certificateId,omitempty"`
	ARN           string    `json:"certificateArn,omitempty"`
	PEM           string    `json:"-"`
	Endpoint      string    `json:"endpoint,omitempty"`
	Image         string    `json:"identitySha256,omitempty"` // of the identity partition
	Address       uint32    `json:"identityAddress,omitempty"`
	Size          uint32    `json:"identitySize,omitempty"`
	MD5           string    `json:"identityMd5,omitempty"`
	Written       []Written `json:"written,omitempty"`
	Operator      string    `json:"operator,omitempty"`
	Failure       string    `json:"failure,omitempty"` // of the last run
	Runs          int64     `json:"runs"`
	Millis        int64     `json:"millis"` // of the last run
	Started       time.Time `json:"started"`
	Updated       time.Time `json:"updated"`

	retire []string // ARNs of certificates to be revoked at the end
}

// Journal is what a station has done, in a folder: `station.db`, and below `keys` the keys of boards
// that are not done yet, each of mode 0600. One process uses it at a time.
type Journal struct {
	dir string
	db  *store.DB
	now func() time.Time
}

var schema = []string{`
CREATE TABLE board (
	mac TEXT PRIMARY KEY, chip TEXT NOT NULL, serial TEXT NOT NULL, thing TEXT NOT NULL, step TEXT NOT NULL,
	certificate TEXT NOT NULL, arn TEXT NOT NULL, pem TEXT NOT NULL, endpoint TEXT NOT NULL,
	image TEXT NOT NULL, address BIGINT NOT NULL, size BIGINT NOT NULL, md5 TEXT NOT NULL, written TEXT NOT NULL, retire TEXT NOT NULL,
	operator TEXT NOT NULL, failure TEXT NOT NULL, runs BIGINT NOT NULL, millis BIGINT NOT NULL, started BIGINT NOT NULL, updated BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX board_by_thing ON board (thing);
CREATE INDEX board_by_serial ON board (serial);
CREATE INDEX board_by_time ON board (updated, mac)`}

// OpenJournal opens the journal of a folder, which is made if it is not there; now may be nil.
func OpenJournal(ctx context.Context, dir string, now func() time.Time) (*Journal, error) {
	if now == nil {
		now = time.Now
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	db, err := store.OpenFile(ctx, filepath.Join(dir, "station.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := db.Migrate(ctx, "station", schema); err != nil {
		db.Close()
		return nil, err
	}
	return &Journal{dir, db, now}, nil
}

// Close closes the journal.
func (j *Journal) Close() error { return j.db.Close() }

const columns = `mac, chip, serial, thing, step, certificate, arn, pem, endpoint, image, address, size, md5, written, retire, operator, failure, runs, millis, started, updated`

func scan(row store.Row) (*Record, error) {
	var r Record
	var written, retire string
	var started, updated int64
	err := row.Scan(&r.MAC, &r.Chip, &r.Serial, &r.Thing, &r.Step, &r.CertificateID, &r.ARN, &r.PEM, &r.Endpoint, &r.Image, &r.Address, &r.Size, &r.MD5,
		&written, &retire, &r.Operator, &r.Failure, &r.Runs, &r.Millis, &started, &updated)
	if err != nil {
		return nil, err
	}
	r.Started, r.Updated = time.UnixMilli(started).UTC(), time.UnixMilli(updated).UTC()
	if retire != "" {
		r.retire = strings.Split(retire, "\n")
	}
	return &r, decode(written, &r.Written)
}

// Get returns the record of a board by its MAC, or nil.
func (j *Journal) Get(ctx context.Context, mac string) (*Record, error) { return j.by(ctx, "mac", mac) }

// ByThing returns the record of a board by its thing's name, or nil.
func (j *Journal) ByThing(ctx context.Context, thing string) (*Record, error) {
	return j.by(ctx, "thing", thing)
}

func (j *Journal) by(ctx context.Context, column, value string) (*Record, error) {
	var r *Record
	err := j.db.Query(ctx, `SELECT `+columns+` FROM board WHERE `+column+` = ? LIMIT 1`, []any{value}, func(row store.Row) (err error) {
		r, err = scan(row)
		return err
	})
	return r, err
}

// Put keeps a record; when it returns, that is on disk.
func (j *Journal) Put(ctx context.Context, r *Record) error {
	r.Updated = j.now()
	return j.db.Write(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO board (`+columns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (mac) DO UPDATE SET chip = excluded.chip, serial = excluded.serial, thing = excluded.thing, step = excluded.step,
			certificate = excluded.certificate, arn = excluded.arn, pem = excluded.pem, endpoint = excluded.endpoint, image = excluded.image,
			address = excluded.address, size = excluded.size, md5 = excluded.md5, written = excluded.written, retire = excluded.retire,
			operator = excluded.operator, failure = excluded.failure, runs = excluded.runs, millis = excluded.millis, updated = excluded.updated`,
			r.MAC, r.Chip, r.Serial, r.Thing, r.Step, r.CertificateID, r.ARN, r.PEM, r.Endpoint, r.Image, r.Address, r.Size, r.MD5,
			encode(r.Written), strings.Join(r.retire, "\n"), r.Operator, r.Failure, r.Runs, r.Millis, r.Started.UnixMilli(), r.Updated.UnixMilli())
		return err
	})
}

// Each calls fn for every board, by the time of its last change.
func (j *Journal) Each(ctx context.Context, fn func(*Record) error) error {
	var after int64
	var mac string
	for {
		var page []*Record
		err := j.db.Query(ctx, `SELECT `+columns+` FROM board WHERE (updated, mac) > (?, ?) ORDER BY updated, mac LIMIT 1000`, []any{after, mac}, func(row store.Row) error {
			r, err := scan(row)
			page = append(page, r)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, r := range page {
			if err := fn(r); err != nil {
				return err
			}
		}
		last := page[len(page)-1]
		after, mac = last.Updated.UnixMilli(), last.MAC
	}
}

// usedSerials returns the serial numbers that boards have.
func (j *Journal) usedSerials(ctx context.Context) (map[string]bool, error) {
	used := make(map[string]bool)
	err := j.db.Query(ctx, `SELECT serial FROM board WHERE serial <> ''`, nil, func(row store.Row) error {
		var serial string
		err := row.Scan(&serial)
		used[serial] = true
		return err
	})
	return used, err
}

func (j *Journal) keyFile(mac string) string { return filepath.Join(j.dir, "keys", mac+".pem") }

// keepKey puts the key of a board on disk before it counts.
func (j *Journal) keepKey(mac string, key []byte) error {
	f, err := os.CreateTemp(filepath.Join(j.dir, "keys"), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(key); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), j.keyFile(mac))
}

func (j *Journal) key(mac string) ([]byte, error) { return os.ReadFile(j.keyFile(mac)) }

// dropKey overwrites and removes the key of a board.
func (j *Journal) dropKey(mac string) error {
	name := j.keyFile(mac)
	if info, err := os.Stat(name); err == nil {
		_ = os.WriteFile(name, make([]byte, info.Size()), 0o600) // what the file system makes of it is its own affair
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
