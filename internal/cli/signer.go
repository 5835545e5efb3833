package cli

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/admin"
)

func signerCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "signer",
		Short: "Keys that sign firmware",
		Long: `Keys that sign firmware. They stay on the server; the certificate of each is for the firmware that
checks signatures.`,
		Example: "  berth signer create lamps\n  berth signer certificate lamps --out aws_codesign.crt",
	}, signerCreateCommand(t), signerListCommand(t), signerCertificateCommand(t), signerSignCommand(t), signerDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

func signerPath(name string) string { return "/berth/signers/" + url.PathEscape(name) }

func signerCreateCommand(t *target) *cobra.Command {
	var in admin.NewSigner
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a key and its self-signed certificate",
		Example: "  berth signer create lamps --algorithm rsa-3072 --path /spiffs/sign.crt.pem",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var v admin.Signer
			if err := t.own(cmd.Context(), http.MethodPost, signerPath(args[0]), in, &v); err != nil {
				return fmt.Errorf("create signer %q: %w", args[0], err)
			}
			return report(cmd, v, "created signer %s, %s\nits certificate for the firmware: berth signer certificate %s", v.Name, v.Algorithm, v.Name)
		},
	}
	cmd.Flags().StringVar(&in.Algorithm, "algorithm", "ecdsa-p256", "ecdsa-p256, rsa-2048 or rsa-3072, with SHA-256")
	cmd.Flags().StringVar(&in.CertificatePath, "path", "", "`PATH` of the certificate on the device, certfile in job documents; default NAME.crt.pem")
	return cmd
}

func signerListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List signers",
		Example: "  berth signer list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := struct {
				Signers []admin.Signer `json:"signers"`
			}{[]admin.Signer{}}
			if err := t.own(cmd.Context(), http.MethodGet, "/berth/signers", nil, &list); err != nil {
				return fmt.Errorf("list signers: %w", err)
			}
			tab := table{header: []string{"NAME", "ALGORITHM", "CREATED", "PATH ON DEVICE"}}
			for _, v := range list.Signers {
				tab.add(v.Name, v.Algorithm, timestamp(&v.CreatedAt), v.CertificatePath)
			}
			return emit(cmd, list, tab)
		},
	}
}

func signerCertificateCommand(t *target) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "certificate NAME",
		Short:   "Print a signer's certificate, or write it to a file",
		Example: "  berth signer certificate lamps --out aws_codesign.crt",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var v admin.Signer
			if err := t.own(cmd.Context(), http.MethodGet, signerPath(args[0]), nil, &v); err != nil {
				return fmt.Errorf("certificate of signer %q: %w", args[0], err)
			}
			switch {
			case out != "":
				if err := os.WriteFile(out, []byte(v.Certificate), 0o644); err != nil {
					return fmt.Errorf("certificate of signer %q: %w", args[0], err)
				}
				return report(cmd, v, "wrote %s", out)
			case wantsJSON(cmd):
				return emit(cmd, v, table{})
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), v.Certificate)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write to")
	return cmd
}

func signerSignCommand(t *target) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "sign NAME FILE",
		Short: "Sign a file: print the signature in base64, or write it to a file as it is",
		Long: `Sign a file: print the signature in base64, or write it to a file as it is. Only the SHA-256 of the
file goes to the server.`,
		Example: "  berth signer sign lamps firmware.bin\n  berth signer sign lamps firmware.bin --out firmware.sig",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			content, err := input(cmd, args[1])
			if err != nil {
				return err
			}
			sum := sha256.Sum256(content)
			var v admin.Signature
			if err := t.own(cmd.Context(), http.MethodPost, signerPath(args[0])+"/signatures", map[string]string{"sha256": hex.EncodeToString(sum[:])}, &v); err != nil {
				return fmt.Errorf("sign %q with %q: %w", args[1], args[0], err)
			}
			if out != "" {
				if err := os.WriteFile(out, v.Signature, 0o644); err != nil {
					return fmt.Errorf("sign %q with %q: %w", args[1], args[0], err)
				}
				return report(cmd, v, "wrote %s, %d bytes", out, len(v.Signature))
			}
			return report(cmd, v, "%s", base64.StdEncoding.EncodeToString(v.Signature))
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write the signature to")
	return cmd
}

func signerDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a signer and its key for good",
		Example: "  berth signer delete lamps",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.own(cmd.Context(), http.MethodDelete, signerPath(args[0]), nil, nil); err != nil {
				return fmt.Errorf("delete signer %q: %w", args[0], err)
			}
			return report(cmd, map[string]string{"name": args[0]}, "deleted signer %s", args[0])
		},
	}
}
