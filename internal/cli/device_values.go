package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/berth-iot/berth/device/configuration"
)

// deviceValues are the values of a device's configuration, from a file or from flags. CA, certificates
// and keys are names of files, or PEM.
type deviceValues struct {
	WiFi struct {
		SSID         string `yaml:"ssid"`
		Password     string `yaml:"password"`
		PasswordFile string `yaml:"password-file"`
	} `yaml:"wifi"`
	Endpoint    string `yaml:"endpoint"`
	CA          string `yaml:"ca"`
	Thing       string `yaml:"thing"`
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	Claim       struct {
		Certificate string `yaml:"certificate"`
		Key         string `yaml:"key"`
	} `yaml:"claim"`
	Template struct {
		Name       string            `yaml:"name"`
		Parameters map[string]string `yaml:"parameters"`
	} `yaml:"template"`
	Application map[string]any `yaml:"application"`
}

func (v *deviceValues) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&v.WiFi.SSID, "wifi-ssid", "", "name of the Wi-Fi network")
	f.StringVar(&v.WiFi.PasswordFile, "wifi-password-file", "", "`FILE` with its password, - for standard input")
	f.StringVar(&v.Endpoint, "endpoint", "", "`HOST:PORT` that the device connects to")
	f.StringVar(&v.CA, "ca", "", "PEM `FILE` of the endpoint's authorities")
	f.StringVar(&v.Thing, "thing", "", "`NAME` of the device's thing")
	f.StringVar(&v.Certificate, "certificate", "", "PEM `FILE` of the device's certificate")
	f.StringVar(&v.Key, "key", "", "PEM `FILE` of its private key")
	f.StringVar(&v.Claim.Certificate, "claim", "", "PEM `FILE` of a claim certificate")
	f.StringVar(&v.Claim.Key, "claim-key", "", "PEM `FILE` of its private key")
	f.StringVar(&v.Template.Name, "template", "", "provisioning template for the claim")
	f.StringToStringVar(&v.Template.Parameters, "parameter", nil, "`NAME=VALUE` of the template, repeatable")
}

// document makes the configuration: the file's values under the flags'.
func (v *deviceValues) document(cmd *cobra.Command, path string) (configuration.Document, error) {
	d, err := v.read(cmd, "")
	if err != nil || path == "" {
		return d, checkDocument(d, err)
	}
	b, err := input(cmd, path)
	if err != nil {
		return d, fmt.Errorf("configuration: %w", err)
	}
	var file deviceValues
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return d, usagef("configuration %s: %v", path, err)
	}
	under, err := file.read(cmd, filepath.Dir(path))
	if err != nil {
		return d, err
	}
	d = d.Over(under)
	return d, checkDocument(d, nil)
}

// checkDocument makes a configuration that cannot be meant bad usage.
func checkDocument(d configuration.Document, err error) error {
	if err == nil {
		if err = d.Check(); err != nil {
			return &usageError{err}
		}
	}
	return err
}

// read reads the files that the values name, which are relative to dir.
func (v *deviceValues) read(cmd *cobra.Command, dir string) (d configuration.Document, err error) {
	pem := func(name string) []byte {
		if name == "" || err != nil {
			return nil
		}
		if strings.Contains(name, "-----BEGIN ") {
			return []byte(name)
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		var b []byte
		b, err = namedFile(name)
		return b
	}
	d = configuration.Document{WiFi: configuration.WiFi{SSID: v.WiFi.SSID, Password: v.WiFi.Password}, Endpoint: v.Endpoint,
		CA: pem(v.CA), Thing: v.Thing, Certificate: pem(v.Certificate), Key: pem(v.Key),
		Claim:    configuration.Claim{Certificate: pem(v.Claim.Certificate), Key: pem(v.Claim.Key)},
		Template: configuration.Template{Name: v.Template.Name, Parameters: v.Template.Parameters}}
	if name := v.WiFi.PasswordFile; name != "" && err == nil {
		if name != "-" && !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		var b []byte
		b, err = input(cmd, name)
		d.WiFi.Password = strings.TrimRight(string(b), "\r\n")
	}
	if v.Application != nil && err == nil {
		d.Application, err = json.Marshal(v.Application)
	}
	return d, err
}
