package cli

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/provisioning"
)

func caCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "ca",
		Short: "Your own certificate authorities, whose devices may register themselves",
		Example: `  berth ca register factory.pem --key factory.key --template factory
  berth ca activation factory.pem --subject 'CN=lamp-*' --policy sensors`,
	}, caRegisterCommand(t), caListCommand(t), caShowCommand(t), caDeleteCommand(t), caJITPCommand(t), caActivationCommand(t))
	t.addFlags(cmd)
	return cmd
}

// caView is a CA certificate as it is printed.
type caView struct {
	ID               string                   `json:"certificateId"`
	ARN              string                   `json:"certificateArn,omitempty"`
	Status           string                   `json:"status,omitempty"`
	Mode             string                   `json:"certificateMode,omitempty"`
	AutoRegistration string                   `json:"autoRegistrationStatus,omitempty"`
	Template         string                   `json:"templateName,omitempty"`
	TemplateBody     string                   `json:"templateBody,omitempty"`
	CreatedAt        string                   `json:"creationDate,omitempty"`
	Activation       *provisioning.Activation `json:"activation,omitempty"`
}

// readKey reads a private key in PKCS #8, PKCS #1 or SEC 1 form.
func readKey(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return k, nil
		}
		if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return k, nil
		}
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if signer, ok := k.(crypto.Signer); ok && err == nil {
			return signer, nil
		}
		return nil, fmt.Errorf("%s holds no private key that can be read: it must be PEM, RSA or ECDSA, without a passphrase", path)
	}
	return nil, fmt.Errorf("%s holds no PEM private key", path)
}

// verification makes the certificate that proves possession of a CA's key: its common name is the
// registration code (AWS IoT developer guide, "Register your CA certificate").
func verification(caPEM []byte, key crypto.Signer, code string) (string, error) {
	block, _ := pem.Decode(caPEM)
	if block == nil {
		return "", errors.New("the file holds no PEM certificate")
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: code},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}, ca, leaf.Public(), key)
	if err != nil {
		return "", fmt.Errorf("make the verification certificate: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

func caRegisterCommand(t *target) *cobra.Command {
	var keyFile, template, role string
	var manual, inactive bool
	cmd := &cobra.Command{
		Use:   "register CERTIFICATE",
		Short: "Register a certificate authority",
		Long: `Register a certificate authority, PEM file. With --key the proof of possession that the server wants
is made here; the key is not sent. Without it the authority is registered in mode SNI_ONLY, which
needs no proof.

Devices whose certificates it signed may then register themselves by connecting, unless --manual
is given: through the template of --template (type JITP), or as the rule of berth ca activation
says.`,
		Example: `  berth ca register factory.pem --key factory.key --template factory
  berth ca register factory.pem --key factory.key --manual`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if manual && template != "" {
				return usagef("--manual and --template exclude each other")
			}
			caPEM, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			var key crypto.Signer
			if keyFile != "" {
				if key, err = readKey(keyFile); err != nil {
					return fmt.Errorf("--key: %w", err)
				}
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			in := &iot.RegisterCACertificateInput{CaCertificate: aws.String(string(caPEM)), SetAsActive: !inactive, AllowAutoRegistration: !manual,
				CertificateMode: types.CertificateModeSniOnly}
			if key != nil {
				code, err := api.GetRegistrationCode(cmd.Context(), &iot.GetRegistrationCodeInput{})
				if err != nil {
					return apiError("get the registration code", err)
				}
				proof, err := verification(caPEM, key, text(code.RegistrationCode))
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				in.CertificateMode, in.VerificationCertificate = types.CertificateModeDefault, &proof
			}
			if template != "" {
				in.RegistrationConfig = &types.RegistrationConfig{TemplateName: &template, RoleArn: &role}
			}
			out, err := api.RegisterCACertificate(cmd.Context(), in)
			if err != nil {
				return apiError("register CA certificate", err)
			}
			v := caView{ID: text(out.CertificateId), ARN: text(out.CertificateArn), Mode: string(in.CertificateMode), Template: template}
			return report(cmd, v, "registered CA certificate %s", v.ID)
		},
	}
	f := cmd.Flags()
	f.StringVar(&keyFile, "key", "", "private key of the authority, PEM `FILE`; it stays here")
	f.StringVar(&template, "template", "", "provisioning template, type JITP, for its devices")
	f.StringVar(&role, "role", "arn:aws:iam::000000000000:role/berth", "role `ARN`, which AWS needs and berth only keeps")
	f.BoolVar(&manual, "manual", false, "do not let its devices register themselves")
	f.BoolVar(&inactive, "inactive", false, "do not activate it yet")
	return cmd
}

func caListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List certificate authorities",
		Example: "  berth ca list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []caView{}
			tab := table{header: []string{"ID", "STATUS", "CREATED"}}
			for p := iot.NewListCACertificatesPaginator(api, &iot.ListCACertificatesInput{}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list CA certificates", err)
				}
				for _, c := range page.Certificates {
					v := caView{ID: text(c.CertificateId), ARN: text(c.CertificateArn), Status: string(c.Status), CreatedAt: timestamp(c.CreationDate)}
					list = append(list, v)
					tab.add(v.ID, v.Status, v.CreatedAt)
				}
			}
			return emit(cmd, map[string]any{"certificates": list}, tab)
		},
	}
}

func caShowCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "show CA",
		Short:   "Show a certificate authority",
		Long:    "Show a certificate authority, given by its identifier or its PEM file.",
		Example: "  berth ca show factory.pem",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, id, err := t.authority(cmd, args[0])
			if err != nil {
				return err
			}
			out, err := s.iot().DescribeCACertificate(cmd.Context(), &iot.DescribeCACertificateInput{CertificateId: &id})
			if err != nil {
				return apiError("describe CA certificate", err)
			}
			d := out.CertificateDescription
			v := caView{ID: id, ARN: text(d.CertificateArn), Status: string(d.Status), Mode: string(d.CertificateMode),
				AutoRegistration: string(d.AutoRegistrationStatus), CreatedAt: timestamp(d.CreationDate)}
			if c := out.RegistrationConfig; c != nil {
				v.Template, v.TemplateBody = text(c.TemplateName), text(c.TemplateBody)
			}
			tab := table{rows: [][]string{{"id", v.ID}, {"arn", v.ARN}, {"status", v.Status}, {"mode", v.Mode}, {"registration", v.AutoRegistration}, {"template", v.Template}, {"created", v.CreatedAt}}}
			if !t.aws {
				rule := new(provisioning.Activation)
				if s.own(cmd.Context(), http.MethodGet, "/berth/cacertificates/"+id+"/activation", nil, rule) == nil {
					v.Activation = rule
					tab.add("activation", strings.Join(rule.Subjects, " or "))
				}
			}
			return emit(cmd, v, tab)
		},
	}
}

// authority finds the target and the identifier of a CA certificate.
func (t *target) authority(cmd *cobra.Command, ref string) (*site, string, error) {
	s, err := t.find(cmd.Context())
	if err != nil {
		return nil, "", err
	}
	id, err := certificateID(ref)
	return s, id, err
}

func caDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete CA",
		Short:   "Deactivate and delete a certificate authority",
		Long:    "Deactivate and delete a certificate authority. The certificates that it signed stay.",
		Example: "  berth ca delete factory.pem",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, id, err := t.authority(cmd, args[0])
			if err != nil {
				return err
			}
			api := s.iot()
			if _, err := api.UpdateCACertificate(cmd.Context(), &iot.UpdateCACertificateInput{CertificateId: &id, NewStatus: types.CACertificateStatusInactive}); err != nil {
				return apiError("deactivate CA certificate", err)
			}
			if _, err := api.DeleteCACertificate(cmd.Context(), &iot.DeleteCACertificateInput{CertificateId: &id}); err != nil {
				return apiError("delete CA certificate", err)
			}
			return report(cmd, caView{ID: id}, "deleted CA certificate %s", id)
		},
	}
}

