package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/securecert"
)

func imageSecureCertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "securecert",
		Short: "esp_secure_cert partitions",
		Example: "  berth image securecert create --device-cert device.crt --private-key device.key --ca-cert ca.pem out.bin\n" +
			"  berth image securecert show out.bin",
	}
	return group(cmd, imageSecureCertCreateCommand(), imageSecureCertShowCommand())
}

func imageSecureCertCreateCommand() *cobra.Command {
	size := imageSize(securecert.DefaultSize)
	var device, ca, key, dsData, dsIV string
	var dsBits int
	var dsKey uint8
	cmd := &cobra.Command{
		Use:   "create [--size SIZE] OUT",
		Short: "Make a partition from certificates and a key",
		Long: `Make an esp_secure_cert partition from a device certificate, its private key and
a certificate authority, each PEM or DER. For a key in the Digital Signature
peripheral give its ciphertext and initialisation vector instead of the key.`,
		Example: "  berth image securecert create --device-cert device.crt --private-key device.key --ca-cert ca.pem out.bin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var contents [5][]byte
			for i, name := range []string{device, ca, key, dsData, dsIV} {
				if name == "" {
					continue
				}
				b, err := os.ReadFile(name)
				if err != nil {
					return fmt.Errorf("read credentials: %w", err)
				}
				if len(b) == 0 {
					return fmt.Errorf("read credentials: %s is empty", name)
				}
				contents[i] = b
			}
			entries := securecert.Credentials(contents[0], contents[1], contents[2])
			if dsData != "" {
				ds, err := securecert.DS(contents[3], contents[4], dsBits, dsKey)
				if err != nil {
					return err
				}
				entries = append(entries, ds...)
			}
			if len(entries) == 0 {
				return fmt.Errorf("make secure cert partition: nothing to put into it: give --device-cert, --private-key or --ca-cert")
			}
			b, err := securecert.Build(int(size), entries)
			if err != nil {
				return err
			}
			return imageWrite(cmd, args[0], b, true, fmt.Sprintf("%d entries", len(entries)))
		},
	}
	flags := cmd.Flags()
	flags.Var(&size, "size", "size of the partition")
	flags.StringVar(&device, "device-cert", "", "file with the device certificate")
	flags.StringVar(&ca, "ca-cert", "", "file with the certificate of the authority")
	flags.StringVar(&key, "private-key", "", "file with the private key")
	flags.StringVar(&dsData, "ds-ciphertext", "", "file with the key parameters encrypted for the DS peripheral")
	flags.StringVar(&dsIV, "ds-iv", "", "file with their 16-byte initialisation vector")
	flags.IntVar(&dsBits, "ds-key-bits", 2048, "size of that RSA key in bits")
	flags.Uint8Var(&dsKey, "ds-efuse-key", 0, "eFuse key block that decrypts it, 0 to 5")
	cmd.MarkFlagsRequiredTogether("ds-ciphertext", "ds-iv")
	cmd.MarkFlagsMutuallyExclusive("private-key", "ds-ciphertext")
	return cmd
}

// imageSecureCertEntry is one entry in the output of show.
type imageSecureCertEntry struct {
	Type    string `json:"type"`
	Subtype uint8  `json:"subtype"`
	Flags   uint8  `json:"flags"`
	Size    int    `json:"size"`
	Format  string `json:"format"` // pem or binary
	// Text is the PEM text of certificates. Private keys are not printed.
	Text string `json:"text,omitempty"`
}

func imageSecureCertShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show IMG",
		Short: "Print the entries of a partition, and check it",
		Long: `Print the entries of an esp_secure_cert partition and check it. JSON holds the
text of certificates; private keys are never printed.`,
		Example: "  berth image securecert show out.bin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := imageRead(args[0])
			if err != nil {
				return err
			}
			entries, problems, err := securecert.Read(b)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			list := []imageSecureCertEntry{}
			for _, e := range entries {
				shown := imageSecureCertEntry{Type: e.Type.String(), Subtype: e.Subtype, Flags: uint8(e.Flags), Size: len(e.Data), Format: "binary"}
				if bytes.Contains(e.Data, []byte("-----BEGIN ")) {
					shown.Format = "pem"
					if e.Type == securecert.CACert || e.Type == securecert.DeviceCert {
						shown.Text = string(bytes.TrimRight(e.Data, "\x00"))
					}
				}
				list = append(list, shown)
			}
			if err := imagePrint(cmd, list, func(w io.Writer) {
				fmt.Fprintln(w, "TYPE\tSUBTYPE\tFLAGS\tSIZE\tFORMAT")
				for _, e := range list {
					fmt.Fprintf(w, "%s\t%d\t0x%02x\t%d\t%s\n", e.Type, e.Subtype, e.Flags, e.Size, e.Format)
				}
			}); err != nil {
				return err
			}
			return imageDamaged(args[0], problems)
		},
	}
}
