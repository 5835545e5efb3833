package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/broker"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/sigv4"
)

// callers finds out who sent an HTTP request: the holder of an access key by its signature, or a
// device by its client certificate, which the handshake has checked.
type callers struct {
	registry *registry.Registry
	keys     *accesskey.Keys
	broker   *broker.Broker
	verifier sigv4.Verifier
}

func (c *callers) authenticate(r *http.Request, body []byte) (awsapi.Caller, error) {
	if !sigv4.Signed(r) && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return c.certificate(r)
	}
	return c.signed(r, sigv4.HashPayload(body))
}

// signed judges a request by its signature; hash is the SHA-256 of its body.
func (c *callers) signed(r *http.Request, hash string) (awsapi.Caller, error) {
	cred, err := c.verifier.VerifyHash(r, hash)
	if err != nil {
		return awsapi.Caller{}, exception(err)
	}
	key, ok := c.keys.Lookup(cred.AccessKeyID)
	if !ok || !key.Enabled {
		return awsapi.Caller{}, &awsapi.Error{Type: sigv4.CodeUnrecognizedClient, Status: http.StatusForbidden, Message: "the access key does not exist or is disabled"}
	}
	c.keys.Used(key.ID)
	return awsapi.Caller{AccessKeyID: key.ID, Role: key.Role, Service: cred.Service}, nil
}

// certificate is asked at every request of a kept-alive connection: the certificate may have been
// revoked since the handshake.
func (c *callers) certificate(r *http.Request) (awsapi.Caller, error) {
	id := broker.CertificateID(r.TLS.PeerCertificates[0])
	status, err := c.registry.CertificateStatus(r.Context(), id)
	if errors.Is(err, registry.ErrNotFound) || err == nil && status != registry.Active {
		return awsapi.Caller{}, &awsapi.Error{Type: "ForbiddenException", Status: http.StatusForbidden, Message: "certificate " + id + " is not registered and ACTIVE"}
	}
	return awsapi.Caller{CertificateID: id}, err
}

func exception(err error) error {
	var e *sigv4.Error
	if errors.As(err, &e) {
		return &awsapi.Error{Type: e.Code, Status: e.Status, Message: e.Message}
	}
	return err
}

// maxWebSocket is the longest life of a signed WebSocket (AWS IoT developer guide, "AWS IoT Core
// message broker limits").
const maxWebSocket = 24 * time.Hour

// webSocket upgrades to MQTT over WebSocket.
func (c *callers) webSocket(w http.ResponseWriter, r *http.Request) {
	caller, err := c.authenticate(r, nil)
	if err != nil {
		e := awsapi.ErrorOf(err)
		w.Header().Set("x-amzn-ErrorType", e.Type)
		http.Error(w, e.Message, e.Status)
		return
	}
	adm := session.Admission{Until: time.Now().Add(maxWebSocket)}
	if caller.CertificateID != "" {
		adm = session.Admission{Principal: session.Principal{Kind: session.Certificate, ID: caller.CertificateID}, Certificate: r.TLS.PeerCertificates[0]}
	} else {
		adm.Principal = session.Principal{Kind: session.AccessKey, ID: caller.AccessKeyID, ReadOnly: caller.Role != awsapi.RoleAdmin}
	}
	if r.TLS != nil {
		adm.ServerName = r.TLS.ServerName
	}
	c.broker.ServeWebSocket(w, r, adm)
}
