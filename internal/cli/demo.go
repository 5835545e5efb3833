package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

func demoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole story in a temporary folder, told step by step",
		Long: `Start a server in a temporary folder, prepare a device as one would on AWS IoT, let it talk
over mutual TLS and show what happens when it does more than its policy allows. Then three virtual
ESP32 join: one is prepared at a station, starts from its flash, follows its shadow and takes two
updates, the first of which is rolled back; one joins by claim and one by the maker's own CA.

Without --once the server stays up afterwards, to be tried with other clients, until
interrupted.`,
		Example: "  berth demo\n  berth demo --once",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "berth-demo-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			return (&demo{w: cmd.OutOrStdout(), dir: dir}).run(cmd.Context(), once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end with a summary instead of staying up")
	return cmd
}

// demo is one run of the story.
type demo struct {
	w    io.Writer
	dir  string
	n    int
	site *site
	api  *iot.Client
	at   server.Ready

	certARN string
	cert    tls.Certificate
	signing *ecdsa.PrivateKey // of updates
}

const (
	demoThing  = "kettle-1"
	demoPolicy = "kettle-least-privilege"
	helloTopic = "topic/hello"
	echoTopic  = "another/topic/echo"
)

func (d *demo) step(format string, args ...any) {
	d.n++
	fmt.Fprintf(d.w, "\n%d. %s\n", d.n, fmt.Sprintf(format, args...))
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.w, "   "+format+"\n", args...) }

func (d *demo) run(ctx context.Context, once bool) error {
	began := time.Now()
	d.step("Start berth in %s", d.dir)
	cfg := server.Defaults()
	cfg.Data = d.dir
	cfg.MQTT, cfg.HTTPS, cfg.HTTP = "127.0.0.1:0", "127.0.0.1:0", ""
	srv, err := server.Start(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer srv.Close()
	d.at = srv.Ready
	d.say("made a certificate authority, a server certificate and an admin key in %v", time.Since(began).Round(time.Millisecond))
	d.say("MQTT with mutual TLS on port %d, the AWS IoT API on port %d", d.at.MQTTPort, d.at.HTTPSPort)
	if d.site, err = fromData(ctx, d.dir); err != nil {
		return err
	}
	d.api = iot.NewFromConfig(d.site.cfg, func(o *iot.Options) { o.BaseEndpoint = &d.site.base })

	prepared := time.Now()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	took := time.Since(prepared)
	if err := d.talk(ctx); err != nil {
		return err
	}
	if err := d.overstep(ctx); err != nil {
		return err
	}
	boards, err := d.boards(ctx)
	defer func() {
		for _, b := range boards {
			b.close()
		}
	}()
	if err != nil {
		return err
	}
	if err := d.table(ctx, boards); err != nil {
		return err
	}
	fmt.Fprintf(d.w, "\nDone in %v: device prepared in %v, message echoed, overstepping denied and explained, three boards in the field, one updated.\n",
		time.Since(began).Round(time.Millisecond), took.Round(time.Millisecond))
	if once {
		return nil
	}
	if err := d.keepFiles(); err != nil {
		return err
	}
	fmt.Fprintf(d.w, `
The server stays up until you press Ctrl-C. In another terminal:

  mosquitto_sub -h localhost -p %d --cafile %[2]s/ca.pem --cert %[2]s/%[3]s.pem --key %[2]s/%[3]s.key -i %[3]s -t %[4]s

  eval "$(go run ./cmd/berth env --data %[2]s)"     # then the AWS CLI talks to this server
  aws iot-data publish --topic %[4]s --payload aGVsbG8=
`, d.at.MQTTPort, d.dir, demoThing, helloTopic)
	<-ctx.Done()
	return nil
}

// prepare does what one does on AWS IoT to get a device going: thing, certificate, policy.
func (d *demo) prepare(ctx context.Context) error {
	d.step("Prepare the device %q through the AWS IoT API, as any AWS SDK would", demoThing)
	name := demoThing
	if _, err := d.api.CreateThing(ctx, &iot.CreateThingInput{ThingName: &name}); err != nil {
		return fmt.Errorf("create thing: %w", err)
	}
	d.say("CreateThing                 %s", name)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return err
	}
	request := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
	made, err := d.api.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &request, SetAsActive: true})
	if err != nil {
		return fmt.Errorf("create certificate: %w", err)
	}
	d.certARN = text(made.CertificateArn)
	block, _ := pem.Decode([]byte(text(made.CertificatePem)))
	if block == nil {
		return fmt.Errorf("create certificate: the answer holds no PEM")
	}
	d.cert = tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	d.say("CreateCertificateFromCsr    %.16s…  the private key never left the device", text(made.CertificateId))

	document := string(leastPrivilege(arnPlace{"aws", d.at.Region, d.at.Account}, []string{echoTopic}, []string{helloTopic}))
	policy := demoPolicy
	if _, err := d.api.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &policy, PolicyDocument: &document}); err != nil {
		return fmt.Errorf("create policy: %w", err)
	}
	d.say("CreatePolicy                %s: connect as itself, hear %s, answer on %s", policy, helloTopic, echoTopic)
	if _, err := d.api.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &policy, Target: &d.certARN}); err != nil {
		return fmt.Errorf("attach policy: %w", err)
	}
	if _, err := d.api.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &name, Principal: &d.certARN}); err != nil {
		return fmt.Errorf("attach thing: %w", err)
	}
	d.say("AttachPolicy, AttachThingPrincipal")
	return nil
}

