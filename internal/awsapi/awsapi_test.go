package awsapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

// echo answers which operation ran and with what.
func echo(ctx context.Context, req *awsapi.Request) (any, error) {
	return map[string]string{
		"operation": req.Operation.Service + "." + req.Operation.Name,
		"thing":     req.Path("thingName"), "job": req.Path("jobId"), "topic": req.Path("topic"), "target": req.Path("target"), "policy": req.Path("policyName"),
	}, nil
}

// everything answers every operation of the table with echo.
func everything() []awsapi.Set {
	sets := map[string]awsapi.Set{}
	for _, op := range awsapi.Operations() {
		if sets[op.Service].Handlers == nil {
			sets[op.Service] = awsapi.Set{Service: op.Service, Handlers: map[string]awsapi.Handler{}}
		}
		sets[op.Service].Handlers[op.Name] = echo
	}
	return []awsapi.Set{sets[awsapi.IoT], sets[awsapi.IoTData], sets[awsapi.IoTJobsData]}
}

// byHeader believes what the test says in headers.
func byHeader(r *http.Request, _ []byte) (awsapi.Caller, error) {
	c := awsapi.Caller{AccessKeyID: r.Header.Get("Key"), Role: r.Header.Get("Role"), Service: r.Header.Get("Service"), CertificateID: r.Header.Get("Certificate")}
	if c == (awsapi.Caller{}) {
		return c, &awsapi.Error{Type: "MissingAuthenticationTokenException", Status: 403, Message: "Missing Authentication Token"}
	}
	return c, nil
}

var (
	admin    = awsapi.Caller{AccessKeyID: "AKIAADMIN", Role: awsapi.RoleAdmin, Service: "iot"}
	readOnly = awsapi.Caller{AccessKeyID: "AKIAREADER", Role: awsapi.RoleReadOnly, Service: "iot"}
	device   = awsapi.Caller{CertificateID: "abc"}
)

func signedFor(service string) awsapi.Caller {
	c := admin
	c.Service = service
	return c
}

func do(t testing.TB, h http.Handler, caller awsapi.Caller, method, target, body string) (status int, kind string, answer map[string]string) {
	t.Helper()
	r := httptest.NewRequest(method, "http://berth"+target, strings.NewReader(body))
	for name, value := range map[string]string{"Key": caller.AccessKeyID, "Role": caller.Role, "Service": caller.Service, "Certificate": caller.CertificateID} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Header().Get("x-amzn-RequestId") == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%s %s: headers %v", method, target, w.Header())
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Errorf("%s %s: body %q: %v", method, target, w.Body, err)
	}
	return w.Code, w.Header().Get("x-amzn-ErrorType"), answer
}

