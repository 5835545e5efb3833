package provisioning

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/plainjson"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// tokenLife is how long a device may take from its certificate to its registration (AWS IoT
// developer guide, "CreateKeysAndCertificate").
const tokenLife = time.Hour

// handle carries a request out and publishes the answer.
func (s *Service) handle(r *request) {
	answer, after, err := s.answer(r)
	topic := r.topic + "/accepted"
	if err != nil {
		s.rejected.Add(1)
		topic, answer = r.topic+"/rejected", reject(err)
		s.cfg.Log.Warn("provisioning request rejected", "topic", r.topic, "client_id", r.origin.ClientID, "certificate_id", r.origin.Principal, "error", err)
	} else {
		s.accepted.Add(1)
	}
	b, err := r.format.encode(answer)
	if err != nil {
		s.cfg.Log.Error("encode provisioning answer", "topic", topic, "error", err)
		return
	}
	// Only to who asked: the answer may hold a private key, and a fleet shares its claim certificate.
	p := &router.Publication{Topic: topic, Payload: b, QoS: 1, Origin: s.origin, To: r.asker}
	if r.op == createKeys {
		// A private key goes to the connection that asked while it lasts. QoS 1 would write it to the
		// queue of a persistent session; a device that missed it asks again.
		p.QoS, p.Connection = 0, r.origin
	}
	s.cfg.Router.Publish(p, func(err error) {
		if err == nil && after != nil {
			after()
		}
	})
}

// answer returns the answer of a request, and what is to be done once it is on its way.
func (s *Service) answer(r *request) (any, func(), error) {
	if r.refused {
		return nil, nil, errThrottled
	}
	p, err := r.format.decode(r.payload)
	if err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	switch r.op {
	case createKeys:
		s.keys <- struct{}{}
		issued, err := s.cfg.Authority.IssueWithNewKey()
		<-s.keys
		if err != nil {
			return nil, nil, err
		}
		out, err := s.pending(ctx, issued.CertificatePEM)
		if err != nil {
			return nil, nil, err
		}
		out.PrivateKey = issued.PrivateKeyPEM
		return out, nil, nil
	case createFromCSR:
		if p.CSR == "" {
			return nil, nil, refuse(ErrParameters, "certificateSigningRequest is missing")
		}
		issued, err := s.cfg.Authority.IssueFromCSR(p.CSR)
		if err != nil {
			return nil, nil, err
		}
		out, err := s.pending(ctx, issued)
		return out, nil, err
	}
	return s.provision(ctx, r, &p)
}

// pending stores a new certificate as PENDING_ACTIVATION with a token that proves its ownership.
func (s *Service) pending(ctx context.Context, certPEM string) (*credentials, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	token := hex.EncodeToString(secret)
	c, err := s.cfg.Registry.AddCertificateWith(ctx, registry.NewCertificate{PEM: certPEM, Status: registry.PendingActivation},
		func(tx *store.Tx, c *registry.Certificate) error {
			_, err := tx.Exec(`INSERT INTO provisioning_token (hash, certificate, expires, used, boot, request, answer, delivered) VALUES (?, ?, ?, 0, '', '', '', 0)`,
				hash(token), c.ID, s.cfg.Now().Add(tokenLife).UnixMilli())
			return err
		})
	if err != nil {
		return nil, err
	}
	return &credentials{CertificateID: c.ID, CertificatePEM: c.PEM, Token: token}, nil
}

