package linux

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/configuration"
)

//go:embed page.html
var pageHTML []byte

// ConfigurationPage is a page on the local network with a form for the configuration, and the protocol
// over HTTP for programs. It is a configuration.Face.
//
// A browser has no cryptography on a page without TLS: what the form sends can be read by who listens
// on the network. Use the page on a cable, a loopback address or the device's own access point; `berth
// device configure --http` proves the code and encrypts as it does over Bluetooth.
//
// A page of another origin can neither send nor read anything: its requests carry an Origin or a
// Sec-Fetch-Site that does not fit, and a name that was rebound to the device's address does not fit
// Host.
type ConfigurationPage struct {
	Address string               // host:port
	Hosts   []string             // names that the page may be asked by beside IP addresses and localhost
	Ready   func(address string) // told the address that is listened on; may be nil
}

// Up checks the address.
func (p *ConfigurationPage) Up(ctx context.Context) error {
	return (&ConfigurationTCP{Address: p.Address}).Up(ctx)
}

// Serve answers requests until the context ends.
func (p *ConfigurationPage) Serve(ctx context.Context, s *configuration.Service) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.Address)
	if err != nil {
		return fmt.Errorf("listen for the configuration page: %w", err)
	}
	server := &http.Server{Handler: p.Handler(s), ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		goodbye, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(goodbye) != nil {
			server.Close()
		}
	})
	if p.Ready != nil {
		p.Ready(l.Addr().String())
	}
	err = server.Serve(l)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the configuration page: %w", err)
}

// Handler answers requests:
//
//	GET  /                 the page
//	POST /configure        {"code": …, "configuration": {…}} → 202 {"progress": "/progress/TOKEN"}
//	GET  /progress/TOKEN   {"state": …, "reason": …, "thing": …}
//	GET  /status           message of the status channel
//	POST /session          message of the session channel → answer
//	POST /configuration    sealed message → answer
//	GET  /result           sealed message; 204 without a session
func (p *ConfigurationPage) Handler(s *configuration.Service) http.Handler {
	form := &plainForm{service: s}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		_, _ = w.Write(pageHTML)
	})
	mux.HandleFunc("POST /configure", form.configure)
	mux.HandleFunc("GET /progress/{token}", form.progress)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, "application/json", s.Message(configuration.Status))
	})
	for channel, path := range map[configuration.Channel]string{configuration.Session: "POST /session", configuration.Configuration: "POST /configuration"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, configuration.MaxMessage))
			if err != nil {
				refuse(w, http.StatusRequestEntityTooLarge, configuration.ErrTooLong, 0)
				return
			}
			reply(w, http.StatusOK, "application/octet-stream", s.Handle(channel, b))
		})
	}
	mux.HandleFunc("GET /result", func(w http.ResponseWriter, _ *http.Request) {
		b := s.Message(configuration.Result)
		if b == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		reply(w, http.StatusOK, "application/octet-stream", b)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if !p.ownHost(r.Host) {
			refuse(w, http.StatusMisdirectedRequest, errors.New("this is not the name of the device"), 0)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" ||
			r.Header.Get("Origin") != "" && r.Header.Get("Origin") != "http://"+r.Host {
			refuse(w, http.StatusForbidden, errors.New("the request comes from another page"), 0)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// ownHost reports whether a request's Host is one of the device's: an address cannot be rebound.
func (p *ConfigurationPage) ownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if net.ParseIP(name) != nil || strings.EqualFold(name, "localhost") {
		return true
	}
	for _, own := range p.Hosts {
		if strings.EqualFold(name, own) {
			return true
		}
	}
	return false
}

func reply(w http.ResponseWriter, status int, form string, b []byte) {
	w.Header().Set("Content-Type", form)
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func refuse(w http.ResponseWriter, status int, err error, wait time.Duration) {
	out := map[string]any{"error": err.Error()}
	if wait > 0 {
		seconds := int((wait + time.Second - 1) / time.Second)
		out["wait"] = seconds
		w.Header().Set("Retry-After", fmt.Sprint(seconds))
	}
	b, _ := json.Marshal(out)
	reply(w, status, "application/json", b)
}

// plainForm takes configurations with the code in the open.
type plainForm struct {
	service *configuration.Service

	mu    sync.Mutex
	token string // of who has configured last
}

func (f *plainForm) configure(w http.ResponseWriter, r *http.Request) {
	// A form of another page cannot have this type without being asked for its origin first.
	if t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(t) != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, errors.New("want application/json"), 0)
		return
	}
	var in struct {
		Code          string          `json:"code"`
		Configuration json.RawMessage `json:"configuration"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, configuration.MaxMessage)).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, errors.New("want a JSON object with code and configuration, of 16 KiB at most"), 0)
		return
	}
	wait, err := f.service.Plain(in.Code, in.Configuration)
	switch {
	case errors.Is(err, configuration.ErrCode):
		refuse(w, http.StatusForbidden, err, wait)
	case errors.Is(err, configuration.ErrWait):
		refuse(w, http.StatusTooManyRequests, err, wait)
	case errors.Is(err, configuration.ErrClosed):
		refuse(w, http.StatusConflict, err, 0)
	case err != nil:
		refuse(w, http.StatusBadRequest, err, 0)
	default:
		token := rand.Text()
		f.mu.Lock()
		f.token = token
		f.mu.Unlock()
		b, _ := json.Marshal(map[string]string{"progress": "/progress/" + token})
		reply(w, http.StatusAccepted, "application/json", b)
	}
}

func (f *plainForm) progress(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	known := f.token != "" && r.PathValue("token") == f.token
	f.mu.Unlock()
	if !known {
		refuse(w, http.StatusNotFound, errors.New("nobody has configured the device with this token"), 0)
		return
	}
	p := f.service.Progress()
	b, _ := json.Marshal(struct {
		State  string `json:"state"`
		Reason string `json:"reason,omitempty"`
		Thing  string `json:"thing,omitempty"`
		Final  bool   `json:"final"`
	}{p.State.String(), p.Reason, p.Thing, p.State.Final()})
	reply(w, http.StatusOK, "application/json", b)
}
