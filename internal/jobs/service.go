package jobs

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// Config is what a Service works with.
type Config struct {
	Store    *store.DB
	Router   *router.Router
	Registry *registry.Registry
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
	// Enabled says whether events of a kind, JOB or JOB_EXECUTION, are published; default never.
	Enabled func(kind string) bool
	// Sign makes an address in a job document one that a device can load from, for some time; false
	// leaves the placeholder as it is. Default nil.
	Sign func(address string, expires time.Duration) (string, bool)
	// Fetch reads the job document that a documentSource names; false for a source that is only
	// stored. Default nil.
	Fetch func(ctx context.Context, source string) (document string, ok bool, err error)
	// Packages, if set, knows the software that jobs install.
	Packages Packages
}

// Packages is the software package catalogue.
type Packages interface {
	// Check returns what is wrong with the package versions of a job.
	Check(ctx context.Context, versions []string) error
	// InstalledTx is told of a job's success on a thing, in its transaction.
	InstalledTx(tx *store.Tx, thing string, versions []string) error
}

// Service keeps jobs and answers devices. Its methods may be called concurrently.
type Service struct {
	cfg      Config
	origin   *router.Origin
	outbox   *outbox
	inbox    *inbox
	worker   *worker
	position atomic.Int64
	turns    atomic.Int64 // see turn
}

// Open prepares the tables and starts the service. It takes no message yet: hand Owner to the router
// and the service to the registry as an observer for that.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Enabled == nil {
		cfg.Enabled = func(string) bool { return false }
	}
	if err := cfg.Store.Migrate(ctx, "jobs", schema); err != nil {
		return nil, err
	}
	cfg.Registry.Taggable("job", `SELECT count(*) FROM job WHERE job_id = ?`)
	cfg.Registry.Taggable("jobtemplate", `SELECT count(*) FROM job_template WHERE template_id = ?`)
	s := &Service{cfg: cfg, origin: &router.Origin{Protocol: "service"}}
	if err := s.resume(ctx); err != nil {
		return nil, err
	}
	s.outbox = newOutbox(s)
	s.inbox = newInbox(s)
	s.worker = newWorker(s)
	// They call each other, so all are there before any runs.
	go s.outbox.run()
	go s.inbox.run()
	s.worker.start()
	return s, nil
}

// resume makes continuous jobs look at their groups again: members may have come while the server
// was down.
func (s *Service) resume(ctx context.Context) error {
	now := millis(s.turn())
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE job SET phase = ?, cursor = '{}', attention_at = ? WHERE selection = ? AND status = ? AND phase IN (?, ?)`,
			phaseExpanding, now, Continuous, JobInProgress, phaseNone, phaseRolling)
		return err
	})
}

// Reconsider makes the worker look at everything again: another node of the cluster is gone, and may have
// known of things that changed their groups.
func (s *Service) Reconsider([]string) error {
	s.worker.mu.Lock()
	s.worker.all = true
	s.worker.mu.Unlock()
	s.worker.poke()
	return nil
}

// Close finishes what has begun and stops. The store must still be open. What is left goes on after
// the next Open.
func (s *Service) Close() {
	s.inbox.close()
	s.worker.close()
	s.cfg.Store.Flush(context.Background()) // the last changes have handed over their messages
	s.outbox.close()
}

// now has the resolution of the database.
func (s *Service) now() time.Time { return s.cfg.Now().Truncate(time.Millisecond) }

// place returns a number that is larger than those before, for the order of executions.
func (s *Service) place(now time.Time) int64 {
	for {
		last := s.position.Load()
		next := max(last+1, now.UnixMicro())
		if s.position.CompareAndSwap(last, next) {
			return next
		}
	}
}

// dbReader reads outside transactions.
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

// submit runs fn in the next commit; afterwards its messages go out, then done is called. fn may run
// more than once. Neither may block.
func (s *Service) submit(fn func(c *change) error, done func(err error) []message) {
	c := &change{Service: s}
	s.cfg.Store.Submit(func(tx *store.Tx) error {
		*c = change{Service: s, tx: tx, at: s.now()}
		if err := fn(c); err != nil {
			return err
		}
		return c.settle()
	}, func(err error) {
		var first []message
		if done != nil {
			first = done(err)
		}
		out := c.out
		if err != nil {
			out = nil
		}
		s.outbox.add(first, out)
		if err == nil && !c.wake.IsZero() {
			s.worker.at(c.wake)
		}
	})
}

// write is submit for callers that wait.
func (s *Service) write(fn func(c *change) error) error {
	done := make(chan error, 1)
	s.submit(fn, func(err error) []message {
		done <- err
		return nil
	})
	return <-done
}
