package outbound_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/berth-iot/berth/internal/outbound"
)

func TestAllowed(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"192.0.2.1": true, "10.0.0.1": true, "127.0.0.1": true, "2001:db8::1": true, "fd00::1": true,
		"169.254.169.254": false, "169.254.170.2": false, "::ffff:169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false,
		"fd00:ec2::254": false, "224.0.0.1": false, "ff02::1": false,
	} {
		if got := outbound.Allowed(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
	}))
	defer s.Close()
	c := &http.Client{Transport: outbound.Transport(1)}
	for _, address := range []string{"http://169.254.169.254/", "http://[fe80::1]/", s.URL} {
		resp, err := c.Get(address)
		if err == nil {
			resp.Body.Close()
		}
		if !errors.Is(err, outbound.ErrForbidden) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
