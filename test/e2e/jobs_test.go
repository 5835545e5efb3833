package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

const arn = "arn:aws:iot:us-east-1:000000000000:"

// jobs signs for the jobs data plane.
func (in *instance) jobs(t testing.TB, method, path, body string) (status int, exception, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", in.Ready.HTTPPort, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	signer := sigv4.Signer{AccessKeyID: adminKey, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot-jobs-data"}
	signer.Sign(req, []byte(body), time.Now())
	return do(t, http.DefaultClient, req)
}

// control signs for the control plane.
func (in *instance) control(t testing.TB, method, path, body string) (status int, exception, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", in.Ready.HTTPPort, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	signer := sigv4.Signer{AccessKeyID: adminKey, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot"}
	signer.Sign(req, []byte(body), time.Now())
	return do(t, http.DefaultClient, req)
}

// done is control that must succeed.
func (in *instance) done(t testing.TB, method, path, body string) string {
	t.Helper()
	status, exception, answer := in.control(t, method, path, body)
	if status != 200 {
		t.Fatalf("%s %s: %d %s %s", method, path, status, exception, answer)
	}
	return answer
}

func (in *instance) job(t testing.TB, id, thing string) {
	t.Helper()
	in.done(t, "PUT", "/jobs/"+id, fmt.Sprintf(`{"targets":["%sthing/%s"],"document":"{\"do\":\"%s\"}"}`, arn, thing, id))
}

// got returns the next message as JSON.
func (c *client) got(t testing.TB, name string) map[string]any {
	t.Helper()
	n, p := c.message(t)
	if n != name {
		t.Fatalf("got %s %s\nwant %s", n, p, name)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(p), &v); err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	return v
}

// quiet fails if a message came before everything sent so far was answered.
func (c *client) quiet(t testing.TB) {
	t.Helper()
	c.send(t, mqtt.AppendPingreq(nil))
	for {
		h, body := c.read(t)
		if h.Type() == mqtt.PINGRESP {
			return
		}
		if h.Type() == mqtt.PUBLISH {
			t.Fatalf("unexpected message % x", body)
		}
	}
}

// notified reads a message of notify and returns the jobs by status.
func (c *client) notified(t testing.TB, thing, want string) {
	t.Helper()
	v := c.got(t, "$aws/things/"+thing+"/jobs/notify")
	jobs := v["jobs"].(map[string]any)
	got := ""
	for _, status := range []string{"IN_PROGRESS", "QUEUED"} {
		if list, ok := jobs[status]; ok {
			got += status + ":"
			for _, j := range list.([]any) {
				got += " " + j.(map[string]any)["jobId"].(string)
			}
			got += ";"
		}
	}
	if got != want || v["timestamp"].(float64) < 1e9 || v["timestamp"].(float64) > 1e10 {
		t.Fatalf("notify says %v\nwant %q", v, want)
	}
}

func (c *client) next(t testing.TB, thing, want string) {
	t.Helper()
	v := c.got(t, "$aws/things/"+thing+"/jobs/notify-next")
	if want == "" {
		if len(v) != 1 {
			t.Fatalf("notify-next says %v, want a timestamp only", v)
		}
		return
	}
	e := v["execution"].(map[string]any)
	document := e["jobDocument"].(map[string]any) // an object
	if e["jobId"] != want || document["do"] != want || e["thingName"] != nil {
		t.Fatalf("notify-next says %v\nwant %s", v, want)
	}
}

func (c *client) update(t testing.TB, thing, job, body string) map[string]any {
	t.Helper()
	topic := "$aws/things/" + thing + "/jobs/" + job + "/update"
	c.publish(t, topic, body)
	return c.got(t, topic+"/accepted")
}

