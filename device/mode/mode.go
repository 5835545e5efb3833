// Package mode is the state machine of a device: pure, without clock, goroutine or hardware.
//
//	           Failed                          Retry
//	  ┌───────────────────────► Idle ─────────────────────┐
//	  │                                                   │
//	Init ◄────────────────────────────────────────────────┘
//	  │
//	  ├── Unprovisioned ──► Configuration ◄──────────────────┐
//	  │                        │                             │
//	  │                   Provisioned              Configure, Forgotten
//	  │                        ▼                             │
//	  └── Ready ────────────► Normal ────────────────────────┘
//	                           │  ▲
//	                   Update  │  │ Updated, UpdateFailed
//	                           ▼  │
//	                          OTA ── UpdateInstalled ──► restart
//
// Restart is taken in every mode and begins a restart: flash is flushed, then the device starts
// again in Init. Whatever else happens in a mode that does not know it changes nothing.
package mode

// Mode is what a device is doing as a whole.
type Mode uint8

const (
	Init          Mode = iota // events, flash, Wi-Fi, cloud, BLE and OTA are brought up
	Idle                      // something that the device cannot work without did not come up
	Configuration             // waits for an identity: by claim, over BLE or from its maker
	Normal                    // works, connected or trying to be
	OTA                       // takes a new image; messages go on
)

// Modes is the number of modes.
const Modes = 5

func (m Mode) String() string {
	return name(m, "Init", "Idle", "Configuration", "Normal", "OTA")
}

// Event is what happens to a device.
type Event uint8

const (
	Ready           Event = iota // every stage of Init is up and there is an identity
	Unprovisioned                // every stage of Init is up and there is no identity
	Failed                       // a stage of Init did not come up
	Retry                        // time to try Init again
	Provisioned                  // an identity has been stored
	Configure                    // somebody wants to change the configuration
	Forgotten                    // the identity has been erased
	Update                       // a new image is to be taken
	Updated                      // the update needs no restart
	UpdateFailed                 // the update was given up; the old image goes on
	UpdateInstalled              // the new image is in place and is started by a restart
	Restart                      // the application or a job wants a restart
)

// Events is the number of events.
const Events = 12

func (e Event) String() string {
	return name(e, "Ready", "Unprovisioned", "Failed", "Retry", "Provisioned", "Configure", "Forgotten",
		"Update", "Updated", "UpdateFailed", "UpdateInstalled", "Restart")
}

// Effect is what the device has to do about a transition, as bits.
type Effect uint8

const (
	BringUp            Effect = 1 << iota // run the stages of Init
	WaitRetry                             // send Retry after a while
	StartConfiguration                    // advertise over BLE, provision by claim
	StopConfiguration
	Connect      // begin to hold a connection with the identity
	Disconnect   // give the connection up
	Install      // let the update run
	BeginRestart // tell the application, flush flash, restart
)

// Next returns the mode after an event and what has to be done. ok is false when the event means
// nothing in that mode: mode and effects are then unchanged and none.
func Next(m Mode, e Event) (next Mode, effects Effect, ok bool) {
	if e == Restart && m < Modes {
		return m, BeginRestart, true
	}
	switch m {
	case Init:
		switch e {
		case Ready:
			return Normal, Connect, true
		case Unprovisioned:
			return Configuration, StartConfiguration, true
		case Failed:
			return Idle, WaitRetry, true
		}
	case Idle:
		if e == Retry {
			return Init, BringUp, true
		}
	case Configuration:
		if e == Provisioned {
			return Normal, StopConfiguration | Connect, true
		}
	case Normal:
		switch e {
		case Configure, Forgotten:
			return Configuration, Disconnect | StartConfiguration, true
		case Update:
			return OTA, Install, true
		}
	case OTA:
		switch e {
		case Updated, UpdateFailed:
			return Normal, 0, true
		case UpdateInstalled:
			return OTA, BeginRestart, true
		}
	}
	return m, 0, false
}

// Stage is one step of Init.
type Stage uint8

// Stages in the order in which they come up; they go down in reverse.
const (
	StageEvents Stage = iota
	StageFlash
	StageWiFi
	StageCloud
	StageBLE
	StageOTA
)

// Stages is the number of stages.
const Stages = 6

func (s Stage) String() string {
	return name(s, "events", "flash", "Wi-Fi", "cloud", "BLE", "OTA")
}

func name[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}
