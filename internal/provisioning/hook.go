package provisioning

import (
	"context"
	"encoding/json"
)

// hookInput is what a hook is told.
type hookInput struct {
	ClaimCertificateID string            `json:"claimCertificateId"`
	CertificateID      string            `json:"certificateId"`
	CertificatePEM     string            `json:"certificatePem"`
	TemplateARN        string            `json:"templateArn"`
	ClientID           string            `json:"clientId"`
	Parameters         map[string]string `json:"parameters"`
}

// hookOutput is what it answers.
type hookOutput struct {
	Allow     bool       `json:"allowProvisioning"`
	Overrides Parameters `json:"parameterOverrides"`
}

// checkHook refuses a target that cannot be called.
func (s *Service) checkHook(target string) error {
	if err := s.cfg.Hooks.Check(target); err != nil {
		return refuse(ErrTemplate, "%v", err)
	}
	return nil
}

// ask calls a hook and returns what it overrides. Whatever is not a clear yes is ErrDenied.
func (s *Service) ask(ctx context.Context, target string, in hookInput) (map[string]string, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Hooks.Check(target); err != nil {
		return nil, refuse(ErrDenied, "ACCESS_DENIED: %v", err)
	}
	answer, err := s.cfg.Hooks.Call(ctx, target, body)
	var out hookOutput
	if err == nil {
		err = json.Unmarshal(answer, &out)
	}
	if err != nil {
		s.cfg.Log.Warn("provisioning hook failed", "target", target, "certificate_id", in.CertificateID, "error", err)
		return nil, refuse(ErrDenied, "ACCESS_DENIED: the pre-provisioning hook failed")
	}
	if !out.Allow {
		return nil, refuse(ErrDenied, "ACCESS_DENIED: the pre-provisioning hook did not allow provisioning")
	}
	return out.Overrides, nil
}
