package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/berth-iot/berth/internal/awsapi"
)

// Config says where an account is.
type Config struct {
	AWS aws.Config // region, credentials, and the HTTP client if not the default one
	// Base is the URL of all planes; "" for AWS itself.
	Base string
	// Number is the account number, 12 digits; "" for finding it out.
	Number string
	// Rate bounds the requests of one operation per second; 0 for no bound. AWS's quotas are per
	// operation, 10 a second for the slowest (AWS General Reference, "AWS IoT Core endpoints and
	// quotas").
	Rate float64
}

// Account is one side. Its methods may be called concurrently.
type Account struct {
	cfg    Config
	signer *v4.Signer
	http   aws.HTTPClient
	ops    map[string]awsapi.Operation
	data   string // URL of the data plane
	prefix string // of ARNs, such as "arn:aws:iot:us-east-1:123456789012:"

	mu    sync.Mutex
	paces map[string]*pace
	// Identifiers of certificates are fingerprints of their DER, in AWS and berth. Some emulators make
	// up others: those are known by certificate here, and the other way round.
	fingerprints, identifiers map[string]string
}

// NewAccount returns an account; nothing is asked yet.
func NewAccount(cfg Config) *Account {
	a := &Account{cfg: cfg, signer: v4.NewSigner(), http: cfg.AWS.HTTPClient, ops: make(map[string]awsapi.Operation), paces: make(map[string]*pace),
		fingerprints: make(map[string]string), identifiers: make(map[string]string)}
	if a.http == nil {
		a.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 64}}
	}
	for _, op := range awsapi.Operations() {
		if op.Service != awsapi.IoTJobsData {
			a.ops[op.Name] = op
		}
	}
	return a
}

// partition is the one that a region belongs to, with the domain of its endpoints.
func partition(region string) (name, domain string) {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn", "amazonaws.com.cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov", "amazonaws.com"
	}
	return "aws", "amazonaws.com"
}

// Prefix returns how the account's ARNs begin, such as "arn:aws:iot:us-east-1:123456789012:".
func (a *Account) Prefix(ctx context.Context) (string, error) {
	err := a.identify(ctx)
	return a.prefix, err
}

var prefixPattern = regexp.MustCompile(`^arn:[a-z-]+:iot:[a-z0-9-]+:[0-9]{12}:`)

// identify finds out how the account's ARNs begin, and where its data plane is.
func (a *Account) identify(ctx context.Context) error {
	name, domain := partition(a.cfg.AWS.Region)
	if a.cfg.Base != "" {
		a.cfg.Base = strings.TrimSuffix(a.cfg.Base, "/")
		a.data = a.cfg.Base
	} else {
		a.cfg.Base = "https://iot." + a.cfg.AWS.Region + "." + domain
		out, err := a.call(ctx, "DescribeEndpoint", args{"endpointType": "iot:Data-ATS"})
		if err != nil {
			return err
		}
		a.data = "https://" + str(out, "endpointAddress")
	}
	if a.cfg.Number != "" {
		a.prefix = "arn:" + name + ":iot:" + a.cfg.AWS.Region + ":" + a.cfg.Number + ":"
		return nil
	}
	// Every account has one of these; emulators may not, but those have policies or things.
	for _, ask := range []struct{ op, list, arn string }{
		{"ListDomainConfigurations", "domainConfigurations", "domainConfigurationArn"},
		{"ListThings", "things", "thingArn"}, {"ListPolicies", "policies", "policyArn"}, {"ListCertificates", "certificates", "certificateArn"},
		{"ListThingGroups", "thingGroups", "groupArn"}, {"ListThingTypes", "thingTypes", "thingTypeArn"}, {"ListTopicRules", "rules", "ruleArn"},
	} {
		out, err := a.call(ctx, ask.op, nil)
		if err != nil && !lacking(err) {
			return err
		}
		for _, x := range objects(out, ask.list) {
			if m := prefixPattern.FindString(str(x, ask.arn)); m != "" {
				a.prefix = m
				return nil
			}
		}
	}
	number, err := a.callerAccount(ctx, domain)
	if err != nil {
		return fmt.Errorf("find out the account number: %w", err)
	}
	a.prefix = "arn:" + name + ":iot:" + a.cfg.AWS.Region + ":" + number + ":"
	return nil
}

