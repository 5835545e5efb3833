package link

import (
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// EventKind is what happened to a link.
type EventKind uint8

const (
	Connected       EventKind = iota // CONNACK has come; subscriptions are being restored
	Restored                         // every subscription is acknowledged: requests can be made
	Disconnected                     // the connection has ended; Err says why
	Waiting                          // an attempt failed, Err says why; the next comes after Wait
	ClockNotSet                      // the clock shows a time that cannot be; the time source is asked
	ClockSet                         // the time source has answered; Offset is what the clock was wrong by
	SubscribeFailed                  // the server refused Filter
	MessageDropped                   // the queue dropped the message to Topic
	Overrun                          // Count received messages of QoS 0 were dropped: nobody read them
	BudgetUsed                       // the message budget is used up for Wait
	FlashFailed                      // a message could not be written to flash
)

func (k EventKind) String() string {
	names := [...]string{"connected", "restored", "disconnected", "waiting", "clock not set", "clock set",
		"subscribe failed", "message dropped", "overrun", "budget used", "flash failed"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Event is what happened, with what belongs to its kind.
type Event struct {
	Kind           EventKind
	Err            error
	SessionPresent bool // Connected: the server has kept the session
	Version        mqtt.Version
	Wait           time.Duration
	Offset         time.Duration
	Filter, Topic  string
	Count          int
}

// FailureKind tells why there is no connection.
type FailureKind uint8

const (
	Unreachable FailureKind = iota // no route, no name, nobody listens, the network went away
	Untrusted                      // the server's certificate is not one that the device accepts
	WrongClock                     // it is, but not at the time that the device's clock shows
	Refused                        // the server refused the device: certificate, policy, identifier
	Broken                         // the server broke the protocol
	TakenOver                      // another client uses the same identifier
	Ended                          // the server ended the connection
)

func (k FailureKind) String() string {
	names := [...]string{"unreachable", "untrusted", "clock", "refused", "broken", "taken over", "ended"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Failure is why an attempt failed or a connection ended. A Dial function returns one to say what
// it knows; any other error of Dial counts as Unreachable.
type Failure struct {
	Kind   FailureKind
	Code   mqtt.ReasonCode // of the server's CONNACK or DISCONNECT, 0 if it gave none
	Reason string          // in words, what to do about it included if anything is known
	Err    error           // may be nil
}

func (f *Failure) Error() string {
	s := f.Reason
	if s == "" {
		s = f.Kind.String()
	}
	if f.Code != 0 {
		s += fmt.Sprintf(" (0x%02X %v)", byte(f.Code), f.Code)
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

func (f *Failure) Unwrap() error {
	if f.Kind == WrongClock && f.Err == nil {
		return ErrClock
	}
	return f.Err
}

// Is makes every failure of the clock match ErrClock.
func (f *Failure) Is(target error) bool { return target == ErrClock && f.Kind == WrongClock }

func (f *Failure) hint() Hint {
	switch f.Code {
	case mqtt.ServerBusy, mqtt.ServerUnavailable, mqtt.QuotaExceeded, mqtt.ServerShuttingDown:
		return HintBusy
	}
	// A connection that just ends before CONNACK may be a server that restarts.
	if f.Kind == TakenOver || f.Kind == Refused && f.Code != 0 {
		return HintLater
	}
	return HintNone
}

func failureOf(err error, kind FailureKind, reason string) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Kind: kind, Reason: reason, Err: err}
}

// refusal puts a CONNACK that says no into words. MQTT 3.1.1 has five codes of its own.
func refusal(code mqtt.ReasonCode, v mqtt.Version, reason string) *Failure {
	if v == mqtt.V311 {
		codes := [...]mqtt.ReasonCode{0, mqtt.UnsupportedVersion, mqtt.ClientIdentifierNotValid, mqtt.ServerUnavailable, mqtt.BadUserNameOrPassword, mqtt.NotAuthorized}
		if int(code) < len(codes) {
			code = codes[code]
		}
	}
	f := &Failure{Kind: Refused, Code: code, Reason: "the server refuses the connection"}
	switch code {
	case mqtt.NotAuthorized:
		f.Reason += ": a policy must allow iot:Connect for this certificate and client identifier"
	case mqtt.BadUserNameOrPassword:
		f.Reason += ": user name or password is wrong"
	case mqtt.ClientIdentifierNotValid:
		f.Reason += ": it does not take this client identifier"
	case mqtt.ServerBusy, mqtt.ServerUnavailable, mqtt.QuotaExceeded:
		f.Kind, f.Reason = Ended, "the server asks for time"
	}
	if reason != "" {
		f.Reason += ": " + reason
	}
	return f
}

// farewell puts a DISCONNECT of the server into words.
func farewell(code mqtt.ReasonCode, reason string) *Failure {
	f := &Failure{Kind: Ended, Code: code, Reason: "the server ends the connection"}
	switch code {
	case mqtt.SessionTakenOver:
		f.Kind, f.Reason = TakenOver, "another client has connected with the same client identifier"
	case mqtt.NotAuthorized:
		f.Kind, f.Reason = Refused, "the server ends the connection: a policy or the certificate's state does not allow it"
	}
	if reason != "" {
		f.Reason += ": " + reason
	}
	return f
}
