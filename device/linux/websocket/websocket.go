// Package websocket carries MQTT over a WebSocket that is signed with an access key, for devices that
// cannot hold a certificate or sit behind a network that lets nothing but HTTPS out.
package websocket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/linux"
)

// Transport dials a server over a signed WebSocket. Its methods may be called concurrently.
type Transport struct {
	Address string         // host or host:port
	Name    string         // of the server in its certificate; "" means the host of Address
	Roots   *x509.CertPool // nil means the system's
	Region  string         // "" means the one in the host's name, or us-east-1
	Clock   *link.Clock    // nil means time.Now

	// Credentials are asked for when there are none or they are about to expire.
	Credentials func(ctx context.Context) (awsiot.Credentials, error)

	mu   sync.Mutex
	last awsiot.Credentials
}

// renewBefore is how long before their end credentials are not used for a new connection.
const renewBefore = 5 * time.Minute

// skew is how far a clock may be off before signatures are refused.
const skew = 5 * time.Minute

func (t *Transport) now() time.Time {
	if t.Clock != nil {
		return t.Clock.Now()
	}
	return time.Now()
}

func (t *Transport) credentials(ctx context.Context) (awsiot.Credentials, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.AccessKeyID != "" && (t.last.Expires.IsZero() || t.now().Before(t.last.Expires.Add(-renewBefore))) {
		return t.last, nil
	}
	c, err := t.Credentials(ctx)
	if err != nil {
		return awsiot.Credentials{}, err
	}
	t.last = c
	return c, nil
}

// forget makes the next connection ask for other credentials.
func (t *Transport) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = awsiot.Credentials{}
}

func (t *Transport) region() string {
	if t.Region != "" {
		return t.Region
	}
	if labels := strings.Split(t.Address, "."); len(labels) > 3 && labels[1] == "iot" {
		return labels[2]
	}
	return "us-east-1"
}

// Dial signs a URL and opens a WebSocket. It satisfies device.Config.Dial; the identity is not used.
func (t *Transport) Dial(ctx context.Context, _ device.Identity) (net.Conn, error) {
	c, err := t.credentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("get credentials: %w", err)
	}
	http1 := &http.Transport{TLSClientConfig: &tls.Config{ServerName: t.Name, RootCAs: t.Roots, MinVersion: tls.VersionTLS12, Time: t.now}}
	ws, resp, err := websocket.Dial(ctx, awsiot.PresignWebSocket(t.Address, t.region(), c, t.now()), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: http1}, Subprotocols: []string{"mqtt"}})
	if err != nil {
		http1.CloseIdleConnections()
		if resp != nil {
			return nil, t.refused(resp)
		}
		return nil, t.unreachable(err)
	}
	ws.SetReadLimit(-1) // the link bounds packets itself
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
}

// unreachable puts an error in words and keeps the signed URL out of them.
func (t *Transport) unreachable(err error) error {
	explained := (&linux.Transport{Clock: t.Clock}).Explain(err)
	var f *link.Failure
	if !errors.As(explained, &f) {
		f = &link.Failure{Kind: link.Unreachable, Reason: "the server cannot be reached", Err: err}
	}
	for f.Err != nil && strings.Contains(f.Err.Error(), "X-Amz-") {
		f.Err = errors.Unwrap(f.Err)
	}
	return f
}

// refused puts an answer that is no switch to WebSocket into words.
func (t *Transport) refused(resp *http.Response) error {
	t.forget()
	f := &link.Failure{Kind: link.Refused, Reason: fmt.Sprintf("the server answers %s instead of opening a WebSocket: the access key may be unknown, or its policy may not allow iot:Connect", resp.Status)}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		f.Kind, f.Reason = link.Ended, fmt.Sprintf("the server answers %s", resp.Status)
	}
	if theirs, e := http.ParseTime(resp.Header.Get("Date")); e == nil && resp.StatusCode == http.StatusForbidden {
		if off := t.now().Sub(theirs); off > skew || off < -skew {
			f.Kind, f.Reason = link.WrongClock, fmt.Sprintf("the server refuses the signature: the device's clock reads %s, the server's %s",
				t.now().UTC().Format(time.RFC3339), theirs.UTC().Format(time.RFC3339))
		}
	}
	return f
}

// Static returns the same access key always.
func Static(c awsiot.Credentials) func(context.Context) (awsiot.Credentials, error) {
	return func(context.Context) (awsiot.Credentials, error) { return c, nil }
}

// RoleAlias asks the credentials provider for temporary credentials of a role alias (AWS IoT developer
// guide, "Authorizing direct calls to AWS services"). client proves the device, with a certificate that
// its network does not let it use for MQTT for example.
func RoleAlias(client *http.Client, endpoint, alias, thing string) func(context.Context) (awsiot.Credentials, error) {
	return func(ctx context.Context) (awsiot.Credentials, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+endpoint+"/role-aliases/"+alias+"/credentials", nil)
		if err != nil {
			return awsiot.Credentials{}, err
		}
		if thing != "" {
			r.Header.Set("x-amzn-iot-thingname", thing)
		}
		resp, err := client.Do(r)
		if err != nil {
			return awsiot.Credentials{}, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return awsiot.Credentials{}, err
		}
		if resp.StatusCode != http.StatusOK {
			return awsiot.Credentials{}, &link.Failure{Kind: link.Refused, Reason: fmt.Sprintf("the credentials provider answers %s: %.200s", resp.Status, b)}
		}
		return readCredentials(b)
	}
}

func readCredentials(b []byte) (awsiot.Credentials, error) {
	var answer struct {
		Credentials struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			Expiration      time.Time `json:"expiration"`
		} `json:"credentials"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return awsiot.Credentials{}, fmt.Errorf("read credentials: %w", err)
	}
	c := answer.Credentials
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return awsiot.Credentials{}, errors.New("read credentials: there are none in the answer")
	}
	return awsiot.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Expires: c.Expiration}, nil
}
