package configuration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/spake2plus"
)

// Face is a way to a service: Bluetooth, a console, a page.
type Face interface {
	// Up prepares the hardware.
	Up(ctx context.Context) error
	// Serve works until the context ends. An error is a face that does not work any more.
	Serve(ctx context.Context, s *Service) error
}

// Lives of the faces after the device has left Configuration.
const (
	farewell  = 5 * time.Second // after the last word
	following = 2 * time.Minute // when there is none
)

// Host runs a service on its faces while a device is in Configuration mode, and a little longer, so
// that who has configured it learns what has become of it. It satisfies device.Configurator. Set the
// fields before Up.
type Host struct {
	Name         string // what the device calls itself, in the open: no serial number that is a secret
	Registration spake2plus.Registration
	Faces        []Face
	OnError      func(error) // a face that does not come up or fails; may be nil. It must return at once

	mu      sync.Mutex
	service *Service
	up      []Face
	cancel  context.CancelFunc
	running *sync.WaitGroup // the faces of the newest run
	leaving *time.Timer
	closed  bool
}

// Up brings the faces up. It fails when none of them comes up.
func (h *Host) Up(ctx context.Context, store *flash.Store) error {
	var errs []error
	for _, f := range h.Faces {
		if err := f.Up(ctx); err != nil {
			errs = append(errs, err)
			h.failed(err)
			continue
		}
		h.up = append(h.up, f)
	}
	if len(h.up) == 0 && len(h.Faces) > 0 {
		return fmt.Errorf("no way to configure the device: %w", errors.Join(errs...))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.service = NewService(h.Name, h.Registration, store)
	return nil
}

func (h *Host) failed(err error) {
	if h.OnError != nil {
		h.OnError(err)
	}
}

// Start takes configurations and returns at once.
func (h *Host) Start(apply func(Document) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.service == nil || h.closed {
		return
	}
	h.service.Open(apply)
	if h.leaving != nil {
		h.leaving.Stop()
		h.leaving = nil
	}
	if h.cancel != nil {
		return
	}
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(context.Background())
	before, now := h.running, new(sync.WaitGroup)
	h.running = now
	for _, f := range h.up {
		now.Go(func() {
			if before != nil {
				before.Wait() // what it has open is not free yet
			}
			if err := f.Serve(ctx, h.service); err != nil && ctx.Err() == nil {
				h.failed(err)
			}
		})
	}
}

// Report tells what has become of a configuration.
func (h *Host) Report(p Progress) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.service == nil {
		return
	}
	h.service.Report(p)
	if h.leaving != nil && p.State == Connected {
		h.leaving.Reset(farewell)
	}
}

// Stop takes no configuration any more. The faces end when the last word is said.
func (h *Host) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.service == nil || h.cancel == nil {
		return
	}
	h.service.Close()
	if h.leaving == nil {
		h.leaving = time.AfterFunc(following, h.leave)
	}
}

// leave ends the faces, unless the device configures again.
func (h *Host) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leaving != nil && h.cancel != nil {
		h.cancel()
		h.cancel, h.leaving = nil, nil
	}
}

// Down ends everything and waits for it.
func (h *Host) Down() {
	h.mu.Lock()
	h.closed = true
	if h.leaving != nil {
		h.leaving.Stop()
	}
	if h.cancel != nil {
		h.cancel()
		h.cancel = nil
	}
	running := h.running
	h.mu.Unlock()
	if running != nil {
		running.Wait()
	}
}