// device connects as the device.
func (d *demo) device(ctx context.Context, heard func(client.Message)) (*client.Client, error) {
	return client.Dial(ctx, client.Options{
		Address: net.JoinHostPort("localhost", strconv.Itoa(d.at.MQTTPort)), Version: mqtt.V5, ClientID: demoThing, CleanStart: true,
		TLS:       &tls.Config{RootCAs: d.site.roots, Certificates: []tls.Certificate{d.cert}, ServerName: "localhost"},
		OnMessage: heard,
	})
}

// talk lets the application and the device exchange a message each way.
func (d *demo) talk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	d.step("The device connects over mutual TLS")
	answers := make(chan client.Message, 1)
	var dev *client.Client
	ready := make(chan struct{})
	dev, err := d.device(ctx, func(m client.Message) {
		<-ready
		go dev.Publish(ctx, client.Message{Topic: echoTopic, Payload: append([]byte("echo: "), m.Payload...), QoS: 1})
	})
	if err != nil {
		return err
	}
	close(ready)
	defer dev.Close(context.WithoutCancel(ctx))
	if _, err := dev.Subscribe(ctx, mqtt.Subscription{Filter: helloTopic, QoS: 1}); err != nil {
		return err
	}
	d.say("subscribed to %s with QoS 1", helloTopic)

	d.step("An application connects over a signed WebSocket and says hello")
	cred, err := d.site.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	signer := sigv4.Signer{AccessKeyID: cred.AccessKeyID, SecretAccessKey: cred.SecretAccessKey, Region: d.at.Region, Service: "iotdevicegateway"}
	app, err := client.Dial(ctx, client.Options{
		WebSocket: signer.PresignWebSocket(net.JoinHostPort("localhost", strconv.Itoa(d.at.HTTPSPort)), time.Minute, time.Now()),
		TLS:       &tls.Config{RootCAs: d.site.roots}, Version: mqtt.V311, ClientID: "application", CleanStart: true,
		OnMessage: func(m client.Message) { answers <- m },
	})
	if err != nil {
		return err
	}
	defer app.Close(context.WithoutCancel(ctx))
	if _, err := app.Subscribe(ctx, mqtt.Subscription{Filter: echoTopic, QoS: 1}); err != nil {
		return err
	}
	sent := time.Now()
	if _, err := app.Publish(ctx, client.Message{Topic: helloTopic, Payload: []byte("hello from berth"), QoS: 1}); err != nil {
		return err
	}
	select {
	case m := <-answers:
		d.say("%s  →  %q", helloTopic, "hello from berth")
		d.say("%s  ←  %q   after %v", m.Topic, m.Payload, time.Since(sent).Round(10*time.Microsecond))
	case <-ctx.Done():
		return fmt.Errorf("no answer on %s: %w", echoTopic, ctx.Err())
	}
	return nil
}

// overstep shows a denied publish and its explanation.
func (d *demo) overstep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	d.step("The device publishes where its policy does not let it")
	dev, err := d.device(ctx, nil)
	if err != nil {
		return err
	}
	defer dev.Close(context.WithoutCancel(ctx))
	code, err := dev.Publish(ctx, client.Message{Topic: "factory/stop", Payload: []byte("all"), QoS: 1})
	if err == nil {
		return fmt.Errorf("the publish to factory/stop was answered with %v and should have been denied", code)
	}
	d.say("PUBACK: %v", code)
	var out struct {
		Denials []denial.Record `json:"denials"`
	}
	if err := d.site.own(ctx, "GET", "/berth/denials?max=1&clientId="+demoThing, nil, &out); err != nil {
		return err
	}
	if len(out.Denials) == 0 {
		return fmt.Errorf("the denial was not recorded")
	}
	d.say("berth explain: %s", out.Denials[0].Reason)
	return nil
}

// table shows the boards as the API has them.
func (d *demo) table(ctx context.Context, boards []*demoBoard) error {
	fmt.Fprintln(d.w)
	w := tabwriter.NewWriter(d.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "   THING\tJOINED BY\tCERTIFICATE\tFIRMWARE\tCONNECTED")
	for _, b := range boards {
		state, err := b.reported(ctx, func(demoState) bool { return true })
		if err != nil {
			return err
		}
		out, err := d.api.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: &b.thing})
		if err != nil {
			return fmt.Errorf("list principals: %w", err)
		}
		certificate := "none"
		if len(out.Principals) > 0 {
			certificate = fmt.Sprintf("%.16s…", out.Principals[0][strings.LastIndex(out.Principals[0], "/")+1:])
		}
		connected := "no"
		if s := b.board.System(); s != nil && s.Connected() {
			connected = "yes"
		}
		fmt.Fprintf(w, "   %s\t%s\t%s\t%s in %s\t%s\n", b.thing, b.joined, certificate, state.Firmware.Version, state.Firmware.Slot, connected)
	}
	return w.Flush()
}

// keepFiles writes the device's certificate and key for other clients to try.
func (d *demo) keepFiles() error {
	key, err := x509.MarshalECPrivateKey(d.cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, demoThing+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.cert.Certificate[0]}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, demoThing+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}), 0o600)
}
