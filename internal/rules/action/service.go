package action

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// service is a service of AWS that is asked without its module of the SDK: a signed POST each, with
// the credentials, endpoints and HTTP client of the SDK's configuration. The modules of those used
// here would make the binary larger by 2.9 MB.
type service struct {
	id      string // of the SDK; it names the variable AWS_ENDPOINT_URL_…
	signing string // in the scope of signatures
	host    string // before .REGION.amazonaws.com
	target  string // before the operation in X-Amz-Target; empty for services with paths
	content string // type of the body
}

const (
	json10 = "application/x-amz-json-1.0"
	json11 = "application/x-amz-json-1.1"
	form   = "application/x-www-form-urlencoded; charset=utf-8"
)

// maxAnswer is the most that is read of an answer, in bytes.
const maxAnswer = 1 << 20

// region returns where requests go to that nothing leads elsewhere.
func (a *AWS) region() string {
	if a == nil || a.Region == "" {
		return "us-east-1"
	}
	return a.Region
}

// partition returns the partition of a region in ARNs, and the domain of its hosts.
func partition(region string) (name, domain string) {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn", "amazonaws.com.cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov", "amazonaws.com"
	}
	return "aws", "amazonaws.com"
}

// endpoint returns where a service is: AWS_ENDPOINT_URL_… or endpoint_url of the configuration, or
// AWS. own says that it is not AWS's usual address.
func (v *service) endpoint(ctx context.Context, cfg aws.Config) (address string, own bool) {
	for _, source := range cfg.ConfigSources {
		if s, ok := source.(interface {
			GetServiceBaseEndpoint(ctx context.Context, id string) (string, bool, error)
		}); ok {
			if u, found, err := s.GetServiceBaseEndpoint(ctx, v.id); found && err == nil {
				return u, true
			}
		}
	}
	if cfg.BaseEndpoint != nil {
		return *cfg.BaseEndpoint, true
	}
	_, domain := partition(cfg.Region)
	return "https://" + v.host + "." + cfg.Region + "." + domain, false
}

// ask calls an operation with a body that is made JSON, and reads the answer into out, which may be
// nil. For services with paths the operation is the path.
func (a *AWS) ask(ctx context.Context, v *service, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return Permanent(err)
	}
	b, err := a.post(ctx, v, operation, body)
	if err != nil || out == nil || len(b) == 0 {
		return err
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	return nil
}

// query calls an operation of the query protocol.
func (a *AWS) query(ctx context.Context, v *service, operation, version string, in url.Values) error {
	in.Set("Action", operation)
	in.Set("Version", version)
	_, err := a.post(ctx, v, "", []byte(in.Encode()))
	return err
}

func (a *AWS) post(ctx context.Context, v *service, operation string, body []byte) ([]byte, error) {
	cfg, err := a.config(ctx, "")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	address, _ := v.endpoint(ctx, cfg)
	path := "/"
	if strings.HasPrefix(operation, "/") {
		path, operation = operation, ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(address, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, Permanent(err)
	}
	req.Header.Set("Content-Type", v.content)
	if operation != "" {
		req.Header.Set("X-Amz-Target", v.target+"."+operation)
	}
	if err := sign(ctx, cfg, req, body, v.signing, cfg.Region); err != nil {
		return nil, err
	}
	var client aws.HTTPClient = http.DefaultClient
	if cfg.HTTPClient != nil {
		client = cfg.HTTPClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		return nil, answerError(resp, b)
	}
	return b, nil
}

func sign(ctx context.Context, cfg aws.Config, req *http.Request, body []byte, service, region string) error {
	if cfg.Credentials == nil {
		return fmt.Errorf("no credentials are configured")
	}
	who, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(ctx, who, req, hex.EncodeToString(sum[:]), service, region, time.Now())
}

// exception is a refusal by a service. It has the methods by which the SDK tells what may be tried
// again.
type exception struct {
	status        int
	code, message string
}

func (e *exception) Error() string {
	if e.code == "" {
		return fmt.Sprintf("status %d", e.status)
	}
	return fmt.Sprintf("%s: %s (status %d)", e.code, e.message, e.status)
}

// ErrorCode returns the exception's name.
func (e *exception) ErrorCode() string { return e.code }

// HTTPStatusCode returns the status of the answer.
func (e *exception) HTTPStatusCode() int { return e.status }

// answerError reads the forms that services report errors in: JSON with __type or a header, and XML.
func answerError(resp *http.Response, body []byte) *exception {
	e := &exception{status: resp.StatusCode, code: resp.Header.Get("X-Amzn-ErrorType")}
	var j struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	var x struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	switch {
	case json.Unmarshal(body, &j) == nil:
		if e.message = j.Message; e.code == "" {
			e.code = j.Type
		}
		if e.code == "" {
			e.code = j.Code
		}
	case xml.Unmarshal(body, &x) == nil:
		e.code, e.message = x.Code, x.Message
	}
	e.code, _, _ = strings.Cut(e.code, ":")
	e.code = e.code[strings.LastIndexByte(e.code, '#')+1:]
	if len(e.message) > 500 {
		e.message = strings.ToValidUTF8(e.message[:500], "") + "…"
	}
	return e
}

// isException reports whether an error is a refusal of a name.
func isException(err error, code string) bool {
	e, ok := err.(*exception)
	return ok && e.code == code
}
