package authorizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/berth-iot/berth/policy"
)

// Limits of an answer (AWS IoT developer guide, "Defining your Lambda function").
const (
	maxDocuments  = 10
	maxDocument   = 2048 // characters
	minInterval   = 300 * time.Second
	maxInterval   = 86400 * time.Second
	usualInterval = maxInterval // where the answer is silent
)

var principalPattern = regexp.MustCompile(`^[a-zA-Z0-9]{1,128}$`)

// input is what a function is told.
type input struct {
	Token              string       `json:"token,omitempty"`
	SignatureVerified  bool         `json:"signatureVerified"`
	Protocols          []string     `json:"protocols"`
	ProtocolData       protocolData `json:"protocolData"`
	ConnectionMetadata metadata     `json:"connectionMetadata"`
}

type protocolData struct {
	TLS  *tlsData  `json:"tls,omitempty"`
	HTTP *httpData `json:"http,omitempty"`
	MQTT *mqttData `json:"mqtt,omitempty"`
}

type tlsData struct {
	ServerName string `json:"serverName,omitempty"`
}

type httpData struct {
	Headers     map[string]string `json:"headers"`
	QueryString string            `json:"queryString,omitempty"`
}

type mqttData struct {
	UserName string `json:"username,omitempty"`
	Password []byte `json:"password,omitempty"` // base64
	ClientID string `json:"clientId,omitempty"`
}

type metadata struct {
	ID string `json:"id"`
}

func newInput(r *Request, token string, verified bool, id string) input {
	in := input{Token: token, SignatureVerified: verified, Protocols: []string{}, ConnectionMetadata: metadata{id}}
	if r.TLS {
		in.Protocols = append(in.Protocols, "tls")
		in.ProtocolData.TLS = &tlsData{r.ServerName}
	}
	if h := r.HTTP; h != nil {
		in.Protocols = append(in.Protocols, "http")
		in.ProtocolData.HTTP = &httpData{Headers: h.Headers}
		if h.Query != "" {
			in.ProtocolData.HTTP.QueryString = "?" + h.Query
		}
	}
	if m := r.MQTT; m != nil {
		in.Protocols = append(in.Protocols, "mqtt")
		in.ProtocolData.MQTT = &mqttData{m.UserName, m.Password, m.ClientID}
	}
	return in
}

// Decision is what a function answered.
type Decision struct {
	Authenticated bool
	PrincipalID   string
	Policies      []policy.Named
	Documents     []string      // of Policies
	Refresh       time.Duration // when to ask again
	Disconnect    time.Duration // when the connection ends
}

// parseDecision reads a function's answer. by is what its policies are called.
func parseDecision(answer []byte, by string) (*Decision, error) {
	var out struct {
		Authenticated *bool             `json:"isAuthenticated"`
		PrincipalID   string            `json:"principalId"`
		Documents     []json.RawMessage `json:"policyDocuments"`
		Refresh       *json.Number      `json:"refreshAfterInSeconds"`
		Disconnect    *json.Number      `json:"disconnectAfterInSeconds"`
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return nil, fmt.Errorf("the answer is not the JSON expected: %w", err)
	}
	if out.Authenticated == nil {
		return nil, errors.New("the answer has no isAuthenticated")
	}
	d := &Decision{Authenticated: *out.Authenticated, PrincipalID: out.PrincipalID}
	var err error
	if d.Refresh, err = interval("refreshAfterInSeconds", out.Refresh); err != nil {
		return nil, err
	}
	if d.Disconnect, err = interval("disconnectAfterInSeconds", out.Disconnect); err != nil {
		return nil, err
	}
	if (d.Authenticated || d.PrincipalID != "") && !principalPattern.MatchString(d.PrincipalID) {
		return nil, fmt.Errorf("principalId %.140q of the answer is not 1 to 128 letters and digits", d.PrincipalID)
	}
	if len(out.Documents) > maxDocuments {
		return nil, fmt.Errorf("the answer has %d policy documents, the limit is %d", len(out.Documents), maxDocuments)
	}
	for i, raw := range out.Documents {
		text, err := document(raw)
		if err != nil {
			return nil, fmt.Errorf("policy document %d of the answer: %w", i+1, err)
		}
		doc, err := policy.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("policy document %d of the answer: %w", i+1, err)
		}
		d.Policies = append(d.Policies, policy.Named{Name: by, Version: strconv.Itoa(i + 1), Doc: doc})
		d.Documents = append(d.Documents, string(text))
	}
	return d, nil
}

// document returns a policy document that is given as an object, or as its text.
func document(raw json.RawMessage) ([]byte, error) {
	var text []byte
	var inner string
	if json.Unmarshal(raw, &inner) == nil {
		text = []byte(inner)
	} else {
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return nil, err
		}
		text = compact.Bytes()
	}
	if n := utf8.RuneCount(text); n > maxDocument {
		return nil, fmt.Errorf("%d characters, the limit is %d", n, maxDocument)
	}
	return text, nil
}

func interval(name string, seconds *json.Number) (time.Duration, error) {
	if seconds == nil {
		return usualInterval, nil
	}
	n, err := seconds.Int64()
	if err != nil || n < int64(minInterval/time.Second) || n > int64(maxInterval/time.Second) {
		return 0, fmt.Errorf("%s %.20q of the answer is not from %d to %d", name, seconds.String(), minInterval/time.Second, maxInterval/time.Second)
	}
	return time.Duration(n) * time.Second, nil
}