// TestJobNotifications is the table of the developer guide's jobs notifications, row by row.
func TestJobNotifications(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	in.done(t, "POST", "/things/T", "{}")
	device := in.connect(t, mqtt.Connect{ClientID: "T"})
	watcher := in.connect(t, mqtt.Connect{ClientID: "watcher"})
	watcher.subscribe(t, 1, "$aws/things/T/jobs/notify", "$aws/things/T/jobs/notify-next")

	in.job(t, "job1", "T") // the list was empty
	watcher.notified(t, "T", "QUEUED: job1;")
	watcher.next(t, "T", "job1")

	in.job(t, "job2", "T") // while job1 is pending
	watcher.notified(t, "T", "QUEUED: job1 job2;")
	in.job(t, "job3", "T")
	watcher.notified(t, "T", "QUEUED: job1 job2 job3;")

	device.update(t, "T", "job1", `{"status":"IN_PROGRESS"}`) // already the first: silence
	device.update(t, "T", "job1", `{"status":"SUCCEEDED"}`)
	watcher.notified(t, "T", "QUEUED: job2 job3;")
	watcher.next(t, "T", "job2")

	device.update(t, "T", "job3", `{"status":"IN_PROGRESS"}`) // before job2
	watcher.next(t, "T", "job3")

	device.update(t, "T", "job2", `{"status":"REJECTED"}`) // while job3 runs
	watcher.notified(t, "T", "IN_PROGRESS: job3;")

	in.done(t, "DELETE", "/things/T/jobs/job3/executionNumber/1?force=true", "") // the last one
	watcher.notified(t, "T", "")
	watcher.next(t, "T", "")
	watcher.quiet(t)
	device.quiet(t)
}

// TestJobAnswers checks that answers reach who asked, subscribed or not, once, and nobody else.
func TestJobAnswers(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	in.done(t, "POST", "/things/T", "{}")
	in.job(t, "j", "T")
	const p = "$aws/things/T/jobs"
	spy := in.connect(t, mqtt.Connect{ClientID: "spy"})
	spy.subscribe(t, 1, p+"/get/+", p+"/start-next/+", p+"/+/get/+", p+"/+/update/+")
	subscribed := in.connect(t, mqtt.Connect{ClientID: "subscribed"})
	subscribed.subscribe(t, 1, p+"/get/+", p+"/+/get/+", p+"/start-next/+")
	device := in.connect(t, mqtt.Connect{ClientID: "T"})

	for _, c := range []*client{device, subscribed} {
		for { // the execution is made in the background
			c.publish(t, p+"/get", `{"clientToken":"a"}`)
			v := c.got(t, p+"/get/accepted")
			if v["clientToken"] != "a" || v["inProgressJobs"] == nil {
				t.Fatal(v)
			}
			if q := v["queuedJobs"].([]any); len(q) == 1 {
				e := q[0].(map[string]any)
				if e["jobId"] != "j" || e["versionNumber"] != 1.0 || e["executionNumber"] != 1.0 || e["queuedAt"].(float64) > 1e10 {
					t.Fatal(e)
				}
				break
			}
		}
		c.quiet(t)
	}
	device.publish(t, p+"/$next/get", `{}`)
	e := device.got(t, p+"/$next/get/accepted")["execution"].(map[string]any)
	if e["jobId"] != "j" || e["thingName"] != "T" || e["status"] != "QUEUED" || e["jobDocument"].(map[string]any)["do"] != "j" {
		t.Fatal(e)
	}
	device.publish(t, p+"/j/get", `{"includeJobDocument":false,"executionNumber":1}`)
	if e := device.got(t, p+"/j/get/accepted")["execution"].(map[string]any); e["jobDocument"] != nil {
		t.Fatal(e)
	}
	device.publish(t, p+"/start-next", `{"statusDetails":{"step":"1"},"stepTimeoutInMinutes":5,"clientToken":"s"}`)
	e = device.got(t, p+"/start-next/accepted")["execution"].(map[string]any)
	if e["status"] != "IN_PROGRESS" || e["versionNumber"] != 2.0 || e["startedAt"] == nil || e["statusDetails"].(map[string]any)["step"] != "1" ||
		e["approximateSecondsBeforeTimedOut"].(float64) < 290 {
		t.Fatal(e)
	}
	v := device.update(t, "T", "j", `{"status":"IN_PROGRESS","expectedVersion":"2","includeJobExecutionState":true,"includeJobDocument":true,"stepTimeoutInMinutes":-1}`)
	if s := v["executionState"].(map[string]any); s["status"] != "IN_PROGRESS" || s["versionNumber"] != 3.0 || s["statusDetails"].(map[string]any)["step"] != "1" ||
		v["jobDocument"].(map[string]any)["do"] != "j" {
		t.Fatal(v)
	}
	reject := func(topic, body, code string) map[string]any {
		t.Helper()
		device.publish(t, p+topic, body)
		v := device.got(t, p+topic+"/rejected")
		if v["code"] != code || v["message"] == "" || v["timestamp"] == nil {
			t.Errorf("%s %s: %v, want %s", topic, body, v, code)
		}
		return v
	}
	if v := reject("/j/update", `{"status":"SUCCEEDED","expectedVersion":2,"clientToken":"x"}`, "VersionMismatch"); v["clientToken"] != "x" ||
		v["executionState"].(map[string]any)["versionNumber"] != 3.0 {
		t.Error(v)
	}
	reject("/j/update", `{"status":"DONE"}`, "InvalidRequest")
	reject("/j/update", `{"status":"TIMED_OUT"}`, "InvalidRequest")
	reject("/j/update", `{}`, "InvalidRequest")
	reject("/j/update", `[1]`, "InvalidRequest")
	reject("/j/update", `{"status":`, "InvalidJson")
	reject("/j/update", "\xff", "InvalidJson")
	reject("/j/update", `{"status":"SUCCEEDED","statusDetails":{"a b":"c"}}`, "InvalidRequest")
	reject("/j/update", `{"status":"SUCCEEDED","stepTimeoutInMinutes":0}`, "InvalidRequest")
	reject("/other/update", `{"status":"SUCCEEDED"}`, "ResourceNotFound")
	reject("/j/update", `{"status":"SUCCEEDED","executionNumber":7}`, "ResourceNotFound")
	reject("/other/get", `{}`, "ResourceNotFound")
	device.update(t, "T", "j", `{"status":"SUCCEEDED"}`)
	if v := reject("/j/update", `{"status":"FAILED"}`, "InvalidStateTransition"); v["executionState"].(map[string]any)["status"] != "SUCCEEDED" {
		t.Error(v)
	}
	reject("/j/get", `{}`, "TerminalStateReached")
	device.publish(t, p+"/start-next", `{}`)
	if v := device.got(t, p+"/start-next/accepted"); v["execution"] != nil {
		t.Error(v)
	}
	device.publish(t, "$aws/things/unknown/jobs/get", `{}`)
	if v := device.got(t, "$aws/things/unknown/jobs/get/rejected"); v["code"] != "ResourceNotFound" {
		t.Error(v)
	}
	device.quiet(t)
	subscribed.quiet(t)
	spy.quiet(t)
}

