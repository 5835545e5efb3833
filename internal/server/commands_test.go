package server_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

// jobsData is a request to the jobs data plane.
func (f *fixture) jobsData(path string, in, out any) (status int, kind string) {
	f.t.Helper()
	body := marshal(f.t, in)
	r, err := http.NewRequest("POST", fmt.Sprintf("http://127.0.0.1:%d%s", f.Ready.HTTPPort, path), bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	s := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot-jobs-data"}
	s.Sign(r, body, time.Now())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if resp.StatusCode == 200 && out != nil {
		unmarshal(f.t, b, out)
	}
	return resp.StatusCode, resp.Header.Get("x-amzn-ErrorType")
}

// TestCommands has a thing over MQTT 3.1.1 and a client over MQTT 5 carry out a command, in JSON and
// in CBOR; the path is shared with a listing of the control plane.
func TestCommands(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("PUT", "/commands/on", map[string]any{"namespace": "AWS-IoT", "payload": map[string]any{"content": base64.StdEncoding.EncodeToString([]byte(`{"on":1}`)), "contentType": "application/json"}}, nil)
	f.api("PUT", "/commands/level", map[string]any{"payloadTemplate": `{"level":"${aws:iot:commandexecution::parameter:level}"}`,
		"preprocessor":        map[string]any{"awsJsonSubstitution": map[string]any{"outputFormat": "CBOR"}},
		"mandatoryParameters": []any{map[string]any{"name": "level", "type": "INTEGER"}}}, nil)
	lamp := f.newDevice("lamp", allowAll)
	c := f.connect(lamp, "lamp", mqtt.V311)
	c.sub(1, "$aws/commands/things/lamp/executions/+/request/json", "$aws/commands/things/lamp/executions/+/response/+/json")
	watch := f.connect(lamp, "watch", mqtt.V5)
	watch.sub(1, "$aws/events/commandExecution/+/#")

	var started struct{ ExecutionID string }
	in := map[string]any{"commandArn": arn + "command/on", "targetArn": arn + "thing/lamp", "executionTimeoutSeconds": 100}
	if status, kind := f.jobsData("/command-executions", in, &started); status != 200 {
		t.Fatal(status, kind)
	}
	m := c.next()
	if m.Topic != "$aws/commands/things/lamp/executions/"+started.ExecutionID+"/request/json" || string(m.Payload) != `{"on":1}` {
		t.Fatalf("%s %s", m.Topic, m.Payload)
	}
	response := strings.Replace(m.Topic, "request", "response", 1)
	c.pub(1, response, `{"status":"SUCCEEDED","result":{"lux":{"s":"300"}}}`)
	c.want(strings.Replace(response, "/json", "/accepted/json", 1), `{"executionId":"`+started.ExecutionID+`"}`)
	c.pub(1, response, `{"status":"FAILED"}`)
	if m := c.next(); m.Topic != strings.Replace(response, "/json", "/rejected/json", 1) || !strings.Contains(string(m.Payload), `"error":"InvalidStateTransition"`) {
		t.Errorf("%s %s", m.Topic, m.Payload)
	}
	for _, status := range []string{"CREATED", "SUCCEEDED"} {
		if m := watch.next(); m.Topic != "$aws/events/commandExecution/on/"+status {
			t.Errorf("%s %s", m.Topic, m.Payload)
		}
	}
	var got struct {
		Status string
		Result map[string]map[string]string
	}
	f.api("GET", "/command-executions/"+started.ExecutionID+"?includeResult=true&targetArn="+arn+"thing/lamp", nil, &got)
	if got.Status != "SUCCEEDED" || got.Result["lux"]["S"] != "300" {
		t.Errorf("%+v", got)
	}

	// A client that is no thing, in CBOR; its message expires with the execution.
	c5 := f.connect(lamp, "c5", mqtt.V5)
	c5.sub(1, "$aws/commands/clients/c5/executions/+/request/cbor", "$aws/commands/clients/c5/executions/+/response/accepted/cbor")
	in = map[string]any{"commandArn": arn + "command/level", "targetArn": arn + "client/c5", "parameters": map[string]any{"level": map[string]any{"I": 7}}}
	if status, kind := f.jobsData("/command-executions", in, &started); status != 200 {
		t.Fatal(status, kind)
	}
	m = c5.next()
	var body map[string]int
	if err := cbor.Unmarshal(m.Payload, &body); err != nil || body["level"] != 7 || m.Properties.ContentType != "application/cbor" || m.Properties.MessageExpiry < 8 || m.Properties.MessageExpiry > 10 {
		t.Errorf("%v %v %+v", body, err, m.Properties)
	}
	answer, err := cbor.Marshal(map[string]any{"status": "FAILED", "statusReason": map[string]string{"reasonCode": "HOT"}})
	if err != nil {
		t.Fatal(err)
	}
	c5.pub(1, strings.Replace(m.Topic, "request", "response", 1), string(answer))
	var accepted map[string]string
	if err := cbor.Unmarshal(c5.next().Payload, &accepted); err != nil || accepted["executionId"] != started.ExecutionID {
		t.Errorf("%v %v", accepted, err)
	}

	// The same path, signed for the control plane, lists.
	var list struct {
		CommandExecutions []struct{ ExecutionID, Status string }
	}
	f.api("POST", "/command-executions", map[string]any{"targetArn": arn + "client/c5"}, &list)
	if len(list.CommandExecutions) != 1 || list.CommandExecutions[0].Status != "FAILED" {
		t.Errorf("%+v", list)
	}
	for _, tc := range []struct {
		in     map[string]any
		status int
		kind   string
	}{
		{map[string]any{"commandArn": arn + "command/none", "targetArn": arn + "thing/lamp"}, 404, "ResourceNotFoundException"},
		{map[string]any{"commandArn": arn + "command/on"}, 400, "ValidationException"},
		{map[string]any{"commandArn": arn + "command/level", "targetArn": arn + "client/c5"}, 400, "ValidationException"},
	} {
		if status, kind := f.jobsData("/command-executions", tc.in, nil); status != tc.status || kind != tc.kind {
			t.Errorf("%v: %d %s", tc.in, status, kind)
		}
	}
	if status, b := f.request("PUT", "/commands/on", map[string]any{"payload": map[string]any{"content": "eA=="}}); status != 409 {
		t.Errorf("%d %s", status, b)
	}
	if status, b := f.request("DELETE", "/commands/on", nil); status != 202 {
		t.Errorf("%d %s", status, b)
	}
	if status, b := f.request("DELETE", "/commands/none", nil); status != 204 {
		t.Errorf("%d %s", status, b)
	}
}

// TestCommandWaitsForDevice: a persistent session gets the request when it comes back in time.
func TestCommandWaitsForDevice(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("PUT", "/commands/raw", map[string]any{"payload": map[string]any{"content": "AAEC"}}, nil)
	d := f.newDevice("lamp", allowAll)
	c := f.connect(d, "lamp", mqtt.V5, persistent)
	c.sub(1, "$aws/commands/things/lamp/executions/+/request")
	c.bye()
	var started struct{ ExecutionID string }
	if status, kind := f.jobsData("/command-executions", map[string]any{"commandArn": arn + "command/raw", "targetArn": arn + "thing/lamp", "executionTimeoutSeconds": 600}, &started); status != 200 {
		t.Fatal(status, kind)
	}
	f.restart()
	c = f.connect(d, "lamp", mqtt.V5, persistent)
	m := c.next()
	if m.Topic != "$aws/commands/things/lamp/executions/"+started.ExecutionID+"/request" || string(m.Payload) != "\x00\x01\x02" || m.Properties.ContentType != "application/octet-stream" {
		t.Errorf("%+v", m)
	}
	c.pub(1, "$aws/commands/things/lamp/executions/"+started.ExecutionID+"/response", `{"status":"SUCCEEDED"}`)
	eventually(t, "the end of the execution", func() bool {
		var got struct{ Status string }
		f.api("GET", "/command-executions/"+started.ExecutionID+"?targetArn="+arn+"thing/lamp", nil, &got)
		return got.Status == "SUCCEEDED"
	})
}