var accountPattern = regexp.MustCompile(`<Account>([0-9]{12})</Account>`)

// callerAccount asks the security token service whose credentials these are.
func (a *Account) callerAccount(ctx context.Context, domain string) (string, error) {
	base := a.cfg.Base
	if a.data != base {
		base = "https://sts." + a.cfg.AWS.Region + "." + domain
	}
	body := []byte("Action=GetCallerIdentity&Version=2011-06-15")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	status, answer, err := a.sign(ctx, req, body, "sts")
	if err != nil {
		return "", err
	}
	m := accountPattern.FindSubmatch(answer)
	if status.StatusCode != http.StatusOK || m == nil {
		return "", fmt.Errorf("GetCallerIdentity: %s", status.Status)
	}
	return string(m[1]), nil
}

// sign signs a request and sends it.
func (a *Account) sign(ctx context.Context, req *http.Request, body []byte, service string) (*http.Response, []byte, error) {
	cred, err := a.cfg.AWS.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := a.signer.SignHTTP(ctx, cred, req, hex.EncodeToString(sum[:]), service, a.cfg.AWS.Region, time.Now()); err != nil {
		return nil, nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp, answer, err
}

// args are the arguments of an operation: those of its path by their names; "?name" goes into the
// query, "@name" is a header, "" is the whole body. The others go into the query of GET and DELETE, and
// into the body of the rest.
type args map[string]any

// call carries out an operation, again if the account throttles or fails. The error of a refusal is an
// *Error.
func (a *Account) call(ctx context.Context, name string, in args) (object, error) {
	op, ok := a.ops[name]
	if !ok {
		return nil, fmt.Errorf("there is no operation %s", name)
	}
	path, query, header, body, err := a.bind(op, in)
	if err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		if err := a.pace(name).wait(ctx); err != nil {
			return nil, err
		}
		out, err := a.send(ctx, op, path, query, header, body)
		if err == nil || attempt == maxAttempts-1 || !again(err) || ctx.Err() != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return out, err
		}
		a.pace(name).slower()
		delay := min(200*time.Millisecond<<attempt, 20*time.Second)
		select {
		case <-time.After(delay/2 + rand.N(delay)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// maxAttempts of one request: some two minutes.
const maxAttempts = 9

func (a *Account) bind(op awsapi.Operation, in args) (path string, query url.Values, header map[string]string, body []byte, err error) {
	path, query, header = op.Path, make(url.Values), make(map[string]string)
	rest := make(object)
	for k, v := range in {
		switch {
		case v == nil:
		case k == "":
			body, err = json.Marshal(v)
		case k[0] == '?':
			query.Set(k[1:], fmt.Sprint(v))
		case k[0] == '@':
			header[k[1:]] = fmt.Sprint(v)
		case strings.Contains(path, "{"+k+"}"):
			path = strings.Replace(path, "{"+k+"}", httpbinding.EscapePath(fmt.Sprint(v), true), 1)
		case strings.Contains(path, "{"+k+"+}"):
			path = strings.Replace(path, "{"+k+"+}", httpbinding.EscapePath(fmt.Sprint(v), false), 1)
		case op.Method == http.MethodGet || op.Method == http.MethodDelete:
			query.Set(k, fmt.Sprint(v))
		default:
			rest[k] = v
		}
	}
	if body == nil && err == nil && op.Method != http.MethodGet && op.Method != http.MethodDelete {
		body, err = json.Marshal(rest)
	}
	return path, query, header, body, err
}

// maxAnswer is the largest answer in bytes.
const maxAnswer = 16 << 20

func (a *Account) send(ctx context.Context, op awsapi.Operation, path string, query url.Values, header map[string]string, body []byte) (object, error) {
	base, service := a.cfg.Base, "iot"
	if op.Service == awsapi.IoTData {
		base, service = a.data, "iotdata"
	}
	target := base + path
	if len(query) > 0 {
		target += "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	}
	req, err := http.NewRequestWithContext(ctx, op.Method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, answer, err := a.sign(ctx, req, body, service)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op.Name, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, refusal(op.Name, resp, answer)
	}
	out := make(object)
	if len(bytes.TrimSpace(answer)) == 0 {
		return out, nil
	}
	dec := json.NewDecoder(bytes.NewReader(answer))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil {
		return nil, fmt.Errorf("%s: the answer is not JSON: %w", op.Name, err)
	}
	return out, nil
}

// Error is an operation that an account refused. It implements smithy.APIError.
type Error struct {
	Operation, Code, Message string
	Status                   int
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%s: %s", e.Operation, e.Code)
	}
	return fmt.Sprintf("%s: %s (%s)", e.Operation, strings.TrimSuffix(e.Message, "."), e.Code)
}

// ErrorCode implements smithy.APIError.
func (e *Error) ErrorCode() string { return e.Code }

// ErrorMessage implements smithy.APIError.
func (e *Error) ErrorMessage() string { return e.Message }

// ErrorFault implements smithy.APIError.
func (e *Error) ErrorFault() smithy.ErrorFault { return smithy.FaultUnknown }

func refusal(op string, resp *http.Response, answer []byte) *Error {
	var body struct {
		Message string `json:"message"`
		Upper   string `json:"Message"`
		Type    string `json:"__type"`
		Code    string `json:"code"`
	}
	_ = json.Unmarshal(answer, &body)
	e := &Error{Operation: op, Status: resp.StatusCode, Message: body.Message}
	if e.Message == "" {
		e.Message = body.Upper
	}
	e.Code, _, _ = strings.Cut(resp.Header.Get("x-amzn-ErrorType"), ":")
	if e.Code == "" {
		e.Code = body.Type
	}
	if e.Code == "" && body.Code != "" && strings.HasSuffix(body.Code, "Exception") {
		e.Code = body.Code
	}
	if i := strings.LastIndexByte(e.Code, '#'); i >= 0 {
		e.Code = e.Code[i+1:]
	}
	if e.Code == "" {
		e.Code = resp.Status
	}
	return e
}

// again reports whether the same request may do better later.
func again(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		var op *url.Error
		return errors.As(err, &op) && op.Timeout() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	}
	switch e.Code {
	case "ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "InternalFailureException", "InternalException", "ServiceUnavailableException", "ConflictException":
		return true
	}
	return e.Status == http.StatusTooManyRequests || e.Status >= 500 && e.Status != http.StatusNotImplemented && e.Status != http.StatusInternalServerError
}

// is reports whether an account refused with one of these exceptions.
func is(err error, codes ...string) bool {
	var e *Error
	if errors.As(err, &e) {
		for _, c := range codes {
			if e.Code == c {
				return true
			}
		}
	}
	return false
}

// lacking reports whether an account does not know an operation, as emulators and berth itself may not.
func lacking(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	known := strings.HasSuffix(e.Code, "Exception") && e.Code != "NotImplementedException"
	return e.Status == http.StatusNotImplemented || !known && (e.Status == http.StatusNotFound || e.Status == http.StatusInternalServerError || e.Status == http.StatusMethodNotAllowed)
}

// pace keeps requests of one operation apart.
type pace struct {
	mu    sync.Mutex
	every time.Duration
	next  time.Time
}

func (a *Account) pace(op string) *pace {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.paces[op]
	if p == nil {
		p = new(pace)
		if a.cfg.Rate > 0 {
			p.every = time.Duration(float64(time.Second) / a.cfg.Rate)
		}
		a.paces[op] = p
	}
	return p
}

// wait waits for the next turn.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	if p.every == 0 {
		p.mu.Unlock()
		return ctx.Err()
	}
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	delay := p.next.Sub(now)
	p.next = p.next.Add(p.every)
	p.mu.Unlock()
	if delay == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slower halves the rate, to a request a second at the least: the account throttles.
func (p *pace) slower() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every = min(max(2*p.every, 20*time.Millisecond), time.Second)
}
