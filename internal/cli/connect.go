package cli

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

// connection is how pub and sub reach a server: plain, with a client certificate, or over a
// WebSocket that is signed with the target's access key.
type connection struct {
	target
	plain, host, cert, key, cafile, alpn string
	insecure                             bool
	port                                 int
	id, version, user, password          string
	keepAlive                            time.Duration
	connectTimeout                       time.Duration
	keepSession                          bool
}

func (c *connection) addFlags(cmd *cobra.Command) {
	c.target.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&c.plain, "plain", "", "connect without TLS to `HOST:PORT`")
	f.StringVar(&c.host, "host", "", "server, instead of the target's endpoint")
	f.IntVarP(&c.port, "port", "p", 0, "port (default 8883 with a certificate, else the target's HTTPS port)")
	f.StringVar(&c.cert, "cert", "", "client certificate, PEM `FILE`")
	f.StringVar(&c.key, "key", "", "key of the client certificate, PEM `FILE`")
	f.StringVar(&c.cafile, "cafile", "", "certificates of the authorities to trust, PEM `FILE` (default the target's)")
	f.StringVar(&c.alpn, "alpn", "", "ALPN protocol to offer, x-amzn-mqtt-ca for port 443")
	f.BoolVar(&c.insecure, "insecure", false, "do not check the server's host name")
	f.StringVarP(&c.id, "id", "i", "", "client identifier (default berth- and random letters)")
	f.StringVarP(&c.version, "mqtt", "V", "5", "MQTT version: 3.1.1 or 5")
	f.StringVarP(&c.user, "username", "u", "", "user name")
	f.StringVarP(&c.password, "pw", "P", "", "password")
	f.DurationVarP(&c.keepAlive, "keepalive", "k", time.Minute, "keep alive")
	f.DurationVar(&c.connectTimeout, "connect-timeout", 15*time.Second, "how long connecting may take")
	f.BoolVarP(&c.keepSession, "disable-clean-session", "c", false, "keep the session, for an hour; needs -i")
}

func parseVersion(s string) (mqtt.Version, error) {
	switch s {
	case "5", "5.0", "mqttv5":
		return mqtt.V5, nil
	case "3.1.1", "311", "mqttv311":
		return mqtt.V311, nil
	}
	return 0, usagef("--mqtt %q: want 3.1.1 or 5", s)
}

func (c *connection) options(ctx context.Context) (client.Options, error) {
	v, err := parseVersion(c.version)
	if err != nil {
		return client.Options{}, err
	}
	if c.keepSession && c.id == "" {
		return client.Options{}, usagef("--disable-clean-session needs a client identifier: -i")
	}
	o := client.Options{
		Version: v, ClientID: c.id, CleanStart: !c.keepSession, KeepAlive: c.keepAlive, UserName: c.user,
	}
	if c.password != "" {
		o.Password = []byte(c.password)
	}
	if c.keepSession {
		o.SessionExpiry = time.Hour
	}
	if o.ClientID == "" {
		o.ClientID = "berth-" + strings.ToLower(rand.Text()[:12])
	}
	switch {
	case c.plain != "" && (c.cert != "" || c.key != "" || c.host != ""):
		err = usagef("--plain excludes --host, --cert and --key")
	case c.plain != "":
		o.Address = c.plain
		if _, _, err = net.SplitHostPort(c.plain); err != nil {
			err = usagef("--plain %q: want HOST:PORT", c.plain)
		}
	case (c.cert == "") != (c.key == ""):
		err = usagef("--cert and --key belong together")
	case c.cert != "":
		err = c.withCertificate(ctx, &o)
	default:
		err = c.signed(ctx, &o)
	}
	return o, err
}

// withCertificate asks the target only for what the flags leave open.
func (c *connection) withCertificate(ctx context.Context, o *client.Options) error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return hinted(fmt.Errorf("read certificate and key: %w", err), "berth cert create --out DIR writes a pair that fits")
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}}
	host, port := c.host, c.port
	if host == "" || c.cafile == "" {
		s, err := c.find(ctx)
		if err != nil && (host == "" || c.dataGiven()) {
			return err
		}
		if err == nil {
			cfg.RootCAs = s.roots
			if host == "" {
				if host, err = s.endpoint(ctx); err != nil {
					return err
				}
				if port == 0 {
					port = s.mqttPort
				}
			}
		}
	}
	if err := c.finishTLS(cfg); err != nil {
		return err
	}
	if port == 0 {
		port = 8883
	}
	o.TLS = cfg
	o.Address = net.JoinHostPort(host, strconv.Itoa(port))
	return nil
}

func (c *connection) finishTLS(cfg *tls.Config) error {
	if c.cafile != "" {
		pem, err := os.ReadFile(c.cafile)
		if err != nil {
			return fmt.Errorf("--cafile: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("--cafile: %s holds no certificate", c.cafile)
		}
	}
	if c.alpn != "" {
		cfg.NextProtos = []string{c.alpn}
	}
	if c.insecure {
		anyName(cfg)
	}
	return nil
}

// anyName checks the server's chain and not its name.
func anyName(cfg *tls.Config) {
	roots := cfg.RootCAs
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the server has no certificate")
		}
		o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, cert := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(o)
		return err
	}
}

// signed prepares a WebSocket that is signed with the target's access key.
func (c *connection) signed(ctx context.Context, o *client.Options) error {
	s, err := c.find(ctx)
	if err != nil {
		return err
	}
	if _, err := s.endpoint(ctx); err != nil {
		return err
	}
	address := s.wss
	if host, port, err := net.SplitHostPort(address); err == nil || c.host != "" || c.port != 0 {
		if err != nil {
			host, port = address, "443"
		}
		if c.host != "" {
			host = c.host
		}
		if c.port != 0 {
			port = strconv.Itoa(c.port)
		}
		address = net.JoinHostPort(host, port)
	}
	creds, err := s.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("read the access key: %w", err)
	}
	signer := sigv4.Signer{
		AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey, SessionToken: creds.SessionToken,
		Region: s.cfg.Region, Service: "iotdevicegateway",
	}
	o.TLS = &tls.Config{RootCAs: s.roots}
	if err := c.finishTLS(o.TLS); err != nil {
		return err
	}
	o.TLS.NextProtos = []string{"http/1.1"}
	// The URL is used at once: it needs no X-Amz-Expires.
	o.WebSocket = signer.PresignWebSocket(address, 0, time.Now())
	return nil
}

// dial connects within the time allowed.
func (c *connection) dial(ctx context.Context, o client.Options) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, c.connectTimeout)
	defer cancel()
	return client.Dial(ctx, o)
}
