package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tidyEndpoint takes what people copy along with an endpoint off it.
func (d *Doctor) tidyEndpoint() {
	host := strings.TrimSpace(d.Host)
	if _, after, found := strings.Cut(host, "://"); found {
		host = after
	}
	host, _, _ = strings.Cut(host, "/")
	if h, p, err := net.SplitHostPort(host); err == nil {
		host = h
		if n, err := strconv.Atoi(p); err == nil {
			d.Port = n
		}
	}
	if host != d.Host {
		d.say("endpoint", Warning, "use "+host+" in the firmware: MQTT libraries want a bare host name", fmt.Sprintf("%q is more than a host name", d.Host))
		d.Host = host
	}
	if d.Port == 0 {
		d.Port = 8883
	}
	if d.ServerName == "" {
		d.ServerName = d.Host
	}
	if d.ALPN == "" && d.Port == 443 {
		d.ALPN = "x-amzn-mqtt-ca"
	}
}

func (d *Doctor) address() string { return net.JoinHostPort(d.Host, strconv.Itoa(d.Port)) }

func (d *Doctor) checkName(ctx context.Context) bool {
	if net.ParseIP(d.Host) != nil {
		d.say("name", OK, "", d.Host+" is an address")
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	list, err := net.DefaultResolver.LookupHost(ctx, d.Host)
	if err != nil {
		var dns *net.DNSError
		says := fmt.Sprintf("%s cannot be resolved: %v", d.Host, err)
		if errors.As(err, &dns) && dns.IsNotFound {
			says = d.Host + " does not exist in the domain name system"
		}
		d.say("name", Problem, "check the endpoint's spelling (aws iot describe-endpoint --endpoint-type iot:Data-ATS) and the name server that the network gives the device", says)
		return false
	}
	d.say("name", OK, "", d.Host+" is "+strings.Join(list[:min(len(list), 3)], ", "))
	return true
}

func (d *Doctor) checkPort(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.address())
	if err == nil {
		conn.Close()
		d.say("port", OK, "", fmt.Sprintf("%s answers after %v", d.address(), time.Since(began).Round(100*time.Microsecond)))
		return true
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		d.say("port", Problem, "check the port, and that the server runs there", "nothing listens at "+d.address())
	default:
		fix := "a firewall between may drop it: many networks let 443 through only, where MQTT works with the ALPN protocol x-amzn-mqtt-ca"
		if d.Port == 443 {
			fix = "a firewall between may drop it; check the address"
		}
		d.say("port", Problem, fix, fmt.Sprintf("%s does not answer: %v", d.address(), err))
	}
	return false
}

// handshake is what a try of TLS has shown.
type handshake struct {
	state tls.ConnectionState
	asked bool // the server asked for a certificate
	err   error
}

// try makes a handshake without checking anything.
func (d *Doctor) try(ctx context.Context, sni bool, change func(*tls.Config)) handshake {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	var h handshake
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, // what it gets is looked at afterwards
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			h.asked = true
			if d.pair != nil {
				return d.pair, nil
			}
			return new(tls.Certificate), nil
		}}
	if sni {
		cfg.ServerName = d.ServerName
	}
	if d.ALPN != "" {
		cfg.NextProtos = []string{d.ALPN}
	}
	if change != nil {
		change(cfg)
	}
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", d.address())
	if err != nil {
		h.err = err
		return h
	}
	defer raw.Close()
	conn := tls.Client(raw, cfg)
	h.err = conn.HandshakeContext(ctx)
	h.state = conn.ConnectionState()
	return h
}

