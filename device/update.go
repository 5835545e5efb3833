package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/mode"
	"github.com/berth-iot/berth/device/ota"
)

// beginOTA begins the trial of an image that was started for the first time.
func (s *System) beginOTA() error {
	if s.cfg.OTA == nil {
		return nil
	}
	cfg := *s.cfg.OTA
	if cfg.Stream == nil {
		cfg.Stream = stream{s}
	}
	if cfg.Restart == nil {
		cfg.Restart = s.Restart
	}
	s.updater = ota.New(cfg, s.store)
	return s.updater.Boot()
}

// stream downloads over whatever link there is.
type stream struct{ s *System }

func (f stream) Fetch(ctx context.Context, img ota.Image, offset int64, write func([]byte) error) error {
	l := f.s.current()
	if l == nil {
		return link.ErrOffline
	}
	return (&ota.Stream{Link: l, Thing: f.s.Thing()}).Fetch(ctx, img, offset, write)
}

// job does OTA jobs, and hands all others to the application. It runs on the job's goroutine.
func (s *System) job(ctx context.Context, j *Job) (err error) {
	_, parse := ota.Parse(j.Document)
	switch {
	case s.updater == nil || errors.Is(parse, ota.ErrNotOTA):
		if s.handlers.Job == nil {
			return fmt.Errorf("%w: the device does updates only", awsiot.ErrRejected)
		}
		return s.handlers.Job(ctx, j)
	case parse != nil:
		return parse
	}
	s.send(mode.Update)
	if crash := event.Contain("update", func() { err = s.updater.Handle(ctx, j) }); crash != nil {
		err = crash
	}
	switch {
	case errors.Is(err, awsiot.ErrRestart):
		s.send(mode.UpdateInstalled)
	case err == nil:
		s.send(mode.Updated)
	default:
		s.send(mode.UpdateFailed)
	}
	return err
}
