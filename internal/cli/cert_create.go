package cli

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/spf13/cobra"
)

type certCreation struct {
	out, csr, thing, policy         string
	rsa, serverKey, inactive, force bool
}

func certCreateCommand(t *target) *cobra.Command {
	c := new(certCreation)
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a certificate for a device",
		Long: `Make a certificate for a device and write NAME.cert.pem, NAME.private.key (mode 0600),
NAME.public.key and the authority that the device must trust: ca.pem, or AmazonRootCA1.pem with --aws.

The key is made here and never leaves this machine: only a signing request is sent. --server-key
has the server make the pair instead, as the AWS console does. NAME is the thing's name unless
it is given.`,
		Example: `  berth cert create --thing lamp --policy sensors --out certs
  berth cert create lamp --csr lamp.csr.pem --out certs`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := c.thing
			if len(args) == 1 {
				name = args[0]
			}
			return c.run(cmd, t, name)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.out, "out", ".", "write the files to `DIR`")
	f.StringVar(&c.csr, "csr", "", "have this signing request signed, PEM `FILE`; no key is written")
	f.StringVar(&c.thing, "thing", "", "attach to this thing, which is created if needed")
	f.StringVar(&c.policy, "policy", "", "attach this policy")
	f.BoolVar(&c.rsa, "rsa", false, "RSA 2048 instead of ECDSA P-256")
	f.BoolVar(&c.serverKey, "server-key", false, "the server makes the key pair (RSA 2048)")
	f.BoolVar(&c.inactive, "inactive", false, "do not activate the certificate yet")
	f.BoolVar(&c.force, "force", false, "overwrite files")
	return cmd
}

// files are the names of a device's files in a folder.
type files struct{ cert, private, public, csr, ca string }

func filesIn(dir, name string) files {
	base := filepath.Join(dir, name)
	return files{cert: base + ".cert.pem", private: base + ".private.key", public: base + ".public.key", csr: base + ".csr.pem"}
}

