package policy

import (
	"crypto/x509"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Protocol is how the caller speaks to the data plane. Thing variables exist
// for MQTT, over TLS or WebSocket, only.
type Protocol uint8

// The protocols.
const (
	MQTT Protocol = iota
	HTTP
)

// Thing is the thing associated with a connection: the one whose name is the
// client identifier and to which the certificate is attached, or the one to
// which it is attached exclusively.
type Thing struct {
	Name       string
	Type       string            // thing type, "" without one
	Attributes map[string]string // may be nil
}

// Context is what variables and conditions can see of one connection or
// request. Empty fields have no value: a variable that names one does not
// resolve. [Compile] reads a Context and does not keep it, nor its
// certificate.
type Context struct {
	// ARNPrefix is the beginning of every resource here, with the colon:
	// "arn:aws:iot:us-east-1:000000000000:".
	ARNPrefix string
	Protocol  Protocol

	ClientID   string     // iot:ClientId
	SourceIP   netip.Addr // aws:SourceIp
	DomainName string     // iot:DomainName, the name asked for by SNI

	Thing         *Thing // iot:Connection.Thing.*, nil without one
	ThingAttached bool   // iot:Connection.Thing.IsAttached

	CertificateID string            // iot:CertificateId
	Certificate   *x509.Certificate // iot:Certificate.*, nil without one

	// ConnectAttributes are the features that the CONNECT uses, of
	// "PersistentConnect" and "LastWill" (iot:ConnectAttributes).
	ConnectAttributes []string
	// LastWillTopic is the ARN of the Will topic (iot:LastWillTopic).
	LastWillTopic string

	// Now is the time for aws:CurrentTime and aws:EpochTime; the zero value
	// leaves both without a value.
	Now time.Time

	// Extra holds further keys, in any case of letters, such as
	// "aws:PrincipalOrgID". The keys above are not overridden by it.
	Extra map[string][]string
}

// Features for [Context.ConnectAttributes].
const (
	PersistentConnect = "PersistentConnect"
	LastWill          = "LastWill"
)

const attributesPrefix = "iot:connection.thing.attributes["

// canonicalKey folds the case of a key, but not of an attribute name.
func canonicalKey(key string) string {
	lower := strings.ToLower(key)
	if strings.HasPrefix(lower, attributesPrefix) && len(lower) == len(key) {
		return attributesPrefix + key[len(attributesPrefix):]
	}
	return lower
}

// values returns the values of a canonical key. ok is false if the key has
// none in this context.
func (c *Context) values(key string) (vals []string, ok bool) {
	switch {
	case strings.HasPrefix(key, certificatePrefix):
		return c.certificateValues(key)
	case strings.HasPrefix(key, "iot:connection.thing."):
		return c.thingValues(key)
	}
	var v string
	switch key {
	case "iot:clientid":
		v = c.ClientID
	case "aws:sourceip":
		if c.SourceIP.IsValid() {
			v = c.SourceIP.Unmap().WithZone("").String()
		}
	case "iot:domainname":
		v = c.DomainName
	case "iot:certificateid":
		v = c.CertificateID
	case "iot:connectattributes":
		return c.ConnectAttributes, len(c.ConnectAttributes) > 0
	case "iot:lastwilltopic":
		v = c.LastWillTopic
	case "aws:currenttime":
		if !c.Now.IsZero() {
			v = c.Now.UTC().Format(time.RFC3339)
		}
	case "aws:epochtime":
		if !c.Now.IsZero() {
			v = strconv.FormatInt(c.Now.Unix(), 10)
		}
	default:
		for k, vals := range c.Extra {
			if strings.EqualFold(k, key) {
				return vals, len(vals) > 0
			}
		}
		return nil, false
	}
	if v == "" {
		return nil, false
	}
	return []string{v}, true
}

func (c *Context) thingValues(key string) ([]string, bool) {
	if c.Protocol != MQTT {
		return nil, false
	}
	if key == "iot:connection.thing.isattached" {
		return []string{strconv.FormatBool(c.ThingAttached)}, true
	}
	if c.Thing == nil {
		return nil, false
	}
	var v string
	switch key {
	case "iot:connection.thing.thingname":
		v = c.Thing.Name
	case "iot:connection.thing.thingtypename":
		v = c.Thing.Type
	default:
		name, ok := strings.CutPrefix(key, attributesPrefix)
		if !ok || !strings.HasSuffix(name, "]") {
			return nil, false
		}
		v = c.Thing.Attributes[strings.TrimSuffix(name, "]")]
	}
	if v == "" {
		return nil, false
	}
	return []string{v}, true
}