// TestJobsData is the jobs data plane, and the same paths on the control plane.
func TestJobsData(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	in.done(t, "POST", "/things/T", "{}")
	in.job(t, "j", "T")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		status, _, answer := in.jobs(t, "GET", "/things/T/jobs", "")
		if status != 200 || time.Now().After(deadline) {
			t.Fatal(status, answer)
		}
		if strings.Contains(answer, `"jobId":"j"`) && strings.Contains(answer, `"inProgressJobs":[]`) {
			break
		}
	}
	for _, tc := range []struct {
		plane              func(testing.TB, string, string, string) (int, string, string)
		method, path, body string
		status             int
		want               string // exception, or part of the answer
	}{
		{in.jobs, "GET", "/things/T/jobs/j?includeJobDocument=true", "", 200, `"jobDocument":"{\"do\":\"j\"}"`},
		{in.jobs, "GET", "/things/T/jobs/$next?includeJobDocument=false", "", 200, `"status":"QUEUED"`},
		{in.control, "GET", "/things/T/jobs/j", "", 200, `"thingArn":"` + arn + `thing/T"`},
		{in.control, "GET", "/things/T/jobs", "", 200, `"jobExecutionSummary":{"status":"QUEUED"`},
		{in.jobs, "PUT", "/things/T/jobs/$next", `{"statusDetails":{"a":"b"}}`, 200, `"status":"IN_PROGRESS"`},
		{in.jobs, "POST", "/things/T/jobs/j", `{}`, 400, "InvalidRequestException"},
		{in.jobs, "POST", "/things/T/jobs/j", `{"status":"SUCCEEDED","expectedVersion":9}`, 409, "VersionConflictException"},
		{in.jobs, "POST", "/things/T/jobs/x", `{"status":"SUCCEEDED"}`, 404, "ResourceNotFoundException"},
		{in.jobs, "GET", "/things/none/jobs", "", 404, "ResourceNotFoundException"},
		{in.control, "PUT", "/things/T/jobs/j/cancel", `{}`, 409, "InvalidStateTransitionException"},
		{in.control, "DELETE", "/jobs/j", "", 409, "InvalidStateTransitionException"},
		{in.jobs, "POST", "/things/T/jobs/j", `{"status":"SUCCEEDED","includeJobExecutionState":true}`, 200, `{"executionState":{"status":"SUCCEEDED","statusDetails":{"a":"b"},"versionNumber":3}}`},
		{in.jobs, "POST", "/things/T/jobs/j", `{"status":"FAILED"}`, 409, "InvalidStateTransitionException"},
		{in.jobs, "GET", "/things/T/jobs/j", "", 410, "TerminalStateException"},
		{in.jobs, "GET", "/things/T/jobs/$next", "", 200, `{}`},
		{in.control, "GET", "/jobs/j", "", 200, `"status":"COMPLETED"`},
		{in.control, "GET", "/jobs/j/job-document", "", 200, `{"document":"{\"do\":\"j\"}"}`},
		{in.control, "PUT", "/jobs/j", `{"targets":["` + arn + `thing/T"],"document":"{}"}`, 409, "ResourceAlreadyExistsException"},
		{in.control, "PUT", "/jobs/k", `{"targets":["` + arn + `thing/none"],"document":"{}"}`, 404, "ResourceNotFoundException"},
		{in.control, "PUT", "/jobs/k", `{"targets":["` + arn + `thing/T"],"document":"{"}`, 400, "InvalidRequestException"},
		{in.control, "PUT", "/jobs/k", `{"targets":["` + arn + `thing/T"]}`, 400, "InvalidRequestException"},
		{in.control, "PUT", "/jobs/k", `{"targets":[],"document":"{}"}`, 400, "InvalidRequestException"},
		{in.control, "PUT", "/jobs/k", `{"document":"{}"}`, 400, "InvalidRequestException"},
		{in.control, "PUT", "/jobs/j/cancel", `{}`, 400, "InvalidRequestException"},
		{in.control, "GET", "/jobs?status=COMPLETED", "", 200, `"jobId":"j"`},
		{in.control, "PUT", "/job-templates/t", `{"description":"d","jobArn":"` + arn + `job/j"}`, 200, arn + `jobtemplate/t`},
		{in.control, "PUT", "/job-templates/t", `{"description":"d","document":"{}"}`, 409, "ConflictException"},
		{in.control, "GET", "/job-templates", "", 200, `"jobTemplateId":"t"`},
		{in.control, "PUT", "/jobs/from", `{"targets":["` + arn + `thing/T"],"jobTemplateArn":"` + arn + `jobtemplate/t"}`, 200, arn + "job/from"},
		{in.control, "GET", "/jobs/from/job-document", "", 200, `{"document":"{\"do\":\"j\"}"}`},
		{in.control, "GET", "/managed-job-templates/AWS-Reboot", "", 200, `"templateArn":"arn:aws:iot:us-east-1::jobtemplate/AWS-Reboot:1.0"`},
		{in.control, "PUT", "/jobs/get", `{"targets":["` + arn + `thing/T"],"jobTemplateArn":"arn:aws:iot:us-east-1::jobtemplate/AWS-Download-File:1.0","documentParameters":{"filePath":"/tmp/f"}}`, 400, "InvalidRequestException"},
		{in.control, "PUT", "/jobs/boot", `{"targets":["` + arn + `thing/T"],"jobTemplateArn":"arn:aws:iot:us-east-1::jobtemplate/AWS-Reboot:1.0"}`, 200, arn + "job/boot"},
		{in.control, "DELETE", "/job-templates/t", "", 200, ""},
		{in.control, "DELETE", "/jobs/j", "", 200, ""},
		{in.control, "GET", "/jobs/j", "", 404, "ResourceNotFoundException"},
		{in.control, "DELETE", "/jobs/boot?force=true", "", 200, ""},
	} {
		status, exception, answer := tc.plane(t, tc.method, tc.path, tc.body)
		if status != tc.status || !strings.Contains(exception+answer, tc.want) {
			t.Errorf("%s %s %s: %d %s %s\nwant %d %s", tc.method, tc.path, tc.body, status, exception, answer, tc.status, tc.want)
		}
	}
}

