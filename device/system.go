// Package device is the device's side of berth and of AWS IoT Core: what firmware people otherwise
// put together from five libraries, as one System.
//
// A System has a mode and goes from one to the next as package mode draws it. It brings up its parts
// in order, waits for an identity if it has none, connects, keeps its shadow, does jobs and restarts
// without losing what was queued. No call waits: results come to callbacks. Handlers run one after
// another on a goroutine of their own, never on the network's; jobs have one of theirs. A handler
// that panics is reported and does no harm to anything else.
//
// The parts can be used alone: link (MQTT), awsiot (shadow and jobs), identity (certificates), flash
// (durable memory). What they need from the machine is handed in: a Dial function that returns a
// net.Conn, a flash.Storage, keys, the time. Package linux has it for Linux. The core imports no
// net/http, os, crypto/tls or encoding/json, so that TinyGo can take it.
package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/mode"
	"github.com/berth-iot/berth/device/ota"
)

// Names of the parts that applications use most.
type (
	Identity = identity.Identity
	Message  = link.Message
	Delta    = awsiot.Delta
	Job      = awsiot.Job
)

// WiFi brings the network up. On a machine that has its network anyway there is none.
type WiFi interface {
	// Up returns when there is a network, or why there is none. configuration.Load has the name and the
	// password of the network; a device without gets no network and no error.
	Up(ctx context.Context, store *flash.Store) error
	Down()
}

// Config is what a System is made from.
type Config struct {
	Storage flash.Storage
	Dial    func(ctx context.Context, id Identity) (net.Conn, error)
	Explain func(error) error // see link.Config; may be nil
	Restart func()            // restarts the machine or the program; called when everything is in flash

	Claim Identity // stored at the first start; may be empty
	Given Identity // an identity from the factory or the operator, stored if there is none
	// Thing makes the device one without a certificate: it has this name and proves itself otherwise, by
	// a signed WebSocket or a password. There is no Configuration then.
	Thing string
	// Template is for provisioning by claim and for Rotate; without a name there is neither.
	Template identity.Template
	Keys     identity.Keys
	// EraseClaim erases the claim from flash when the device has connected with its own certificate.
	EraseClaim bool
	ClaimID    string // client identifier while provisioning; "" means the common name, else "claim"

	WiFi         WiFi
	Configurator Configurator
	// CheckConfiguration says what is wrong with a configuration, such as a key that does not fit its
	// certificate, before it is taken. It runs on the configurator's goroutine and may be nil.
	CheckConfiguration func(configuration.Document) error
	Shadow             string // name of a named shadow to follow; "" is the classic one
	WillTopic          string // see awsiot.Will
	StepTimeout        time.Duration

	// OTA makes the device take OTA jobs. Its Stream defaults to MQTT, its Restart to the System's.
	// What else the application's handler for jobs gets are all other jobs. May be nil.
	OTA *ota.Config

	// Link holds what else the connection needs: version, keep-alive, back-off, budget, queue, ring,
	// clock, time source. Dial, Explain, Loop, Store, ClientID, Will and Events are set by the System.
	Link link.Config

	InitRetry    time.Duration // from Idle back to Init; 0 means 30 s
	TrialTimeout time.Duration // of a new certificate that does not connect; 0 means 10 min
	// ConfigurationTimeout is how long a device that has an identity stays in Configuration; 0 means
	// 10 min.
	ConfigurationTimeout time.Duration
}

// Handlers are the application's. Each may be nil. All but Job run one after another on the event
// loop.
type Handlers struct {
	Mode         func(from, to mode.Mode)
	Connected    func()
	Disconnected func(error) // nil if the device wanted it
	Provisioned  func(thing string, configuration []byte)
	Message      func(Message) // without it, messages wait for Receive
	Delta        func(Delta) (reported []byte, err error)
	Reported     func() []byte // the whole reported state, after every connect
	Job          func(ctx context.Context, j *Job) error
	Restart      func()           // before a restart: the last chance to store something
	Event        func(link.Event) // everything that happens to the connection
	Error        func(error)      // what went wrong, crashes of handlers included (*event.CrashError)
}

// DataBytes is what the application has in flash for itself.
const DataBytes = 256

const dataKey = "app"

var (
	// ErrMode is returned for what cannot be done in the system's mode.
	ErrMode = errors.New("not possible in this mode")
	// ErrData is returned for application data of more than DataBytes.
	ErrData = fmt.Errorf("the application has %d bytes", DataBytes)
)

// System is a device. Its methods may be called concurrently and return at once, except Close.
type System struct {
	cfg      Config
	handlers Handlers
	loop     *event.Loop // the application's
	control  *event.Loop // the system's own: modes, stages, identities
	ctx      context.Context
	cancel   context.CancelFunc
	stopped  chan struct{}

	// The control loop's.
	configurations int // how often Configuration was begun or ended
	proofs         int // refusals that an identity which was just configured has left

	mu            sync.Mutex
	mode          mode.Mode
	started       bool
	stopping      bool
	store         *flash.Store
	identities    *identity.Store
	link          *link.Link
	claimLink     *link.Link
	claimExchange *identity.Exchange // the control loop's
	shadow        *awsiot.Shadow
	jobs          *awsiot.Jobs
	rotation      *rotation
	updater       *ota.Updater
	timers        []*time.Timer
	subs          []subscription
	up            []mode.Stage // stages that are up
	early         []early      // messages from before there was a connection
}

type subscription struct {
	filter string
	qos    byte
}

