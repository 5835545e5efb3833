package server_test

import (
	"crypto/tls"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// TestResumption: a TLS session is resumed over a restart of the server, and no longer once its
// certificate is revoked.
func TestResumption(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		f := start(t)
		d := f.newDevice("", allowAll)
		cfg := f.tls(d)
		cfg.MaxVersion = version
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		dial := func() (resumed, connected bool) {
			t.Helper()
			cfg.ServerName = "localhost" // whatever the port
			c, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Ready.MQTTPort)), cfg)
			if err != nil {
				return false, false
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			c.Write((&mqtt.Connect{Version: mqtt.V311, ClientID: "c", CleanStart: true}).Append(nil))
			var b [4]byte
			n, err := c.Read(b[:])
			return c.ConnectionState().DidResume, err == nil && n == 4 && b[3] == 0
		}
		if resumed, connected := dial(); resumed || !connected {
			t.Errorf("TLS %x: first resumed %v, connected %v", version, resumed, connected)
		}
		f.restart()
		if resumed, connected := dial(); !resumed || !connected {
			t.Errorf("TLS %x: after a restart resumed %v, connected %v", version, resumed, connected)
		}
		f.api("PUT", "/certificates/"+d.id+"?newStatus=REVOKED", nil, nil)
		if _, connected := dial(); connected {
			t.Errorf("TLS %x: a revoked certificate connects", version)
		}
	}
}

// TestCurve: a client of TLS 1.2, as most chips are, agrees on keys over P-256.
func TestCurve(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("", allowAll)
	for _, c := range []struct {
		version uint16
		offers  []tls.CurveID
		want    tls.CurveID
	}{
		{tls.VersionTLS12, []tls.CurveID{tls.X25519, tls.CurveP256}, tls.CurveP256},
		{tls.VersionTLS12, []tls.CurveID{tls.CurveP384, tls.CurveP256}, tls.CurveP256},
		{tls.VersionTLS13, []tls.CurveID{tls.X25519, tls.CurveP256}, tls.X25519},
		{tls.VersionTLS13, []tls.CurveID{tls.CurveP256}, tls.CurveP256},
	} {
		cfg := f.tls(d)
		cfg.MaxVersion, cfg.CurvePreferences = c.version, c.offers
		conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Ready.MQTTPort)), cfg)
		if err != nil {
			t.Errorf("TLS %x with %v: %v", c.version, c.offers, err)
			continue
		}
		if got := conn.ConnectionState().CurveID; got != c.want {
			t.Errorf("TLS %x with %v: %v, want %v", c.version, c.offers, got, c.want)
		}
		conn.Close()
	}
}
