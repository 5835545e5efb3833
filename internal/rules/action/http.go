package action

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
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

	Auth           *HTTPAuth    `json:"auth,omitempty"`
	EnableBatching bool         `json:"enableBatching,omitempty"`
	BatchConfig    *BatchConfig `json:"batchConfig,omitempty"`
}

// HTTPAuth says how requests are signed.
type HTTPAuth struct {
	SigV4 *struct {
		SigningRegion string `json:"signingRegion,omitempty"`
		ServiceName   string `json:"serviceName,omitempty"`
		RoleARN       string `json:"roleArn,omitempty"`
	} `json:"sigv4,omitempty"`
}

// BatchConfig bounds what goes into one request (AWS IoT API reference, BatchConfig).
type BatchConfig struct {
	MaxBatchOpenMs    int  `json:"maxBatchOpenMs,omitempty"`    // 5 to 200, default 20
	MaxBatchSize      int  `json:"maxBatchSize,omitempty"`      // messages, 2 to 10, default 10
	MaxBatchSizeBytes int  `json:"maxBatchSizeBytes,omitempty"` // 100 to 131072, default 5120
	BatchAcrossTopics bool `json:"batchAcrossTopics,omitempty"`
}

// Validate implements Action. AWS wants https and the ports 443 and 8443; here http and other ports
// are allowed, for destinations on the own network.
func (h *HTTP) Validate() error {
	switch {
	case h.URL == "":
		return required("http", "url", "")
	case h.Auth != nil && h.Auth.SigV4 != nil && (h.Auth.SigV4.SigningRegion == "" || h.Auth.SigV4.ServiceName == "" || h.Auth.SigV4.RoleARN == ""):
		return refuse("http: auth.sigv4 needs signingRegion, serviceName and roleArn")
	case len(h.URL) > maxURL || len(h.ConfirmationURL) > maxURL:
		return refuse("http: a URL is longer than %d characters", maxURL)
	case len(h.Headers) > 100:
		return refuse("http: more than 100 headers")
	case !strings.HasPrefix(h.URL, h.ConfirmationURL):
		return refuse("http: confirmationUrl must be a prefix of url")
	}
	if c := h.BatchConfig; c != nil {
		for _, x := range []struct {
			name            string
			is, least, most int
		}{{"maxBatchOpenMs", c.MaxBatchOpenMs, 5, 200}, {"maxBatchSize", c.MaxBatchSize, 2, 10}, {"maxBatchSizeBytes", c.MaxBatchSizeBytes, 100, 128 << 10}} {
			if x.is != 0 && (x.is < x.least || x.is > x.most) {
				return refuse("http: %s is %d, not from %d to %d", x.name, x.is, x.least, x.most)
			}
		}
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

// Batch implements Batcher: messages with the same URL and headers go together. AWS also puts together
// those whose headers differ, and sends the headers of one.
func (h *HTTP) Batch() string {
	if !h.EnableBatching {
		return ""
	}
	key := h.URL
	for _, f := range h.Headers {
		key += "\n" + f.Key + ":" + f.Value
	}
	return key
}

// BatchByTopic reports whether only messages of the same topic go together.
func (h *HTTP) BatchByTopic() bool { return h.BatchConfig == nil || !h.BatchConfig.BatchAcrossTopics }

// BatchLimits implements Batcher.
func (h *HTTP) BatchLimits() (messages, bytes int, linger time.Duration) {
	c := BatchConfig{}
	if h.BatchConfig != nil {
		c = *h.BatchConfig
	}
	return cmp.Or(c.MaxBatchSize, 10), cmp.Or(c.MaxBatchSizeBytes, 5120), time.Duration(cmp.Or(c.MaxBatchOpenMs, 20)) * time.Millisecond
}

// Do implements Action. With batching a message alone is an array too.
func (h *HTTP) Do(ctx context.Context, s *Services, m *Message) error {
	if h.EnableBatching && !m.Binary {
		return h.post(ctx, s, false, slices.Concat([]byte("["), m.Payload, []byte("]")))
	}
	return h.post(ctx, s, m.Binary, m.Payload)
}

// DoBatch implements Batcher: the results are a JSON array. One that is not JSON is sent by itself.
func (h *HTTP) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	var parts [][]byte
	for i, d := range list {
		if d.Message.Binary || len(d.Message.Payload) == 0 {
			errs[i] = d.Action.Do(ctx, s, d.Message)
			continue
		}
		parts = append(parts, d.Message.Payload)
	}
	if len(parts) == 0 {
		return errs
	}
	err := h.post(ctx, s, false, slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]")))
	for i, d := range list {
		if !d.Message.Binary && len(d.Message.Payload) > 0 {
			errs[i] = err
		}
	}
	return errs
}

func (h *HTTP) post(ctx context.Context, s *Services, binary bool, body []byte) error {
	if err := CheckURL(h.URL); err != nil {
		return err
	}
	if !s.Confirmed(h.URL) {
		return refuse("http: no enabled rule destination covers %s", h.URL)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if binary {
		header.Set("Content-Type", "application/octet-stream")
	}
	for _, f := range h.Headers {
		header[textproto.CanonicalMIMEHeaderKey(f.Key)] = []string{f.Value}
	}
	if h.Auth == nil || h.Auth.SigV4 == nil {
		return Post(ctx, s.HTTP, h.URL, header, body)
	}
	return post(ctx, s.HTTP, h.URL, header, body, func(req *http.Request) error {
		cfg, err := s.AWS.config(ctx, "")
		if err != nil {
			return fmt.Errorf("http: %w", err)
		}
		return sign(ctx, cfg, req, body, h.Auth.SigV4.ServiceName, h.Auth.SigV4.SigningRegion)
	})
}

// Post posts a body within the time that AWS allows. Redirects are failures.
func Post(ctx context.Context, client *http.Client, to string, header http.Header, body []byte) error {
	return post(ctx, client, to, header, body, func(*http.Request) error { return nil })
}

func post(ctx context.Context, client *http.Client, to string, header http.Header, body []byte, sign func(req *http.Request) error) error {
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return refuse("http: %w", err)
	}
	req.Header = header
	if err := sign(req); err != nil {
		return err
	}
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
