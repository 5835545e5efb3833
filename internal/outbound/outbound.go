// Package outbound is how the server calls URLs that its users configure: rule destinations, hooks and
// authorizers. They may be on the local network, but not where a cloud keeps the credentials of its
// machines: whoever may configure berth shall not thereby become the machine.
package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrForbidden is wrapped by the error of a call to an address that is not called.
var ErrForbidden = errors.New("the address is not called")

// awsIPv6 is the instance metadata service of EC2 over IPv6.
var awsIPv6 = netip.MustParseAddr("fd00:ec2::254")

// Allowed reports whether an address may be called: no link-local one, such as 169.254.169.254, where
// clouds answer with credentials, and no multicast. Names are judged by what they resolve to, at each
// connection.
func Allowed(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsValid() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && a != awsIPv6
}

// control is net.Dialer.Control: it sees the address that is about to be called.
func control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !Allowed(to.Addr()) {
		return fmt.Errorf("%w: %s is link-local or multicast", ErrForbidden, address)
	}
	return nil
}

// Transport returns a transport that calls allowed addresses only. Where the environment names a proxy, it
// is the proxy that is called, and it decides by itself.
func Transport(idlePerHost int) *http.Transport {
	d := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, Control: control}
	return &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, ForceAttemptHTTP2: true, MaxIdleConns: 1000, MaxIdleConnsPerHost: idlePerHost,
		IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second}
}
