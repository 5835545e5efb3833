package linux

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/spake2plus"
)

// waiting is a device that waits for its configuration with the code 12345678.
func waiting(t *testing.T, taken chan configuration.Document) *configuration.Service {
	t.Helper()
	r, err := configuration.Register("12345678", spake2plus.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	s := configuration.NewService("lamp", r, nil)
	s.Open(func(d configuration.Document) error {
		taken <- d
		go s.Report(configuration.Progress{State: configuration.Connected, Thing: "lamp"})
		return nil
	})
	return s
}

// TestPage: the form's request, curl's and the protocol's are taken; another page's are not.
func TestPage(t *testing.T) {
	t.Parallel()
	taken := make(chan configuration.Document, 2)
	s := waiting(t, taken)
	page := &ConfigurationPage{Hosts: []string{"lamp.local"}}
	server := httptest.NewServer(page.Handler(s))
	defer server.Close()
	ask := func(method, path, body string, header ...string) (int, string) {
		t.Helper()
		r, _ := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		for i := 0; i < len(header); i += 2 {
			if header[i] == "Host" {
				r.Host = header[i+1]
			}
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	const form = `{"code":"1234-5678","configuration":{"endpoint":"iot.example.com"}}`
	const kind = "application/json"
	for _, c := range []struct {
		name         string
		method, path string
		body         string
		header       []string
		status       int
		want         string
	}{
		{"page", "GET", "/", "", nil, 200, "<form"},
		{"status", "GET", "/status", "", nil, 200, `"device":"lamp"`},
		{"own name", "GET", "/status", "", []string{"Host", "lamp.local"}, 200, "lamp"},
		{"rebound name", "GET", "/status", "", []string{"Host", "evil.example.com"}, 421, "not the name"},
		{"another page", "POST", "/configure", form, []string{"Content-Type", kind, "Origin", "https://evil.example.com"}, 403, "another page"},
		{"another site", "POST", "/configure", form, []string{"Content-Type", kind, "Sec-Fetch-Site", "cross-site"}, 403, "another page"},
		{"a form of another page", "POST", "/configure", form, []string{"Content-Type", "text/plain"}, 415, "want application/json"},
		{"no JSON", "POST", "/configure", "code=1", []string{"Content-Type", kind}, 400, "want a JSON object"},
		{"wrong code", "POST", "/configure", strings.Replace(form, "1234", "4321", 1), []string{"Content-Type", kind}, 403, "the code is wrong"},
		{"unknown token", "GET", "/progress/x", "", nil, 404, "nobody"},
		{"no session", "GET", "/result", "", nil, 204, ""},
		{"garbage", "POST", "/session", "garbage", nil, 200, "does not fit"},
		{"too long", "POST", "/session", strings.Repeat("x", configuration.MaxMessage+1), nil, 413, "16384"},
	} {
		if status, body := ask(c.method, c.path, c.body, c.header...); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
	}
	if len(taken) > 0 {
		t.Fatal("a configuration was taken")
	}
	status, body := ask("POST", "/configure", form, "Content-Type", kind)
	var answer struct{ Progress string }
	if err := json.Unmarshal([]byte(body), &answer); status != 202 || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, body = ask("GET", answer.Progress, ""); strings.Contains(body, `"state":"connected"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(body)
		}
	}
	p, err := configuration.Configure(t.Context(), &PageTransport{URL: server.URL, Client: server.Client()}, "12345678", configuration.Document{Endpoint: "other.example.com"}, nil)
	if err != nil || p.Thing != "lamp" || len(taken) != 2 {
		t.Errorf("%+v, %v, %d taken", p, err, len(taken))
	}
}
