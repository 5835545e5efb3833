package soak

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
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

const fleetTemplate = `{"Parameters":{"Serial":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
	"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"Serial"}}},
	"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"Active"}},
	"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"plain"}}}}`

// claims provisions devices by claim: with a key of the server's, and with one of their own.
type claims struct {
	tally
	claim tls.Certificate
	roots *x509.CertPool
	csr   string

	mu     sync.Mutex
	next   int
	made   map[string]string // things by certificate ID
	recent []string
	keys   [][]byte // pieces of private keys that must not be found
}

func newClaims() *claims {
	return &claims{tally: tally{kind: "provisioning by claim"}, made: make(map[string]string), csr: newCSR()}
}

func (w *claims) prepare(s *site) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		s.t.Fatal(err)
	}
	var made struct{ CertificateARN, CertificatePEM string }
	s.must("POST", "/certificates?setAsActive=true", object{"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}, &made)
	s.must("PUT", "/target-policies/plain", object{"target": made.CertificateARN}, nil)
	block, _ := pem.Decode([]byte(made.CertificatePEM))
	w.claim = tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	s.must("POST", "/provisioning-templates", object{"templateName": "fleet", "type": "FLEET_PROVISIONING", "templateBody": fleetTemplate,
		"enabled": true, "provisioningRoleArn": "arn:aws:iam::000000000000:role/r"}, nil)
	root, err := os.ReadFile(filepath.Join(s.dir, "ca.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	w.roots = x509.NewCertPool()
	w.roots.AppendCertsFromPEM(root)
}

func (w *claims) write(ctx context.Context, s *site) {
	box := make(chan client.Message, 100)
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	c, err := client.Dial(dialing, client.Options{Address: fmt.Sprintf("127.0.0.1:%d", s.where().MQTTPort), ClientID: "factory", Version: mqtt.V311, CleanStart: true,
		TLS: &tls.Config{RootCAs: w.roots, ServerName: "localhost", Certificates: []tls.Certificate{w.claim}}, OnMessage: func(m client.Message) { box <- m }})
	cancel()
	if err != nil {
		return
	}
	defer c.Close(context.Background())
	const create, provision = "$aws/certificates/create", "$aws/provisioning-templates/fleet/provision/json"
	for _, filter := range []string{create + "/json/+", create + "-from-csr/json/+", provision + "/+"} {
		if _, err := c.Subscribe(ctx, mqtt.Subscription{Filter: filter, QoS: 1}); err != nil {
			return
		}
	}
	for ctx.Err() == nil {
		w.next++
		topic, in := create+"/json", object{}
		if w.next%2 == 0 {
			topic, in = create+"-from-csr/json", object{"certificateSigningRequest": w.csr}
		}
		accepted, answer, err := ask(ctx, c, box, topic, in)
		if err != nil {
			return
		}
		var cert struct{ CertificateID, CertificateOwnershipToken, PrivateKey string }
		if json.Unmarshal(answer, &cert); !accepted {
			w.answered(&refused{topic, 0, string(answer)})
			continue
		}
		w.acked(1)
		if block, _ := pem.Decode([]byte(cert.PrivateKey)); block != nil {
			line := strings.Split(cert.PrivateKey, "\n")[2]
			w.mu.Lock()
			w.keys = append(w.keys, []byte(line), block.Bytes[len(block.Bytes)/2:][:40])
			w.mu.Unlock()
		}
		thing := fmt.Sprintf("claimed-%d", w.next)
		accepted, answer, err = ask(ctx, c, box, provision, object{"certificateOwnershipToken": cert.CertificateOwnershipToken, "parameters": object{"Serial": thing}})
		if err != nil {
			return
		}
		if !accepted {
			w.answered(&refused{provision, 0, string(answer)})
			continue
		}
		w.acked(1)
		w.mu.Lock()
		w.made[cert.CertificateID] = thing
		w.recent = append(w.recent, cert.CertificateID)
		w.mu.Unlock()
	}
}

func (w *claims) check(s *site, everything bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.recent
	w.recent = nil
	if everything {
		for id := range w.made {
			list = append(list, id)
		}
	}
	for _, id := range list {
		var got struct {
			CertificateDescription struct{ Status, CertificateARN string }
		}
		if err := s.call(context.Background(), "GET", "/certificates/"+id, nil, &got); err != nil || got.CertificateDescription.Status != "ACTIVE" {
			w.loss("certificate of %s: %+v %v", w.made[id], got, err)
		}
		var principals struct{ Principals []string }
		if err := s.call(context.Background(), "GET", "/things/"+w.made[id]+"/principals", nil, &principals); err != nil ||
			len(principals.Principals) != 1 || principals.Principals[0] != got.CertificateDescription.CertificateARN {
			w.loss("thing %s: %v %v", w.made[id], principals, err)
		}
	}
	keys := w.keys
	if w.keys = nil; len(keys) == 0 {
		return
	}
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // files come and go
		}
		b, _ := os.ReadFile(path)
		for _, key := range keys {
			if bytes.Contains(b, key) {
				s.t.Errorf("%s holds a device's private key", path)
				return fs.SkipAll
			}
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}
