package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/spf13/cobra"
)

// amazonRootCA1 is the authority that AWS IoT's endpoints are signed by (AWS IoT developer guide,
// "Server authentication"); SHA-256 8ECDE6884F3D87B1125BA31AC3FCB13D7016DE7F57CC904FE1CB97C6AE98196E.
//
//go:embed AmazonRootCA1.pem
var amazonRootCA1 []byte

// target is what a command works on: a berth or AWS.
type target struct {
	data    string
	aws     bool
	profile string
	region  string

	dataGiven func() bool
}

func (t *target) addFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&t.data, "data", "./berth-data", "data folder of the berth to work on")
	f.BoolVar(&t.aws, "aws", false, "work on AWS, with its ordinary configuration")
	f.StringVar(&t.profile, "profile", "", "profile of the AWS configuration, with --aws")
	f.StringVar(&t.region, "region", "", "AWS region, with --aws")
	t.dataGiven = func() bool { return f.Changed("data") }
}

// site is a target that was found.
type site struct {
	cfg      aws.Config
	base     string // URL of berth's HTTPS listener, "" for AWS
	host     string // MQTT endpoint, "" if not known yet
	mqttPort int
	wss      string // host:port of MQTT over WebSocket, "" if not known yet
	account  string // "" if not known
	caPEM    []byte // what devices must trust
	roots    *x509.CertPool
}

// endpointFile is endpoint.json in berth's data folder.
type endpointFile struct {
	Endpoint  string `json:"endpoint"`
	MQTTPort  int    `json:"mqttPort"`
	HTTPSPort int    `json:"httpsPort"`
	Region    string `json:"region"`
	Account   string `json:"account"`
}

// find settles where the target is: AWS if asked for, a data folder that is named, the environment
// that berth env prints, the data folder in this directory.
func (t *target) find(ctx context.Context) (*site, error) {
	environment := os.Getenv("AWS_ENDPOINT_URL_IOT") != ""
	switch {
	case t.aws && t.dataGiven():
		return nil, usagef("--aws and --data exclude each other")
	case t.aws && environment:
		return nil, hinted(errors.New("--aws: the environment points to "+os.Getenv("AWS_ENDPOINT_URL_IOT")),
			"use another shell, or unset the AWS_ variables that berth env has set")
	case t.aws:
		return t.fromAWS(ctx)
	case !t.aws && (t.profile != "" || t.region != ""):
		return nil, usagef("--profile and --region are for --aws")
	case environment && !t.dataGiven():
		return fromEnvironment(ctx)
	}
	return fromData(ctx, t.data)
}

func (t *target) fromAWS(ctx context.Context) (*site, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(t.profile), config.WithRegion(t.region))
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, hinted(errors.New("--aws: no region is configured"), "give --region, or run aws configure")
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, hinted(errors.New("--aws: no credentials are configured"), "run aws configure, or choose a --profile")
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM(amazonRootCA1)
	return &site{cfg: cfg, mqttPort: 8883, caPEM: amazonRootCA1, roots: roots}, nil
}

// fromEnvironment works with the variables that berth env prints.
func fromEnvironment(ctx context.Context) (*site, error) {
	const again = `run eval "$(berth env)", or name a data folder with --data`
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, hinted(fmt.Errorf("read the AWS environment: %w", err), again)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil || cfg.Region == "" {
		return nil, hinted(errors.New("AWS_ENDPOINT_URL_IOT is set, AWS_REGION or the access key is not"), again)
	}
	s := &site{cfg: cfg, base: strings.TrimSuffix(os.Getenv("AWS_ENDPOINT_URL_IOT"), "/"), mqttPort: 8883}
	data := os.Getenv("AWS_ENDPOINT_URL_IOT_DATA_PLANE")
	if data == "" {
		data = s.base
	}
	u, err := url.Parse(data)
	if err != nil || u.Host == "" {
		return nil, hinted(fmt.Errorf("%q is not a URL", data), again)
	}
	s.host, s.wss = u.Hostname(), u.Host
	if bundle := os.Getenv("AWS_CA_BUNDLE"); bundle != "" {
		if s.caPEM, err = os.ReadFile(bundle); err != nil {
			return nil, hinted(fmt.Errorf("AWS_CA_BUNDLE: %w", err), again)
		}
	}
	return s, s.trust(s.caPEM)
}

// fromData works with the files that berth serve writes at its first start.
func fromData(ctx context.Context, dir string) (*site, error) {
	name := filepath.Join(dir, "endpoint.json")
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hinted(fmt.Errorf("no berth found: %s does not exist", name),
			"start one with berth serve, name its folder with --data, or work on AWS with --aws")
	}
	if err != nil {
		return nil, err
	}
	var e endpointFile
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if e.Endpoint == "" || e.HTTPSPort == 0 {
		return nil, fmt.Errorf("read %s: endpoint or httpsPort is missing", name)
	}
	id, secret, err := readCredentials(filepath.Join(dir, "admin-credentials"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	s := &site{host: e.Endpoint, mqttPort: e.MQTTPort, account: e.Account, caPEM: ca}
	s.wss = net.JoinHostPort(e.Endpoint, strconv.Itoa(e.HTTPSPort))
	s.base = "https://" + s.wss
	if err := s.trust(ca); err != nil {
		return nil, err
	}
	s.cfg = aws.Config{
		Region:      e.Region,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
		HTTPClient:  s.http(),
	}
	return s, nil
}

func (s *site) trust(ca []byte) error {
	if ca == nil {
		return nil
	}
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(ca) {
		return errors.New("the CA file holds no certificate")
	}
	return nil
}

func (s *site) http() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: s.roots},
		Proxy:             http.ProxyFromEnvironment,
		ForceAttemptHTTP2: true,
	}}
}

// readCredentials reads lines such as AWS_ACCESS_KEY_ID=…; export in front and quotes do no harm.
func readCredentials(name string) (id, secret string, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", "", hinted(fmt.Errorf("read the admin's access key: %w", err),
			"run as the user who runs berth serve, or use the environment that berth env prints")
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		key, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export "), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "AWS_ACCESS_KEY_ID":
			id = value
		case "AWS_SECRET_ACCESS_KEY":
			secret = value
		}
	}
	if id == "" || secret == "" {
		return "", "", fmt.Errorf("read %s: AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is missing", name)
	}
	return id, secret, nil
}

// iot returns the client of the control plane.
func (s *site) iot() *iot.Client {
	return iot.NewFromConfig(s.cfg, func(o *iot.Options) {
		o.BaseEndpoint = optional(s.base)
	})
}

// endpoint returns the host name that devices connect to.
func (s *site) endpoint(ctx context.Context) (string, error) {
	if s.host != "" {
		return s.host, nil
	}
	out, err := s.iot().DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil {
		return "", apiError("describe endpoint", err)
	}
	s.host = text(out.EndpointAddress)
	if s.wss == "" {
		s.wss = s.host
	}
	return s.host, nil
}

// control finds the target and returns the client of its control plane.
func (t *target) control(cmd *cobra.Command) (*iot.Client, error) {
	s, err := t.find(cmd.Context())
	if err != nil {
		return nil, err
	}
	return s.iot(), nil
}