func newAPI(t testing.TB, cfg awsapi.Config, sets ...awsapi.Set) *awsapi.API {
	t.Helper()
	cfg.Authenticate = byHeader
	api, err := awsapi.New(cfg, sets...)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func TestTable(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for _, op := range awsapi.Operations() {
		count[op.Service]++
	}
	if count[awsapi.IoT] != 272 || count[awsapi.IoTData] != 8 || count[awsapi.IoTJobsData] != 5 {
		t.Error(count)
	}
	if _, err := awsapi.New(awsapi.Config{}, awsapi.Set{Service: awsapi.IoT, Handlers: map[string]awsapi.Handler{"MakeCoffee": echo}}); err == nil {
		t.Error("a handler without an operation was accepted")
	}
}

// TestEveryPathFindsItsOperation sends each row's own path and expects that row.
func TestEveryPathFindsItsOperation(t *testing.T) {
	t.Parallel()
	api := newAPI(t, awsapi.Config{}, everything()...)
	service := map[string]string{awsapi.IoT: "iot", awsapi.IoTData: "iotdata", awsapi.IoTJobsData: "iot-jobs-data"}
	for _, op := range awsapi.Operations() {
		path := strings.NewReplacer("{", "", "+}", "/more", "}", "").Replace(op.Path)
		status, _, answer := do(t, api, signedFor(service[op.Service]), op.Method, path, "")
		if want := op.Service + "." + op.Name; status != 200 || answer["operation"] != want {
			t.Errorf("%s %s: %d %s, want %s", op.Method, path, status, answer["operation"], want)
		}
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	api := newAPI(t, awsapi.Config{}, everything()...)
	tests := []struct {
		caller         awsapi.Caller
		method, target string
		want           string // "service.Operation field=value"
	}{
		{admin, "GET", "/things/a%3Ab", "iot.DescribeThing thing=a:b"},
		{admin, "GET", "/things/a%2Fb", "iot.DescribeThing thing=a/b"},
		{admin, "GET", "/things/a:b", "iot.DescribeThing thing=a:b"},
		{admin, "GET", "/things/100%25", "iot.DescribeThing thing=100%"},
		{admin, "GET", "/things/a+b", "iot.DescribeThing thing=a+b"},
		{admin, "GET", "/things?maxResults=3", "iot.ListThings"},
		{admin, "GET", "/things/", "iot.ListThings"},
		{admin, "GET", "/authorizers", "iot.ListAuthorizers"},
		{admin, "GET", "/authorizers/", "iot.ListAuthorizers"},
		{admin, "PUT", "/thing-groups/addThingToThingGroup", "iot.AddThingToThingGroup"},
		{admin, "GET", "/thing-groups/addThingToThingGroup", "iot.DescribeThingGroup"},
		{admin, "POST", "/attached-policies/arn%3Aaws%3Aiot%3Ar%3Aa%3Acert%2Fx", "iot.ListAttachedPolicies target=arn:aws:iot:r:a:cert/x"},
		{admin, "POST", "/attached-policies/arn:aws:iot:r:a:cert/x", "iot.ListAttachedPolicies target=arn:aws:iot:r:a:cert/x"},
		{device, "POST", "/topics/a/b?qos=1", "iot-data.Publish topic=a/b"},
		{device, "POST", "/topics/a%2Fb", "iot-data.Publish topic=a/b"},
		{device, "POST", "/topics//a", "iot-data.Publish topic=/a"},
		{device, "POST", "/topics/a/", "iot-data.Publish topic=a/"},
		{device, "GET", "/retainedMessage/a/b", "iot-data.GetRetainedMessage topic=a/b"},
		{device, "GET", "/retainedMessage", "iot-data.ListRetainedMessages"},
		// Three paths belong to two planes.
		{admin, "GET", "/things/t/jobs", "iot.ListJobExecutionsForThing thing=t"},
		{signedFor("execute-api"), "GET", "/things/t/jobs/j", "iot.DescribeJobExecution job=j"},
		{signedFor("iot-jobs-data"), "GET", "/things/t/jobs", "iot-jobs-data.GetPendingJobExecutions thing=t"},
		{signedFor("iot-jobs-data"), "GET", "/things/t/jobs/j", "iot-jobs-data.DescribeJobExecution job=j"},
		{signedFor("iotdata"), "GET", "/things/t/jobs/$next", "iot-jobs-data.DescribeJobExecution job=$next"},
		{device, "GET", "/things/t/jobs/j", "iot-jobs-data.DescribeJobExecution job=j"},
		{device, "PUT", "/things/t/jobs/$next", "iot-jobs-data.StartNextPendingJobExecution thing=t"},
		{device, "PUT", "/things/t/jobs/%24next", "iot-jobs-data.StartNextPendingJobExecution thing=t"},
		{admin, "POST", "/command-executions", "iot.ListCommandExecutions"},
		{signedFor("iot-jobs-data"), "POST", "/command-executions", "iot-jobs-data.StartCommandExecution"},
	}
	for _, test := range tests {
		operation, field, _ := strings.Cut(test.want, " ")
		name, value, _ := strings.Cut(field, "=")
		status, kind, answer := do(t, api, test.caller, test.method, test.target, "")
		if status != 200 || answer["operation"] != operation || name != "" && answer[name] != value {
			t.Errorf("%s %s: %d %s %v, want %s", test.method, test.target, status, kind, answer, test.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	api := newAPI(t, awsapi.Config{MaxBody: 100}, awsapi.Set{Service: awsapi.IoT, Handlers: map[string]awsapi.Handler{"CreateThing": echo, "DescribeThing": echo}})
	tests := []struct {
		name           string
		caller         awsapi.Caller
		method, target string
		body           string
		status         int
		kind, words    string
	}{
		{"no signature", awsapi.Caller{}, "GET", "/things/t", "", 403, "MissingAuthenticationTokenException", ""},
		{"unknown path", admin, "GET", "/coffee", "", 404, "UnknownOperationException", "/coffee"},
		{"root", admin, "GET", "/", "", 404, "UnknownOperationException", ""},
		{"empty label", admin, "GET", "/things//jobs", "", 404, "UnknownOperationException", ""},
		{"path too long", admin, "GET", "/things/t/u/v", "", 404, "UnknownOperationException", ""},
		{"wrong method", admin, "PUT", "/things/t", "", 405, "MethodNotAllowedException", "PUT"},
		{"not there yet", admin, "GET", "/streams", "", 501, "NotImplementedException", "ListStreams"},
		{"path with U+0000", admin, "GET", "/things/%00", "", 400, "InvalidRequestException", "U+0000"},
		{"path not UTF-8", admin, "GET", "/things/%ff", "", 400, "InvalidRequestException", "UTF-8"},
		{"query not UTF-8", admin, "GET", "/things/t?x=%ff", "", 400, "InvalidRequestException", "UTF-8"},
		{"read-only role writes", readOnly, "POST", "/things/t", "", 403, "AccessDeniedException", "iot:CreateThing"},
		{"read-only role writes what is not there", readOnly, "POST", "/streams/s", "", 403, "AccessDeniedException", ""},
		{"unknown role", awsapi.Caller{AccessKeyID: "k"}, "POST", "/things/t", "", 403, "AccessDeniedException", ""},
		{"device on the control plane", device, "GET", "/things/t", "", 403, "AccessDeniedException", "certificate abc"},
		{"body too large", admin, "POST", "/things/t", strings.Repeat("x", 101), 413, "RequestEntityTooLargeException", "100 bytes"},
	}
	for _, test := range tests {
		status, kind, answer := do(t, api, test.caller, test.method, test.target, test.body)
		if status != test.status || kind != test.kind || !strings.Contains(answer["message"], test.words) || answer["message"] == "" {
			t.Errorf("%s: %d %s %q, want %d %s", test.name, status, kind, answer["message"], test.status, test.kind)
		}
	}
	if status, _, _ := do(t, api, readOnly, "GET", "/things/t", ""); status != 200 {
		t.Error("the read-only role cannot read")
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var got struct {
		Name string            `json:"name"`
		Map  map[string]string `json:"map"`
	}
	tests := []struct{ body, words string }{
		{``, ""}, {` `, ""}, {`{}`, ""}, {`null`, ""}, {`{"name":"x","unknown":[1]}`, ""},
		{`{`, "ends too early"}, {`{"name":}`, "at byte 9"}, {`{"name":1}`, "name"}, {`{"map":{"a":1}}`, "map"}, {`[]`, "array"}, {`"x"`, "string"},
		{`{"name":"\u0000"}`, "U+0000"}, {`{} {}`, "more follows"}, {"{}x", "more follows"}, {"\x00", "not valid JSON"}, {strings.Repeat("[", 20000), "not valid"},
	}
	for _, test := range tests {
		err := (&awsapi.Request{Body: []byte(test.body)}).Decode(&got)
		if test.words == "" {
			if err != nil {
				t.Errorf("%q: %v", test.body, err)
			}
			continue
		}
		if e := (*awsapi.Error)(nil); !errors.As(err, &e) || e.Type != "InvalidRequestException" || e.Status != 400 || !strings.Contains(e.Message, test.words) {
			t.Errorf("%.20q: %v, want %q", test.body, err, test.words)
		}
	}
}

func TestErrorOf(t *testing.T) {
	t.Parallel()
	exists := &registry.Error{Kind: registry.ErrAlreadyExists, Message: "thing t already exists", ID: "id", ARN: "arn"}
	tests := []struct {
		err  error
		want awsapi.Error
	}{
		{fmt.Errorf("create: %w", exists), awsapi.Error{Type: "ResourceAlreadyExistsException", Status: 409, Message: "Thing t already exists", ResourceID: "id", ResourceARN: "arn"}},
		{fmt.Errorf("x: %w", registry.ErrLimit), awsapi.Error{Type: "LimitExceededException", Status: 410, Message: "X: limit exceeded"}},
		{fmt.Errorf("x: %w", &awsapi.Error{Type: "T", Status: 418}), awsapi.Error{Type: "T", Status: 418}},
		{io.EOF, awsapi.Error{Type: "InternalFailureException", Status: 500, Message: "An unexpected error has occurred."}},
	}
	for _, test := range tests {
		if got := awsapi.ErrorOf(test.err); *got != test.want {
			t.Errorf("%v: %+v, want %+v", test.err, *got, test.want)
		}
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	for ms, want := range map[int64]string{1_700_000_000_123: "1700000000.123", 1_700_000_000_000: "1700000000", 2_524_607_999_000: "2524607999", -1500: "-1.5"} {
		if got, err := json.Marshal(awsapi.Time(time.UnixMilli(ms))); err != nil || string(got) != want {
			t.Errorf("%d: %s %v, want %s", ms, got, err, want)
		}
	}
	if got, _ := json.Marshal(struct {
		T awsapi.Time `json:"t,omitzero"`
	}{}); string(got) != "{}" {
		t.Errorf("%s", got)
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	var seen []string
	api := newAPI(t, awsapi.Config{Observe: func(op *awsapi.Operation, status int, took time.Duration) {
		name := "none"
		if op != nil {
			name = op.Name
		}
		seen = append(seen, fmt.Sprint(name, " ", status, " ", took > 0))
	}}, everything()...)
	do(t, api, admin, "GET", "/things", "")
	do(t, api, admin, "GET", "/coffee", "")
	if got := strings.Join(seen, ", "); got != "ListThings 200 true, none 404 true" {
		t.Error(got)
	}
}

func FuzzRequest(f *testing.F) {
	api := newAPI(f, awsapi.Config{}, everything()...)
	f.Add("GET", "/things/a%2Fb", "")
	f.Add("POST", "/topics//a/%00", "{}")
	f.Add("PUT", "/things/t/jobs/%24next", "{")
	f.Add("DELETE", "/destinations/arn:aws:iot/x/y/", "")
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, "http://berth"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("Certificate", "abc")
		r.Header.Set("Key", "k")
		r.Header.Set("Role", awsapi.RoleAdmin)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code == 500 {
			t.Errorf("%s %q: %s", method, path, w.Body)
		}
	})
}
