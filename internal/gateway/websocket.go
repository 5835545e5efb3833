package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/linux/websocket"
)

// WebSocket is a connection that is signed with an access key instead of a certificate.
type WebSocket struct {
	AccessKeyFile string `yaml:"access-key-file"` // JSON: accessKeyId, secretAccessKey, sessionToken; read again at every connect
	RoleAlias     string `yaml:"role-alias"`      // instead: credentials of the credentials provider
	Provider      string `yaml:"provider"`        // host:port of it; "" means the endpoint
	Region        string `yaml:"region"`          // "" means the one in the endpoint's name, or us-east-1
}

func (w *WebSocket) enabled() bool { return w.AccessKeyFile != "" || w.RoleAlias != "" }

func (c *Config) checkWithoutCertificate() error {
	if c.UserName != "" && c.WebSocket.enabled() {
		return errors.New("websocket: want either websocket or user-name")
	}
	if c.PasswordFile != "" && c.UserName == "" {
		return errors.New("password-file: user-name is missing")
	}
	if !c.WebSocket.enabled() {
		return nil
	}
	switch {
	case c.WebSocket.AccessKeyFile != "" && c.WebSocket.RoleAlias != "":
		return errors.New("websocket: want either access-key-file or role-alias")
	case c.Thing == "":
		return errors.New("websocket: thing is missing")
	case c.WebSocket.RoleAlias != "" && c.Certificate == "":
		return errors.New("websocket: role-alias needs certificate and key")
	case c.Configuration.enabled():
		return errors.New("websocket: a device with an access key takes no configuration")
	}
	return nil
}

// signed makes conf one of a device without certificate.
func (g *Gateway) signed(conf *device.Config, roots *x509.CertPool, clock *link.Clock) error {
	c := g.cfg
	tr := &websocket.Transport{Address: c.Endpoint, Name: c.ServerName, Roots: roots, Region: c.WebSocket.Region, Clock: clock}
	if host, port, err := net.SplitHostPort(c.Endpoint); err == nil && port == "443" {
		tr.Address = host // as the server's name is signed
	}
	if c.WebSocket.RoleAlias != "" {
		pair, err := tls.X509KeyPair(conf.Given.Certificate, conf.Given.Key)
		if err != nil {
			return fmt.Errorf("websocket: %w", err)
		}
		provider := c.WebSocket.Provider
		if provider == "" {
			provider = tr.Address
		}
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: c.ServerName, RootCAs: roots,
			Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, Time: clock.Now}, DisableKeepAlives: true}}
		tr.Credentials = websocket.RoleAlias(client, provider, c.WebSocket.RoleAlias, c.Thing)
	} else {
		tr.Credentials = func(context.Context) (awsiot.Credentials, error) { return readAccessKey(c.WebSocket.AccessKeyFile) }
		if _, err := readAccessKey(c.WebSocket.AccessKeyFile); err != nil {
			return err
		}
	}
	conf.Given, conf.Thing, conf.Dial, conf.Explain = device.Identity{}, c.Thing, tr.Dial, nil
	return nil
}

func readAccessKey(path string) (awsiot.Credentials, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return awsiot.Credentials{}, fmt.Errorf("access key: %w", err)
	}
	var key struct {
		AccessKeyID     string    `json:"accessKeyId"`
		SecretAccessKey string    `json:"secretAccessKey"`
		SessionToken    string    `json:"sessionToken"`
		Expiration      time.Time `json:"expiration"`
	}
	if err := json.Unmarshal(b, &key); err != nil {
		return awsiot.Credentials{}, fmt.Errorf("access key %s: %w", path, err)
	}
	if key.AccessKeyID == "" || key.SecretAccessKey == "" {
		return awsiot.Credentials{}, fmt.Errorf("access key %s: want accessKeyId and secretAccessKey", path)
	}
	// Without an end, it is read again soon: somebody may have changed it.
	if key.Expiration.IsZero() {
		key.Expiration = time.Unix(0, 0)
	}
	return awsiot.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken, Expires: key.Expiration}, nil
}
