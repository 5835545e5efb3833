package rolealias

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// idPrefix begins the identifier of temporary credentials, as at AWS.
const idPrefix = "ASIA"

// idLength is that of a whole identifier.
const idLength = 20

// maxToken bounds a session token, in characters.
const maxToken = 4096

// Why a session token is not accepted.
var (
	ErrToken   = errors.New("the session token is not valid")
	ErrExpired = errors.New("the session token has expired")
)

// Session is what temporary credentials stand for.
type Session struct {
	Alias         string    `json:"a"`
	Policy        string    `json:"p"`
	CertificateID string    `json:"c"`
	ThingName     string    `json:"t,omitempty"`
	ThingType     string    `json:"y,omitempty"`
	Expires       time.Time `json:"-"`
}

// Context are the keys that the role's policy can use as variables and in conditions (AWS IoT
// developer guide, "How to use a certificate to get a security token").
func (s *Session) Context() map[string][]string {
	keys := map[string][]string{"credentials-iot:AwsCertificateId": {s.CertificateID}}
	if s.ThingName != "" {
		keys["credentials-iot:ThingName"] = []string{s.ThingName}
	}
	if s.ThingType != "" {
		keys["credentials-iot:ThingTypeName"] = []string{s.ThingType}
	}
	return keys
}

// Credentials are temporary credentials.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time
}

// Issuer gives temporary credentials out and takes them back. It keeps nothing: the secret follows
// from the identifier, and the token holds the session, both by keys that only the server has. So
// credentials outlive a restart and cost no storage, however many devices ask. An Issuer may be
// used concurrently.
type Issuer struct {
	secretKey, tokenKey []byte
	now                 func() time.Time
}

// NewIssuer returns an issuer; derive makes a key for a purpose, the same after every start, and now
// may be nil.
func NewIssuer(derive func(purpose string) ([]byte, error), now func() time.Time) (*Issuer, error) {
	if now == nil {
		now = time.Now
	}
	secret, err := derive("temporary secret access keys")
	if err != nil {
		return nil, err
	}
	token, err := derive("session tokens")
	return &Issuer{secret, token, now}, err
}

// token is the content of a session token. What follows it is its HMAC-SHA256.
type token struct {
	ID      string `json:"i"`
	Expires int64  `json:"e"` // seconds since 1970
	Session
}

// Issue returns credentials for a session that last for a duration, in whole seconds.
func (i *Issuer) Issue(s Session, duration time.Duration) (Credentials, error) {
	var b [10]byte
	rand.Read(b[:])
	id := idPrefix + base32.StdEncoding.EncodeToString(b[:])
	expires := i.now().Add(duration).UTC().Truncate(time.Second)
	text, err := json.Marshal(token{id, expires.Unix(), s})
	if err != nil {
		return Credentials{}, err
	}
	secret, _ := i.Secret(id)
	return Credentials{id, secret, base64.StdEncoding.EncodeToString(append(i.sum(i.tokenKey, text), text...)), expires}, nil
}

func (i *Issuer) sum(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

// Secret returns the secret access key that belongs to an identifier of temporary credentials, given
// out or not: only a session token for it shows that it was. ok is false for other identifiers.
func (i *Issuer) Secret(id string) (secret string, ok bool) {
	if len(id) != idLength || !strings.HasPrefix(id, idPrefix) {
		return "", false
	}
	return base64.StdEncoding.EncodeToString(i.sum(i.secretKey, []byte(id))[:30]), true
}

// Session reads the session token that came with an identifier. ErrToken, ErrExpired.
func (i *Issuer) Session(id, sessionToken string) (*Session, error) {
	if len(sessionToken) > maxToken {
		return nil, ErrToken
	}
	raw, err := base64.StdEncoding.DecodeString(sessionToken)
	if err != nil || len(raw) < sha256.Size {
		return nil, ErrToken
	}
	sum, text := raw[:sha256.Size], raw[sha256.Size:]
	if !hmac.Equal(sum, i.sum(i.tokenKey, text)) {
		return nil, ErrToken
	}
	var t token
	if err := json.Unmarshal(text, &t); err != nil || t.ID != id {
		return nil, ErrToken
	}
	if t.Session.Expires = time.Unix(t.Expires, 0).UTC(); !i.now().Before(t.Session.Expires) {
		return nil, ErrExpired
	}
	return &t.Session, nil
}
