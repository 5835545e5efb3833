package mode_test

import (
	"testing"

	. "github.com/berth-iot/berth/device/mode"
)

// transitions are all that are drawn; every other pair of mode and event changes nothing.
var transitions = map[Mode]map[Event]struct {
	next    Mode
	effects Effect
}{
	Init: {
		Ready: {Normal, Connect}, Unprovisioned: {Configuration, StartConfiguration}, Failed: {Idle, WaitRetry},
		Restart: {Init, BeginRestart}},
	Idle:          {Retry: {Init, BringUp}, Restart: {Idle, BeginRestart}},
	Configuration: {Provisioned: {Normal, StopConfiguration | Connect}, Restart: {Configuration, BeginRestart}},
	Normal: {
		Configure: {Configuration, Disconnect | StartConfiguration}, Forgotten: {Configuration, Disconnect | StartConfiguration},
		Update: {OTA, Install}, Restart: {Normal, BeginRestart}},
	OTA: {
		Updated: {Normal, 0}, UpdateFailed: {Normal, 0}, UpdateInstalled: {OTA, BeginRestart},
		Restart: {OTA, BeginRestart}},
}

func TestEveryModeAndEvent(t *testing.T) {
	t.Parallel()
	for m := range Mode(Modes) {
		for e := range Event(Events) {
			next, effects, ok := Next(m, e)
			want, drawn := transitions[m][e]
			if !drawn {
				want.next = m
			}
			if next != want.next || effects != want.effects || ok != drawn {
				t.Errorf("%v, %v: %v %b %v, want %v %b %v", m, e, next, effects, ok, want.next, want.effects, drawn)
			}
		}
	}
	if _, _, ok := Next(Modes, Restart); ok {
		t.Error("a mode that is none takes an event")
	}
}

// TestNoDeadEnd: from every mode, every other can be reached.
func TestNoDeadEnd(t *testing.T) {
	t.Parallel()
	for from := range Mode(Modes) {
		reached := map[Mode]bool{from: true}
		for todo := []Mode{from}; len(todo) > 0; todo = todo[1:] {
			for e := range Event(Events) {
				next, effects, _ := Next(todo[0], e)
				if effects&BeginRestart != 0 {
					next = Init
				}
				if !reached[next] {
					reached[next] = true
					todo = append(todo, next)
				}
			}
		}
		if len(reached) != Modes {
			t.Errorf("from %v only %v", from, reached)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for m := range Mode(Modes) {
		for e := range Event(Events) {
			if m.String() == "unknown" || e.String() == "unknown" {
				t.Errorf("%d %d has no name", m, e)
			}
		}
	}
	if Mode(Modes).String() != "unknown" || Event(Events).String() != "unknown" || StageWiFi.String() != "Wi-Fi" || Stage(Stages).String() != "unknown" {
		t.Error("names and numbers do not agree")
	}
}
