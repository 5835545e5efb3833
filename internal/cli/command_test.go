package cli

import (
	"strings"
	"testing"
)

func TestCommandCommands(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string]string{
		"GET /things/lamp": `{"thingName":"lamp","thingArn":"` + testARN + `thing/lamp"}`,
		"GET /commands":    `{"commands":[{"commandId":"blink","commandArn":"` + testARN + `command/blink","createdAt":1700000000.5,"deprecated":true}]}`,
		"GET /commands/blink": `{"commandId":"blink","commandArn":"` + testARN + `command/blink","mandatoryParameters":[
			{"name":"n","type":"INTEGER"},{"name":"on","defaultValue":{"B":true}}]}`,
		"POST /command-executions":    `{"executionId":"e-1","commandExecutions":[{"executionId":"e-1","commandArn":"` + testARN + `command/blink","targetArn":"` + testARN + `thing/lamp","status":"CREATED"}]}`,
		"GET /command-executions/e-1": `{"executionId":"e-1","commandArn":"` + testARN + `command/blink","status":"FAILED","statusReason":{"reasonCode":"HOT"},"result":{"lux":{"S":"300"}}}`,
	})
	for _, tc := range []struct {
		args, want string
		code       int
	}{
		{"command start blink --thing lamp --parameter n=3,on=false,s=x --timeout 20", "started execution e-1", exitOK},
		{"command start blink --thing lamp -o json", `"executionId": "e-1"`, exitOK},
		{"command start blink --client lamp --wait", "HOT", exitFailed},
		{"command start blink", "", exitUsage},
		{"command start blink --thing lamp --parameter n=x", "", exitUsage},
		{"command list", "DEPRECATED", exitOK},
		{"command list --command blink", "thing/lamp", exitOK},
		{"command list --thing lamp -o json", `"status": "CREATED"`, exitOK},
		{"command list --client c", "e-1", exitOK},
		{"command show blink --execution e-1 --thing lamp", "result lux", exitOK},
		{"command show blink --thing lamp", "", exitUsage},
	} {
		var out, errs strings.Builder
		if code := Run(append(strings.Fields(tc.args), "--data", f.dir), &out, &errs); code != tc.code || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: %d %s %s\nwant %d %s", tc.args, code, &out, &errs, tc.code, tc.want)
		}
		if strings.Contains(tc.args, "n=3") {
			body := f.body["POST /command-executions"]
			for _, part := range []string{`"n":{"I":3}`, `"on":{"B":false}`, `"s":{"S":"x"}`, `"executionTimeoutSeconds":20`, testARN + "thing/lamp"} {
				if !strings.Contains(body, part) {
					t.Errorf("%s lacks %s", body, part)
				}
			}
		}
	}
}
