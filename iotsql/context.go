package iotsql

import (
	"errors"
	"time"
)

// Version is the property awsIotSqlVersion of a rule.
type Version string

// The versions. Beta behaves like 2016-03-23.
const (
	V2015 Version = "2015-10-08"
	V2016 Version = "2016-03-23"
	Beta  Version = "beta"
)

// ParseVersion checks the property; empty means 2015-10-08 (developer guide, "SQL versions").
func ParseVersion(s string) (Version, error) {
	switch v := Version(s); v {
	case "":
		return V2015, nil
	case V2015, V2016, Beta:
		return v, nil
	}
	return "", errors.New("awsIotSqlVersion " + quoted(s) + " is none of 2015-10-08, 2016-03-23 and beta")
}

// Context is everything about a message that is not its payload, and the way to what functions
// fetch. The functions may be nil; calling one that is makes the evaluation fail with
// [ErrUnavailable]. Those that return bytes return JSON.
type Context struct {
	// Topic is the name that the message was published to. The prefix $aws/rules/NAME/ of Basic
	// Ingest is not seen by topic().
	Topic string
	// ClientID is empty for a message that did not come over MQTT.
	ClientID string
	// Principal is the certificate identifier, user id or role-id:session-name.
	Principal string
	AccountID string
	// TraceID is the UUID of the message; empty if it did not come over MQTT.
	TraceID string
	// SourceIP is the address that the client's connection came from.
	SourceIP string
	// Time is the moment of the evaluation, for timestamp().
	Time time.Time
	// Properties are those of an MQTT 5 message, or nil.
	Properties *Properties

	// Random returns a number from 0.0 up to 1.0, UUID a new one in its usual form.
	Random func() float64
	UUID   func() string

	// ThingShadow returns a shadow's document; shadow is empty for the unnamed one.
	ThingShadow func(thing, shadow, roleARN string) ([]byte, error)
	// RegistryData calls DescribeThing or ListThingGroupsForThing and returns its answer.
	RegistryData func(api, thing, roleARN string) ([]byte, error)
	// Lambda calls a function with a JSON input and returns its JSON output.
	Lambda func(functionARN string, input []byte) ([]byte, error)
	// DynamoDB returns the item with the keys as a plain JSON object.
	DynamoDB func(table string, keys []Key, roleARN string) ([]byte, error)
	// Secret returns the SecretString or, in base64, the SecretBinary of a secret.
	Secret func(id, kind, roleARN string) (string, error)
	// Descriptors returns the protobuf descriptors that lie in a bucket under a key.
	Descriptors func(bucket, key string) (*Descriptors, error)
	// AvroSchema returns the Avro schema that lies in a bucket under a key.
	AvroSchema func(bucket, key string) (*AvroSchema, error)
}

// Key is a key attribute of a table. Value is JSON: a string or a number.
type Key struct {
	Name  string
	Value []byte
}

// Properties are the MQTT 5 properties that rules can read.
type Properties struct {
	// UTF8 is the payload format indicator.
	UTF8            bool
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	// User are the user properties in their order.
	User []UserProperty
}

// UserProperty is a user property of a message.
type UserProperty struct{ Key, Value string }

// Errors of evaluation.
var (
	// ErrPayload is wrapped when a statement needs a field and the payload is not JSON; AWS counts
	// a ParseError then.
	ErrPayload = errors.New("payload is not JSON")
	// ErrUnavailable is wrapped when a statement calls a function that the context does not have.
	ErrUnavailable = errors.New("not available here")
)

// FunctionError is the failure of a function that asked something outside.
type FunctionError struct {
	Name string
	Err  error
}

func (e *FunctionError) Error() string { return "function " + e.Name + ": " + e.Err.Error() }
func (e *FunctionError) Unwrap() error { return e.Err }
