package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultSkew is how far the clock of a caller may be off.
const DefaultSkew = 5 * time.Minute

// maxKeys bounds the cache of derived keys.
const maxKeys = 512

// Verifier checks signatures. It may be used concurrently once its fields are
// set; it must not be copied after first use.
type Verifier struct {
	// Region is the only region accepted in credential scopes; "" accepts any.
	Region string
	// Services are the service names accepted in credential scopes, such as
	// "iot", "iotdata", "iotdevicegateway" and "iot-jobs-data"; none accepts
	// any.
	Services []string
	// Clock gives the time; nil is time.Now.
	Clock func() time.Time
	// Skew is how far the time of signing may be off; 0 is DefaultSkew.
	Skew time.Duration
	// Secret gives the secret access key of an access key identifier.
	Secret func(accessKeyID string) (secret string, ok bool)
	// SessionToken accepts the session token that came with an access key, or
	// says why not; an *Error is passed on as it is. It is asked after the
	// signature has been found good. Nil refuses every token.
	SessionToken func(accessKeyID, token string) error

	mu   sync.Mutex
	keys map[cachedKey][sha256.Size]byte
}

type cachedKey struct {
	secret string
	scope  scope
}

// Signed reports whether the request carries a signature in either form, right
// or wrong.
func Signed(r *http.Request) bool {
	if strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-") {
		return true
	}
	return strings.Contains(r.URL.RawQuery, "X-Amz-Signature=") || strings.Contains(r.URL.RawQuery, "X-Amz-Algorithm=")
}

// claim is what a request says about its signature.
type claim struct {
	Credential
	scope     scope
	at        string // X-Amz-Date as sent, or its equivalent
	signed    string // SignedHeaders as sent
	names     []string
	signature [sha256.Size]byte
	query     bool // query form
}

// Verify checks the signature of a request with the given body, which the
// caller has read already. Every error is an *Error.
func (v *Verifier) Verify(r *http.Request, body []byte) (*Credential, error) {
	return v.VerifyHash(r, HashPayload(body))
}

// VerifyHash is Verify for a body of which only the SHA-256 is known, in lower
// case hexadecimal.
func (v *Verifier) VerifyHash(r *http.Request, bodyHash string) (*Credential, error) {
	c, err := readClaim(r)
	if err != nil {
		return nil, err
	}
	if err := v.checkScope(c); err != nil {
		return nil, err
	}
	if err := v.checkTime(c); err != nil {
		return nil, err
	}
	payload, err := payloadHash(r, c, bodyHash)
	if err != nil {
		return nil, err
	}
	secret, ok := "", false
	if v.Secret != nil {
		secret, ok = v.Secret(c.AccessKeyID)
	}
	if !ok || secret == "" {
		return nil, unrecognized(fmt.Sprintf("the access key identifier %q is not known here", c.AccessKeyID))
	}
	if !v.matches(r, c, secret, payload) {
		return nil, invalid("the signature does not match the one calculated here: check the secret access key, and that the method, host, path, query, signed headers and body arrive as they were signed")
	}
	if c.SessionToken != "" {
		if err := v.checkToken(c); err != nil {
			return nil, err
		}
	}
	return &c.Credential, nil
}

func unrecognized(message string) *Error {
	return &Error{Code: CodeUnrecognizedClient, Status: http.StatusForbidden, Message: message}
}

// matches tries the canonical requests that clients make of r.
func (v *Verifier) matches(r *http.Request, c *claim, secret, payload string) bool {
	id := cachedKey{secret, c.scope}
	v.mu.Lock()
	key, cached := v.keys[id]
	v.mu.Unlock()
	if !cached {
		key = deriveKey(secret, c.scope)
	}

	req := canonicalRequest{method: r.Method, signed: c.signed, headers: signedHeaders(r, c.names), payload: payload}
	hosts, paths, queries := hosts(r), paths(r), c.queries(r)
	var buf [1024]byte
	for _, req.query = range queries {
		for _, req.path = range paths {
			for _, req.host = range hosts {
				sum := sign(key, c.at, c.scope, req.appendTo(buf[:0]))
				if hmac.Equal(sum[:], c.signature[:]) {
					if !cached {
						v.remember(id, key)
					}
					return true
				}
			}
		}
	}
	return false
}

