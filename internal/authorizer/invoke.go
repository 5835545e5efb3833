package authorizer

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/hook"
)

// Why a client is not let in; errors of Authenticate match one of these.
var (
	ErrCredentials  = errors.New("the credentials are not accepted")  // by the authorizer, or their signature
	ErrNoAuthorizer = errors.New("no authorizer decides over this")   // none is named, or not one that may be
	ErrFailed       = errors.New("the authorizer failed")             // no answer, or not one that can be used
	ErrBusy         = errors.New("the authorizer has too much to do") // too many clients wait for it
)

// Error is a refusal: its kind is one of the sentinels and its message says why.
type Error struct {
	Kind    error
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Limits of the calls of one authorizer.
const (
	maxCalls   = 32   // at once
	maxWaiting = 1024 // for one of those
)

// gate bounds the calls of one authorizer.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
}

func newGate() *gate { return &gate{slots: make(chan struct{}, maxCalls)} }

// enter waits for a place; leave it with <-g.slots.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	if g.waiting.Add(1) > maxWaiting {
		g.waiting.Add(-1)
		return ErrBusy
	}
	defer g.waiting.Add(-1)
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ErrBusy
	}
}

// Applies reports whether an authorizer is to decide over a client that has neither a certificate
// nor a signature: it names one, or there is a default.
func (s *Service) Applies(r *Request) bool {
	st := s.state.Load()
	if !st.active {
		return false
	}
	if r.Default != "" || st.usual != "" {
		return true
	}
	f, err := r.fields()
	return err != nil || f.get(nameField) != ""
}

// choose finds the authorizer for a client.
func (s *Service) choose(r *Request, f fields) (*Authorizer, error) {
	st := s.state.Load()
	name, usual := f.get(nameField), r.Default
	if usual == "" {
		usual = st.usual
	}
	switch {
	case name == "" && usual == "":
		return nil, refuse(ErrNoAuthorizer, "no client certificate, no signature and no authorizer: name one with %s, or set a default authorizer", nameField)
	case name == "":
		name = usual
	case name != usual && r.Default != "" && !r.Override:
		return nil, refuse(ErrNoAuthorizer, "authorizer %.128q: the domain configuration does not let clients override its authorizer %s", name, r.Default)
	}
	a := st.byName[name]
	if a == nil {
		return nil, refuse(ErrNoAuthorizer, "authorizer %.128q does not exist", name)
	}
	if a.Status != Active {
		return nil, refuse(ErrNoAuthorizer, "authorizer %s is %s", name, a.Status)
	}
	return a, nil
}

// Limits of the service model of AWS IoT for what a client passes.
const (
	maxToken     = 6144
	maxSignature = 2560
)

// token returns the token that a client passed, once its signature has been found good.
func (a *Authorizer) token(f fields) (token string, verified bool, err error) {
	if a.TokenKeyName != "" {
		token = f.get(a.TokenKeyName)
	}
	if len(token) > maxToken {
		return "", false, refuse(ErrCredentials, "authorizer %s: the token is longer than %d characters", a.Name, maxToken)
	}
	if a.SigningDisabled {
		return token, false, nil
	}
	if token == "" {
		return "", false, refuse(ErrCredentials, "authorizer %s wants a signed token in %s, and there is none", a.Name, a.TokenKeyName)
	}
	return token, true, a.verify(token, f.get(signatureField))
}

// verify checks a token's signature: RSASSA-PKCS1-v1_5 with SHA-256, in base64.
func (a *Authorizer) verify(token, signature string) error {
	if signature == "" {
		return refuse(ErrCredentials, "authorizer %s wants the token's signature in %s, and there is none", a.Name, signatureField)
	}
	// An unescaped plus sign may have become a space on its way.
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(signature, " ", "+"))
	if err != nil || len(signature) > maxSignature {
		return refuse(ErrCredentials, "authorizer %s: the token's signature is not base64 of at most %d characters", a.Name, maxSignature)
	}
	sum := sha256.Sum256([]byte(token))
	for _, key := range a.keys {
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw) == nil {
			return nil
		}
	}
	return refuse(ErrCredentials, "authorizer %s: none of its public keys verifies the token's signature", a.Name)
}