func caJITPCommand(t *target) *cobra.Command {
	var template, role string
	var off bool
	cmd := &cobra.Command{
		Use:   "jitp CA",
		Short: "Choose the template for devices that register themselves",
		Long: `Choose the provisioning template, of type JITP, that a device is provisioned with when it connects
for the first time with a certificate of the authority; --off stops devices from registering
themselves. The first connection is dropped, the next one is let in.`,
		Example: "  berth ca jitp factory.pem --template factory",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (template == "") == !off {
				return usagef("give --template or --off")
			}
			s, id, err := t.authority(cmd, args[0])
			if err != nil {
				return err
			}
			in := &iot.UpdateCACertificateInput{CertificateId: &id, RemoveAutoRegistration: off}
			what := "devices of CA certificate " + id + " no longer register themselves"
			if !off {
				in.NewAutoRegistrationStatus = types.AutoRegistrationStatusEnable
				in.RegistrationConfig = &types.RegistrationConfig{TemplateName: &template, RoleArn: &role}
				what = "devices of CA certificate " + id + " are provisioned with template " + template
			}
			if _, err := s.iot().UpdateCACertificate(cmd.Context(), in); err != nil {
				return apiError("update CA certificate", err)
			}
			return report(cmd, caView{ID: id, Template: template}, "%s", what)
		},
	}
	cmd.Flags().StringVar(&template, "template", "", "provisioning template of type JITP")
	cmd.Flags().StringVar(&role, "role", "arn:aws:iam::000000000000:role/berth", "role `ARN`, which AWS needs and berth only keeps")
	cmd.Flags().BoolVar(&off, "off", false, "let no more devices register themselves")
	return cmd
}

func caActivationCommand(t *target) *cobra.Command {
	var a provisioning.Activation
	var off bool
	cmd := &cobra.Command{
		Use:   "activation CA",
		Short: "Choose which devices that register themselves are let in",
		Long: `Say what berth does with devices that register themselves with a certificate of the authority
when it has no template: those whose subject matches, and that --approval allows, are activated,
get a thing and policies, and are let in when they connect again. AWS has no such rule; there one
writes a Lambda function for it.

A subject pattern is ATTRIBUTE=PATTERN, several separated by commas, with * and ?; the attributes
are C, O, OU, DNQ, ST, CN and SERIALNUMBER. The approval is called like a pre-provisioning hook.`,
		Example: `  berth ca activation factory.pem --subject 'CN=lamp-*,O=Acme' --policy sensors
  berth ca activation factory.pem --approval https://example.com/allow --policy sensors
  berth ca activation factory.pem --off`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if t.aws {
				return usagef("AWS has no activation rules: use a template, or a rule on the event")
			}
			if off != (len(a.Subjects) == 0 && a.Approval == "") {
				return usagef("give --subject or --approval, or --off")
			}
			s, id, err := t.authority(cmd, args[0])
			if err != nil {
				return err
			}
			path := "/berth/cacertificates/" + id + "/activation"
			if off {
				if err := s.own(cmd.Context(), http.MethodDelete, path, nil, nil); err != nil {
					return fmt.Errorf("remove the activation rule: %w", err)
				}
				return report(cmd, caView{ID: id}, "devices of CA certificate %s wait until something activates them", id)
			}
			if err := s.own(cmd.Context(), http.MethodPut, path, a, nil); err != nil {
				return fmt.Errorf("set the activation rule: %w", err)
			}
			return report(cmd, caView{ID: id, Activation: &a}, "set the activation rule of CA certificate %s", id)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&a.Subjects, "subject", nil, "`PATTERN` of subjects to let in; several may be given")
	f.StringVar(&a.Approval, "approval", "", "`TARGET` that is asked about every device: a URL, exec:PATH or a Lambda function")
	f.StringVar(&a.ThingName, "thing-name", "", "name of the thing, as in Fn::Sub (default the common name)")
	f.StringVar(&a.ThingType, "thing-type", "", "its thing type")
	f.StringArrayVar(&a.Groups, "group", nil, "a thing group to add it to")
	f.StringArrayVar(&a.Policies, "policy", nil, "a policy to attach to the certificate")
	f.BoolVar(&off, "off", false, "remove the rule")
	return cmd
}
