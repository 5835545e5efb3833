package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJobCommands(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string]string{
		"GET /things/lamp":                   `{"thingName":"lamp","thingArn":"` + testARN + `thing/lamp"}`,
		"GET /thing-groups/lamps":            `{"thingGroupArn":"` + testARN + `thinggroup/lamps"}`,
		"PUT /jobs/j":                        `{"jobId":"j","jobArn":"` + testARN + `job/j"}`,
		"GET /jobs":                          `{"jobs":[{"jobId":"j","status":"COMPLETED","targetSelection":"SNAPSHOT","createdAt":1700000000.5}]}`,
		"GET /jobs/j":                        `{"job":{"jobId":"j","status":"IN_PROGRESS","jobProcessDetails":{"numberOfQueuedThings":3}}}`,
		"PUT /jobs/j/cancel":                 `{"jobId":"j"}`,
		"GET /jobs/j/things":                 `{"executionSummaries":[{"thingArn":"` + testARN + `thing/lamp","jobExecutionSummary":{"status":"QUEUED","executionNumber":1}}]}`,
		"PUT /berth/files/fw.bin":            `{"name":"fw.bin","version":2,"size":4,"sha256":"ab"}`,
		"GET /berth/files":                   `{"files":[{"name":"fw.bin","version":2,"size":4,"sha256":"ab"}]}`,
		"DELETE /berth/files/fw.bin":         `{}`,
		"DELETE /berth/files/does-not-exist": `!ResourceNotFoundException`,
	})
	document := filepath.Join(t.TempDir(), "fw.bin")
	if err := os.WriteFile(document, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ args, want string }{
		{"job create j --thing lamp --group lamps --document " + document + " --rate 5 --timeout 6 --retries 7 --continuous", "created job j"},
		{"job list", "COMPLETED"},
		{"job list -o json", `"createdAt": "2023-11-14T22:13:20.5Z"`},
		{"job describe j", "queued"},
		{"job describe j -o json", `"QUEUED": 3`},
		{"job cancel j --force", "canceled job j"},
		{"job executions j", "lamp"},
		{"file put " + document, "berth://fw.bin"},
		{"file list", "fw.bin"},
		{"file delete fw.bin", "deleted file fw.bin"},
	} {
		var out, errs strings.Builder
		if code := Run(append(strings.Fields(tc.args), "--data", f.dir), &out, &errs); code != exitOK || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: %d %s %s\nwant %s", tc.args, code, &out, &errs, tc.want)
		}
	}
	body := f.body["PUT /jobs/j"]
	for _, part := range []string{`"document":"{}"`, `"maximumPerMinute":5`, `"inProgressTimeoutInMinutes":6`, `"numberOfRetries":7`, `"targetSelection":"CONTINUOUS"`,
		testARN + "thing/lamp", testARN + "thinggroup/lamps"} {
		if !strings.Contains(body, part) {
			t.Errorf("%s lacks %s", body, part)
		}
	}
	var out, errs strings.Builder
	if code := Run([]string{"file", "delete", "does-not-exist", "--data", f.dir}, &out, &errs); code != exitFailed {
		t.Errorf("%d %s", code, &errs)
	}
}
