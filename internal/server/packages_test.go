package server_test

import (
	"strings"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// TestJobInstallsPackage: a job that a device carries out notes its package version in the shadow
// $package, of which the device hears.
func TestJobInstallsPackage(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("PUT", "/packages/fw?clientToken=0123456789abcdef0123456789abcdef0123", map[string]any{"description": "firmware"}, nil)
	f.api("PUT", "/packages/fw/versions/1.0.0", map[string]any{"attributes": map[string]string{"size": "12"}}, nil)
	f.api("PATCH", "/package-configuration", map[string]any{"versionUpdateByJobsConfig": map[string]any{"enabled": true}}, nil)
	d := f.newDevice("lamp", allowAll)
	job := map[string]any{"targets": []string{arn + "thing/lamp"}, "document": "{}", "destinationPackageVersions": []string{arn + "package/fw/version/1.0.0"}}
	if status, b := f.request("PUT", "/jobs/j", job); status != 400 || !strings.Contains(string(b), "draft") {
		t.Errorf("%d %s", status, b)
	}
	f.api("PATCH", "/packages/fw/versions/1.0.0", map[string]any{"action": "PUBLISH"}, nil)
	f.api("PUT", "/jobs/j", job, nil)
	c := f.connect(d, "lamp", mqtt.V5)
	c.sub(1, "$aws/things/lamp/shadow/name/$package/update/accepted")
	eventually(t, "the execution", func() bool {
		status, _ := f.request("GET", "/things/lamp/jobs/j", nil)
		return status == 200
	})
	c.pub(1, "$aws/things/lamp/jobs/j/update", `{"status":"SUCCEEDED"}`)
	for {
		m := c.next()
		if !strings.HasPrefix(m.Topic, "$aws/things/lamp/shadow/name/$package") {
			continue
		}
		if !strings.Contains(string(m.Payload), `"fw":{"attributes":{"size":"12"},"version":"1.0.0"}`) {
			t.Errorf("%s", m.Payload)
		}
		break
	}
	var list struct {
		PackageVersionSummaries []struct{ VersionName, Status string }
	}
	f.api("GET", "/packages/fw/versions?status=PUBLISHED", nil, &list)
	if len(list.PackageVersionSummaries) != 1 || list.PackageVersionSummaries[0].Status != "PUBLISHED" {
		t.Errorf("%+v", list)
	}
	if status, b := f.request("DELETE", "/packages/fw", nil); status != 400 || !strings.Contains(string(b), "must be deleted first") {
		t.Errorf("%d %s", status, b)
	}
}