// Prove checks what can be checked of an upgrade to WebSocket without asking the authorizer, which
// is asked when CONNECT has come: a signed token that came with the upgrade. Errors are those of
// Authenticate.
func (s *Service) Prove(r *Request) error {
	f, err := r.fields()
	if err != nil {
		return refuse(ErrCredentials, "%v", err)
	}
	name := f.get(nameField)
	if name == "" {
		return nil // CONNECT may say more
	}
	a, err := s.choose(r, f)
	if err != nil || a.SigningDisabled || f.get(a.TokenKeyName) == "" {
		return err
	}
	_, _, err = a.token(f)
	return err
}

// Authenticate asks the authorizer whose turn it is about a client. The error is an [*Error]; a
// decision that comes without one is authenticated. It may take [hook.Timeout].
func (s *Service) Authenticate(ctx context.Context, r *Request) (*Decision, error) {
	f, err := r.fields()
	if err != nil {
		return nil, refuse(ErrCredentials, "%v", err)
	}
	a, err := s.choose(r, f)
	if err != nil {
		return nil, err
	}
	token, verified, err := a.token(f)
	if err != nil {
		return nil, err
	}
	var key cacheKey
	keep := a.CacheHTTP && r.HTTP != nil && r.MQTT == nil
	if keep {
		key = cacheKeyOf(a, r)
		if d := s.cache.get(key, s.cfg.Now()); d != nil {
			return d, nil
		}
	}
	d, err := s.ask(ctx, a, newInput(r, token, verified, uuid.NewString()))
	if err != nil {
		return nil, err
	}
	if !d.Authenticated {
		return nil, refuse(ErrCredentials, "authorizer %s answered isAuthenticated false", a.Name)
	}
	if keep {
		s.cache.put(key, d, s.cfg.Now().Add(d.Refresh))
	}
	return d, nil
}

// ask calls the function and reads its answer.
func (s *Service) ask(ctx context.Context, a *Authorizer, in input) (*Decision, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, refuse(ErrFailed, "authorizer %s: %v", a.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, hook.Timeout)
	defer cancel()
	if err := a.gate.enter(ctx); err != nil {
		return nil, refuse(ErrBusy, "authorizer %s has %d calls open and does not keep up", a.Name, maxCalls)
	}
	start := time.Now()
	answer, err := s.cfg.Hooks.Call(ctx, a.Function, body)
	<-a.gate.slots
	var d *Decision
	if err == nil {
		d, err = parseDecision(answer, "authorizer "+a.Name)
	}
	if err != nil {
		s.cfg.Log.Warn("authorizer failed", "authorizer", a.Name, "function", a.Function, "took", time.Since(start), "error", err)
		return nil, refuse(ErrFailed, "authorizer %s failed: %v", a.Name, err)
	}
	return d, nil
}

// Test asks one authorizer about a client as TestInvokeAuthorizer does; token and signature are
// given apart. The decision may be that the client is not authenticated. registry.ErrNotFound, or an
// [*Error].
func (s *Service) Test(ctx context.Context, name, token, signature string, r *Request) (*Decision, error) {
	a, err := s.Describe(name)
	if err != nil {
		return nil, err
	}
	if a.TokenKeyName != "" && token == "" {
		f, err := r.fields()
		if err != nil {
			return nil, refuse(ErrCredentials, "%v", err)
		}
		if token = f.get(a.TokenKeyName); signature == "" {
			signature = f.get(signatureField)
		}
	}
	given := fields{{signatureField: signature}}
	if a.TokenKeyName != "" {
		given[0][a.TokenKeyName] = token
	}
	_, verified, err := a.token(given)
	if err != nil {
		return nil, err
	}
	return s.ask(ctx, a, newInput(r, token, verified, uuid.NewString()))
}
