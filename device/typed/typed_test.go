package typed

import (
	"context"
	"errors"
	"testing"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/awsiot"
)

type lamp struct {
	Light *string `json:"light,omitempty"`
	Level *int    `json:"level,omitempty"`
}

func TestDelta(t *testing.T) {
	t.Parallel()
	var got lamp
	h := Delta(func(desired lamp) (lamp, error) {
		got = desired
		if desired.Level != nil && *desired.Level > 100 {
			return lamp{}, errors.New("too bright")
		}
		return desired, nil
	})
	reported, err := h(device.Delta{State: []byte(`{"light":"on","colour":"red"}`)})
	if err != nil || string(reported) != `{"light":"on"}` || *got.Light != "on" || got.Level != nil {
		t.Errorf("%s, %v, %+v", reported, err, got)
	}
	for _, state := range []string{`{"level":"high"}`, `{"level":101}`, `[]`} {
		if reported, err := h(device.Delta{State: []byte(state)}); err == nil {
			t.Errorf("%s reported %s", state, reported)
		}
	}
	level := 3
	if b := Reported(func() lamp { return lamp{Level: &level} })(); string(b) != `{"level":3}` {
		t.Errorf("reported %s", b)
	}
}

func TestJob(t *testing.T) {
	t.Parallel()
	type blink struct{ Times int }
	times := 0
	h := Job(func(_ context.Context, _ *device.Job, d blink) error { times = d.Times; return nil })
	if err := h(t.Context(), &device.Job{Document: []byte(`{"times":3}`)}); err != nil || times != 3 {
		t.Errorf("%d times, %v", times, err)
	}
	for _, document := range []string{`{"times":"often"}`, `{"reboot":true}`, ``} {
		if err := h(t.Context(), &device.Job{Document: []byte(document)}); !errors.Is(err, awsiot.ErrRejected) {
			t.Errorf("%s: %v", document, err)
		}
	}
}
