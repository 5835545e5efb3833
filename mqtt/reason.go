package mqtt

import "fmt"

// ReasonCode is the result of an operation in MQTT 5.0 (section 2.4).
type ReasonCode byte

// Reason codes. Success is also called normal disconnection and granted QoS 0.
const (
	Success                   ReasonCode = 0x00
	GrantedQoS1               ReasonCode = 0x01
	GrantedQoS2               ReasonCode = 0x02
	DisconnectWithWill        ReasonCode = 0x04
	NoMatchingSubscribers     ReasonCode = 0x10
	NoSubscriptionExisted     ReasonCode = 0x11
	UnspecifiedError          ReasonCode = 0x80
	MalformedPacket           ReasonCode = 0x81
	ProtocolError             ReasonCode = 0x82
	ImplementationError       ReasonCode = 0x83
	UnsupportedVersion        ReasonCode = 0x84
	ClientIdentifierNotValid  ReasonCode = 0x85
	BadUserNameOrPassword     ReasonCode = 0x86
	NotAuthorized             ReasonCode = 0x87
	ServerUnavailable         ReasonCode = 0x88
	ServerBusy                ReasonCode = 0x89
	ServerShuttingDown        ReasonCode = 0x8B
	KeepAliveTimeout          ReasonCode = 0x8D
	SessionTakenOver          ReasonCode = 0x8E
	TopicFilterInvalid        ReasonCode = 0x8F
	TopicNameInvalid          ReasonCode = 0x90
	PacketIdentifierInUse     ReasonCode = 0x91
	PacketIdentifierNotFound  ReasonCode = 0x92
	ReceiveMaximumExceeded    ReasonCode = 0x93
	TopicAliasInvalid         ReasonCode = 0x94
	PacketTooLarge            ReasonCode = 0x95
	QuotaExceeded             ReasonCode = 0x97
	AdministrativeAction      ReasonCode = 0x98
	PayloadFormatInvalid      ReasonCode = 0x99
	RetainNotSupported        ReasonCode = 0x9A
	QoSNotSupported           ReasonCode = 0x9B
	UseAnotherServer          ReasonCode = 0x9C
	SharedNotSupported        ReasonCode = 0x9E
	SubscriptionIDUnsupported ReasonCode = 0xA1
)

var reasonNames = map[ReasonCode]string{
	Success: "success", GrantedQoS1: "granted QoS 1", GrantedQoS2: "granted QoS 2",
	DisconnectWithWill: "disconnect with will message", NoMatchingSubscribers: "no matching subscribers",
	NoSubscriptionExisted: "no subscription existed", UnspecifiedError: "unspecified error",
	MalformedPacket: "malformed packet", ProtocolError: "protocol error",
	ImplementationError: "implementation specific error", UnsupportedVersion: "unsupported protocol version",
	ClientIdentifierNotValid: "client identifier not valid", BadUserNameOrPassword: "bad user name or password",
	NotAuthorized: "not authorized", ServerUnavailable: "server unavailable", ServerBusy: "server busy",
	ServerShuttingDown: "server shutting down", KeepAliveTimeout: "keep alive timeout",
	SessionTakenOver: "session taken over", TopicFilterInvalid: "topic filter invalid",
	TopicNameInvalid: "topic name invalid", PacketIdentifierInUse: "packet identifier in use",
	PacketIdentifierNotFound: "packet identifier not found", ReceiveMaximumExceeded: "receive maximum exceeded",
	TopicAliasInvalid: "topic alias invalid", PacketTooLarge: "packet too large", QuotaExceeded: "quota exceeded",
	AdministrativeAction: "administrative action", PayloadFormatInvalid: "payload format invalid",
	RetainNotSupported: "retain not supported", QoSNotSupported: "QoS not supported",
	UseAnotherServer: "use another server", SharedNotSupported: "shared subscriptions not supported", SubscriptionIDUnsupported: "subscription identifiers not supported",
}

func (c ReasonCode) String() string {
	if s, ok := reasonNames[c]; ok {
		return s
	}
	return fmt.Sprintf("reason code 0x%02X", byte(c))
}

// Failed reports whether the code is an error.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// ReturnCode is the CONNACK return code of MQTT 3.1.1 (section 3.2.2.3) that says most nearly the
// same.
func (c ReasonCode) ReturnCode() byte {
	switch c {
	case Success:
		return 0
	case UnsupportedVersion:
		return 1
	case ClientIdentifierNotValid:
		return 2
	case BadUserNameOrPassword:
		return 4
	case NotAuthorized:
		return 5
	case ServerUnavailable, ServerBusy, QuotaExceeded:
		return 3
	}
	return 5
}
