package action

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// OpenSearch writes a document (AWS IoT developer guide, "OpenSearch"), also to Elasticsearch. Requests
// to a domain of AWS are signed; to others, a name and password in the endpoint's URL are sent.
type OpenSearch struct {
	RoleARN  string `json:"roleArn,omitempty"`
	Endpoint string `json:"endpoint,omitempty"` // https://user:password@host
	Index    string `json:"index,omitempty"`
	Type     string `json:"type,omitempty"`
	ID       string `json:"id,omitempty"`

	kind string // openSearch or elasticsearch
}

const openSearchTimeout = 15 * time.Second

// Validate implements Action.
func (o *OpenSearch) Validate() error {
	if err := required(o.kind, "endpoint", o.Endpoint, "index", o.Index, "type", o.Type, "id", o.ID); err != nil {
		return err
	}
	if strings.Contains(o.Endpoint, "${") {
		return nil
	}
	_, _, err := o.address()
	return err
}

// address splits name and password off.
func (o *OpenSearch) address() (*url.URL, *url.Userinfo, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, refuse("%s: endpoint is not an http or https URL", o.kind)
	}
	user := u.User
	u.User = nil
	return u, user, nil
}

// Destination implements Action.
func (o *OpenSearch) Destination() string {
	u, _, err := o.address()
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Batch implements Batcher.
func (o *OpenSearch) Batch() string { return o.Endpoint }

// BatchLimits implements Batcher.
func (o *OpenSearch) BatchLimits() (messages, bytes int, linger time.Duration) {
	return 500, 4 << 20, 0
}

// Do implements Action.
func (o *OpenSearch) Do(ctx context.Context, s *Services, m *Message) error {
	return o.DoBatch(ctx, s, []Delivery{{o, m}})[0]
}

// DoBatch implements Batcher by a request to _bulk, whose answer says how each document fared.
func (o *OpenSearch) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	var body bytes.Buffer
	var of []int
	for i, d := range list {
		if err := d.Action.(*OpenSearch).document(&body, d.Message); err != nil {
			errs[i] = err
			continue
		}
		of = append(of, i)
	}
	if len(of) == 0 {
		return errs
	}
	outcomes, err := o.bulk(ctx, s, body.Bytes(), len(of))
	for n, i := range of {
		if errs[i] = err; err == nil {
			errs[i] = outcomes[n]
		}
	}
	return errs
}

// document appends a document's two lines. Types are gone from OpenSearch 2 and Elasticsearch 8; the
// older action still names one that is not the usual.
func (o *OpenSearch) document(to *bytes.Buffer, m *Message) error {
	var doc bytes.Buffer
	if m.Binary || json.Compact(&doc, m.Payload) != nil || !bytes.HasPrefix(doc.Bytes(), []byte("{")) {
		return refuse("%s: the result is not a JSON object", o.kind)
	}
	if o.Index == "" || o.ID == "" {
		return required(o.kind, "index", o.Index, "id", o.ID)
	}
	what := map[string]string{"_index": o.Index, "_id": o.ID}
	if o.kind == "elasticsearch" && o.Type != "_doc" {
		what["_type"] = o.Type
	}
	head, err := json.Marshal(map[string]any{"index": what})
	if err != nil {
		return refuse("%s: %w", o.kind, err)
	}
	to.Write(append(head, '\n'))
	to.Write(append(doc.Bytes(), '\n'))
	return nil
}

func (o *OpenSearch) bulk(ctx context.Context, s *Services, body []byte, n int) ([]error, error) {
	u, user, err := o.address()
	if err != nil {
		return nil, err
	}
	to := strings.TrimSuffix(u.String(), "/") + "/_bulk"
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	if user != nil {
		password, _ := user.Password()
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	} else if err := o.sign(ctx, s, to, header, body); err != nil {
		return nil, err
	}
	answer, err := call(ctx, s.HTTP, o.kind, http.MethodPost, to, header, body, openSearchTimeout, 16<<20)
	if err != nil {
		return nil, err
	}
	var out struct {
		Items []map[string]struct {
			Status int             `json:"status"`
			Error  json.RawMessage `json:"error"`
		} `json:"items"`
	}
	if err := json.Unmarshal(answer, &out); err != nil || len(out.Items) != n {
		return nil, fmt.Errorf("%s: the answer of %s is not one to a bulk request of %d documents", o.kind, u.Host, n)
	}
	outcomes := make([]error, n)
	for i, item := range out.Items {
		for _, v := range item {
			err := fmt.Errorf("%s: index %q: %d %.300s", o.kind, o.Index, v.Status, v.Error)
			switch {
			case v.Status < 300:
			case v.Status == http.StatusTooManyRequests || v.Status >= 500:
				outcomes[i] = err
			default:
				outcomes[i] = Permanent(err)
			}
		}
	}
	return outcomes, nil
}

// sign signs requests to AWS's domains, HOST.REGION.es.amazonaws.com and …aoss.amazonaws.com.
func (o *OpenSearch) sign(ctx context.Context, s *Services, to string, header http.Header, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, to, nil)
	if err != nil {
		return refuse("%s: the endpoint cannot be used", o.kind)
	}
	labels := strings.Split(req.URL.Hostname(), ".")
	n := len(labels)
	if n < 5 || strings.Join(labels[n-2:], ".") != "amazonaws.com" {
		return nil
	}
	service, region := labels[n-3], labels[n-4]
	cfg, err := s.AWS.config(ctx, region)
	if err != nil {
		return failure(o.kind, err)
	}
	who, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return failure(o.kind, err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	req.Header = header
	req.ContentLength = int64(len(body))
	header.Set("X-Amz-Content-Sha256", hash)
	if err := v4.NewSigner().SignHTTP(ctx, who, req, hash, service, region, time.Now()); err != nil {
		return failure(o.kind, err)
	}
	return nil
}
