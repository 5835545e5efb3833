package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

const certificateHelp = "CERTIFICATE is an identifier, an ARN or a PEM file."

func certCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:     "cert",
		Short:   "Device certificates",
		Example: "  berth cert create lamp --out certs --thing lamp --policy sensors\n  berth cert header --thing lamp --dir certs",
	},
		certCreateCommand(t), certCSRCommand(), certListCommand(t), certDescribeCommand(t),
		certStatusCommand(t, "activate", "Let a certificate connect", "activated", types.CertificateStatusActive),
		certStatusCommand(t, "deactivate", "Stop a certificate from connecting", "deactivated", types.CertificateStatusInactive),
		certStatusCommand(t, "revoke", "Revoke a certificate for good", "revoked", types.CertificateStatusRevoked),
		certDeleteCommand(t), certAttachCommand(t), certDetachCommand(t), certHeaderCommand())
	t.addFlags(cmd)
	return cmd
}

// certView is a certificate as it is printed.
type certView struct {
	ID        string            `json:"certificateId"`
	ARN       string            `json:"certificateArn,omitempty"`
	Status    string            `json:"status,omitempty"`
	CreatedAt string            `json:"creationDate,omitempty"`
	NotBefore string            `json:"notBefore,omitempty"`
	NotAfter  string            `json:"notAfter,omitempty"`
	CA        string            `json:"caCertificateId,omitempty"`
	PEM       string            `json:"certificatePem,omitempty"`
	Policies  []string          `json:"policies,omitempty"`
	Things    []string          `json:"things,omitempty"`
	Files     map[string]string `json:"files,omitempty"`
}

// certificateID takes an identifier, an ARN or a PEM file. The identifier is the SHA-256 of the
// certificate's DER.
func certificateID(ref string) (string, error) {
	if _, id, ok := strings.Cut(ref, ":cert/"); ok && strings.HasPrefix(ref, "arn:") {
		return id, nil
	}
	if id := strings.ToLower(ref); len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		return id, nil
	}
	b, err := os.ReadFile(ref)
	if err != nil {
		return "", hinted(fmt.Errorf("certificate %q is no identifier, ARN or readable file", ref), "berth cert list shows the identifiers")
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", fmt.Errorf("%s holds no PEM certificate", ref)
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:]), nil
}

// certificateARN asks the registry for the ARN unless ref is one.
func certificateARN(cmd *cobra.Command, api *iot.Client, ref string) (string, error) {
	if strings.HasPrefix(ref, "arn:") {
		return ref, nil
	}
	d, err := describeCertificate(cmd, api, ref)
	if err != nil {
		return "", err
	}
	return text(d.CertificateArn), nil
}

func describeCertificate(cmd *cobra.Command, api *iot.Client, ref string) (*types.CertificateDescription, error) {
	id, err := certificateID(ref)
	if err != nil {
		return nil, err
	}
	out, err := api.DescribeCertificate(cmd.Context(), &iot.DescribeCertificateInput{CertificateId: &id})
	if err != nil {
		return nil, apiError("describe certificate "+short(id), err)
	}
	if out.CertificateDescription == nil {
		return nil, fmt.Errorf("describe certificate %s: the answer is empty", short(id))
	}
	return out.CertificateDescription, nil
}

// short is enough of a certificate identifier to recognize it.
func short(id string) string {
	if len(id) > 16 {
		return id[:16] + "…"
	}
	return id
}

func certListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List certificates",
		Example: "  berth cert list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []certView{}
			tab := table{header: []string{"CERTIFICATE", "STATUS", "CREATED"}}
			for p := iot.NewListCertificatesPaginator(api, &iot.ListCertificatesInput{}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list certificates", err)
				}
				for _, c := range page.Certificates {
					v := certView{ID: text(c.CertificateId), ARN: text(c.CertificateArn), Status: string(c.Status), CreatedAt: timestamp(c.CreationDate)}
					list = append(list, v)
					tab.add(v.ID, v.Status, v.CreatedAt)
				}
			}
			return emit(cmd, map[string]any{"certificates": list}, tab)
		},
	}
}

func certDescribeCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "describe CERTIFICATE",
		Short:   "Show a certificate with its policies and things",
		Long:    "Show a certificate with its policies and things. " + certificateHelp,
		Example: "  berth cert describe certs/lamp.cert.pem",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			d, err := describeCertificate(cmd, api, args[0])
			if err != nil {
				return err
			}
			v := certView{
				ID: text(d.CertificateId), ARN: text(d.CertificateArn), Status: string(d.Status), CreatedAt: timestamp(d.CreationDate),
				CA: text(d.CaCertificateId), PEM: text(d.CertificatePem),
			}
			var dates string
			if d.Validity != nil {
				v.NotBefore, v.NotAfter = timestamp(d.Validity.NotBefore), timestamp(d.Validity.NotAfter)
				dates = v.NotBefore + " to " + v.NotAfter
				if d.Validity.NotAfter != nil && d.Validity.NotAfter.Before(time.Now()) {
					dates += " (out of date)"
				}
			}
			if v.Policies, err = attachedPolicies(cmd, api, v.ARN); err != nil {
				return err
			}
			if v.Things, err = principalThings(cmd, api, v.ARN); err != nil {
				return err
			}
			return emit(cmd, v, table{rows: [][]string{
				{"certificate", v.ID}, {"arn", v.ARN}, {"status", v.Status}, {"created", v.CreatedAt}, {"valid", dates},
				{"policies", strings.Join(v.Policies, ", ")}, {"things", strings.Join(v.Things, ", ")},
			}})
		},
	}
}

func attachedPolicies(cmd *cobra.Command, api *iot.Client, arn string) (names []string, err error) {
	for p := iot.NewListAttachedPoliciesPaginator(api, &iot.ListAttachedPoliciesInput{Target: &arn}); p.HasMorePages(); {
		page, err := p.NextPage(cmd.Context())
		if err != nil {
			return nil, apiError("list the policies of "+arn, err)
		}
		for _, policy := range page.Policies {
			names = append(names, text(policy.PolicyName))
		}
	}
	return names, nil
}

func principalThings(cmd *cobra.Command, api *iot.Client, arn string) (names []string, err error) {
	for p := iot.NewListPrincipalThingsPaginator(api, &iot.ListPrincipalThingsInput{Principal: &arn}); p.HasMorePages(); {
		page, err := p.NextPage(cmd.Context())
		if err != nil {
			return nil, apiError("list the things of "+arn, err)
		}
		names = append(names, page.Things...)
	}
	return names, nil
}

func certStatusCommand(t *target, verb, summary, done string, status types.CertificateStatus) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " CERTIFICATE",
		Short:   summary,
		Long:    summary + ". " + certificateHelp,
		Example: "  berth cert " + verb + " certs/lamp.cert.pem",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := certificateID(args[0])
			if err != nil {
				return err
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if _, err := api.UpdateCertificate(cmd.Context(), &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: status}); err != nil {
				return apiError(verb+" certificate "+short(id), err)
			}
			return report(cmd, certView{ID: id, Status: string(status)}, "%s certificate %s", done, id)
		},
	}
}

func certDeleteCommand(t *target) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "delete CERTIFICATE",
		Short:   "Delete a certificate",
		Long:    "Delete a certificate. " + certificateHelp,
		Example: "  berth cert delete certs/lamp.cert.pem --force",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := certificateID(args[0])
			if err != nil {
				return err
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if force {
				if err := releaseCertificate(cmd, api, id); err != nil {
					return err
				}
			}
			if _, err := api.DeleteCertificate(cmd.Context(), &iot.DeleteCertificateInput{CertificateId: &id}); err != nil {
				return apiError("delete certificate "+short(id), err)
			}
			return report(cmd, certView{ID: id}, "deleted certificate %s", id)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "deactivate it and detach policies and things first")
	return cmd
}

// releaseCertificate takes away all that keeps a certificate from being deleted.
func releaseCertificate(cmd *cobra.Command, api *iot.Client, id string) error {
	d, err := describeCertificate(cmd, api, id)
	if err != nil {
		return err
	}
	arn := text(d.CertificateArn)
	if d.Status == types.CertificateStatusActive {
		if _, err := api.UpdateCertificate(cmd.Context(), &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: types.CertificateStatusInactive}); err != nil {
			return apiError("deactivate certificate "+short(id), err)
		}
	}
	things, err := principalThings(cmd, api, arn)
	if err != nil {
		return err
	}
	for _, name := range things {
		if _, err := api.DetachThingPrincipal(cmd.Context(), &iot.DetachThingPrincipalInput{ThingName: &name, Principal: &arn}); err != nil {
			return apiError(fmt.Sprintf("detach thing %q", name), err)
		}
	}
	policies, err := attachedPolicies(cmd, api, arn)
	if err != nil {
		return err
	}
	for _, name := range policies {
		if _, err := api.DetachPolicy(cmd.Context(), &iot.DetachPolicyInput{PolicyName: &name, Target: &arn}); err != nil {
			return apiError(fmt.Sprintf("detach policy %q", name), err)
		}
	}
	return nil
}