func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// provision registers the device that holds a token.
func (s *Service) provision(ctx context.Context, r *request, p *payload) (any, func(), error) {
	if p.Token == "" {
		return nil, nil, refuse(ErrToken, "certificateOwnershipToken is missing")
	}
	info, err := s.DescribeTemplate(ctx, r.template)
	if err != nil {
		return nil, nil, err
	}
	if info.Type != FleetProvisioning || !info.Enabled {
		return nil, nil, refuse(ErrDenied, "provisioning template %q is not enabled for fleet provisioning", r.template)
	}
	parameters, err := json.Marshal(p.Parameters)
	if err != nil {
		return nil, nil, err
	}
	token, what := hash(p.Token), hash(r.template, r.origin.Principal, string(parameters))
	certificate, replay, err := s.checkToken(ctx, token, what)
	if err != nil {
		return nil, nil, err
	}
	delivered := func() { s.delivered(token) }
	if replay != nil {
		return replay, delivered, nil
	}
	c, err := s.cfg.Registry.DescribeCertificate(ctx, certificate)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, nil, refuse(ErrToken, "the certificate of this token does not exist any more")
	}
	if err != nil {
		return nil, nil, err
	}
	given, foreign := maps.Clone(p.Parameters), maps.Clone(p.Parameters)
	if given == nil {
		given = make(map[string]string)
	}
	if info.Hook != nil {
		overrides, err := s.ask(s.run, info.Hook.TargetARN, hookInput{ClaimCertificateID: r.origin.Principal, CertificateID: c.ID, CertificatePEM: c.PEM,
			TemplateARN: info.ARN, ClientID: r.origin.ClientID, Parameters: given})
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(given, overrides)
		maps.DeleteFunc(foreign, func(name, _ string) bool { _, ok := overrides[name]; return ok })
	}
	given[CertificateIDParameter] = c.ID
	delete(foreign, CertificateIDParameter)
	tmpl, err := ParseTemplate([]byte(info.Body))
	if err != nil {
		return nil, nil, err
	}
	plan, err := tmpl.ExpandForDevice(given, foreign)
	if err != nil {
		return nil, nil, err
	}
	if plan.Certificate == nil || plan.Certificate.ID != c.ID {
		return nil, nil, refuse(ErrParameters, "the template does not use the certificate of the token: its CertificateId must be a Ref to %s", CertificateIDParameter)
	}
	out := &registration{DeviceConfiguration: plan.DeviceConfiguration}
	_, err = s.cfg.Registry.Provision(ctx, plan.Provisioning, func(tx *store.Tx, done *registry.Provisioned) error {
		if done.Thing != nil {
			out.ThingName = done.Thing.Name
		}
		answer, err := plainjson.Marshal(out)
		if err != nil {
			return err
		}
		n, err := tx.Exec(`UPDATE provisioning_token SET used = 1, boot = ?, request = ?, answer = ? WHERE hash = ? AND used = 0 AND expires > ?`,
			s.boot, what, string(answer), token, s.cfg.Now().UnixMilli())
		if err == nil && n == 0 {
			return errTokenUsed()
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return out, delivered, nil
}

func errTokenUsed() error {
	return refuse(ErrToken, "the certificate ownership token has been used or has expired")
}

// checkToken returns the certificate of a token that can be used. A token that was used in an
// earlier run of the server, which ended before the answer was on its way, gives that answer again
// to the same request: the device was provisioned and does not know it.
func (s *Service) checkToken(ctx context.Context, token, request string) (certificate string, replay *registration, err error) {
	var expires, used, delivered int64
	var boot, of, answer string
	err = s.cfg.Store.QueryRow(ctx, `SELECT certificate, expires, used, boot, request, answer, delivered FROM provisioning_token WHERE hash = ?`,
		[]any{token}, &certificate, &expires, &used, &boot, &of, &answer, &delivered)
	switch {
	case errors.Is(err, store.ErrNoRows):
		return "", nil, refuse(ErrToken, "the certificate ownership token is not known")
	case err != nil:
		return "", nil, err
	case expires <= s.cfg.Now().UnixMilli():
		return "", nil, errTokenUsed()
	case used == 0:
		return certificate, nil, nil
	case delivered == 0 && boot != s.boot && of == request:
		replay = new(registration)
		return certificate, replay, json.Unmarshal([]byte(answer), replay)
	}
	return "", nil, errTokenUsed()
}

// delivered notes that the answer to a token's use is on its way.
func (s *Service) delivered(token string) {
	s.cfg.Store.Submit(func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE provisioning_token SET delivered = 1 WHERE hash = ?`, token)
		return err
	}, func(err error) {
		if err != nil && !errors.Is(err, store.ErrClosed) {
			s.cfg.Log.Error("note provisioning answer", "error", err)
		}
	})
}

// maxSwept is the number of tokens dropped in one transaction.
const maxSwept = 500

// Sweep deletes tokens that have expired, with their certificates if those were never used, and
// temporary claim certificates.
func (s *Service) Sweep(ctx context.Context) error {
	for {
		n := 0
		now := s.cfg.Now().UnixMilli()
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			n = 0
			unused := map[string]string{}
			var all []string
			err := tx.Query(`SELECT hash, certificate, used FROM provisioning_token WHERE expires <= ? LIMIT ?`, []any{now, maxSwept}, func(row store.Row) error {
				var token, certificate string
				var used int64
				if err := row.Scan(&token, &certificate, &used); err != nil {
					return err
				}
				if all = append(all, token); used == 0 {
					unused[token] = certificate
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, token := range all {
				if certificate, ok := unused[token]; ok {
					if err := s.cfg.Registry.DropPendingTx(tx, certificate); err != nil {
						return err
					}
				}
				if _, err := tx.Exec(`DELETE FROM provisioning_token WHERE hash = ?`, token); err != nil {
					return err
				}
			}
			n = len(all)
			return nil
		})
		if err != nil {
			return err
		}
		if n < maxSwept {
			break
		}
	}
	if err := s.sweepTasks(ctx); err != nil {
		return err
	}
	var expired []string
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		expired = nil
		return tx.Query(`DELETE FROM provisioning_claim WHERE expires <= ? RETURNING certificate`, []any{s.cfg.Now().UnixMilli()}, func(row store.Row) error {
			var id string
			err := row.Scan(&id)
			expired = append(expired, id)
			return err
		})
	})
	if err == nil && len(expired) > 0 && s.cfg.Expired != nil {
		s.cfg.Expired(expired) // connections made with them end
	}
	return err
}

var errThrottled = errors.New("too many requests are waiting")

// reject words an error for a device. Codes as devices see them from AWS IoT.
func reject(err error) rejection {
	for _, x := range []struct {
		kind   error
		status int
		code   string
	}{
		{errThrottled, 429, "Throttled"},
		{ErrToken, 400, "InvalidCertificateOwnershipToken"},
		{ErrDenied, 403, "AccessDenied"},
		{ErrParameters, 400, "InvalidParameters"},
		{ErrTemplate, 400, "InvalidParameters"},
		{ca.ErrCSR, 400, "InvalidParameters"},
		{registry.ErrNotFound, 404, "ResourceNotFound"},
		{registry.ErrAlreadyExists, 409, "ResourceConflict"},
		{registry.ErrVersionConflict, 409, "ResourceConflict"},
		{registry.ErrInvalid, 400, "InvalidParameters"},
		{registry.ErrLimit, 400, "InvalidParameters"},
		{registry.ErrMalformedPolicy, 400, "InvalidParameters"},
		{registry.ErrCertificateState, 400, "InvalidParameters"},
		{registry.ErrCertificateValidation, 400, "InvalidParameters"},
	} {
		if errors.Is(err, x.kind) {
			return rejection{x.status, x.code, err.Error()}
		}
	}
	return rejection{500, "InternalError", "an unexpected error has occurred"}
}
