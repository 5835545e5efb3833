package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/berth-iot/berth/internal/bench"
	berth "github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/sigv4"
)

const (
	policy    = "everything"
	document  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`
	keyID     = "AKIAGROWTHGROWTHGROW"
	secretKey = "growth-secret-of-forty-characters-or-more"
)

// server is berth in a process of its own, again and again with the same data.
type server struct {
	program, data string
	cmd           *exec.Cmd
	at            berth.Ready
	http          string // address, chosen before the start
}

// database is the URL of the database, empty for SQLite.
func (s *server) database() string {
	base := os.Getenv(storetest.Variable)
	if base == "" {
		return ""
	}
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	q := u.Query()
	q.Set("search_path", "growth")
	u.RawQuery = q.Encode()
	return u.String()
}

// startTimeout bounds a start.
const startTimeout = 10 * time.Minute

// start runs the server and returns the time from there until /readyz answers.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // for a port that is free
	if err != nil {
		return 0, err
	}
	s.http = l.Addr().String()
	l.Close()
	args := []string{"serve", "--data", s.data, "--mqtt", "127.0.0.1:0", "--https", "127.0.0.1:0", "--http", s.http,
		"--mqtt-plain", "127.0.0.1:0", "--plain-policy", policy, "--log-level", "warn"}
	if url := s.database(); url != "" {
		args = append(args, "--database", url)
	}
	s.cmd = exec.CommandContext(ctx, s.program, args...)
	s.cmd.Env = append(os.Environ(), "BERTH_ADMIN_ACCESS_KEY_ID="+keyID, "BERTH_ADMIN_SECRET_ACCESS_KEY="+secretKey)
	s.cmd.Stderr = os.Stderr
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return 0, err
	}
	for time.Since(began) < startTimeout {
		resp, err := http.Get("http://" + s.http + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				took := time.Since(began)
				b, err := os.ReadFile(filepath.Join(s.data, "endpoint.json"))
				if err != nil {
					return took, err
				}
				return took, json.Unmarshal(b, &s.at)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0, errors.New("the server did not become ready")
}

// stop ends the server in order.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return cmd.Wait()
}

// cpu is the processor time that the server has used since its start.
func (s *server) cpu() (time.Duration, error) { return bench.CPUTime(s.cmd.Process.Pid) }

// call sends a signed request and returns the answer.
func (s *server) call(method, path string, in any) ([]byte, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequest(method, "http://"+s.http+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	(&sigv4.Signer{AccessKeyID: keyID, SecretAccessKey: secretKey, Region: s.at.Region, Service: "iot"}).Sign(r, body, time.Now())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.200s", method, path, resp.Status, b)
	}
	return b, err
}

// device is a thing that can connect.
type device struct {
	name string
	cert tls.Certificate
}

// enrol makes things with certificates of the server's own authority, and the policy of all.
func (s *server) enrol(n int) ([]device, error) {
	if _, err := s.call("POST", "/policies/"+policy, map[string]string{"policyDocument": document}); err != nil && !strings.Contains(err.Error(), "409") {
		return nil, err
	}
	run := time.Now().UnixMilli()
	if _, err := s.call("POST", "/indexing/config", map[string]any{"thingIndexingConfiguration": map[string]string{"thingIndexingMode": "REGISTRY"}}); err != nil {
		return nil, err
	}
	devices := make([]device, n)
	for i := range devices {
		d := &devices[i]
		d.name = fmt.Sprintf("probe-%d-%03d", run, i)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			return nil, err
		}
		b, err := s.call("POST", "/certificates?setAsActive=true", map[string]string{
			"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))})
		if err != nil {
			return nil, err
		}
		var made struct{ CertificateARN, CertificatePEM string }
		if err := json.Unmarshal(b, &made); err != nil {
			return nil, err
		}
		block, _ := pem.Decode([]byte(made.CertificatePEM))
		if block == nil {
			return nil, errors.New("the new certificate is not PEM")
		}
		d.cert = tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
		if _, err := s.call("POST", "/things/"+d.name, map[string]any{}); err != nil {
			return nil, err
		}
		if _, err := s.call("PUT", "/target-policies/"+policy, map[string]string{"target": made.CertificateARN}); err != nil {
			return nil, err
		}
		r, err := http.NewRequest("PUT", "http://"+s.http+"/things/"+d.name+"/principals", nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("X-Amzn-Principal", made.CertificateARN)
		(&sigv4.Signer{AccessKeyID: keyID, SecretAccessKey: secretKey, Region: s.at.Region, Service: "iot"}).Sign(r, nil, time.Now())
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("attach the certificate of %s: %s", d.name, resp.Status)
		}
	}
	return devices, nil
}
