package cli

import (
	"crypto/x509"
	"errors"
	"net"
	"syscall"

	"github.com/aws/smithy-go"

	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store"
)

// hintedError is an error whose remedy is known where it arises.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

func hinted(err error, hint string) error { return &hintedError{err, hint} }

// hint says what to do about an error, or nothing.
func hint(err error) string {
	var (
		known     *hintedError
		api       smithy.APIError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		dns       *net.DNSError
		board     *serial.Error
	)
	if errors.As(err, &known) {
		return known.hint
	}
	if errors.As(err, &board) { // it says itself what to do
		return ""
	}
	if h := client.Hint(err); h != "" {
		return h
	}
	switch {
	case errors.Is(err, server.ErrTaken):
		return "stop it, or give this one a folder of its own with --data"
	case errors.Is(err, store.ErrTaken):
		return "one server owns a database: stop the other, or give this one a schema of its own with ?search_path=NAME"
	case errors.Is(err, store.ErrUnavailable):
		return "PostgreSQL does not answer there: check its host, port and user, and that it runs"
	case errors.As(err, &api):
		return hintAPI(api.ErrorCode())
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is berth serve running?"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another server, perhaps another berth or Mosquitto, has the port: stop it or choose another with the flag"
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 need the capability CAP_NET_BIND_SERVICE; files may belong to another user"
	case errors.As(err, &authority):
		return "the server is not the one whose ca.pem was read: check --data, or AWS_CA_BUNDLE"
	case errors.As(err, &host):
		return "start berth serve with --endpoint " + host.Host
	case errors.As(err, &dns):
		return "the endpoint's name does not resolve on this machine"
	}
	return ""
}

// hintAPI knows the exceptions of the AWS IoT API.
func hintAPI(code string) string {
	switch code {
	case "ResourceNotFoundException":
		return "the list command shows what there is"
	case "DeleteConflictException":
		return "it is still attached: detach it first, or use --force"
	case "CertificateStateException":
		return "deactivate the certificate first, or use --force"
	case "VersionsLimitExceededException":
		return "a policy has at most five versions: delete one"
	case "VersionConflictException":
		return "it has changed meanwhile: describe it and use its version"
	case "ResourceAlreadyExistsException":
		return "the name is taken, with other contents"
	case "InvalidSignatureException", "SignatureDoesNotMatch", "UnrecognizedClientException", "MissingAuthenticationTokenException", "InvalidClientTokenId":
		return "the server does not know this access key or it is disabled: check --data, or run eval \"$(berth env)\" again"
	case "AccessDeniedException", "UnauthorizedException":
		return "this access key may not do that: berth key list shows its role"
	case "RequestExpired", "RequestTimeTooSkewed":
		return "this machine's clock and the server's differ by more than five minutes"
	}
	return ""
}