// checkTLS looks at what the server shows, with the device's eyes.
func (d *Doctor) checkTLS(ctx context.Context) bool {
	h := d.try(ctx, !d.WithoutSNI, nil)
	if h.err != nil {
		return d.explainHandshake(ctx, h)
	}
	older := d.try(ctx, !d.WithoutSNI, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	switch {
	case older.err != nil && strings.Contains(older.err.Error(), "protocol version"): // other errors are not about the version
		d.say("TLS", Warning, "a device that speaks TLS 1.2 only (ESP8266, old mbedTLS) cannot connect here", tls.VersionName(h.state.Version)+" works, TLS 1.2 does not")
	case h.state.Version == tls.VersionTLS12:
		d.say("TLS", OK, "", "the server speaks TLS 1.2, not 1.3")
	default:
		d.say("TLS", OK, "", "the server speaks TLS 1.2 and 1.3")
	}
	if d.ALPN != "" && h.state.NegotiatedProtocol != d.ALPN {
		d.say("ALPN", Warning, "the port may be that of another service", fmt.Sprintf("the server did not take the ALPN protocol %s", d.ALPN))
	}
	d.checkServerClock(ctx, h.state.PeerCertificates)
	ok := d.checkChain(h.state.PeerCertificates)
	ok = d.checkServerName(ctx, h.state.PeerCertificates) && ok
	if !h.asked {
		d.say("client certificate", Warning, "check the port: device certificates belong on 8883, or on 443 with the ALPN protocol x-amzn-mqtt-ca", "the server does not ask for a client certificate")
	}
	return ok
}

func (d *Doctor) explainHandshake(ctx context.Context, h handshake) bool {
	var record tls.RecordHeaderError
	if d.WithoutSNI {
		if with := d.try(ctx, true, nil); with.err == nil {
			d.say("SNI", Problem, "dial by host name, not by address, and set the server name in the TLS options (mbedtls_ssl_set_hostname, esp_tls cfg.common_name, setInsecure is no help)", "the server ends handshakes that come without a server name")
			return false
		}
	}
	switch {
	case errors.As(h.err, &record):
		d.say("TLS", Problem, "check the port: this one is plain, 8883 is MQTT over TLS", "the server does not speak TLS at "+d.address())
	case strings.Contains(h.err.Error(), "no application protocol"):
		d.say("TLS", Problem, "offer x-amzn-mqtt-ca for MQTT with a certificate on port 443, and nothing on 8883", "the server does not take the ALPN protocol "+d.ALPN)
	case strings.Contains(h.err.Error(), "remote error"):
		d.say("TLS", Problem, "see what the server has noted: berth explain", fmt.Sprintf("the server ends the handshake: %v", h.err))
	default:
		d.say("TLS", Problem, "something between may cut connections of TLS; try from another network", fmt.Sprintf("the handshake fails: %v", h.err))
	}
	return false
}

// checkChain verifies the server's certificate with the device's roots at the device's time.
func (d *Doctor) checkChain(chain []*x509.Certificate) bool {
	now := d.Clock()
	o := x509.VerifyOptions{Roots: d.roots, Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, cert := range chain[1:] {
		o.Intermediates.AddCert(cert)
	}
	leaf := chain[0]
	_, err := leaf.Verify(o)
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		d.say("chain", OK, "", fmt.Sprintf("the server's certificate was issued by %s, which the device trusts, and holds until %s", leaf.Issuer, leaf.NotAfter.Format(time.DateOnly)))
		return true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(invalid.Cert.NotBefore):
		d.say("chain", Problem, clockFix, fmt.Sprintf("the server's certificate is not yet valid for the device's clock, which reads %s: it holds from %s", stamp(now), stamp(invalid.Cert.NotBefore)))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		d.say("chain", Problem, "renew the server's certificate, or set the device's clock", fmt.Sprintf("the server's certificate %s ended on %s", invalid.Cert.Subject, stamp(invalid.Cert.NotAfter)))
	default:
		trusts := "the system's authorities"
		if list := certificates(d.CA); len(list) > 0 {
			trusts = list[0].Subject.String()
		}
		fix := "put the root that has issued the server's certificate into the firmware: DATA/ca.pem of this berth"
		if strings.HasSuffix(d.Host, ".amazonaws.com") {
			fix = "put AmazonRootCA1.pem into the firmware, and use the endpoint with -ats in its name"
		}
		d.say("chain", Problem, fix, fmt.Sprintf("wrong root CA: the server's certificate was issued by %s, the device trusts %s", chain[len(chain)-1].Issuer, trusts))
	}
	return false
}

// checkServerName checks the name in the certificate, and whether the server can do without SNI.
func (d *Doctor) checkServerName(ctx context.Context, chain []*x509.Certificate) bool {
	if err := chain[0].VerifyHostname(d.ServerName); err != nil {
		names := append([]string{}, chain[0].DNSNames...)
		for _, ip := range chain[0].IPAddresses {
			names = append(names, ip.String())
		}
		d.say("server name", Problem, "use a name that is in the certificate, or start berth serve with --endpoint "+d.ServerName, fmt.Sprintf("the server's certificate is not for %s but for %s", d.ServerName, strings.Join(names, ", ")))
		return false
	}
	says, result, fix := d.ServerName+" is in the server's certificate", OK, ""
	if d.WithoutSNI {
		result, fix = Warning, "send the server name (SNI): AWS IoT and endpoints of your own names need it"
		says += "; the device sends no server name, which this server takes"
	} else if without := d.try(ctx, false, nil); without.err != nil || !without.state.PeerCertificates[0].Equal(chain[0]) {
		says += "; the device has to send the server name (SNI), as it does when it dials by name"
	}
	d.say("server name", result, fix, says)
	return true
}

// tolerable is how far two clocks may be apart: signatures of requests allow five minutes.
const tolerable = 5 * time.Minute

// checkServerClock compares the clocks, by the Date of an HTTP answer of the same host, or by the
// server's own certificate if there is none.
func (d *Doctor) checkServerClock(ctx context.Context, chain []*x509.Certificate) {
	now := d.Clock()
	server, found := d.serverTime(ctx)
	switch {
	case !found && now.Before(chain[0].NotBefore):
		// Said with the chain.
	case !found:
		d.say("clocks", Skipped, "", "the server's clock cannot be seen: it has no HTTPS port")
	case now.Sub(server).Abs() > tolerable:
		d.say("clocks", Problem, clockFix, fmt.Sprintf("the device's clock reads %s, the server's %s", stamp(now), stamp(server)))
	default:
		d.say("clocks", OK, "", "the device's clock and the server's agree")
	}
}

func (d *Doctor) serverTime(ctx context.Context) (time.Time, bool) {
	ports := []int{443, 8443}
	if d.HTTPSPort != 0 {
		ports = []int{d.HTTPSPort}
	}
	ctx, cancel := context.WithTimeout(ctx, min(d.Timeout, 5*time.Second))
	defer cancel()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: d.ServerName}, DisableKeepAlives: true}, // only the time is taken, to be shown
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, port := range ports {
		r, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+net.JoinHostPort(d.Host, strconv.Itoa(port))+"/", nil)
		if err != nil {
			return time.Time{}, false
		}
		began := time.Now()
		resp, err := c.Do(r)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			return t.Add(time.Since(began) / 2), true
		}
	}
	return time.Time{}, false
}
