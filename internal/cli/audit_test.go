package cli

import (
	"strings"
	"testing"
)

func TestAuditRun(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		findings, want, errors string
		code                   int
	}{
		{`[]`, "no findings", "", exitOK},
		{`[{"findingId":"f","checkName":"LOGGING_DISABLED_CHECK","severity":"LOW","nonCompliantResource":{"resourceIdentifier":{"account":"000000000000"}},"reasonForNonCompliance":"Logging is disabled."}]`,
			"account/000000000000", "", exitOK},
		{`[{"checkName":"CONFLICTING_CLIENT_IDS_CHECK","severity":"HIGH","nonCompliantResource":{"resourceIdentifier":{"clientId":"c"}}},
			{"checkName":"IOT_POLICY_OVERLY_PERMISSIVE_CHECK","severity":"CRITICAL","nonCompliantResource":{"resourceIdentifier":{"policyVersionIdentifier":{"policyName":"p","policyVersionId":"1"}}}}]`,
			"CRITICAL  IOT_POLICY_OVERLY_PERMISSIVE  policy/p:1", "1 critical", exitFailed},
	} {
		f := newFakeAPI(t, map[string]string{
			"GET /audit/configuration":   `{"auditCheckConfigurations":{"LOGGING_DISABLED_CHECK":{"enabled":true}}}`,
			"PATCH /audit/configuration": `{}`,
			"POST /audit/tasks":          `{"taskId":"t"}`,
			"GET /audit/tasks/t":         `{"taskStatus":"COMPLETED","taskStatistics":{"failedChecks":0}}`,
			"POST /audit/findings":       `{"findings":` + tc.findings + `}`,
		})
		for _, form := range []string{"table", "json"} {
			var out, errs strings.Builder
			code := Run([]string{"audit", "run", "-o", form, "--data", f.dir}, &out, &errs)
			if code != tc.code || !strings.Contains(errs.String(), tc.errors) || form == "table" && !strings.Contains(out.String(), tc.want) || form == "json" && !strings.Contains(out.String(), `"taskId": "t"`) {
				t.Errorf("%s: %d %s %s\nwant %d %s", tc.findings, code, &out, &errs, tc.code, tc.want)
			}
		}
		if body := f.body["PATCH /audit/configuration"]; !strings.Contains(body, "IOT_POLICY_OVERLY_PERMISSIVE_CHECK") || strings.Contains(body, "LOGGING") {
			t.Errorf("%s", body)
		}
	}
}
