package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/device/ota"
)

// defaultImageBytes bounds an image.
const defaultImageBytes = 128 << 20

// updates makes the device take updates of its own program; nil if it is not to.
func (g *Gateway) updates(roots *x509.CertPool) (*ota.Config, error) {
	o := g.cfg.OTA
	if o.Slots == "" {
		return nil, nil
	}
	size := o.MaxBytes
	if size == 0 {
		size = defaultImageBytes
	}
	slots, err := linux.OpenSlots(o.Slots, size)
	if err != nil {
		return nil, err
	}
	cfg := &ota.Config{Slots: slots, Unsigned: o.Unsigned, Trial: o.Trial, Check: sameMachine,
		HTTP: linux.Download{Client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}}}}}
	if o.PublicKey != "" {
		b, err := os.ReadFile(o.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("ota: %w", err)
		}
		block, _ := pem.Decode(b)
		if block == nil {
			return nil, fmt.Errorf("ota: %s is not PEM", o.PublicKey)
		}
		var key any
		if block.Type == "CERTIFICATE" { // a signer's
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = c.PublicKey
			}
		} else {
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("ota: %s: %w", o.PublicKey, err)
		}
		cfg.Verify = linux.Verifier(key)
	}
	if len(o.SelfTest) > 0 {
		cfg.SelfTest = func(ctx context.Context) error {
			_, err := g.run(ctx, o.SelfTest, nil, commandTimeout)
			return err
		}
	}
	return cfg, nil
}

// sameMachine refuses an image that this machine could not start: an ELF file for another one.
func sameMachine(read func(b []byte, offset int64) (int, error), img ota.Image) error {
	head := make([]byte, min(img.Size, 4096))
	if _, err := read(head, 0); err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	if bytes.HasPrefix(head, []byte("#!")) {
		return nil
	}
	own, err := os.Executable()
	if err != nil {
		return err
	}
	running, err := elf.Open(own)
	if err != nil {
		return nil // another kind of system: its loader will tell
	}
	defer running.Close()
	f, err := elf.NewFile(section{read, img.Size})
	switch {
	case err != nil:
		return errors.New("it is no program for this system")
	case f.Machine != running.Machine || f.Class != running.Class || f.Data != running.Data:
		return fmt.Errorf("it is for %v, this is %v", f.Machine, running.Machine)
	}
	return nil
}

// section is an image as io.ReaderAt.
type section struct {
	read func(b []byte, offset int64) (int, error)
	size int64
}

// ReadAt implements io.ReaderAt.
func (s section) ReadAt(b []byte, offset int64) (int, error) {
	if offset < 0 || offset >= s.size {
		return 0, io.EOF
	}
	n, err := s.read(b[:min(int64(len(b)), s.size-offset)], offset)
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}
