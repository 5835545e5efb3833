package server_test

import (
	"strings"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// TestDefender has a device report its metrics, violate a behaviour, and share its certificate, which
// an audit finds.
func TestDefender(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("POST", "/security-profiles/p", map[string]any{"behaviors": []any{map[string]any{"name": "ports", "metric": "aws:num-listening-tcp-ports",
		"criteria": map[string]any{"comparisonOperator": "less-than", "value": map[string]any{"count": 2}}}}}, nil)
	f.api("PUT", "/security-profiles/p/targets?securityProfileTargetArn="+arn+"all/registered-things", nil, nil)
	d := f.newDevice("lamp", allowAll)
	c := f.connect(d, "lamp", mqtt.V5)
	c.sub(1, "$aws/things/lamp/defender/metrics/json/+")
	c.pub(1, "$aws/things/lamp/defender/metrics/json", `{"hed":{"rid":1,"v":"1.0"},"met":{"tp":{"t":3}}}`)
	if m := c.next(); m.Topic != "$aws/things/lamp/defender/metrics/json/accepted" || !strings.Contains(string(m.Payload), `"thingName":"lamp","reportId":1,"status":"ACCEPTED"`) {
		t.Errorf("%s %s", m.Topic, m.Payload)
	}
	c.pub(1, "$aws/things/lamp/defender/metrics/json", `{"hed":{"rid":2,"v":"1.0"},"met":{}}`)
	if m := c.next(); m.Topic != "$aws/things/lamp/defender/metrics/json/rejected" || !strings.Contains(string(m.Payload), `"ErrorCode":"Throttled"`) {
		t.Errorf("%s %s", m.Topic, m.Payload)
	}
	var active struct {
		ActiveViolations []struct {
			ThingName          string
			LastViolationValue struct{ Count int }
		}
	}
	f.api("GET", "/active-violations?thingName=lamp", nil, &active)
	if len(active.ActiveViolations) != 1 || active.ActiveViolations[0].LastViolationValue.Count != 3 {
		t.Errorf("%+v", active)
	}
	var values struct {
		MetricDatumList []struct{ Value struct{ Count int } }
	}
	f.api("GET", "/metric-values?thingName=lamp&metricName=aws:num-listening-tcp-ports&startTime=2020-01-01T00:00:00Z&endTime=2100-01-01T00:00:00Z", nil, &values)
	if len(values.MetricDatumList) != 1 || values.MetricDatumList[0].Value.Count != 3 {
		t.Errorf("%+v", values)
	}

	// A second client with the same certificate.
	f.connect(d, "clone", mqtt.V311)
	checks := []string{"DEVICE_CERTIFICATE_SHARED_CHECK", "IOT_POLICY_OVERLY_PERMISSIVE_CHECK", "DEVICE_CERTIFICATE_EXPIRING_CHECK", "LOGGING_DISABLED_CHECK"}
	enabled := map[string]any{}
	for _, name := range checks {
		enabled[name] = map[string]any{"enabled": true}
	}
	f.api("PATCH", "/audit/configuration", map[string]any{"auditCheckConfigurations": enabled}, nil)
	f.restart() // what was noted of connections stays
	eventually(t, "the shared certificate", func() bool {
		var started struct{ TaskID string }
		f.api("POST", "/audit/tasks", map[string]any{"targetCheckNames": checks}, &started)
		var task struct{ TaskStatus string }
		eventually(t, "the end of the audit", func() bool {
			f.api("GET", "/audit/tasks/"+started.TaskID, nil, &task)
			return task.TaskStatus == "COMPLETED"
		})
		var list struct {
			Findings []struct {
				CheckName, Severity  string
				NonCompliantResource struct {
					ResourceIdentifier struct{ DeviceCertificateID string }
				}
				RelatedResources []struct{ ResourceIdentifier struct{ ClientID string } }
			}
		}
		f.api("POST", "/audit/findings", map[string]any{"taskId": started.TaskID}, &list)
		for _, x := range list.Findings {
			if x.CheckName == checks[0] {
				return x.Severity == "CRITICAL" && x.NonCompliantResource.ResourceIdentifier.DeviceCertificateID == d.id && len(x.RelatedResources) == 2
			}
		}
		return false
	})
	if status, b := f.request("POST", "/mitigationactions/actions/a", map[string]any{}); status != 501 {
		t.Errorf("%d %s", status, b)
	}
	// The fleet index knows, also after a restart.
	f.api("POST", "/indexing/config", map[string]any{"thingIndexingConfiguration": map[string]any{"thingIndexingMode": "REGISTRY", "deviceDefenderIndexingMode": "VIOLATIONS"}}, nil)
	for _, restart := range []bool{false, true} {
		if restart {
			f.restart()
		}
		eventually(t, "the violation in the index", func() bool {
			status, body := f.request("POST", "/indices/search", map[string]string{"queryString": "deviceDefender.violationCount > 0"})
			return status == 200 && strings.Contains(string(body), `"thingName":"lamp"`)
		})
	}
}
