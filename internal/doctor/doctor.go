// Package doctor finds out why a device does not connect, as the device would: it takes the device's
// files, goes the device's way to the server step by step, and asks the server, if it may, what it
// knows of the certificate, the thing and the policies.
package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Device is what a device holds and how it goes about connecting.
type Device struct {
	Host        string // of the endpoint
	Port        int
	ServerName  string // sent by SNI and checked in the server's certificate; "" is Host
	WithoutSNI  bool   // the device sends no server name
	ALPN        string // "" offers none, and x-amzn-mqtt-ca on port 443
	CA          []byte // PEM, the authorities that it trusts; nil are the system's
	Certificate []byte // PEM
	Key         []byte // PEM
	ClientID    string
	Thing       string // "" is not known
	Publish     []string
	Subscribe   []string
	KeepAlive   time.Duration
	Clock       func() time.Time // the device's
	// Connect says that MQTT is tried, too. A device that is connected with the same client identifier
	// would be disconnected: with a Cloud that is looked up first.
	Connect bool
	Timeout time.Duration // of each step over the network
	// HTTPSPort is where the server's time can be asked; 0 tries 443 and 8443.
	HTTPSPort int
}

// Result of a check.
type Result string

// Results, the worst last. Skipped is a check that an earlier problem or missing access made impossible.
const (
	OK      Result = "ok"
	Skipped Result = "skipped"
	Warning Result = "warning"
	Problem Result = "problem"
)

// Finding is what one check has found, in a sentence, and what to do about it.
type Finding struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	Says   string `json:"says"`
	Fix    string `json:"fix,omitempty"`
}

// Cloud is what the server's owner may ask it. A nil error with a zero answer is "nothing known".
type Cloud interface {
	// Certificate returns the state of a certificate, ACTIVE for example, or ErrUnknownCertificate.
	Certificate(ctx context.Context, id string) (state string, err error)
	// Things returns the things that a certificate is attached to.
	Things(ctx context.Context, id string) ([]string, error)
	// Policies returns the names of the policies of a certificate.
	Policies(ctx context.Context, id string) ([]string, error)
	// May asks whether a client may do something: action is Connect, Publish or Subscribe. nearly says
	// what comes close to allowing it.
	May(ctx context.Context, id, clientID, action, resource string) (allowed bool, why string, nearly []string, err error)
	// History returns the latest connections of a client, the newest first. AWS keeps none.
	History(ctx context.Context, clientID string) ([]Event, error)
	// Register, Activate, AttachThing and AttachPolicy are commands that mend what a check has found.
	Register(certificateFile string) string
	Activate(id string) string
	AttachThing(id, thing string) string
	AttachPolicy(id string) string
}

// Event is a connection that began, ended or was refused.
type Event struct {
	Time     time.Time
	Kind     string // connected, disconnected or connect_failed
	SourceIP string
	Reason   string // of a disconnect, as AWS's lifecycle events name it
}

// Doctor examines a device.
type Doctor struct {
	Device
	Cloud  Cloud // nil without access to the server's control plane
	Found  func(Finding)
	CAFile string // how the user calls the files, for the sentences
	Cert   string
	KeyF   string

	findings []Finding
	roots    *x509.CertPool
	pair     *tls.Certificate
	leaf     *x509.Certificate
	id       string // of the certificate
	taken    bool   // the client identifier is in use by somebody else
}

func (d *Doctor) say(check string, r Result, fix, says string) {
	f := Finding{Check: check, Result: r, Says: says, Fix: fix}
	d.findings = append(d.findings, f)
	if d.Found != nil {
		d.Found(f)
	}
}

// Examine goes through all checks and returns what they found. It stops early where the next step
// cannot be taken.
func (d *Doctor) Examine(ctx context.Context) []Finding {
	if d.Clock == nil {
		d.Clock = time.Now
	}
	if d.Timeout <= 0 {
		d.Timeout = 10 * time.Second
	}
	d.tidyEndpoint()
	d.checkFiles()
	d.checkClock()
	reached := d.checkName(ctx) && d.checkPort(ctx)
	trusted := reached && d.checkTLS(ctx)
	known := d.checkCloud(ctx)
	switch {
	case !d.Connect:
	case !reached, !trusted, d.pair == nil:
		d.say("MQTT", Skipped, "", "not tried: the steps before it failed")
	case !known:
		d.say("MQTT", Skipped, "", "not tried: the server would refuse the certificate")
	case d.taken:
		d.say("MQTT", Skipped, "", "not tried: it would disconnect the device that is connected as "+d.ClientID)
	default:
		d.checkMQTT(ctx)
	}
	d.checkKeepAlive()
	return d.findings
}

// Worst is the worst result among findings.
func Worst(list []Finding) Result {
	worst := OK
	rank := map[Result]int{OK: 0, Skipped: 1, Warning: 2, Problem: 3}
	for _, f := range list {
		if rank[f.Result] > rank[worst] {
			worst = f.Result
		}
	}
	return worst
}
