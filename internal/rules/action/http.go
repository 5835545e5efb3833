package action

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"
)

// httpTimeout is how long a request may take (AWS IoT developer guide, "HTTP action").
const httpTimeout = 3 * time.Second

const maxURL = 2000 // characters

// HTTP posts to a URL that an enabled destination covers.
type HTTP struct {
	URL             string  `json:"url,omitempty"`
	ConfirmationURL string  `json:"confirmationUrl,omitempty"`
	Headers         []Field `json:"headers,omitempty"`

	Auth           any  `json:"auth,omitempty"`
	EnableBatching bool `json:"enableBatching,omitempty"`
	BatchConfig    any  `json:"batchConfig,omitempty"`
}

// Validate implements Action. AWS wants https and the ports 443 and 8443; here http and other ports
// are allowed, for destinations on the own network.
func (h *HTTP) Validate() error {
	switch {
	case h.URL == "":
		return required("http", "url", "")
	case h.Auth != nil:
		return refuse("http: auth.sigv4 is not supported")
	case h.EnableBatching || h.BatchConfig != nil:
		return refuse("http: batching is not supported")
	case len(h.URL) > maxURL || len(h.ConfirmationURL) > maxURL:
		return refuse("http: a URL is longer than %d characters", maxURL)
	case len(h.Headers) > 100:
		return refuse("http: more than 100 headers")
	case !strings.HasPrefix(h.URL, h.ConfirmationURL):
		return refuse("http: confirmationUrl must be a prefix of url")
	}
	for _, f := range h.Headers {
		if f.Key == "" || strings.ContainsAny(f.Key, " \t\r\n:") {
			return refuse("http: %q is not the name of a header", f.Key)
		}
	}
	if strings.Contains(h.URL, "${") {
		return nil
	}
	return CheckURL(h.URL)
}

// CheckURL says why something is not a URL that messages can be posted to.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return refuse("http: %q is not an http or https URL", text)
	}
	return nil
}

// Destination implements Action.
func (h *HTTP) Destination() string {
	if u, err := url.Parse(h.URL); err == nil {
		return u.Scheme + "://" + u.Host
	}
	return ""
}

// Do implements Action.
func (h *HTTP) Do(ctx context.Context, s *Services, m *Message) error {
	if err := CheckURL(h.URL); err != nil {
		return err
	}
	if !s.Confirmed(h.URL) {
		return refuse("http: no enabled rule destination covers %s", h.URL)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if m.Binary {
		header.Set("Content-Type", "application/octet-stream")
	}
	for _, f := range h.Headers {
		header[textproto.CanonicalMIMEHeaderKey(f.Key)] = []string{f.Value}
	}
	return Post(ctx, s.HTTP, h.URL, header, m.Payload)
}

// Post posts a body within the time that AWS allows. Redirects are failures.
func Post(ctx context.Context, client *http.Client, to string, header http.Header, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return refuse("http: %w", err)
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // the URL may hold a token
		}
		return fmt.Errorf("http: POST to %s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 16<<10)) // so that the connection can be used again
	err = fmt.Errorf("http: POST to %s: %s", req.URL.Host, resp.Status)
	switch {
	case resp.StatusCode < 300:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return err
	}
	return Permanent(err)
}
