package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxSignedHeaders = 128
	// maxExpires is the longest life of a presigned URL: a week.
	maxExpires = 7 * 24 * 60 * 60 // seconds
)

// readClaim reads either form of signature.
func readClaim(r *http.Request) (*claim, error) {
	auth := r.Header.Get("Authorization")
	inHeader := strings.HasPrefix(auth, "AWS4-")
	params := parseQuery(r.URL.RawQuery, false)
	inQuery := slices.ContainsFunc(params, func(p param) bool {
		return p.name == "X-Amz-Signature" || p.name == "X-Amz-Algorithm"
	})
	switch {
	case inHeader && inQuery:
		return nil, incomplete("the request has a signature in the Authorization header and one in the query: send one of them")
	case inHeader:
		return readHeader(r, auth)
	case inQuery:
		return readQuery(params)
	}
	return nil, &Error{Code: CodeMissingToken, Status: http.StatusForbidden, Message: "the request is not signed: neither an AWS4-HMAC-SHA256 Authorization header nor X-Amz-Signature in the query"}
}

// AccessKeyID returns the access key identifier that a request says it was signed with, as [Verifier] reads
// it, whether the signature is right or not; "" if there is none that could be.
func AccessKeyID(r *http.Request) string {
	c, err := readClaim(r)
	if err != nil {
		return ""
	}
	return c.AccessKeyID
}

// readHeader reads "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…,
// Signature=…" and the date header.
func readHeader(r *http.Request, auth string) (*claim, error) {
	c := &claim{}
	if len(r.Header.Values("Authorization")) > 1 {
		return nil, incomplete("the Authorization header is given more than once")
	}
	name, rest, _ := strings.Cut(auth, " ")
	if name != algorithm {
		return nil, badAlgorithm(name)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[key]; twice || !ok {
			return nil, incomplete("the Authorization header is not a list of Credential=, SignedHeaders= and Signature=, each once")
		}
		fields[key] = value
	}
	for _, key := range [...]string{"Credential", "SignedHeaders", "Signature"} {
		if fields[key] == "" {
			return nil, incomplete("the Authorization header lacks " + key)
		}
	}
	if err := c.read(fields["Credential"], fields["SignedHeaders"], fields["Signature"]); err != nil {
		return nil, err
	}
	c.SessionToken = r.Header.Get("X-Amz-Security-Token")
	date := r.Header.Get("X-Amz-Date")
	if date == "" {
		if date = r.Header.Get("Date"); date == "" {
			return nil, incomplete("the request has neither an X-Amz-Date nor a Date header")
		}
		if t, err := http.ParseTime(date); err == nil {
			date = t.UTC().Format(timeLayout)
		}
	}
	return c, c.readTime(date)
}

// readQuery reads the X-Amz-… parameters.
func readQuery(params []param) (*claim, error) {
	fields := map[string]string{}
	for _, p := range params {
		if !strings.HasPrefix(p.name, "X-Amz-") {
			continue
		}
		if _, twice := fields[p.name]; twice {
			return nil, incomplete(fmt.Sprintf("the query has %s more than once", p.name))
		}
		fields[p.name] = p.value
	}
	for _, key := range [...]string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if fields[key] == "" {
			return nil, incomplete("the query lacks " + key)
		}
	}
	if fields["X-Amz-Algorithm"] != algorithm {
		return nil, badAlgorithm(fields["X-Amz-Algorithm"])
	}
	c := &claim{query: true}
	if err := c.read(fields["X-Amz-Credential"], fields["X-Amz-SignedHeaders"], fields["X-Amz-Signature"]); err != nil {
		return nil, err
	}
	if err := c.readTime(fields["X-Amz-Date"]); err != nil {
		return nil, err
	}
	c.SessionToken = fields["X-Amz-Security-Token"]
	// Some device SDKs leave the life out; the skew is the limit then.
	if text, ok := fields["X-Amz-Expires"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxExpires {
			return nil, incomplete(fmt.Sprintf("X-Amz-Expires is %.20q: give 1 to %d seconds", text, maxExpires))
		}
		c.Expires = c.SignedAt.Add(time.Duration(n) * time.Second)
	}
	return c, nil
}

func badAlgorithm(name string) *Error {
	return incomplete(fmt.Sprintf("the algorithm %.40q is not supported: use %s", name, algorithm))
}

// read takes the three parts that both forms have.
func (c *claim) read(credential, signed, signature string) error {
	// The access key identifier may hold slashes, the scope may not.
	parts := strings.Split(credential, "/")
	n := len(parts)
	if n < 5 || parts[n-1] != terminator {
		return incomplete("the credential is not ACCESSKEY/YYYYMMDD/REGION/SERVICE/aws4_request")
	}
	c.AccessKeyID = strings.Join(parts[:n-4], "/")
	c.scope = scope{date: parts[n-4], region: parts[n-3], service: parts[n-2]}
	c.Region, c.Service = c.scope.region, c.scope.service
	if c.AccessKeyID == "" || c.Region == "" || c.Service == "" || strings.ContainsAny(credential, "\r\n") {
		return incomplete("the credential is not ACCESSKEY/YYYYMMDD/REGION/SERVICE/aws4_request")
	}

	c.signed, c.names = signed, strings.Split(signed, ";")
	if len(c.names) > maxSignedHeaders {
		return incomplete(fmt.Sprintf("%d signed headers, the limit is %d", len(c.names), maxSignedHeaders))
	}
	for i, name := range c.names {
		if name == "" || name != strings.ToLower(name) || strings.ContainsAny(name, " \t\r\n:") || slices.Contains(c.names[:i], name) {
			return incomplete("the signed headers are not different names in lower case, joined with semicolons")
		}
	}
	if !slices.Contains(c.names, "host") {
		return incomplete("the signed headers lack host")
	}

	raw, err := hex.DecodeString(signature)
	if err != nil || len(raw) != sha256.Size || strings.ToLower(signature) != signature {
		return incomplete("the signature is not 64 hexadecimal digits in lower case")
	}
	copy(c.signature[:], raw)
	return nil
}

func (c *claim) readTime(text string) error {
	t, err := time.Parse(timeLayout, text)
	if err != nil {
		return incomplete(fmt.Sprintf("the time of signing is %.40q: give it as YYYYMMDDTHHMMSSZ", text))
	}
	c.at, c.SignedAt = text, t
	return nil
}
