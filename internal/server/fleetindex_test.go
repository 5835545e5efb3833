package server_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// search returns the names that a query finds.
func (f *fixture) search(query string) []string {
	f.t.Helper()
	var out struct{ Things []struct{ ThingName string } }
	f.api("POST", "/indices/search", map[string]any{"queryString": query}, &out)
	names := []string{}
	for _, th := range out.Things {
		names = append(names, th.ThingName)
	}
	return names
}

func (f *fixture) finds(query string, want ...string) {
	f.t.Helper()
	eventually(f.t, query, func() bool { return slices.Equal(f.search(query), want) })
}

// indexing turns everything on.
func (f *fixture) indexing() {
	f.t.Helper()
	f.api("POST", "/indexing/config", map[string]any{"thingIndexingConfiguration": map[string]any{
		"thingIndexingMode": "REGISTRY_AND_SHADOW", "thingConnectivityIndexingMode": "STATUS",
		"customFields": []any{map[string]string{"name": "shadow.reported.battery", "type": "Number"}}}}, nil)
	f.indexed()
}

// indexed waits until the index is there.
func (f *fixture) indexed() {
	f.t.Helper()
	eventually(f.t, "the index", func() bool {
		var out struct{ IndexStatus string }
		f.api("GET", "/indices/AWS_Things", nil, &out)
		return out.IndexStatus == "ACTIVE"
	})
}

// TestFleetIndexFollowsDevices lets a device change its shadow, connect and leave: searches, a dynamic
// group, a continuous job and a fleet metric follow.
func TestFleetIndexFollowsDevices(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.indexing()
	d := f.newDevice("lamp", allowAll)
	f.newDevice("other", allowAll)
	f.api("POST", "/dynamic-thing-groups/full", map[string]any{"queryString": "shadow.reported.battery>80 AND connectivity.connected:true"}, nil)
	f.api("PUT", "/jobs/update", map[string]any{"targets": []string{arn + "thinggroup/full"}, "document": `{"do":"it"}`, "targetSelection": "CONTINUOUS"}, nil)
	f.api("PUT", "/fleet-metric/battery", map[string]any{"queryString": "shadow.reported.battery:*", "aggregationField": "shadow.reported.battery", "period": 60,
		"indexName": "AWS_Things", "aggregationType": map[string]any{"name": "Statistics", "values": []string{"maximum", "count"}}}, nil)

	c := f.connect(d, "lamp", mqtt.V5)
	f.finds("connectivity.connected:true", "lamp")
	c.sub(1, "$aws/things/lamp/shadow/update/accepted", "$aws/things/lamp/jobs/notify-next")
	c.pub(1, "$aws/things/lamp/shadow/update", `{"state":{"reported":{"battery":50}}}`)
	c.next()
	if got := f.search("shadow.reported.battery:50"); !slices.Equal(got, []string{"lamp"}) {
		t.Errorf("after the update was accepted: %v", got)
	}
	c.pub(1, "$aws/things/lamp/shadow/update", `{"state":{"reported":{"battery":90}}}`)
	for job := false; !job; {
		m := c.next()
		job = strings.HasSuffix(m.Topic, "notify-next") && strings.Contains(string(m.Payload), `"jobId":"update"`)
	}
	members := func() []string {
		var out struct{ Things []string }
		f.api("GET", "/thing-groups/full/things", nil, &out)
		return out.Things
	}
	if got := members(); !slices.Equal(got, []string{"lamp"}) {
		t.Errorf("members %v", got)
	}
	var group struct{ Status, QueryString, IndexName, QueryVersion string }
	f.api("GET", "/thing-groups/full", nil, &group)
	if group.Status != "ACTIVE" || group.IndexName != "AWS_Things" || group.QueryVersion != "2017-09-30" {
		t.Errorf("group %+v", group)
	}
	for _, r := range []struct {
		method, path string
		body         any
	}{
		{"PUT", "/thing-groups/addThingToThingGroup", map[string]string{"thingGroupName": "full", "thingName": "other"}},
		{"PUT", "/target-policies/plain", map[string]string{"target": arn + "thinggroup/full"}},
		{"DELETE", "/thing-groups/full", nil},
		{"PATCH", "/thing-groups/full", map[string]any{"thingGroupProperties": map[string]any{}}},
		{"POST", "/thing-groups/child", map[string]string{"parentGroupName": "full"}},
		{"POST", "/dynamic-thing-groups/plain", map[string]string{"queryString": "*x"}},
	} {
		if status, body := f.request(r.method, r.path, r.body); status != 400 {
			t.Errorf("%s %s: %d %s", r.method, r.path, status, body)
		}
	}

	c.bye()
	f.finds("connectivity.disconnectReason:CLIENT_INITIATED_DISCONNECT", "lamp")
	eventually(t, "the group is empty", func() bool { return len(members()) == 0 })
	eventually(t, "the job is gone", func() bool {
		var out struct {
			ExecutionSummaries []struct{ JobExecutionSummary struct{ Status string } }
		}
		f.api("GET", "/jobs/update/things", nil, &out)
		return len(out.ExecutionSummaries) == 1 && out.ExecutionSummaries[0].JobExecutionSummary.Status == "REMOVED"
	})
	var seen struct {
		Connected        bool
		DisconnectReason string
	}
	f.api("POST", "/things/lamp/connectivity-data", nil, &seen)
	if seen.Connected || seen.DisconnectReason != "CLIENT_INITIATED_DISCONNECT" {
		t.Errorf("connectivity %+v", seen)
	}

	f.restart() // evaluates fleet metrics at once
	f.indexed()
	f.finds("shadow.reported.battery:90 AND connectivity.connected:false", "lamp")
	eventually(t, "the fleet metric", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", f.Ready.HTTPPort))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		page, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(page), `berth_fleet_metric{metric="battery",unit="",value="maximum"} 90`) &&
			strings.Contains(string(page), `berth_fleet_metric{metric="battery",unit="",value="count"} 1`)
	})
	f.api("DELETE", "/dynamic-thing-groups/full", nil, nil)
	if status, _ := f.request("GET", "/thing-groups/full", nil); status != 404 {
		t.Errorf("deleted group: %d", status)
	}
}
