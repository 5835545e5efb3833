package provisioning

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Limits of a pre-provisioning hook (AWS IoT developer guide, "Pre-provisioning hooks").
const (
	hookTimeout = 5 * time.Second
	maxHook     = 64 << 10 // bytes of an answer
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
	Allow     bool              `json:"allowProvisioning"`
	Overrides map[string]string `json:"parameterOverrides"`
}

const commandScheme = "exec:"

// checkHook refuses a target that cannot be called: it is an http or https URL, `exec:` and the
// path of a program that the operator has allowed, or the ARN of a Lambda function.
func (s *Service) checkHook(target string) error {
	switch path, isCommand := strings.CutPrefix(target, commandScheme); {
	case isCommand:
		if !filepath.IsAbs(path) || !slices.Contains(s.cfg.HookCommands, path) {
			return refuse(ErrTemplate, "hook %q: only programs that the operator has named in hook-commands can be hooks", target)
		}
		return nil
	case strings.HasPrefix(target, "arn:"):
		if !strings.Contains(target, ":lambda:") {
			return refuse(ErrTemplate, "hook %q is not the ARN of a Lambda function", target)
		}
		return nil
	}
	if u, err := url.Parse(target); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return refuse(ErrTemplate, "hook %q is neither an http or https URL, nor exec: and a path, nor the ARN of a Lambda function", target)
	}
	return nil
}

// ask calls a hook and returns what it overrides. Whatever is not a clear yes is ErrDenied.
func (s *Service) ask(ctx context.Context, target string, in hookInput) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	if err := s.checkHook(target); err != nil {
		return nil, refuse(ErrDenied, "ACCESS_DENIED: %v", err)
	}
	var answer []byte
	switch path, isCommand := strings.CutPrefix(target, commandScheme); {
	case isCommand:
		answer, err = runHook(ctx, path, body)
	case strings.HasPrefix(target, "arn:"):
		if s.cfg.Lambda == nil {
			err = errors.New("no access to AWS Lambda is configured")
			break
		}
		answer, err = s.cfg.Lambda.Invoke(ctx, target, body)
	default:
		answer, err = s.postHook(ctx, target, body)
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v", hookTimeout)
	}
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

func (s *Service) postHook(ctx context.Context, target string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxHook))
}

// runHook runs a program with the request on its standard input and reads its standard output.
func runHook(ctx context.Context, path string, body []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path)
	cmd.Stdin = bytes.NewReader(body)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout = &limited{&out, maxHook}
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// limited is a writer that takes n bytes at most.
type limited struct {
	w io.Writer
	n int
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.n {
		return 0, fmt.Errorf("output is longer than %d bytes", maxHook)
	}
	l.n -= len(b)
	return l.w.Write(b)
}
