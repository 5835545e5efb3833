// Package defender is the part of AWS IoT Device Defender that a fleet can use without other services:
// devices' metric reports, security profiles whose static behaviours are held against them, violations,
// and audits of the registry. It follows the Device Defender chapters of the AWS IoT developer guide.
//
// Reading a report ([ParseReport]), judging a value ([Criteria.Holds]), counting datapoints
// ([Streak.After]), the time of the next audit ([Schedule.Next]) and the tests of keys and policies are
// pure functions. [Service] keeps everything in the database; audits that were running when the server
// stopped begin again.
//
// Not here: statistical and machine-learning behaviours, metrics of the cloud side and mitigation
// actions. Such behaviours are stored and never violated.
package defender

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// What can be wrong with a request. Errors of this package match one of these with errors.Is, or come
// from the store or the registry.
var (
	ErrNotFound        = errors.New("not found")
	ErrAlreadyExists   = errors.New("already exists")
	ErrInvalid         = errors.New("invalid request")
	ErrVersionConflict = errors.New("version conflict")
	ErrLimit           = errors.New("limit exceeded")
)

// Error is a refusal: its kind is one of the sentinels.
type Error struct {
	Kind    error
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error { return refuse(ErrInvalid, format, args...) }

// Moment is a time in JSON as AWS writes it: seconds since 1970 as a number. The zero time is 0.
type Moment struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (m Moment) MarshalJSON() ([]byte, error) {
	if m.IsZero() {
		return []byte("0"), nil
	}
	return strconv.AppendFloat(nil, float64(m.UnixMilli())/1000, 'f', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Moment) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	if m.Time = (time.Time{}); seconds > 0 && seconds < 1e11 {
		m.Time = time.UnixMilli(int64(seconds*1000 + 0.5))
	}
	return nil
}

// What is kept, and for how long.
const (
	MaxReports     = 300                 // metric reports of one thing
	reportsKept    = 14 * 24 * time.Hour // and none older than this
	violationsKept = 30 * 24 * time.Hour // events of violations
	auditsKept     = 90 * 24 * time.Hour // tasks and findings
	linksKept      = 31 * 24 * time.Hour // what is known of connections
)

// Count returns the query that counts what has a name, of a kind as its ARN says: securityprofile,
// custommetric, dimension or scheduledaudit.
func Count(kind string) string {
	own := map[string]string{"securityprofile": kindProfile, "custommetric": kindMetric, "dimension": kindDimension, "scheduledaudit": kindSchedule}[kind]
	return `SELECT count(*) FROM defender_object WHERE kind = '` + own + `' AND name = ?`
}

var schema = []string{`
	CREATE TABLE defender_object (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, version BIGINT NOT NULL, created_at BIGINT NOT NULL,
		modified_at BIGINT NOT NULL, PRIMARY KEY (kind, name)) /*sqlite WITHOUT ROWID*/;
	CREATE TABLE defender_target (target TEXT NOT NULL, profile TEXT NOT NULL, PRIMARY KEY (target, profile)) /*sqlite WITHOUT ROWID*/;
	CREATE INDEX defender_target_by_profile ON defender_target (profile, target);
	CREATE TABLE defender_report (thing TEXT NOT NULL, at BIGINT NOT NULL, report_id BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (thing, at)) /*sqlite WITHOUT ROWID*/;
	CREATE INDEX defender_report_by_time ON defender_report (at);
	CREATE TABLE defender_streak (thing TEXT NOT NULL, profile TEXT NOT NULL, behavior TEXT NOT NULL, bad BIGINT NOT NULL, good BIGINT NOT NULL,
		PRIMARY KEY (thing, profile, behavior)) /*sqlite WITHOUT ROWID*/;
	CREATE TABLE defender_violation (id TEXT PRIMARY KEY, thing TEXT NOT NULL, profile TEXT NOT NULL, behavior TEXT NOT NULL, body TEXT NOT NULL, at BIGINT NOT NULL);
	CREATE UNIQUE INDEX defender_violation_of ON defender_violation (thing, profile, behavior);
	CREATE TABLE defender_event (seq TEXT PRIMARY KEY, thing TEXT NOT NULL, profile TEXT NOT NULL, body TEXT NOT NULL, at BIGINT NOT NULL);
	CREATE INDEX defender_event_by_time ON defender_event (at);
	CREATE TABLE defender_task (id TEXT PRIMARY KEY, status TEXT NOT NULL, body TEXT NOT NULL, started_at BIGINT NOT NULL);
	CREATE INDEX defender_task_by_time ON defender_task (started_at);
	CREATE TABLE defender_finding (id TEXT PRIMARY KEY, task TEXT NOT NULL, check_name TEXT NOT NULL, body TEXT NOT NULL, at BIGINT NOT NULL);
	CREATE INDEX defender_finding_by_time ON defender_finding (at, id);
	CREATE TABLE defender_link (kind TEXT NOT NULL, key TEXT NOT NULL, other TEXT NOT NULL, n BIGINT NOT NULL, at BIGINT NOT NULL,
		PRIMARY KEY (kind, key, other)) /*sqlite WITHOUT ROWID*/`}

// Config is what a Service works with.
type Config struct {
	Store    *store.DB
	Router   *router.Router
	Registry *registry.Registry
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
	// Interval is the shortest time between two reports of a thing; default 5 minutes, as AWS has it.
	Interval time.Duration
	// Leads says whether this node of a cluster is the one that does audits; nil without a cluster.
	Leads func() bool
	// Logging says whether the server logs; default always.
	Logging func() bool
}

// Service keeps reports, profiles, violations and audits. Its methods may be called concurrently.
type Service struct {
	cfg    Config
	origin *router.Origin

	mu        sync.Mutex
	ready     sync.Cond
	queue     []message
	closed    bool
	observers []func(thing string, violations int)
	counts    map[string]int // active violations by thing

	links   links
	poke    chan struct{} // for the auditor
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// Open prepares the tables and starts the service. It takes no message yet: hand Owner to the router
// for that.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Interval == 0 {
		cfg.Interval = 5 * time.Minute
	}
	if cfg.Logging == nil {
		cfg.Logging = func() bool { return true }
	}
	if err := cfg.Store.Migrate(ctx, "defender", schema); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, origin: &router.Origin{Protocol: "service"}, counts: make(map[string]int), poke: make(chan struct{}, 1)}
	s.ready.L = &s.mu
	s.links.init(s)
	err := cfg.Store.Query(ctx, `SELECT thing, count(*) FROM defender_violation GROUP BY thing`, nil, func(row store.Row) error {
		var thing string
		var n int
		err := row.Scan(&thing, &n)
		s.counts[thing] = n
		return err
	})
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.workers.Go(s.reportLoop)
	s.workers.Go(s.links.loop)
	s.workers.Go(func() { s.auditLoop(run) })
	return s, nil
}

