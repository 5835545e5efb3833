package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/stream"
)

func TestObjectAddress(t *testing.T) {
	t.Parallel()
	address := objectAddress("eu-west-1")
	for want, l := range map[string]stream.Location{
		"https://s3.eu-west-1.amazonaws.com/images/lamp/fw%201.bin":          {Bucket: "images", Key: "lamp/fw 1.bin"},
		"https://s3.eu-west-1.amazonaws.com/images/fw.bin?versionId=a%2Bb.c": {Bucket: "images", Key: "fw.bin", Version: "a+b.c"},
	} {
		if got := address(l); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestOpenObject(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fw":
			io.WriteString(w, "firmware")
		case "/secret":
			w.WriteHeader(http.StatusForbidden)
		case "/none":
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(s.Close)
	open := func(key string) (string, error) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+"/"+key, nil)
		if err != nil {
			t.Fatal(err)
		}
		content, err := openObject(req, stream.Location{Bucket: "b", Key: key})
		if err != nil {
			return "", err
		}
		defer content.Close()
		b, err := io.ReadAll(content)
		return string(b), err
	}
	if got, err := open("fw"); err != nil || got != "firmware" {
		t.Errorf("%q %v", got, err)
	}
	_, secret := open("secret")
	_, none := open("none")
	_, broken := open("broken")
	if !errors.Is(secret, stream.ErrUnauthorized) || !errors.Is(none, stream.ErrNotFound) || broken == nil || errors.Is(broken, stream.ErrNotFound) {
		t.Error(secret, none, broken)
	}
}

// TestObjectOutOfReach: what is said of an object that cannot be reached holds no signature.
func TestObjectOutOfReach(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+"/fw?X-Amz-Signature=abc", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openObject(req, stream.Location{Bucket: "b", Key: "fw"}); err == nil || strings.Contains(err.Error(), "X-Amz") || !strings.Contains(err.Error(), `"fw" of bucket "b"`) {
		t.Error(err)
	}
}
