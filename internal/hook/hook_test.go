package hook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

type lambdaFunc func(function string, payload []byte) ([]byte, error)

func (f lambdaFunc) Invoke(_ context.Context, function string, payload []byte) ([]byte, error) {
	return f(function, payload)
}

func TestCall(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/echo":
			w.Write(body)
		case "/long":
			w.Write(make([]byte, MaxAnswer+1))
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	program := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cat, fails, long := program("cat", "cat"), program("fails", "exit 3"), program("long", "head -c 70000 /dev/zero")
	const function = "arn:aws:lambda:us-east-1:000000000000:function:f"
	c := &Caller{Commands: []string{cat, fails, long}, Lambda: lambdaFunc(func(name string, in []byte) ([]byte, error) {
		if name != function {
			return nil, errors.New("another function")
		}
		return in, nil
	})}
	for target, want := range map[string]string{
		server.URL + "/echo":   "",
		"exec:" + cat:          "",
		function:               "",
		server.URL + "/none":   "418",
		server.URL + "/long":   "longer than",
		"exec:" + fails:        "exit status 3",
		"exec:" + long:         "longer than",
		"exec:/bin/sh":         "hook-commands",
		"exec:cat":             "hook-commands",
		"ftp://host/x":         "neither",
		"arn:aws:sns:x:y:z":    "not the ARN of a Lambda function",
		"http://127.0.0.1:1/x": "refused",
	} {
		answer, err := c.Call(context.Background(), target, []byte(`{"a":1}`))
		if want == "" && (err != nil || string(answer) != `{"a":1}`) {
			t.Errorf("%s: %s %v", target, answer, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", target, err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Call(ctx, server.URL+"/echo", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := (&Caller{}).Call(context.Background(), function, nil); err == nil {
		t.Error("called a Lambda function without access to Lambda")
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"http://h/p", "https://h", "exec:/bin/true", "exec:", "arn:aws:lambda:r:a:function:f", "http://", "%zz", ""} {
		f.Add(s)
	}
	c := &Caller{Commands: []string{"/bin/true"}}
	f.Fuzz(func(t *testing.T, target string) {
		if c.Check(target) == nil && strings.HasPrefix(target, "exec:") && target != "exec:/bin/true" {
			t.Errorf("%q may be called", target)
		}
	})
}

// TestEnvironment: a program does not get what berth was told in its environment.
func TestEnvironment(t *testing.T) {
	t.Setenv("BERTH_CA_PASSPHRASE", "hush")
	dir := t.TempDir()
	path := filepath.Join(dir, "show")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nprintf '{\"secret\":\"%s\",\"path\":\"%s\"}' \"$BERTH_CA_PASSPHRASE\" \"$PATH\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		t.Skip("no shell scripts")
	}
	b, err := New([]string{path}).Call(t.Context(), "exec:"+path, []byte("{}"))
	if err != nil || strings.Contains(string(b), "hush") || strings.Contains(string(b), `"path":""`) {
		t.Errorf("%s, %v", b, err)
	}
}