// checkName keeps a device's name from leaving the folder.
func checkName(name string) error {
	if name == "" {
		return usagef("give a NAME, or --thing")
	}
	if strings.ContainsAny(name, `/\`) || name == "." || name == ".." {
		return usagef("name %q: a file's name is made of it, so it must hold no slash", name)
	}
	return nil
}

func (c *certCreation) run(cmd *cobra.Command, t *target, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if c.serverKey && (c.csr != "" || c.rsa) || c.csr != "" && c.rsa {
		return usagef("--csr, --rsa and --server-key exclude each other")
	}
	s, err := t.find(cmd.Context())
	if err != nil {
		return err
	}
	paths := filesIn(c.out, name)
	paths.ca = filepath.Join(c.out, "ca.pem")
	if t.aws {
		paths.ca = filepath.Join(c.out, "AmazonRootCA1.pem")
	}
	written := []string{paths.cert}
	if c.csr == "" {
		written = append(written, paths.private, paths.public)
	}
	// Looked at before anything is issued: a certificate whose key cannot be written is lost.
	if err := prepareDir(c.out, c.force, written); err != nil {
		return err
	}
	api := s.iot()
	if c.thing != "" {
		if err := ensureThing(cmd, api, c.thing); err != nil {
			return err
		}
	}
	issued, err := c.issue(cmd, api, name, paths)
	if err != nil {
		return err
	}
	if s.caPEM != nil {
		if err := os.WriteFile(paths.ca, s.caPEM, 0o644); err != nil {
			return err
		}
	}
	v := certView{ID: issued.id, ARN: issued.arn, Status: "ACTIVE", Files: map[string]string{"certificate": paths.cert}}
	if c.inactive {
		v.Status = "INACTIVE"
	}
	if c.csr == "" {
		v.Files["privateKey"], v.Files["publicKey"] = paths.private, paths.public
	}
	if s.caPEM != nil {
		v.Files["ca"] = paths.ca
	}
	if c.policy != "" {
		if _, err := api.AttachPolicy(cmd.Context(), &iot.AttachPolicyInput{PolicyName: &c.policy, Target: &issued.arn}); err != nil {
			return c.unfinished(paths.cert, apiError(fmt.Sprintf("attach policy %q", c.policy), err))
		}
		v.Policies = []string{c.policy}
	}
	if c.thing != "" {
		if _, err := api.AttachThingPrincipal(cmd.Context(), &iot.AttachThingPrincipalInput{ThingName: &c.thing, Principal: &issued.arn}); err != nil {
			return c.unfinished(paths.cert, apiError(fmt.Sprintf("attach to thing %q", c.thing), err))
		}
		v.Things = []string{c.thing}
	}
	tab := table{rows: [][]string{{"certificate", v.ID}, {"status", v.Status}, {"written", paths.cert}}}
	for _, f := range []string{v.Files["privateKey"], v.Files["publicKey"], v.Files["ca"]} {
		if f != "" {
			tab.add("", f)
		}
	}
	for _, row := range [][]string{{"policy", c.policy}, {"thing", c.thing}} {
		if row[1] != "" {
			tab.add(row...)
		}
	}
	return emit(cmd, v, tab)
}

// unfinished is a failure after the certificate was issued and written.
func (c *certCreation) unfinished(cert string, err error) error {
	link := "berth cert attach " + cert
	if c.policy != "" {
		link += " --policy " + c.policy
	}
	if c.thing != "" {
		link += " --thing " + c.thing
	}
	return hinted(err, "the certificate is made and written; finish with "+link)
}

func prepareDir(dir string, force bool, names []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if force {
		return nil
	}
	for _, name := range names {
		if _, err := os.Stat(name); err == nil {
			return hinted(fmt.Errorf("%s exists", name), "choose another name or folder, or overwrite with --force")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// issued is a certificate that the server has made.
type issued struct{ id, arn string }

// issue has the certificate made and writes it, with its keys.
func (c *certCreation) issue(cmd *cobra.Command, api *iot.Client, name string, paths files) (issued, error) {
	if c.serverKey {
		out, err := api.CreateKeysAndCertificate(cmd.Context(), &iot.CreateKeysAndCertificateInput{SetAsActive: !c.inactive})
		if err != nil {
			return issued{}, apiError("create keys and certificate", err)
		}
		if out.KeyPair == nil {
			return issued{}, errors.New("create keys and certificate: the answer has no keys")
		}
		return issued{text(out.CertificateId), text(out.CertificateArn)},
			errors.Join(
				writeFile(paths.private, []byte(text(out.KeyPair.PrivateKey)), 0o600),
				writeFile(paths.public, []byte(text(out.KeyPair.PublicKey)), 0o644),
				writeFile(paths.cert, []byte(text(out.CertificatePem)), 0o644))
	}
	var request []byte
	if c.csr != "" {
		var err error
		if request, err = input(cmd, c.csr); err != nil {
			return issued{}, fmt.Errorf("--csr: %w", err)
		}
	} else {
		key, err := newKey(c.rsa)
		if err != nil {
			return issued{}, err
		}
		if request, err = signingRequest(key, name); err != nil {
			return issued{}, err
		}
		if err := writeKeys(key, paths); err != nil {
			return issued{}, err
		}
	}
	csr := string(request)
	out, err := api.CreateCertificateFromCsr(cmd.Context(), &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr, SetAsActive: !c.inactive})
	if err != nil {
		if c.csr == "" { // a key without a certificate would be in the way of the next try
			os.Remove(paths.private)
			os.Remove(paths.public)
		}
		return issued{}, apiError("create certificate from CSR", err)
	}
	return issued{text(out.CertificateId), text(out.CertificateArn)}, writeFile(paths.cert, []byte(text(out.CertificatePem)), 0o644)
}

func newKey(useRSA bool) (crypto.Signer, error) {
	if useRSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func signingRequest(key crypto.Signer, name string) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("make the signing request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// writeKeys writes the pair in the forms that device SDKs read: PKCS #1 for RSA, SEC 1 for ECDSA.
func writeKeys(key crypto.Signer, paths files) error {
	var private pem.Block
	switch k := key.(type) {
	case *rsa.PrivateKey:
		private = pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return err
		}
		private = pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return errors.Join(
		writeFile(paths.private, pem.EncodeToMemory(&private), 0o600),
		writeFile(paths.public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644))
}

// writeFile replaces a file, so that a wider mode of an old one does not stay.
func writeFile(name string, b []byte, mode os.FileMode) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, b, mode)
}

func certCSRCommand() *cobra.Command {
	var out string
	var useRSA, force bool
	cmd := &cobra.Command{
		Use:   "csr NAME",
		Short: "Make a key and a signing request, without a server",
		Long: `Make a key and a signing request and write NAME.private.key (mode 0600), NAME.public.key and
NAME.csr.pem. berth cert create --csr has it signed.`,
		Example: "  berth cert csr lamp --out certs",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName(args[0]); err != nil {
				return err
			}
			paths := filesIn(out, args[0])
			if err := prepareDir(out, force, []string{paths.private, paths.public, paths.csr}); err != nil {
				return err
			}
			key, err := newKey(useRSA)
			if err != nil {
				return err
			}
			request, err := signingRequest(key, args[0])
			if err != nil {
				return err
			}
			if err := errors.Join(writeKeys(key, paths), writeFile(paths.csr, request, 0o644)); err != nil {
				return err
			}
			v := map[string]string{"privateKey": paths.private, "publicKey": paths.public, "csr": paths.csr}
			return emit(cmd, map[string]any{"files": v}, table{rows: [][]string{{"written", paths.private}, {"", paths.public}, {"", paths.csr}}})
		},
	}
	cmd.Flags().StringVar(&out, "out", ".", "write the files to `DIR`")
	cmd.Flags().BoolVar(&useRSA, "rsa", false, "RSA 2048 instead of ECDSA P-256")
	cmd.Flags().BoolVar(&force, "force", false, "overwrite files")
	return cmd
}
