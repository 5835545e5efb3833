// Package hook calls what decides in an operator's place: a URL, a program, or an AWS Lambda
// function. Pre-provisioning hooks, activation rules and custom authorizers are such targets.
//
// A target gets one JSON document and answers with one: a URL by POST, a program on its standard
// input and output. AWS IoT knows Lambda functions only.
package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/outbound"
)

// Limits of a call (AWS IoT developer guide, "Pre-provisioning hooks" and "Creating and managing
// custom authorizers").
const (
	Timeout   = 5 * time.Second
	MaxAnswer = 64 << 10 // bytes
)

const commandScheme = "exec:"

// Lambda calls AWS Lambda functions.
type Lambda interface {
	// Invoke calls a function, given by its ARN, with a JSON payload and returns its answer.
	Invoke(ctx context.Context, function string, payload []byte) ([]byte, error)
}

// Caller calls targets. Its methods may be called concurrently.
type Caller struct {
	Commands []string     // programs that may be targets, by absolute path
	Lambda   Lambda       // nil: calls of Lambda functions fail
	HTTP     *http.Client // nil for http.DefaultClient
}

// idleConnections are kept to each host, so that bursts of calls need no new ones.
const idleConnections = 32

// New returns a caller that may run these programs, with an HTTP client of its own.
func New(commands []string) *Caller {
	return &Caller{Commands: commands, HTTP: &http.Client{Transport: outbound.Transport(idleConnections)}}
}

// Check says why a target cannot be called: it is an http or https URL, `exec:` and the path of a
// program among Commands, or the ARN of a Lambda function.
func (c *Caller) Check(target string) error {
	switch path, isCommand := strings.CutPrefix(target, commandScheme); {
	case isCommand:
		if !filepath.IsAbs(path) || !slices.Contains(c.Commands, path) {
			return fmt.Errorf("hook %q: only programs that the operator has named in hook-commands can be hooks", target)
		}
		return nil
	case strings.HasPrefix(target, "arn:"):
		if !strings.Contains(target, ":lambda:") {
			return fmt.Errorf("hook %q is not the ARN of a Lambda function", target)
		}
		return nil
	}
	if u, err := url.Parse(target); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("hook %q is neither an http or https URL, nor exec: and a path, nor the ARN of a Lambda function", target)
	}
	return nil
}

// Call gives a target a JSON document and returns its answer, of [MaxAnswer] bytes at most, within
// [Timeout].
func (c *Caller) Call(ctx context.Context, target string, body []byte) ([]byte, error) {
	if err := c.Check(target); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	answer, err := c.call(ctx, target, body)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("no answer within %v", Timeout)
	}
	return answer, err
}

func (c *Caller) call(ctx context.Context, target string, body []byte) ([]byte, error) {
	path, isCommand := strings.CutPrefix(target, commandScheme)
	switch {
	case isCommand:
		return run(ctx, path, body)
	case strings.HasPrefix(target, "arn:"):
		if c.Lambda == nil {
			return nil, errors.New("no access to AWS Lambda is configured")
		}
		return c.Lambda.Invoke(ctx, target, body)
	}
	return c.post(ctx, target, body)
}

func (c *Caller) post(ctx context.Context, target string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if len(answer) > MaxAnswer {
		return nil, errTooLong()
	}
	return answer, err
}

func errTooLong() error { return fmt.Errorf("the answer is longer than %d bytes", MaxAnswer) }

// run runs a program with the request on its standard input and reads its standard output.
func run(ctx context.Context, path string, body []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path)
	cmd.Stdin = bytes.NewReader(body)
	// The passphrases and passwords that berth was given are none of the program's business.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "BERTH_") })
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	answer := &limited{w: &out, n: MaxAnswer}
	cmd.Stdout = answer
	err := cmd.Run()
	if answer.full { // the program may have died of it
		return nil, errTooLong()
	}
	return out.Bytes(), err
}

// limited is a writer that takes n bytes at most.
type limited struct {
	w    io.Writer
	n    int
	full bool // was given more
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.n {
		l.full = true
		return 0, errTooLong()
	}
	l.n -= len(b)
	return l.w.Write(b)
}