// TestJobEvents checks that events come when they are enabled, and not before.
func TestJobEvents(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	in.done(t, "POST", "/things/T", "{}")
	watcher := in.connect(t, mqtt.Connect{ClientID: "watcher"})
	watcher.subscribe(t, 1, "$aws/events/job/#", "$aws/events/jobExecution/#")
	device := in.connect(t, mqtt.Connect{ClientID: "T"})
	device.subscribe(t, 1, "$aws/things/T/jobs/notify-next")
	run := func(id string) {
		in.job(t, id, "T")
		device.next(t, "T", id)
		device.update(t, "T", id, `{"status":"SUCCEEDED","statusDetails":{"a":"b"}}`)
		device.next(t, "T", "")
	}
	run("silent")
	in.done(t, "PATCH", "/event-configurations", `{"eventConfigurations":{"JOB":{"Enabled":true},"JOB_EXECUTION":{"Enabled":true}}}`)
	if status, exception, _ := in.control(t, "PATCH", "/event-configurations", `{"eventConfigurations":{"X":{"Enabled":true}}}`); status != 400 {
		t.Error(status, exception)
	}
	if answer := in.done(t, "GET", "/event-configurations", ""); !strings.Contains(answer, `"JOB":{"Enabled":true}`) || !strings.Contains(answer, `"THING":{"Enabled":false}`) {
		t.Error(answer)
	}
	run("loud")
	v := watcher.got(t, "$aws/events/jobExecution/loud/succeeded")
	if v["eventType"] != "JOB_EXECUTION" || v["operation"] != "succeeded" || v["status"] != "SUCCEEDED" || v["jobId"] != "loud" ||
		v["thingArn"] != arn+"thing/T" || v["statusDetails"].(map[string]any)["a"] != "b" || v["timestamp"].(float64) > 1e10 {
		t.Error(v)
	}
	v = watcher.got(t, "$aws/events/job/loud/completed")
	if v["eventType"] != "JOB" || v["status"] != "COMPLETED" || v["createdAt"].(float64) < 1e12 || v["completedAt"].(float64) < 1e12 ||
		v["jobProcessDetails"].(map[string]any)["numberOfSucceededThings"] != 1.0 {
		t.Error(v)
	}
	in.done(t, "DELETE", "/jobs/loud", "")
	watcher.got(t, "$aws/events/job/loud/deletion_in_progress")
	watcher.got(t, "$aws/events/jobExecution/loud/deleted")
	watcher.got(t, "$aws/events/job/loud/deleted")
	watcher.quiet(t)
}