// Close finishes what has come in and stops. The store must still be open.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.ready.Broadcast()
	s.mu.Unlock()
	s.links.close()
	s.cancel()
	s.workers.Wait()
}

// now has the resolution of the database.
func (s *Service) now() time.Time { return s.cfg.Now().Truncate(time.Millisecond) }

func (s *Service) arn(resource string) string { return s.cfg.Registry.ARN(resource) }

// ViolationCount returns the number of active violations of a thing.
func (s *Service) ViolationCount(thing string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[thing]
}

// ObserveViolations adds an observer that is told, after the commit, when the number of active
// violations of a thing has changed, and at once of what there is. It must not block.
func (s *Service) ObserveViolations(fn func(thing string, violations int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for thing, n := range s.counts {
		fn(thing, n)
	}
	s.observers = append(s.observers, fn)
}

// reader is a transaction, or the database outside one.
type reader interface {
	QueryRow(query string, args []any, dest ...any) error
	Query(query string, args []any, scan func(row store.Row) error) error
}

type dbReader struct {
	ctx context.Context
	db  *store.DB
}

func (r dbReader) QueryRow(query string, args []any, dest ...any) error {
	return r.db.QueryRow(r.ctx, query, args, dest...)
}

func (r dbReader) Query(query string, args []any, scan func(row store.Row) error) error {
	return r.db.Query(r.ctx, query, args, scan)
}

func (s *Service) reader(ctx context.Context) reader { return dbReader{ctx, s.cfg.Store} }

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

func checkName(what, name string) error {
	if !namePattern.MatchString(name) {
		return invalid("%s %q is not 1 to 128 of a-z, A-Z, 0-9, :, _ and -", what, name)
	}
	return nil
}

func encode(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// Page asks for a part of a listing: at most Limit results, 1 to [MaxPage], 0 for MaxPage.
type Page struct {
	Limit int
	Token string
}

// MaxPage is the largest number of results in one page.
const MaxPage = 250

// cut returns the page of a whole listing; the token is the place of its first member. Listings of
// this package are short.
func cut[T any](list []T, p Page) ([]T, string, error) {
	limit := p.Limit
	if limit == 0 {
		limit = MaxPage
	}
	if limit < 1 || limit > MaxPage {
		return nil, "", invalid("maxResults is %d, not from 1 to %d", p.Limit, MaxPage)
	}
	from := 0
	if p.Token != "" {
		text, err := base64.StdEncoding.DecodeString(p.Token)
		if err == nil {
			from, err = strconv.Atoi(string(text))
		}
		if err != nil || from < 0 {
			return nil, "", invalid("nextToken is not valid")
		}
	}
	if from >= len(list) {
		return nil, "", nil
	}
	if list = list[from:]; len(list) <= limit {
		return list, "", nil
	}
	return list[:limit], base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(from + limit))), nil
}
