package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/codesign"
)

// Signer is a signing profile as the interface shows it.
type Signer struct {
	Name            string    `json:"name"`
	Algorithm       string    `json:"algorithm"`
	CertificatePath string    `json:"certificatePathOnDevice"`
	Certificate     string    `json:"certificatePem"`
	CreatedAt       time.Time `json:"createdAt"`
}

func signerOf(p *codesign.Profile) Signer {
	return Signer{p.Name, p.Algorithm, p.CertificatePath, p.Certificate, p.Created}
}

// NewSigner asks for a signing profile; empty members have defaults.
type NewSigner struct {
	Algorithm       string `json:"algorithm,omitempty"`
	CertificatePath string `json:"certificatePathOnDevice,omitempty"`
}

func (h *Handler) createSigner(ctx context.Context, r *http.Request, body []byte) (any, error) {
	var in NewSigner
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	p, err := h.Profiles.Create(ctx, r.PathValue("name"), in.Algorithm, in.CertificatePath)
	if err != nil {
		return nil, err
	}
	return signerOf(p), nil
}

func (h *Handler) getSigner(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	p, err := h.Profiles.Get(ctx, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return signerOf(p), nil
}

func (h *Handler) listSigners(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
	list, err := h.Profiles.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Signer, len(list))
	for i, p := range list {
		out[i] = signerOf(p)
	}
	return map[string]any{"signers": out}, nil
}

func (h *Handler) deleteSigner(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	return struct{}{}, h.Profiles.Delete(ctx, r.PathValue("name"))
}

// Signature answers a request to sign a SHA-256.
type Signature struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	SHA256    string `json:"sha256"`
	Signature []byte `json:"signature"` // base64
}

// sign signs a digest: the file itself need not come here.
func (h *Handler) sign(ctx context.Context, r *http.Request, body []byte) (any, error) {
	var in struct {
		SHA256 string `json:"sha256"`
	}
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	digest, err := hex.DecodeString(in.SHA256)
	if err != nil {
		return nil, awsapi.Invalid("sha256 is %q, not hexadecimal", in.SHA256)
	}
	p, err := h.Profiles.Get(ctx, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	signature, err := h.Profiles.Sign(ctx, p.Name, digest)
	if err != nil {
		return nil, err
	}
	return Signature{p.Name, p.Algorithm, in.SHA256, signature}, nil
}

func signerException(err error) *awsapi.Error {
	switch {
	case errors.Is(err, codesign.ErrNotFound):
		return &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: err.Error()}
	case errors.Is(err, codesign.ErrExists):
		return &awsapi.Error{Type: "ResourceAlreadyExistsException", Status: 409, Message: err.Error()}
	case errors.Is(err, codesign.ErrInvalid):
		return &awsapi.Error{Type: "InvalidRequestException", Status: 400, Message: err.Error()}
	}
	return nil
}
