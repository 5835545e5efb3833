package iotlogging

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/store/storetest"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	if err := Open(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	api, err := awsapi.New(awsapi.Config{Authenticate: func(*http.Request, []byte) (awsapi.Caller, error) {
		return awsapi.Caller{AccessKeyID: "K", Role: awsapi.RoleAdmin, Service: "iot"}, nil
	}}, Operations(db))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, body string
		status       int
		want         string
	}{
		{"GET", "", 404, "NotConfigured"},
		{"POST", `{"defaultLogLevel":"LOUD"}`, 400, "LOUD"},
		{"POST", `{"roleArn":"role"}`, 400, "no ARN"},
		{"POST", `{"eventConfigurations":{}}`, 400, "list"},
		{"POST", `{"roleArn":"arn:aws:iam::000000000000:role/log","defaultLogLevel":"WARN"}`, 200, "{}"},
		{"GET", "", 200, `{"roleArn":"arn:aws:iam::000000000000:role/log","defaultLogLevel":"WARN","disableAllLogs":false}`},
		{"POST", `{"disableAllLogs":true,"eventConfigurations":[{"eventType":"Connect","logLevel":"ERROR"}]}`, 200, "{}"},
		{"GET", "", 200, `{"disableAllLogs":true,"eventConfigurations":[{"eventType":"Connect","logLevel":"ERROR"}]}`},
	} {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest(c.method, "/v2LoggingOptions", strings.NewReader(c.body)))
		text := w.Body.String() + w.Header().Get("x-amzn-ErrorType")
		if w.Code != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.body, w.Code, text, c.status, c.want)
		}
	}
}