// TestJobsHTTPS is a device with its certificate over HTTPS, which needs the actions on its thing.
func TestJobsHTTPS(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	var cert struct {
		CertificateArn, CertificatePem string
		KeyPair                        struct{ PrivateKey string }
	}
	if err := json.Unmarshal([]byte(in.must(t, "POST", "/keys-and-certificate?setAsActive=true", "")), &cert); err != nil {
		t.Fatal(err)
	}
	in.must(t, "POST", "/policies/jobs", `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":[\"iot:GetPendingJobExecutions\",\"iot:StartNextPendingJobExecution\",\"iot:UpdateJobExecution\"],\"Resource\":\"arn:aws:iot:us-east-1:000000000000:thing/T\"}}"}`)
	in.must(t, "PUT", "/target-policies/jobs", `{"target":"`+cert.CertificateArn+`"}`)
	pair, err := tls.X509KeyPair([]byte(cert.CertificatePem), []byte(cert.KeyPair.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(in.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}}
	defer web.CloseIdleConnections()
	in.done(t, "POST", "/things/T", "{}")
	device := in.connect(t, mqtt.Connect{ClientID: "T"})
	device.subscribe(t, 1, "$aws/things/T/jobs/notify-next")
	in.job(t, "j", "T")
	device.next(t, "T", "j")
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/things/T/jobs", "", 200, `"queuedJobs":[{"jobId":"j"`},
		{"GET", "/things/T/jobs/j", "", 403, "ForbiddenException"},
		{"GET", "/things/U/jobs", "", 403, "ForbiddenException"},
		{"PUT", "/things/T/jobs/$next", "{}", 200, `"jobDocument":"{\"do\":\"j\"}"`},
		{"POST", "/things/T/jobs/j", `{"status":"FAILED","statusDetails":{"why":"test"}}`, 200, "{}"},
		{"GET", "/jobs/j", "", 403, "AccessDeniedException"},
	} {
		req, err := http.NewRequest(tc.method, fmt.Sprintf("https://localhost:%d%s", in.Ready.HTTPSPort, tc.path), strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		if status, exception, answer := do(t, web, req); status != tc.status || !strings.Contains(exception+answer, tc.want) {
			t.Errorf("%s %s: %d %s %s, want %d %s", tc.method, tc.path, status, exception, answer, tc.status, tc.want)
		}
	}
}
