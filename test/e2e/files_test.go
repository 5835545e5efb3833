package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// TestFirmwareInAJob stores a file, sends it with a job, and downloads it as a device does.
func TestFirmwareInAJob(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	in.done(t, "POST", "/things/T", "{}")
	if answer := in.done(t, "PUT", "/berth/files/fw.bin", "0123456789"); !strings.Contains(answer, `"version":1`) || !strings.Contains(answer, `"size":10`) {
		t.Error(answer)
	}
	if status, _, _ := in.control(t, "PUT", "/berth/files/.hidden", "x"); status != 400 {
		t.Error(status)
	}
	unsigned, _ := http.NewRequest("PUT", fmt.Sprintf("http://127.0.0.1:%d/berth/files/fw.bin", in.Ready.HTTPPort), strings.NewReader("evil"))
	if status, _, answer := do(t, http.DefaultClient, unsigned); status/100 != 4 {
		t.Error(status, answer)
	}
	device := in.connect(t, mqtt.Connect{ClientID: "T"})
	device.subscribe(t, 1, "$aws/things/T/jobs/notify-next")
	in.done(t, "PUT", "/jobs/update", `{"targets":["`+arn+`thing/T"],"document":"{\"url\":\"${aws:iot:s3-presigned-url:berth://fw.bin}\",\"s3\":\"${aws:iot:s3-presigned-url:https://example.com/b/k}\"}"}`)
	document := device.got(t, "$aws/things/T/jobs/notify-next")["execution"].(map[string]any)["jobDocument"].(map[string]any)
	if document["s3"] != "${aws:iot:s3-presigned-url:https://example.com/b/k}" {
		t.Error(document)
	}
	if raw := in.done(t, "GET", "/jobs/update/job-document", ""); !strings.Contains(raw, "${aws:iot:s3-presigned-url:berth://fw.bin}") {
		t.Error(raw)
	}
	pem, err := os.ReadFile(filepath.Join(in.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer web.CloseIdleConnections()
	req, err := http.NewRequest("GET", document["url"].(string), nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, answer := do(t, web, req); status != 200 || answer != "0123456789" {
		t.Error(status, answer)
	}
	req.Header.Set("Range", "bytes=5-")
	if status, _, answer := do(t, web, req); status != 206 || answer != "56789" {
		t.Error(status, answer)
	}
	in.done(t, "PUT", "/berth/files/doc.json", `{"from":"file"}`)
	in.done(t, "PUT", "/jobs/source", `{"targets":["`+arn+`thing/T"],"documentSource":"berth://doc.json"}`)
	if raw := in.done(t, "GET", "/jobs/source/job-document", ""); raw != `{"document":"{\"from\":\"file\"}"}` {
		t.Error(raw)
	}
	if answer := in.done(t, "GET", "/berth/files", ""); strings.Count(answer, `"name"`) != 2 {
		t.Error(answer)
	}
	in.done(t, "DELETE", "/berth/files/fw.bin", "")
	if status, _, _ := do(t, web, req); status != 404 {
		t.Error(status)
	}
}

// TestJobsAcrossRestart restarts the server in the middle of a roll-out and of an execution.
func TestJobsAcrossRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := start(t, dir)
	in.must(t, "POST", "/policies/anything", `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"iot:*\",\"Resource\":\"*\"}}"}`)
	var targets []string
	for i := range 5 {
		name := fmt.Sprint("T", i)
		in.done(t, "POST", "/things/"+name, "{}")
		targets = append(targets, `"`+arn+"thing/"+name+`"`)
	}
	device := in.connect(t, mqtt.Connect{ClientID: "T0"})
	device.subscribe(t, 1, "$aws/things/T0/jobs/notify-next")
	in.done(t, "PUT", "/jobs/j", `{"targets":[`+strings.Join(targets, ",")+`],"document":"{\"do\":\"j\"}","jobExecutionsRolloutConfig":{"maximumPerMinute":2},"timeoutConfig":{"inProgressTimeoutInMinutes":9}}`)
	device.next(t, "T0", "j")
	device.update(t, "T0", "j", `{"status":"IN_PROGRESS","statusDetails":{"step":"1"}}`)
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	in = start(t, dir)
	defer in.Close()
	device = in.connect(t, mqtt.Connect{ClientID: "T0"})
	device.publish(t, "$aws/things/T0/jobs/start-next", `{"statusDetails":{"step":"9"}}`)
	e := device.got(t, "$aws/things/T0/jobs/start-next/accepted")["execution"].(map[string]any)
	if e["jobId"] != "j" || e["status"] != "IN_PROGRESS" || e["versionNumber"] != 2.0 || e["statusDetails"].(map[string]any)["step"] != "1" ||
		e["approximateSecondsBeforeTimedOut"].(float64) < 500 {
		t.Error(e)
	}
	if answer := in.done(t, "GET", "/jobs/j", ""); !strings.Contains(answer, `"numberOfQueuedThings":1`) || !strings.Contains(answer, `"numberOfInProgressThings":1`) {
		t.Error(answer)
	}
	device.update(t, "T0", "j", `{"status":"SUCCEEDED"}`)
}
