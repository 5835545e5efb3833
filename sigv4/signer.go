package sigv4

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signer signs requests for one access key, region and service.
type Signer struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // "" for a permanent access key
	Region          string
	Service         string // "iotdevicegateway" for MQTT over WebSocket
}

// Sign adds X-Amz-Date, X-Amz-Content-Sha256, X-Amz-Security-Token if there is
// one, and Authorization to the request. It signs the host, the content type
// and every x-amz header. body is what the request will carry.
func (s *Signer) Sign(r *http.Request, body []byte, at time.Time) {
	hash := HashPayload(body)
	stamp := at.UTC().Format(timeLayout)
	r.Header.Del("Authorization")
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("X-Amz-Content-Sha256", hash)
	if s.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", s.SessionToken)
	}
	names := []string{"host"}
	for name := range r.Header {
		if name = strings.ToLower(name); name == "content-type" || strings.HasPrefix(name, "x-amz-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	req := canonicalRequest{
		method:  r.Method,
		path:    paths(r)[0],
		query:   canonicalQuery(parseQuery(r.URL.RawQuery, true)),
		host:    hosts(r)[0],
		headers: signedHeaders(r, names),
		signed:  strings.Join(names, ";"),
		payload: hash,
	}
	if req.method == "" {
		req.method = http.MethodGet
	}
	scope := s.scope(stamp)
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		algorithm, s.AccessKeyID, scope, req.signed, s.sign(stamp, scope, &req)))
}

// PresignWebSocket returns the URL wss://host/mqtt with its signature, for
// MQTT over WebSocket. host may have a port. expires is rounded to seconds; 0
// leaves X-Amz-Expires out. A session token is added after signing, as device
// SDKs do.
func (s *Signer) PresignWebSocket(host string, expires time.Duration, at time.Time) string {
	stamp := at.UTC().Format(timeLayout)
	scope := s.scope(stamp)
	params := []param{
		{"X-Amz-Algorithm", algorithm},
		{"X-Amz-Credential", s.AccessKeyID + "/" + scope.String()},
		{"X-Amz-Date", stamp},
		{"X-Amz-SignedHeaders", "host"},
	}
	if seconds := int(expires / time.Second); seconds > 0 {
		params = append(params, param{"X-Amz-Expires", strconv.Itoa(seconds)})
	}
	req := canonicalRequest{
		method:  http.MethodGet,
		path:    "/mqtt",
		query:   canonicalQuery(params),
		host:    host,
		headers: []header{{name: "host"}},
		signed:  "host",
		payload: emptyHash,
	}
	url := "wss://" + host + "/mqtt?" + req.query + "&X-Amz-Signature=" + s.sign(stamp, scope, &req)
	if s.SessionToken != "" {
		url += "&X-Amz-Security-Token=" + escape(s.SessionToken, false)
	}
	return url
}

func (s *Signer) scope(stamp string) scope {
	return scope{date: stamp[:len(dateLayout)], region: s.Region, service: s.Service}
}

func (s *Signer) sign(stamp string, scope scope, req *canonicalRequest) string {
	sum := sign(deriveKey(s.SecretAccessKey, scope), stamp, scope, req.appendTo(nil))
	return hex.EncodeToString(sum[:])
}
