package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// staleness is how long a node may go on with permissions that were taken back: it lets its clients go, or has
// heard of it, after four fifths of its lease, and looks every second. The rest is for a machine that is busy.
const staleness = lease*4/5 + time.Second + 1500*time.Millisecond

// onlyListen lets a client connect and subscribe, and nothing come or go.
const onlyListen = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iot:Connect","iot:Subscribe"],"Resource":"*"}}`

// permit is a certificate with a policy of its own, one or both of which are taken back at a time.
type permit struct {
	name, id string
	tls      *tls.Config
	revoked  bool // the certificate, not the policy

	mu    sync.Mutex
	taken time.Time // zero before; what begins staleness after this must fail
}

// late reports whether something that began at a time must fail.
func (p *permit) late(began time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.taken.IsZero() && began.After(p.taken.Add(staleness))
}

// since is how long ago it was taken back when something began.
func (p *permit) since(began time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return began.Sub(p.taken).Round(time.Millisecond)
}

// call asks nodes in turn until one has done it.
func (c *checker) call(method, path string, in, out any) bool {
	for c.running() {
		p := c.site.processes[rand.IntN(len(c.site.processes))]
		status, body, err := p.request(4*time.Second, method, path, in)
		done := err == nil && (status == 200 || status == 409 && out == nil) // the answer to the first try was lost
		if done && out != nil {
			done = json.Unmarshal(body, out) == nil
		}
		if done {
			return true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return false
}

// issue makes a permit for all.
func (c *checker) issue(name string) *permit {
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		c.errorf("%v", err)
		return nil
	}
	csr, err := x509.CreateCertificateRequest(cryptorand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		c.errorf("%v", err)
		return nil
	}
	root, err := os.ReadFile(filepath.Join(c.site.processes[0].dir, "ca.pem"))
	if err != nil {
		c.errorf("%v", err)
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	var made struct{ CertificateID, CertificateARN, CertificatePEM string }
	if !c.call("POST", "/policies/"+name, map[string]string{"policyDocument": allowAll}, nil) ||
		!c.call("POST", "/certificates?setAsActive=true", map[string]string{"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}, &made) ||
		!c.call("PUT", "/target-policies/"+name, map[string]string{"target": made.CertificateARN}, nil) {
		return nil
	}
	block, _ := pem.Decode([]byte(made.CertificatePEM))
	return &permit{name: name, id: made.CertificateID, tls: &tls.Config{RootCAs: roots, ServerName: "localhost",
		Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}}}
}

// take takes the permit back, on any node, and notes when that was acknowledged.
func (c *checker) take(p *permit) bool {
	ok := false
	if p.revoked {
		ok = c.call("PUT", "/certificates/"+p.id+"?newStatus=INACTIVE", nil, nil)
	} else {
		ok = c.call("POST", "/policies/"+p.name+"/version?setAsDefault=true", map[string]string{"policyDocument": onlyListen}, nil)
	}
	p.mu.Lock()
	p.taken = time.Now()
	p.mu.Unlock()
	return ok
}

// guard issues permits, uses them on all nodes, takes them back on one, and sees that they are of no use any
// more: no connect with a certificate that is INACTIVE, no message to or from a client that its policy denies.
func (c *checker) guard(name string) {
	for i := 0; c.running(); i++ {
		p := c.issue(fmt.Sprint(name, i))
		if p == nil {
			return
		}
		p.revoked = i%2 == 0
		over := make(chan struct{})
		var users sync.WaitGroup
		users.Go(func() { c.tempt(p, over) })
		for _, at := range c.site.processes {
			users.Go(func() { c.use(p, at, over) })
		}
		c.mu.Lock()
		next := c.next
		c.mu.Unlock()
		select { // it is taken back in the middle of a fault
		case <-next:
			time.Sleep(time.Duration(rand.IntN(3500)) * time.Millisecond)
		case <-time.After(2 * patience):
		case <-c.stop:
		}
		ok := c.take(p)
		select {
		case <-time.After(staleness + 1500*time.Millisecond):
		case <-c.stop:
			ok = false
		}
		close(over)
		users.Wait()
		if ok {
			c.count(func(n *counts) { n.refused++ })
		}
	}
}

func open(over chan struct{}) bool {
	select {
	case <-over:
		return false
	default:
		return true
	}
}

func (c *checker) accepted(format string, args ...any) {
	first := false
	c.count(func(n *counts) { n.accepted++; first = n.accepted < 10 })
	if first {
		c.errorf(format, args...)
	}
}

// sent is when a message was, as its payload says.
func sent(m client.Message) time.Time {
	n, _ := strconv.ParseInt(string(m.Payload), 10, 64)
	return time.Unix(0, n)
}

func stamp() []byte { return strconv.AppendInt(nil, time.Now().UnixNano(), 10) }

// use keeps a client connected to one node with the permit, publishes all the time and listens.
func (c *checker) use(p *permit, at *process, over chan struct{}) {
	for ; open(over); time.Sleep(100 * time.Millisecond) {
		began := time.Now()
		cl, err := c.dial(client.Options{ClientID: p.name + "-" + at.name, CleanStart: true, TLS: p.tls, OnMessage: func(m client.Message) {
			if p.late(sent(m)) {
				c.accepted("%s: %s gets what its policy denies, %v after that", at.name, p.name, p.since(sent(m)))
			}
		}}, net.JoinHostPort("127.0.0.1", strconv.Itoa(at.ready().MQTTPort)))
		if err != nil {
			continue
		}
		if p.revoked && p.late(began) {
			c.accepted("%s: the certificate of %s is accepted %v after it became INACTIVE", at.name, p.name, p.since(began))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		cl.Subscribe(ctx, mqtt.Subscription{Filter: "guarded/in"})
		cancel()
		for gone := false; !gone && open(over); {
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			code, err := cl.Publish(ctx, client.Message{Topic: "guarded/out/" + p.name, Payload: stamp(), QoS: 1})
			cancel()
			if err == nil && !code.Failed() && p.late(began) {
				c.accepted("%s: a message of %s is accepted %v after that was taken back", at.name, p.name, p.since(began))
			}
			select {
			case <-cl.Done():
				gone = true
			case <-time.After(50 * time.Millisecond):
			}
		}
		abandon(cl)
	}
}

// tempt publishes what clients with the permit are to get, and hears what they publish.
func (c *checker) tempt(p *permit, over chan struct{}) {
	for open(over) {
		cl, err := c.dial(client.Options{ClientID: "tempter-" + p.name, CleanStart: true, OnMessage: func(m client.Message) {
			if strings.HasSuffix(m.Topic, "/"+p.name) && p.late(sent(m)) {
				c.accepted("a message of %s is delivered", p.name)
			}
		}}, c.site.balancer.address())
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		cl.Subscribe(ctx, mqtt.Subscription{Filter: "guarded/out/#"})
		cancel()
		for gone := false; !gone && open(over); {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			_, err := cl.Publish(ctx, client.Message{Topic: "guarded/in", Payload: stamp()})
			cancel()
			gone = err != nil
			time.Sleep(50 * time.Millisecond)
		}
		abandon(cl)
	}
}
