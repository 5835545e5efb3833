// Package configuration is how a device gets its configuration from somebody nearby: Wi-Fi, endpoint,
// certificates and the application's own values, over Bluetooth Low Energy, a serial console or a page
// on the local network. It is the protocol alone; what carries it is handed in. The whole of it is in
// docs/reference/configuration.md.
//
// Who configures has to know the code on the device's label. The proof is SPAKE2+ (package
// spake2plus), a password-authenticated key exchange: an eavesdropper nearby gets nothing that codes
// can be tried against, and a stranger who takes part gets one guess per attempt, which the device
// counts in its flash before it answers and answers ever more slowly. The same exchange yields the key
// that everything else is encrypted with (AES-256-GCM), so that the Wi-Fi password is readable to
// nobody else.
//
//	status ────────► salt and iterations of the code; what the device is doing
//	session ◄──────► share, share and confirmation, confirmation
//	configuration ◄► the sealed configuration; the sealed answer
//	result ────────► sealed: how far it is, until it is connected or has failed
//
// A message of a channel is up to 16 KiB. Over Bluetooth it goes in chunks (Stream).
package configuration

import (
	"errors"
	"fmt"
)

// ServiceUUID is the GATT service of the protocol.
const ServiceUUID = "5704246a-5d4c-4f19-9b53-157d8824063d"

// Channel is one of the four characteristics: each is written by who configures and notified by the
// device.
type Channel uint8

const (
	Status        Channel = iota // what the device is, in the open
	Session                      // the proof of possession of the code
	Configuration                // sealed configuration down, sealed answer up
	Result                       // sealed: what has become of it

	Channels = 4
)

// UUID is the characteristic's.
func (c Channel) UUID() string {
	return [...]string{"15ba8b82-df9a-46dc-865a-177a17ad9035", "20a62cd0-93ba-41e2-96b0-31b1aa131909",
		"3a21768b-174a-41bc-8b25-b9c1ebfb7510", "43c5e37d-b664-4b4a-aa33-032bbaf7133f"}[c%Channels]
}

func (c Channel) String() string {
	return [...]string{"status", "session", "configuration", "result"}[c%Channels]
}

// MaxMessage is the largest message in bytes, sealed if it is.
const MaxMessage = 16 << 10

var (
	// ErrTooLong is returned for a message of more than MaxMessage bytes, or of none.
	ErrTooLong = fmt.Errorf("a message has 1 to %d bytes", MaxMessage)
	// ErrBusy is returned while too many messages wait to be sent.
	ErrBusy = errors.New("too many messages wait")
)
