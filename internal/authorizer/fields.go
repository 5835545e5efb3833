package authorizer

import (
	"fmt"
	"net/url"
	"strings"
)

// Names of the fields in which a client passes what is not its token (AWS IoT developer guide,
// "Connecting to AWS IoT Core by using custom authentication").
const (
	nameField      = "x-amz-customauthorizer-name"
	signatureField = "x-amz-customauthorizer-signature"
)

// maxFields is the number of parameters in a query string or user name.
const maxFields = 64

// Request is what a client brings.
type Request struct {
	ServerName string // by SNI, or ""
	TLS        bool
	HTTP       *HTTP // of a request or an upgrade to WebSocket
	MQTT       *MQTT // of CONNECT
	// Default is the authorizer of the domain that the client came to, "" for the default
	// authorizer. Unless Override is set the client can name no other.
	Default  string
	Override bool
	// Connection tells network connections apart, for answers that may be kept.
	Connection string
}

// HTTP is what an HTTP request brings.
type HTTP struct {
	Headers map[string]string // by name in lower case
	Query   string            // without the question mark, as sent
}

// MQTT is what a CONNECT packet brings.
type MQTT struct {
	UserName string
	Password []byte
	ClientID string
}

// parseQuery reads name=value pairs joined with &. Percent escapes are resolved; a plus sign stays
// one, since clients send base64 unescaped.
func parseQuery(query string) (map[string]string, error) {
	fields := make(map[string]string)
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		var err error
		if name, err = url.PathUnescape(name); err == nil {
			value, err = url.PathUnescape(value)
		}
		if err != nil {
			return nil, fmt.Errorf("the parameters are not validly escaped: %w", err)
		}
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("parameter %q is given twice", name)
		}
		if len(fields) == maxFields {
			return nil, fmt.Errorf("more than %d parameters", maxFields)
		}
		fields[name] = value
	}
	return fields, nil
}

// userNameQuery reads the parameters behind the question mark of a user name.
func userNameQuery(userName string) (map[string]string, error) {
	_, query, ok := strings.Cut(userName, "?")
	if !ok {
		return nil, nil
	}
	fields, err := parseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("user name: %w", err)
	}
	return fields, nil
}

// fields are the places where a client may pass a field, in the order in which they are searched.
type fields []map[string]string

func (r *Request) fields() (fields, error) {
	var f fields
	if r.HTTP != nil {
		query, err := parseQuery(r.HTTP.Query)
		if err != nil {
			return nil, fmt.Errorf("query: %w", err)
		}
		f = append(f, r.HTTP.Headers, query)
	}
	if r.MQTT != nil {
		query, err := userNameQuery(r.MQTT.UserName)
		if err != nil {
			return nil, err
		}
		f = append(f, query)
	}
	return f, nil
}

func (f fields) get(name string) string {
	lower := strings.ToLower(name)
	for _, m := range f {
		if v := m[name]; v != "" {
			return v
		}
		if v := m[lower]; v != "" { // headers, and names that begin with x-amz-
			return v
		}
	}
	return ""
}
