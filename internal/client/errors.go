package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/berth-iot/berth/mqtt"
)

// errHungUp is a connection that the server closed without a word.
var errHungUp = errors.New("the server closed the connection")

// DialError is a connection that did not come to an answer.
type DialError struct {
	Where       string
	Err         error
	Connected   bool // the transport was up and CONNECT was on its way
	Certificate bool // the client showed a certificate
}

func (e *DialError) Error() string {
	err := e.Err.Error()
	switch {
	case alert(e.Err) != "":
		err = "the server ends TLS with the alert \"" + alert(e.Err) + "\""
	case e.Connected && hungUp(e.Err):
		err = "the server closed the connection instead of answering CONNECT"
	case errors.Is(e.Err, context.DeadlineExceeded):
		err = "no answer in time"
	}
	return strings.TrimSuffix("connect to "+e.Where, "to ") + ": " + err
}

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// RefusedError is a CONNACK that says no.
type RefusedError struct {
	Where   string
	Code    mqtt.ReasonCode // in MQTT 3.1.1 the return code, 1 to 5
	Version mqtt.Version
	Reason  string // the server's own words, MQTT 5
}

// returnCodes are the CONNACK return codes of MQTT 3.1.1 (section 3.2.2.3).
var returnCodes = [6]string{"accepted", "unacceptable protocol version", "identifier rejected",
	"server unavailable", "bad user name or password", "not authorized"}

func (e *RefusedError) Error() string {
	text := e.Code.String()
	if e.Version != mqtt.V5 && int(e.Code) < len(returnCodes) {
		text = returnCodes[e.Code]
	}
	return fmt.Sprintf("connect to %s: refused: %s%s", e.Where, text, detail(e.Code, e.Reason))
}

// DisconnectError is a DISCONNECT from the server.
type DisconnectError struct {
	Code   mqtt.ReasonCode
	Reason string
}

func (e *DisconnectError) Error() string {
	return "the server disconnected: " + e.Code.String() + detail(e.Code, e.Reason)
}

// CodeError is a request that the server answered with a failure.
type CodeError struct {
	Operation string
	Code      mqtt.ReasonCode
	Reason    string
}

func (e *CodeError) Error() string {
	return e.Operation + ": " + e.Code.String() + detail(e.Code, e.Reason)
}

func detail(code mqtt.ReasonCode, reason string) string {
	s := fmt.Sprintf(" (0x%02X)", byte(code))
	if reason != "" {
		s += ": " + reason
	}
	return s
}

// alert is the name of the TLS alert that the server sent, or empty.
func alert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	return ""
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errHungUp) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Hint says in a sentence what to do about an error of this package, or nothing.
func Hint(err error) string {
	var (
		refused *RefusedError
		gone    *DisconnectError
		code    *CodeError
		dial    *DialError
	)
	switch {
	case errors.As(err, &refused):
		return hintRefused(refused)
	case errors.As(err, &gone):
		return hintCode(gone.Code)
	case errors.As(err, &code):
		return hintCode(code.Code)
	case errors.As(err, &dial):
		return hintDial(dial)
	case errors.Is(err, errHungUp):
		return "AWS IoT closes the connection when a policy denies a publish, and for QoS 2; berth explain shows denials"
	}
	return ""
}

func hintRefused(e *RefusedError) string {
	code := e.Code
	if e.Version != mqtt.V5 {
		code = map[mqtt.ReasonCode]mqtt.ReasonCode{1: mqtt.UnsupportedVersion, 2: mqtt.ClientIdentifierNotValid,
			3: mqtt.ServerUnavailable, 4: mqtt.BadUserNameOrPassword, 5: mqtt.NotAuthorized}[code]
	}
	switch code {
	case mqtt.UnsupportedVersion:
		return "the server does not speak this version: try the other with --mqtt 3.1.1 or --mqtt 5"
	case mqtt.ClientIdentifierNotValid:
		return "choose another client identifier with -i"
	case mqtt.NotAuthorized, mqtt.BadUserNameOrPassword:
		return "a policy must allow iot:Connect for this client identifier (-i), often the thing's name; berth explain shows the denial"
	case mqtt.ServerUnavailable, mqtt.ServerBusy:
		return "try again in a moment"
	}
	return ""
}

func hintCode(code mqtt.ReasonCode) string {
	switch code {
	case mqtt.NotAuthorized, mqtt.UnspecifiedError:
		return "no policy of this client allows it: berth explain shows the denial and what came close"
	case mqtt.SessionTakenOver:
		return "another client connected with the same identifier: choose one with -i"
	case mqtt.QoSNotSupported:
		return "AWS IoT knows QoS 0 and 1 only; berth serve --semantics mqtt knows QoS 2"
	case mqtt.PacketTooLarge:
		return "AWS IoT takes payloads of at most 128 KiB"
	case mqtt.TopicNameInvalid, mqtt.TopicFilterInvalid:
		return "AWS IoT takes at most 256 bytes and 7 slashes, beyond the prefix of reserved topics"
	case mqtt.KeepAliveTimeout:
		return "the network or this machine was silent too long"
	}
	return ""
}

func hintDial(e *DialError) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		dns       *net.DNSError
		status    *statusError
	)
	switch {
	case errors.As(e.Err, &authority):
		return "the server's certificate is not signed by an authority in --cafile: give berth's DATA/ca.pem, or AmazonRootCA1.pem for AWS"
	case errors.As(e.Err, &host):
		return "connect by a name in the server's certificate, or start berth serve with --endpoint " + host.Host
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is out of date or this machine's clock is wrong"
	case errors.As(e.Err, &dns):
		return "the name does not resolve: check the endpoint, or give --host"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return "nothing listens there: is berth serve running, and is the port right?"
	case errors.As(e.Err, &status):
		return hintStatus(status.status)
	case alert(e.Err) != "":
		return hintAlert(alert(e.Err))
	case e.Connected && hungUp(e.Err) && e.Certificate:
		return "the certificate may be inactive or its policy may not allow iot:Connect for this client identifier (-i); berth explain shows the denial"
	case e.Connected && hungUp(e.Err):
		return "the port may want TLS and a client certificate: give --cert, --key and --cafile"
	}
	return ""
}

func hintStatus(status int) string {
	switch status {
	case 403:
		return "the access key is unknown, disabled or of another region, or this machine's clock is off by more than five minutes"
	case 404:
		return "the address has no MQTT over WebSocket: check host and port"
	}
	return ""
}

// hintAlert says which check of the server's probably failed. The alerts are those of RFC 8446,
// section 6.2.
func hintAlert(alert string) string {
	switch alert {
	case "bad certificate", "unknown certificate":
		return "the server does not accept the client certificate: it is not registered, or not ACTIVE; berth cert describe shows its status"
	case "unknown certificate authority":
		return "the client certificate is signed by an authority that the server does not know: register it, or use a certificate from berth cert create"
	case "expired certificate":
		return "the client certificate is out of date, or the server's clock is wrong"
	case "revoked certificate":
		return "the client certificate is revoked: berth cert create makes another"
	case "certificate required", "handshake failure":
		return "the server wants a client certificate: give --cert and --key"
	case "no application protocol":
		return "the server does not know the ALPN protocol that was offered: leave --alpn out"
	case "unrecognized name":
		return "the server does not know this host name: give the endpoint's name with --host"
	case "protocol version not supported":
		return "server and client share no TLS version: 1.2 or 1.3 is needed"
	case "access denied":
		return "the server knows the certificate and refuses it: it may be inactive or revoked"
	}
	return ""
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:125] + "..."
	}
	return s
}

func quote(s string) string { return fmt.Sprintf("%q", clip(s)) }
