package iotdefender_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/awsapi/iotdefender"
	"github.com/berth-iot/berth/internal/defender"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// newAPI is the operations over a database of their own, called without signatures.
func newAPI(t testing.TB) http.Handler {
	t.Helper()
	ctx := context.Background()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db := storetest.Open(t, t.TempDir())
	reg, err := registry.Open(ctx, db, registry.Config{})
	check(err)
	routes, err := router.New(ctx, topic.AWS, db)
	check(err)
	s, err := defender.Open(ctx, defender.Config{Store: db, Router: routes, Registry: reg})
	check(err)
	t.Cleanup(func() {
		s.Close()
		db.Close()
	})
	api, err := awsapi.New(awsapi.Config{Authenticate: func(*http.Request, []byte) (awsapi.Caller, error) {
		return awsapi.Caller{AccessKeyID: "K", Role: awsapi.RoleAdmin, Service: "iot"}, nil
	}}, iotdefender.Operations(s))
	check(err)
	return api
}

// TestScheduledAudits asserts that answers hold the members of the API and no others.
func TestScheduledAudits(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	for _, c := range []struct{ method, path, body, want string }{
		{"PATCH", "/audit/configuration", `{"auditCheckConfigurations":{"LOGGING_DISABLED_CHECK":{"enabled":true}}}`, `{}`},
		{"POST", "/audit/scheduledaudits/nightly", `{"frequency":"WEEKLY","dayOfWeek":"SUN","targetCheckNames":["LOGGING_DISABLED_CHECK"]}`,
			`{"scheduledAuditArn":"arn:aws:iot:us-east-1:000000000000:scheduledaudit/nightly"}`},
		{"GET", "/audit/scheduledaudits/nightly", "",
			`{"scheduledAuditName":"nightly","scheduledAuditArn":"arn:aws:iot:us-east-1:000000000000:scheduledaudit/nightly","frequency":"WEEKLY","dayOfWeek":"SUN","targetCheckNames":["LOGGING_DISABLED_CHECK"]}`},
		{"GET", "/audit/scheduledaudits", "",
			`{"scheduledAudits":[{"scheduledAuditName":"nightly","scheduledAuditArn":"arn:aws:iot:us-east-1:000000000000:scheduledaudit/nightly","frequency":"WEEKLY","dayOfWeek":"SUN"}]}`},
	} {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusOK || got != c.want {
			t.Errorf("%s %s: %d %s, want %s", c.method, c.path, w.Code, got, c.want)
		}
	}
}

// TestStoredMembers: members of a security profile that are only stored come back with the API's types.
func TestStoredMembers(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	call := func(method, body string) (int, string) {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest(method, "/security-profiles/p", strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	for _, bad := range []string{`{"alertTargets":[]}`, `{"additionalMetricsToRetain":1}`, `{"additionalMetricsToRetainV2":{}}`, `{"metricsExportConfig":"x"}`} {
		if code, answer := call("POST", bad); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, code, answer)
		}
	}
	if code, answer := call("POST", `{"alertTargets":null,"additionalMetricsToRetain":["aws:num-disconnects"]}`); code != http.StatusOK {
		t.Fatalf("%d %s", code, answer)
	}
	if _, answer := call("GET", ""); strings.Contains(answer, "alertTargets") || !strings.Contains(answer, `"additionalMetricsToRetain":["aws:num-disconnects"]`) {
		t.Error(answer)
	}
	if code, answer := call("PATCH", `{"metricsExportConfig":[]}`); code != http.StatusBadRequest {
		t.Errorf("%d %s", code, answer)
	}
}
