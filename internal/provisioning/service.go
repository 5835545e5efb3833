package provisioning

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/hook"
	"github.com/berth-iot/berth/internal/outbound"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// Config is what a Service works with.
type Config struct {
	Store     *store.DB
	Registry  *registry.Registry
	Authority *ca.Authority
	Router    *router.Router
	Log       *slog.Logger
	Now       func() time.Time // default time.Now

	// Hooks calls what templates and activation rules name as hooks.
	Hooks     *hook.Caller
	HTTP      *http.Client // for the input of bulk registrations; default one of its own
	TaskFiles string       // folder that bulk registration may read from; "" for none
	// Expired, if not nil, is told of temporary claim certificates whose time is over.
	Expired func(certificateIDs []string)
}

// Counts are what has happened since the start.
type Counts struct {
	Accepted, Rejected uint64 // requests over MQTT
	Dropped            uint64 // requests that found too many waiting and got no answer
	JustInTime         uint64 // devices that came with a certificate of their own CA and were let in
}

// Service provisions devices. Its methods may be called concurrently.
type Service struct {
	cfg    Config
	boot   string // of this run
	origin *router.Origin
	keys   chan struct{} // held while a key is made
	rates  rates
	task   chan struct{} // wakes the task runner

	mu      sync.Mutex
	waiting []*request
	working int // workers
	closed  bool
	workers sync.WaitGroup
	run     context.Context // ends with Close
	stop    context.CancelFunc

	accepted, rejected, dropped, justInTime atomic.Uint64
}

// maxWorkers is the number of requests that are worked on at once. Most of the time of one is spent
// waiting, for the disk or for a hook, which may take seconds.
const maxWorkers = 256

// Open prepares the tables and starts the service. It takes no message yet: hand Owner to the
// router for that.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Transport: outbound.Transport(2)}
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &hook.Caller{}
	}
	if err := cfg.Store.Migrate(ctx, "provisioning", schema); err != nil {
		return nil, err
	}
	cfg.Registry.Taggable("provisioningtemplate", `SELECT count(*) FROM provisioning_template WHERE name = ?`)
	s := &Service{cfg: cfg, boot: uuid.NewString(), origin: &router.Origin{Protocol: "service"},
		keys: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), task: make(chan struct{}, 1)}
	s.rates.now = cfg.Now
	s.run, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.dropOrphans(ctx); err != nil {
		return nil, err
	}
	s.workers.Go(s.runTasks)
	return s, nil
}

// Close answers the requests that it has and stops. The store must still be open.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.workers.Wait()
}

// Counts returns the counters.
func (s *Service) Counts() Counts {
	return Counts{s.accepted.Load(), s.rejected.Load(), s.dropped.Load(), s.justInTime.Load()}
}

// SweepLoop calls Sweep now and then until ctx ends.
func (s *Service) SweepLoop(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("sweep provisioning tokens", "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
