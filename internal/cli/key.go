package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/sigv4"
)

func keyCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:     "key",
		Short:   "Access keys of a berth",
		Long:    "Access keys of a berth, for the AWS CLI, SDKs and signed WebSockets. AWS's own are those of IAM.",
		Example: "  berth key create --role read-only\n  berth key list",
	}, keyCreateCommand(t), keyListCommand(t), keyDisableCommand(t), keyDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

// keyView is an access key as berth's API sends it and as it is printed.
type keyView struct {
	ID         string     `json:"accessKeyId"`
	Secret     string     `json:"secretAccessKey,omitempty"`
	Role       string     `json:"role,omitempty"`
	Enabled    *bool      `json:"enabled,omitempty"`
	CreatedAt  *time.Time `json:"createdAt,omitempty"`
	LastUsedAt *time.Time `json:"lastUsedAt,omitempty"`
}

func keyCreateCommand(t *target) *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Create an access key",
		Long:    "Create an access key and print it as shell variables. The secret is shown this once.",
		Example: "  berth key create --role read-only",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role != "admin" && role != "read-only" {
				return usagef("--role %q: want admin or read-only", role)
			}
			var v keyView
			if err := t.own(cmd.Context(), http.MethodPost, "/berth/access-keys", map[string]string{"role": role}, &v); err != nil {
				return fmt.Errorf("create access key: %w", err)
			}
			return emit(cmd, v, table{rows: [][]string{{"AWS_ACCESS_KEY_ID=" + v.ID}, {"AWS_SECRET_ACCESS_KEY=" + v.Secret}}})
		},
	}
	cmd.Flags().StringVar(&role, "role", "admin", "what it may do: admin or read-only")
	return cmd
}

func keyListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List access keys",
		Example: "  berth key list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list struct {
				Keys []keyView `json:"accessKeys"`
			}
			if err := t.own(cmd.Context(), http.MethodGet, "/berth/access-keys", nil, &list); err != nil {
				return fmt.Errorf("list access keys: %w", err)
			}
			if list.Keys == nil {
				list.Keys = []keyView{}
			}
			tab := table{header: []string{"ACCESS KEY", "ROLE", "STATUS", "CREATED", "LAST USED"}}
			for _, k := range list.Keys {
				status := "enabled"
				if k.Enabled != nil && !*k.Enabled {
					status = "disabled"
				}
				tab.add(k.ID, k.Role, status, timestamp(k.CreatedAt), timestamp(k.LastUsedAt))
			}
			return emit(cmd, list, tab)
		},
	}
}

func keyDisableCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "disable ID",
		Short:   "Disable an access key",
		Example: "  berth key disable AKIAEXAMPLE",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.own(cmd.Context(), http.MethodPost, "/berth/access-keys/"+url.PathEscape(args[0])+"/disable", nil, nil); err != nil {
				return fmt.Errorf("disable access key %q: %w", args[0], err)
			}
			return report(cmd, keyView{ID: args[0], Enabled: new(bool)}, "disabled access key %s", args[0])
		},
	}
}

func keyDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID",
		Short:   "Delete an access key",
		Example: "  berth key delete AKIAEXAMPLE",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.own(cmd.Context(), http.MethodDelete, "/berth/access-keys/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return fmt.Errorf("delete access key %q: %w", args[0], err)
			}
			return report(cmd, keyView{ID: args[0]}, "deleted access key %s", args[0])
		},
	}
}

// own calls berth's own API, which AWS does not have: a signed request with JSON in and out.
func (t *target) own(ctx context.Context, method, path string, in, out any) error {
	if t.aws {
		return usagef("AWS has no such API: its access keys are those of IAM")
	}
	s, err := t.find(ctx)
	if err != nil {
		return err
	}
	return s.own(ctx, method, path, in, out)
}

func (s *site) own(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	kind := ""
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		kind = "application/json"
	}
	return s.send(ctx, method, path, kind, body, out)
}

// send is own with a body of any kind.
func (t *target) send(ctx context.Context, method, path, kind string, body []byte, out any) error {
	if t.aws {
		return usagef("AWS has no such API: this is for a berth")
	}
	s, err := t.find(ctx)
	if err != nil {
		return err
	}
	return s.send(ctx, method, path, kind, body, out)
}

func (s *site) send(ctx context.Context, method, path, kind string, body []byte, out any) error {
	return s.signed(ctx, "iot", method, s.base+path, kind, body, out)
}

// signed sends a request that is signed for a service.
func (s *site) signed(ctx context.Context, service, method, address, kind string, body []byte, out any, header ...[2]string) error {
	resp, err := s.open(ctx, service, method, address, kind, body, header...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return ownError(resp, answer)
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the answer is not as expected: %w", err)
	}
	return nil
}

// open is signed with an answer that is read, and closed, by the caller. header are names and values.
func (s *site) open(ctx context.Context, service, method, address, kind string, body []byte, header ...[2]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for _, h := range header {
		req.Header.Set(h[0], h[1])
	}
	creds, err := s.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the access key: %w", err)
	}
	signer := sigv4.Signer{
		AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey, SessionToken: creds.SessionToken,
		Region: s.cfg.Region, Service: service,
	}
	signer.Sign(req, body, time.Now())
	resp, err := s.http().Do(req)
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return resp, err
}