// remember keeps a key that has verified a request, so that only holders of a
// secret can fill the cache.
func (v *Verifier) remember(id cachedKey, key [sha256.Size]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys == nil {
		v.keys = make(map[cachedKey][sha256.Size]byte)
	}
	for old := range v.keys {
		if len(v.keys) < maxKeys {
			break
		}
		delete(v.keys, old)
	}
	v.keys[id] = key
}

// queries are the canonical forms of the query. Device SDKs add the session
// token after signing; a plus sign may have been meant as one or as a space.
func (c *claim) queries(r *http.Request) []string {
	var out []string
	for _, plusIsSpace := range [...]bool{false, true} {
		params := parseQuery(r.URL.RawQuery, plusIsSpace)
		if !c.query {
			out = appendNew(out, canonicalQuery(params))
			continue
		}
		out = appendNew(out, canonicalQuery(params, "X-Amz-Signature"))
		out = appendNew(out, canonicalQuery(params, "X-Amz-Signature", "X-Amz-Security-Token"))
	}
	return out
}

// payloadHash is what stands for the body in the canonical request.
func payloadHash(r *http.Request, c *claim, bodyHash string) (string, error) {
	declared := strings.TrimSpace(r.Header.Get("X-Amz-Content-Sha256"))
	if c.query {
		for _, p := range parseQuery(r.URL.RawQuery, false) {
			if p.name == "X-Amz-Content-Sha256" {
				declared = p.value
			}
		}
	}
	switch {
	case declared == "":
		return bodyHash, nil
	case declared == UnsignedPayload:
		if r.TLS == nil {
			return "", invalid("an unsigned payload is accepted over TLS only: sign the body")
		}
		return declared, nil
	case strings.HasPrefix(declared, "STREAMING-"):
		return "", incomplete(fmt.Sprintf("chunked signing (%.40s) is not supported: sign the whole body, or send it as UNSIGNED-PAYLOAD over TLS", declared))
	case !strings.EqualFold(declared, bodyHash):
		return "", invalid("the body does not have the SHA-256 given in x-amz-content-sha256")
	}
	return declared, nil
}

func (v *Verifier) checkScope(c *claim) error {
	if v.Region != "" && c.Region != v.Region {
		return invalid(fmt.Sprintf("the credential is scoped to region %q, this is %q", c.Region, v.Region))
	}
	if len(v.Services) > 0 && !slices.Contains(v.Services, c.Service) {
		return invalid(fmt.Sprintf("the credential is scoped to service %q, accepted here: %s", c.Service, strings.Join(v.Services, ", ")))
	}
	if c.scope.date != c.SignedAt.Format(dateLayout) {
		return invalid(fmt.Sprintf("the date %s of the credential scope is not that of the time of signing, %s", c.scope.date, c.at))
	}
	return nil
}

// checkTime holds the time of signing against the clock. Presigned URLs last
// as long as they say.
func (v *Verifier) checkTime(c *claim) error {
	now := time.Now().UTC()
	if v.Clock != nil {
		now = v.Clock().UTC()
	}
	skew := v.Skew
	if skew <= 0 {
		skew = DefaultSkew
	}
	text := func(t time.Time) string { return t.UTC().Format(timeLayout) }
	if latest := now.Add(skew); c.SignedAt.After(latest) {
		return invalid(fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %v)", text(c.SignedAt), text(latest), text(now), skew))
	}
	if !c.Expires.IsZero() {
		if now.After(c.Expires) {
			return invalid(fmt.Sprintf("Signature expired: %s is now earlier than %s (signed %s)", text(c.Expires), text(now), text(c.SignedAt)))
		}
		return nil
	}
	if earliest := now.Add(-skew); c.SignedAt.Before(earliest) {
		return invalid(fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %v)", text(c.SignedAt), text(earliest), text(now), skew))
	}
	return nil
}

func (v *Verifier) checkToken(c *claim) error {
	if v.SessionToken == nil {
		return unrecognized("session tokens are not accepted here: use a permanent access key")
	}
	err := v.SessionToken(c.AccessKeyID, c.SessionToken)
	var own *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	}
	return unrecognized("the session token is not accepted: " + err.Error())
}
