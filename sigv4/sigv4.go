// Package sigv4 verifies requests signed with AWS Signature Version 4, and
// signs them for tests and tools.
//
// It follows the IAM user guide, "AWS Signature Version 4 for API requests",
// in the header form (Authorization) and the query form (X-Amz-Signature),
// the latter also as device SDKs sign the WebSocket path /mqtt. Chunked
// signing (STREAMING-…) and the asymmetric variant SigV4A are refused.
//
// Clients differ in what they sign. [Verifier] therefore tries the few
// canonical requests that stock clients are known to make of one request: the
// host with and without its port, the path encoded once and twice, and in the
// query form the session token within and outside the signature. All of them
// name the same request; none leaves out the method, the host, the path, the
// remaining query or the payload.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeLayout = "20060102T150405Z"
	dateLayout = "20060102"

	// UnsignedPayload stands for the hash of a body that is not signed.
	UnsignedPayload = "UNSIGNED-PAYLOAD"

	// emptyHash is the SHA-256 of nothing.
	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Credential is who signed a request, and for what.
type Credential struct {
	AccessKeyID string
	Region      string // of the credential scope
	Service     string // of the credential scope, such as "iotdevicegateway"
	SignedAt    time.Time
	// Expires is when a presigned URL ends; zero in the header form and for
	// URLs without X-Amz-Expires.
	Expires time.Time
	// SessionToken is the token that came with the request, already accepted
	// by [Verifier.SessionToken]; "" without one.
	SessionToken string
}

// Error codes, as the REST endpoints of AWS IoT give them.
const (
	CodeMissingToken       = "MissingAuthenticationTokenException"
	CodeIncomplete         = "IncompleteSignatureException"
	CodeInvalidSignature   = "InvalidSignatureException"
	CodeUnrecognizedClient = "UnrecognizedClientException"
	CodeExpiredToken       = "ExpiredTokenException"
)

// Error says why a request is refused, in the terms of AWS.
type Error struct {
	Code    string // for x-amzn-ErrorType
	Status  int    // HTTP status: 403, or 400 for what cannot be read
	Message string
}

// Error implements error.
func (e *Error) Error() string { return "verify signature: " + e.Code + ": " + e.Message }

func incomplete(message string) *Error {
	return &Error{Code: CodeIncomplete, Status: http.StatusBadRequest, Message: message}
}

func invalid(message string) *Error {
	return &Error{Code: CodeInvalidSignature, Status: http.StatusForbidden, Message: message}
}

// HashPayload returns the SHA-256 of a body in the form that signatures use.
func HashPayload(body []byte) string {
	if len(body) == 0 {
		return emptyHash
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// scope is the credential scope: what a derived key is good for.
type scope struct {
	date    string // YYYYMMDD
	region  string
	service string
}

func (s scope) String() string {
	return s.date + "/" + s.region + "/" + s.service + "/" + terminator
}

// deriveKey makes the signing key of a scope.
func deriveKey(secret string, s scope) [sha256.Size]byte {
	key := mac([]byte("AWS4"+secret), s.date)
	key = mac(key[:], s.region)
	key = mac(key[:], s.service)
	return mac(key[:], terminator)
}

func mac(key []byte, text string) (out [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	h.Sum(out[:0])
	return out
}

// sign returns the signature of a canonical request.
func sign(key [sha256.Size]byte, at string, s scope, canonical []byte) [sha256.Size]byte {
	sum := sha256.Sum256(canonical)
	return mac(key[:], algorithm+"\n"+at+"\n"+s.String()+"\n"+hex.EncodeToString(sum[:]))
}
