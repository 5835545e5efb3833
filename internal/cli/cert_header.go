package cli

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func certHeaderCommand() *cobra.Command {
	var dir, thing, endpoint, cert, key, ca, prefix, out string
	cmd := &cobra.Command{
		Use:   "header",
		Short: "Turn PEM files into a C header for a sketch",
		Long: `Turn a certificate, its key and the authority into a C header with one string each, as
WiFiClientSecure's setCACert, setCertificate and setPrivateKey want them.

--thing NAME takes the files that berth cert create has written to --dir; the other flags name
files one by one. The header holds the private key: it is written with mode 0600.`,
		Example: `  berth cert header --thing lamp --dir certs --endpoint berth.local --out secrets.h`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if thing != "" {
				if err := checkName(thing); err != nil {
					return err
				}
				paths := filesIn(dir, thing)
				if cert == "" {
					cert = paths.cert
				}
				if key == "" {
					key = paths.private
				}
				if ca == "" {
					ca = caIn(dir)
				}
			}
			if cert == "" && key == "" && ca == "" {
				return usagef("give --thing, or --cert, --key and --cafile")
			}
			h := header{prefix: prefix, thing: thing, endpoint: endpoint}
			for _, f := range []struct {
				path string
				dst  *[]byte
			}{{ca, &h.ca}, {cert, &h.cert}, {key, &h.key}} {
				if f.path == "" {
					continue
				}
				var err error
				if *f.dst, err = os.ReadFile(f.path); err != nil {
					return err
				}
				if *f.dst, err = pemOnly(*f.dst); err != nil {
					return fmt.Errorf("%s: %w", f.path, err)
				}
			}
			text, err := h.appendTo(nil)
			if err != nil {
				return err
			}
			if out == "" {
				_, err := cmd.OutOrStdout().Write(text)
				return err
			}
			if err := writeFile(out, text, 0o600); err != nil {
				return err
			}
			return report(cmd, map[string]any{"files": map[string]string{"header": out}}, "written %s", out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&thing, "thing", "", "thing whose files to take; also its name in the header")
	f.StringVar(&dir, "dir", ".", "folder of the thing's files")
	f.StringVar(&endpoint, "endpoint", "", "endpoint's host name in the header")
	f.StringVar(&cert, "cert", "", "certificate, PEM `FILE`")
	f.StringVar(&key, "key", "", "private key, PEM `FILE`")
	f.StringVar(&ca, "cafile", "", "authority to trust, PEM `FILE`")
	f.StringVar(&prefix, "prefix", "AWS_CERT_", "beginning of the strings' names")
	f.StringVar(&out, "out", "", "write to `FILE` instead of standard output")
	return cmd
}

// caIn is the authority's file that berth cert create writes.
func caIn(dir string) string {
	name := filepath.Join(dir, "ca.pem")
	if _, err := os.Stat(name); err != nil {
		if amazon := filepath.Join(dir, "AmazonRootCA1.pem"); fileExists(amazon) {
			return amazon
		}
	}
	return name
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// pemOnly leaves out what stands around the PEM blocks, and their headers.
func pemOnly(b []byte) ([]byte, error) {
	var out []byte
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if out == nil {
		return nil, errors.New("no PEM block in it")
	}
	return out, nil
}

// header is a C header with credentials.
type header struct {
	prefix, thing, endpoint string
	ca, cert, key           []byte // PEM
}

func (h *header) appendTo(dst []byte) ([]byte, error) {
	if strings.Trim(h.prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789") != "" ||
		h.prefix != "" && h.prefix[0] >= '0' && h.prefix[0] <= '9' {
		return nil, usagef("--prefix %q is no beginning of a C name", h.prefix)
	}
	dst = append(dst, "// Written by berth cert header. It holds a private key: keep it out of version control.\n#pragma once\n\n#include <pgmspace.h>\n"...)
	if h.thing != "" || h.endpoint != "" {
		dst = append(dst, '\n')
	}
	if h.thing != "" {
		dst = fmt.Appendf(dst, "#define THINGNAME %s\n", cString(h.thing))
	}
	if h.endpoint != "" {
		dst = fmt.Appendf(dst, "#define AWS_IOT_ENDPOINT %s\n", cString(h.endpoint))
	}
	for _, s := range []struct {
		name string
		pem  []byte
	}{{"CA", h.ca}, {"CRT", h.cert}, {"PRIVATE", h.key}} {
		if s.pem == nil {
			continue
		}
		dst = fmt.Appendf(dst, "\nstatic const char %s%s[] PROGMEM =", h.prefix, s.name)
		for line := range bytes.Lines(s.pem) {
			dst = append(append(dst, "\n    "...), cString(string(line))...)
		}
		dst = append(dst, ";\n"...)
	}
	return dst, nil
}

// cString is a C string literal. Bytes outside printable ASCII become three octal digits, which
// unlike hexadecimal ones end where they should.
func cString(s string) string {
	b := []byte{'"'}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n':
			b = append(b, `\n`...)
		case c == '"' || c == '\\' || c == '?': // ? against trigraphs
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = fmt.Appendf(b, `\%03o`, c)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
