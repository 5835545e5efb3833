package configuration

import (
	"time"

	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// State is how far a device is with its configuration.
type State uint8

const (
	Waiting       State = iota // for somebody who knows the code
	Authenticated              // somebody does
	Received                   // a configuration is in flash
	ConnectingWiFi
	SettingClock
	Provisioning // gets a certificate by its claim
	ConnectingCloud
	Connected
	Failed // Reason says why; another configuration may be sent
	states
)

func (s State) String() string {
	if s >= states {
		return "unknown"
	}
	return [states]string{"waiting", "authenticated", "received", "connecting to Wi-Fi", "setting the clock", "provisioning",
		"connecting to the cloud", "connected", "failed"}[s]
}

func stateOf(name string) State {
	for s := range states {
		if s.String() == name {
			return s
		}
	}
	return states
}

// Final reports whether nothing more comes after a state by itself.
func (s State) Final() bool { return s == Connected || s == Failed }

// Progress is what has become of a configuration.
type Progress struct {
	State  State
	Reason string // in words, of a failure or of an attempt that is being repeated
	Thing  string // once it is known
}

// append appends the sealed form of a progress.
func (p Progress) append(dst []byte) []byte {
	v := jsondoc.Object()
	v.Set("state", jsondoc.String(p.State.String()))
	if p.Reason != "" {
		v.Set("reason", jsondoc.String(p.Reason))
	}
	if p.Thing != "" {
		v.Set("thing", jsondoc.String(p.Thing))
	}
	return v.Append(dst)
}

func decodeProgress(b []byte) (Progress, bool) {
	v, err := jsondoc.Parse(b)
	if err != nil || !v.IsObject() {
		return Progress{}, false
	}
	return Progress{stateOf(v.Get("state").Text()), v.Get("reason").Text(), v.Get("thing").Text()}, true
}

// Information is what a device tells everybody.
type Information struct {
	Protocol   int
	Device     string
	State      State // Waiting and the rest, without the reason
	Iterations int
	Salt       []byte
	Wait       time.Duration // until the next attempt to prove the code is taken
}

// ProtocolVersion is the version of what this package speaks.
const ProtocolVersion = 1

func (i Information) append(dst []byte) []byte {
	v := jsondoc.Object()
	v.Set("protocol", jsondoc.Int(int64(i.Protocol)))
	v.Set("device", jsondoc.String(i.Device))
	v.Set("state", jsondoc.String(i.State.String()))
	v.Set("iterations", jsondoc.Int(int64(i.Iterations)))
	v.Set("salt", binary64(i.Salt))
	v.Set("wait", jsondoc.Int(seconds(i.Wait)))
	return v.Append(dst)
}

// ParseInformation reads a message of the status channel.
func ParseInformation(b []byte) (Information, bool) {
	v, err := jsondoc.Parse(b)
	if err != nil || !v.IsObject() {
		return Information{}, false
	}
	protocol, _ := v.Get("protocol").Int()
	iterations, _ := v.Get("iterations").Int()
	wait, _ := v.Get("wait").Int()
	salt, ok := bytes64(v.Get("salt"))
	if !ok || protocol < 1 || protocol > 1<<15 || iterations < 0 || iterations > 1<<30 || wait < 0 || wait > 1<<20 {
		return Information{}, false
	}
	return Information{Protocol: int(protocol), Device: v.Get("device").Text(), State: stateOf(v.Get("state").Text()),
		Iterations: int(iterations), Salt: salt, Wait: time.Duration(wait) * time.Second}, true
}

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((max(d, 0) + time.Second - 1) / time.Second) }
