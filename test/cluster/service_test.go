package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/berth-iot/berth/internal/client"
)

// device makes an ACTIVE certificate with a policy and returns its identifier, its ARN and how a node is
// reached with it.
func (n *node) device(policy string) (id, arn string, connect func(n *node) func(*client.Options)) {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		n.t.Fatal(err)
	}
	var made struct{ CertificateID, CertificateARN, CertificatePEM string }
	n.api("POST", "/certificates?setAsActive=true", map[string]string{
		"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}, &made)
	n.api("PUT", "/target-policies/"+policy, map[string]string{"target": made.CertificateARN}, nil)
	block, _ := pem.Decode([]byte(made.CertificatePEM))
	b, err := os.ReadFile(filepath.Join(n.cfg.Data, "ca.pem"))
	if err != nil {
		n.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	return made.CertificateID, made.CertificateARN, func(to *node) func(*client.Options) {
		return func(o *client.Options) {
			o.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(to.Ready.MQTTPort))
			o.TLS = &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}}
		}
	}
}

// A revoked certificate and a changed policy end connections on every node.
func TestRevocation(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	c.nodes[0].api("POST", "/policies/devices", map[string]string{"policyDocument": allowAll}, nil)
	first, _, connect := c.nodes[0].device("devices")
	_, arn, other := c.nodes[1].device("devices")
	var revoked, detached []*conn
	for i, n := range c.nodes {
		revoked = append(revoked, n.connect(fmt.Sprint("r", i), connect(n)))
		detached = append(detached, n.connect(fmt.Sprint("d", i), other(n)))
	}
	c.nodes[1].api("PUT", "/certificates/"+first+"?newStatus=REVOKED", nil, nil)
	for _, r := range revoked {
		r.ended()
	}
	c.nodes[2].api("POST", "/target-policies/devices", map[string]string{"target": arn}, nil)
	for _, d := range detached {
		d.ended()
	}
	ctx, cancel := timeout()
	defer cancel()
	for i, n := range c.nodes {
		o := client.Options{ClientID: fmt.Sprint("again", i)}
		connect(n)(&o)
		if again, err := client.Dial(ctx, o); err == nil {
			again.Close(ctx)
			t.Errorf("a revoked certificate connects to %s", n.cfg.Node)
		}
	}
}

// Updates of one shadow through all nodes are all there, one after the other.
func TestShadowsOnAllNodes(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	c.nodes[0].api("POST", "/things/T", map[string]string{}, nil)
	const each = 30
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() {
			for k := range each {
				body := fmt.Sprintf(`{"state":{"reported":{"n%d":%d}}}`, i, k)
				if status, answer, err := request(n.Ready.HTTPPort, "POST", "/things/T/shadow", []byte(body)); err != nil || status != 200 {
					t.Errorf("%d %s %v", status, answer, err)
				}
			}
		})
	}
	wg.Wait()
	for _, n := range c.nodes {
		var doc struct {
			Version int
			State   struct{ Reported map[string]int }
		}
		status, b, err := request(n.Ready.HTTPPort, "GET", "/things/T/shadow", nil)
		if err != nil || status != 200 || json.Unmarshal(b, &doc) != nil {
			t.Fatalf("%d %s %v", status, b, err)
		}
		if doc.Version != 3*each || doc.State.Reported["n0"] != each-1 || doc.State.Reported["n1"] != each-1 || doc.State.Reported["n2"] != each-1 {
			t.Errorf("%s: %s", n.cfg.Node, b)
		}
	}
}

// A rule, an access key and a job made on one node work on the others.
func TestServicesOnAllNodes(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.api("POST", "/rules/copy", json.RawMessage(`{"sql":"SELECT * FROM 'in/#'","awsIotSqlVersion":"2016-03-23","actions":[{"republish":{"roleArn":"arn:aws:iam::000000000000:role/r","topic":"out","qos":1}}]}`), nil)
	eventually(t, "the rule is known", func() bool {
		status, _, _ := request(b.Ready.HTTPPort, "GET", "/rules/copy", nil)
		return status == 200
	})
	s := a.connect("s")
	s.sub(1, "out")
	known(t, b, s, "out")
	b.connect("p").pub(1, "in/x", `{"v":1}`)
	s.want("out", `{"v":1}`)

	a.api("POST", "/things/J", map[string]string{}, nil)
	d := b.connect("J")
	d.sub(1, "$aws/things/J/jobs/notify-next", "$aws/things/J/jobs/start-next/accepted")
	known(t, a, d, "$aws/things/J/jobs/start-next/accepted")
	a.api("PUT", "/jobs/job1", map[string]any{"targets": []string{"arn:aws:iot:us-east-1:000000000000:thing/J"}, "document": `{"do":"it"}`}, nil)
	var m client.Message
	select {
	case m = <-d.messages:
	case <-timeoutChannel():
		t.Fatal("the device on the other node was not notified")
	}
	if m.Topic != "$aws/things/J/jobs/notify-next" {
		t.Errorf("got %s", m.Topic)
	}
	d.pub(1, "$aws/things/J/jobs/start-next", `{}`)
	select {
	case m = <-d.messages:
	case <-timeoutChannel():
		t.Fatal("start-next was not answered")
	}
	var answer struct {
		Execution struct{ JobID, Status string }
	}
	if err := json.Unmarshal(m.Payload, &answer); err != nil || answer.Execution.JobID != "job1" {
		t.Errorf("%s %s", m.Topic, m.Payload)
	}
	d.pub(1, "$aws/things/J/jobs/job1/update", `{"status":"SUCCEEDED"}`)
	for _, n := range c.nodes {
		eventually(t, "the job has ended on both", func() bool {
			status, body, _ := request(n.Ready.HTTPPort, "GET", "/jobs/job1", http.Header{})
			var j struct{ Job struct{ Status string } }
			return status == 200 && json.Unmarshal(body, &j) == nil && j.Job.Status == "COMPLETED"
		})
	}
}
