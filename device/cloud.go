package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/mode"
)

// early is a message that was published before there was a link to queue it.
type early struct {
	p    link.Publication
	done func(error)
}

// earlyMessages bounds them.
const earlyMessages = 32

// connect makes the link of the device's own identity, with shadow and jobs. Nothing waits for the
// network.
func (s *System) connect() {
	id, trial := s.own()
	cfg := s.cfg.Link
	cfg.ClientID, cfg.Store, cfg.Loop, cfg.Explain = id.Thing, s.store, s.loop, s.cfg.Explain
	// What the connection was made with. Dial and the watcher run on the same goroutine.
	var dialed Identity
	cfg.Dial = func(ctx context.Context) (net.Conn, error) {
		// Asked for at every attempt: it changes when a certificate is renewed.
		dialed, _ = s.own()
		return s.cfg.Dial(ctx, dialed)
	}
	cfg.Will = awsiot.Will(id.Thing, s.cfg.WillTopic)
	cfg.Events = s.linkEvent
	l, err := link.New(cfg)
	if err != nil {
		s.fail(err)
		return
	}
	shadow, err := awsiot.NewShadow(awsiot.ShadowConfig{Link: l, Loop: s.loop, Thing: id.Thing, Name: s.cfg.Shadow,
		OnDelta: s.handlers.Delta, Reported: s.handlers.Reported, OnError: s.handlers.Error, Store: s.store, Presence: s.cfg.Shadow == ""})
	if err == nil && (s.handlers.Job != nil || s.updater != nil) {
		s.jobs, err = awsiot.NewJobs(awsiot.JobsConfig{Link: l, Thing: id.Thing, Handle: s.job, OnRestart: s.Restart,
			OnError: s.fail, StepTimeout: s.cfg.StepTimeout})
	}
	if err != nil {
		s.fail(err)
		return
	}
	l.Watch(link.Watcher{
		Restored: func() { id := dialed; s.control.Post("connected", func() { s.proved(id) }) },
		Lost:     func(err error) { id := dialed; s.control.Post("refused", func() { s.refused(id, err) }) },
	})
	if s.handlers.Message != nil {
		l.OnMessage(s.handlers.Message)
	}
	s.mu.Lock()
	s.link, s.shadow = l, shadow
	for _, sub := range s.subs {
		_ = l.Subscribe(sub.filter, sub.qos, nil)
	}
	for _, e := range s.early {
		_ = l.Publish(e.p, e.done)
	}
	s.early = nil
	s.mu.Unlock()
	if trial {
		s.watchTrial()
	}
	l.Start()
}

// linkEvent runs on the application's loop.
func (s *System) linkEvent(e link.Event) {
	switch {
	case e.Kind == link.Restored && s.handlers.Connected != nil:
		s.handlers.Connected()
	case e.Kind == link.Disconnected && s.handlers.Disconnected != nil:
		s.handlers.Disconnected(e.Err)
	}
	if s.handlers.Event != nil {
		s.handlers.Event(e)
	}
	s.follow(e, configuration.ConnectingCloud, s.Thing())
}

func (s *System) disconnect() {
	ctx, cancel := context.WithTimeout(s.ctx, restartPatience)
	defer cancel()
	s.leave(ctx)
}

// leave ends the link and what uses it.
func (s *System) leave(ctx context.Context) {
	s.mu.Lock()
	l, shadow, jobs := s.link, s.shadow, s.jobs
	s.link, s.shadow, s.jobs = nil, nil, nil
	s.mu.Unlock()
	if jobs != nil {
		ended := make(chan struct{})
		go func() { defer close(ended); jobs.Close() }()
		select {
		case <-ended:
		case <-ctx.Done():
			s.fail(errors.New("a job does not end when it is told to"))
		}
	}
	if shadow != nil {
		shadow.Close()
	}
	if l != nil {
		if err := l.Close(ctx); err != nil {
			s.fail(err)
		}
	}
	s.endRotation(link.ErrClosed)
}

// Publish sends a message: see link.Link. While the device has no identity yet, a few messages wait
// in memory.
func (s *System) Publish(p link.Publication, done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		return s.link.Publish(p, done)
	}
	if p.QoS == 0 || s.stopping || len(s.early) >= earlyMessages {
		return fmt.Errorf("publish to %q: %w", p.Topic, link.ErrOffline)
	}
	s.early = append(s.early, early{p, done})
	return nil
}

// Subscribe asks for a topic filter now and on every later connection. Refusals come as events.
func (s *System) Subscribe(filter string, qos byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs = append(s.subs, subscription{filter, qos})
	if s.link != nil {
		return s.link.Subscribe(filter, qos, nil)
	}
	return nil
}

// Receive takes the oldest received message when there is no handler for messages.
func (s *System) Receive() (Message, bool) {
	if l := s.current(); l != nil {
		return l.Receive()
	}
	return Message{}, false
}

// Report merges a JSON object into the shadow's reported state: see awsiot.Shadow.
func (s *System) Report(patch []byte, done func(error)) error {
	s.mu.Lock()
	shadow := s.shadow
	s.mu.Unlock()
	if shadow == nil {
		return fmt.Errorf("report: %w", ErrMode)
	}
	return shadow.Report(patch, done)
}

// claimPause is kept before provisioning is tried again after a refusal.
const claimPause = time.Minute

// provision begins an exchange with the claim.
func (s *System) provision() {
	s.mu.Lock()
	stopping, busy := s.stopping || s.mode != mode.Configuration, s.claimLink != nil
	s.mu.Unlock()
	claim := s.identities.Claim()
	template := s.template()
	if stopping || busy || !claim.Exists() || template.Name == "" {
		return
	}
	if id, trial := s.identities.Current(); trial && id.Exists() {
		// The power went between registration and the change of mode.
		s.happened(mode.Provisioned)
		return
	}
	cfg := s.cfg.Link
	cfg.ClientID, cfg.Loop, cfg.Explain = s.cfg.ClaimID, s.loop, s.cfg.Explain
	if cfg.ClientID == "" {
		cfg.ClientID = template.CommonName
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "claim"
	}
	// Nothing of the device's own goes over the claim's connection.
	cfg.Store, cfg.Will, cfg.CleanStart, cfg.Limits = nil, nil, true, link.Limits{}
	cfg.Dial = func(ctx context.Context) (net.Conn, error) { return s.cfg.Dial(ctx, claim) }
	cfg.Events = func(e link.Event) {
		if s.handlers.Event != nil {
			s.handlers.Event(e)
		}
		s.follow(e, configuration.Provisioning, "")
	}
	l, err := link.New(cfg)
	if err != nil {
		s.fail(err)
		return
	}
	s.mu.Lock()
	s.claimLink = l
	s.mu.Unlock()
	s.claimExchange = identity.Begin(l, s.identities, s.cfg.Keys, template, func(configured []byte, err error) {
		s.control.Post("provisioned", func() {
			s.stopClaim()
			if err != nil {
				s.fail(err)
				s.report(configuration.Progress{State: configuration.Failed, Reason: err.Error()})
				s.after(claimPause, "provision", s.provision)
				return
			}
			if thing := s.Thing(); s.handlers.Provisioned != nil {
				s.loop.Post("provisioned", func() { s.handlers.Provisioned(thing, configured) })
			}
			s.happened(mode.Provisioned)
		})
	})
	l.Start()
}

func (s *System) stopClaim() {
	s.mu.Lock()
	l := s.claimLink
	s.claimLink = nil
	s.mu.Unlock()
	if l == nil {
		return
	}
	s.claimExchange.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		s.fail(err)
	}
}
