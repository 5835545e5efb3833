package awsapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store/storetest"
)

// TestWrongTags: wrong tags are refused with an exception of the operation's family, and before
// anything is made.
func TestWrongTags(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	reg, err := registry.Open(ctx, db, registry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	api, err := awsapi.New(awsapi.Config{Authenticate: func(*http.Request, []byte) (awsapi.Caller, error) {
		return awsapi.Caller{AccessKeyID: "K", Role: awsapi.RoleAdmin, Service: "iot"}, nil
	}}, awsapi.Set{Service: awsapi.IoT,
		Handlers: map[string]awsapi.Handler{"CreateCommand": func(context.Context, *awsapi.Request) (any, error) { panic("made") }},
		Exception: func(err error) error {
			if e := (*awsapi.Error)(nil); errors.As(err, &e) {
				e.Type = "ValidationException"
			}
			return err
		}}.Tag(reg, map[string]string{"CreateCommand": "command/{commandId}"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"tags":1}`, `{"tags":[{"Key":"","Value":""}]}`, `{`} {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest("PUT", "/commands/c", strings.NewReader(body)))
		if w.Code != http.StatusBadRequest || w.Header().Get("x-amzn-ErrorType") != "ValidationException" {
			t.Errorf("%s: %d %v %s", body, w.Code, w.Header(), w.Body)
		}
	}
}
