package spake2plus

import (
	"crypto/hmac"
	"fmt"

	"filippo.io/nistec"
)

// Prover is the side that knows the code, in one exchange.
type Prover struct {
	id        Identities
	w0, w1, x []byte
	share     []byte
}

// NewProver begins an exchange with a verifier that has told its salt and iterations.
func NewProver(id Identities, code string, salt []byte, iterations int) (*Prover, error) {
	w0, w1, err := derive(id, code, salt, iterations)
	if err != nil {
		return nil, fmt.Errorf("prove code: %w", err)
	}
	x, err := randomScalar()
	if err != nil {
		return nil, fmt.Errorf("prove code: %w", err)
	}
	return newProver(id, w0, w1, x)
}

func newProver(id Identities, w0, w1, x []byte) (*Prover, error) {
	share, err := blind(x, w0, constant(constantM, false))
	if err != nil {
		return nil, fmt.Errorf("prove code: %w", err)
	}
	return &Prover{id: id, w0: w0, w1: w1, x: x, share: share}, nil
}

// Share is what the verifier gets first.
func (p *Prover) Share() []byte { return p.share }

// Finish checks the verifier's answer and returns the prover's own confirmation, for the verifier, and
// the key. The error is ErrShare or ErrCode.
func (p *Prover) Finish(share, confirm []byte) (own, key []byte, err error) {
	y, err := point(share)
	if err != nil {
		return nil, nil, err
	}
	base, err := unblind(y, p.w0, constant(constantN, true))
	if err != nil {
		return nil, nil, err
	}
	z, err := nistec.NewP256Point().ScalarMult(base, p.x)
	if err != nil {
		return nil, nil, err
	}
	v, err := nistec.NewP256Point().ScalarMult(base, p.w1)
	if err != nil {
		return nil, nil, err
	}
	r, err := schedule(p.id, p.share, share, z, v, p.w0)
	if err != nil {
		return nil, nil, err
	}
	if !hmac.Equal(confirm, r.confirmV) {
		return nil, nil, ErrCode
	}
	return r.confirmP, r.key, nil
}

// Verifier is the side that holds a registration, in one exchange.
type Verifier struct {
	share  []byte
	result result
}

// Respond answers a prover's share. From its Share and Confirm the prover learns whether the code was
// right: count the attempt, durably, before they are sent.
func Respond(id Identities, r Registration, share []byte) (*Verifier, error) {
	y, err := randomScalar()
	if err != nil {
		return nil, fmt.Errorf("check code: %w", err)
	}
	return respond(id, r, share, y)
}

func respond(id Identities, r Registration, share, y []byte) (*Verifier, error) {
	x, err := point(share)
	if err != nil {
		return nil, err
	}
	l, err := point(r.L)
	if err != nil || len(r.W0) != ScalarSize {
		return nil, ErrRegistration
	}
	own, err := blind(y, r.W0, constant(constantN, false))
	if err != nil {
		return nil, err
	}
	base, err := unblind(x, r.W0, constant(constantM, true))
	if err != nil {
		return nil, err
	}
	z, err := nistec.NewP256Point().ScalarMult(base, y)
	if err != nil {
		return nil, err
	}
	v, err := nistec.NewP256Point().ScalarMult(l, y)
	if err != nil {
		return nil, err
	}
	res, err := schedule(id, share, own, z, v, r.W0)
	if err != nil {
		return nil, err
	}
	return &Verifier{share: own, result: res}, nil
}

// Share and Confirm are what the prover gets.
func (v *Verifier) Share() []byte   { return v.share }
func (v *Verifier) Confirm() []byte { return v.result.confirmV }

// Finish checks the prover's confirmation and returns the key, or ErrCode.
func (v *Verifier) Finish(confirm []byte) (key []byte, err error) {
	if !hmac.Equal(confirm, v.result.confirmP) {
		return nil, ErrCode
	}
	return v.result.key, nil
}