// New returns a System that does nothing yet.
func New(cfg Config, handlers Handlers) (*System, error) {
	if cfg.Storage == nil || cfg.Dial == nil {
		return nil, errors.New("new device: Storage and Dial must be set")
	}
	if cfg.Template.Name != "" && cfg.Keys == nil && !cfg.Template.ServerKeys {
		return nil, errors.New("new device: a provisioning template needs Keys")
	}
	if cfg.InitRetry <= 0 {
		cfg.InitRetry = 30 * time.Second
	}
	if cfg.TrialTimeout <= 0 {
		cfg.TrialTimeout = 10 * time.Minute
	}
	if cfg.ConfigurationTimeout <= 0 {
		cfg.ConfigurationTimeout = 10 * time.Minute
	}
	if cfg.Restart == nil {
		cfg.Restart = func() {}
	}
	if handlers.Error == nil {
		handlers.Error = func(error) {}
	}
	s := &System{cfg: cfg, handlers: handlers, stopped: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.loop = event.NewLoop(handlers.Error)
	s.control = event.NewLoop(s.fail)
	return s, nil
}

// Start begins with Init.
func (s *System) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.started = true
		s.control.Post("init", s.bringUp)
	}
}

// Mode returns the current mode.
func (s *System) Mode() mode.Mode {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode
}

// Thing is the name of the device's thing, "" if it has no identity.
func (s *System) Thing() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identities == nil {
		return ""
	}
	id, _ := s.own()
	return id.Thing
}

// own is what the device connects with: see identity.Store.Current.
func (s *System) own() (id Identity, trial bool) {
	if s.cfg.Thing != "" {
		return Identity{Thing: s.cfg.Thing}, false
	}
	return s.identities.Current()
}

// Connected reports whether the device is connected with its own identity.
func (s *System) Connected() bool {
	l := s.current()
	return l != nil && l.Connected()
}

func (s *System) current() *link.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// happened moves the state machine on. It runs on the control loop.
func (s *System) happened(e mode.Event) {
	s.mu.Lock()
	from := s.mode
	next, effects, ok := mode.Next(from, e)
	if !ok || s.stopping {
		s.mu.Unlock()
		return
	}
	s.mode = next
	s.mu.Unlock()
	if next != from && s.handlers.Mode != nil {
		s.loop.Post("mode", func() { s.handlers.Mode(from, next) })
	}
	for _, effect := range []struct {
		bit mode.Effect
		do  func()
	}{{mode.Disconnect, s.disconnect}, {mode.StopConfiguration, s.stopConfiguration}, {mode.BringUp, s.bringUp}, {mode.WaitRetry, s.waitRetry},
		{mode.StartConfiguration, s.startConfiguration}, {mode.Connect, s.connect}, {mode.BeginRestart, func() { s.shutDown(s.ctx, true) }}} {
		if effects&effect.bit != 0 {
			effect.do()
		}
	}
}

// send posts an event to the state machine.
func (s *System) send(e mode.Event) {
	s.control.Post(e.String(), func() { s.happened(e) })
}

// after posts a function to the control loop after a while, unless the system stops.
func (s *System) after(wait time.Duration, name string, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	s.timers = append(s.timers, time.AfterFunc(wait, func() { s.control.Post(name, f) }))
	if len(s.timers) > 16 { // the oldest have fired long ago, or will find nothing to do
		s.timers = s.timers[1:]
	}
}

func (s *System) fail(err error) { s.loop.Post("error", func() { s.handlers.Error(err) }) }

// Restart flushes flash and restarts the device. The handler for it runs first.
func (s *System) Restart() { s.send(mode.Restart) }

// Configure leaves the connection and waits for another identity.
func (s *System) Configure() { s.send(mode.Configure) }

// Forget erases the device's own identity. It goes back to Configuration, with its claim if it still
// has one.
func (s *System) Forget() {
	s.control.Post("forget", func() {
		if s.identities == nil {
			return
		}
		if err := s.identities.Forget(nil); err != nil {
			s.fail(err)
		}
		s.happened(mode.Forgotten)
	})
}

// Give stores an identity; a device that waits for one goes on with it. done, if not nil, is called
// on the loop when it is in flash.
func (s *System) Give(id Identity, done func(error)) error {
	s.mu.Lock()
	store := s.identities
	s.mu.Unlock()
	if store == nil {
		return fmt.Errorf("give identity: %w", ErrMode)
	}
	return store.Give(id, func(err error) {
		if err == nil && !id.Claim {
			s.send(mode.Provisioned)
		}
		if done != nil {
			s.loop.Post("give", func() { done(err) })
		}
	})
}

// Data returns the application's bytes in flash.
func (s *System) Data() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return nil
	}
	b, _ := s.store.Get(dataKey)
	return b
}

// SetData stores up to DataBytes bytes of the application. done, if not nil, is called on the loop
// when they are in flash.
func (s *System) SetData(b []byte, done func(error)) error {
	if len(b) > DataBytes {
		return fmt.Errorf("store %d bytes: %w", len(b), ErrData)
	}
	s.mu.Lock()
	store := s.store
	s.mu.Unlock()
	if store == nil {
		return fmt.Errorf("store data: %w", ErrMode)
	}
	return store.Set(dataKey, b, func(err error) {
		if done != nil {
			s.loop.Post("data", func() { done(err) })
		}
	})
}

// Close ends everything in reverse order, with a farewell to the server that the context bounds. What
// is queued is in flash afterwards. It must not be called from a handler.
func (s *System) Close(ctx context.Context) error {
	if !s.control.Post("close", func() { s.shutDown(ctx, false) }) {
		<-s.stopped
		return nil
	}
	<-s.stopped
	return nil
}
