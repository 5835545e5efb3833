package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// only allows connecting, publishing and subscribing, and receiving what a pattern says.
func only(receive string) string {
	const prefix = "arn:aws:iot:us-east-1:000000000000:"
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iot:Connect","iot:Publish","iot:Subscribe"],"Resource":"*"},
		{"Effect":"Allow","Action":"iot:Receive","Resource":"%stopic/%s"}]}`, prefix, receive)
}

// TestJobAnswersAndPolicies checks that an answer comes with the QoS of the request, without a
// subscription, to both versions of MQTT and to persistent sessions, and that iot:Receive decides.
func TestJobAnswersAndPolicies(t *testing.T) {
	t.Parallel()
	f := start(t)
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for _, keep := range []bool{false, true} {
			thing := fmt.Sprintf("T%d%v", v, keep)
			topic := "$aws/things/" + thing + "/jobs/get"
			d := f.newDevice(thing, only("$aws/things/"+thing+"/jobs/*"))
			var change []func(*client.Options)
			if keep {
				change = append(change, persistent)
			}
			c := f.connect(d, thing, v, change...)
			other := f.connect(d, thing+"-other", v)
			other.sub(1, topic+"/+")
			for qos := range byte(2) {
				c.pub(qos, topic, `{"clientToken":"a"}`)
				m := c.next()
				var answer struct{ ClientToken string }
				if err := json.Unmarshal(m.Payload, &answer); err != nil || m.Topic != topic+"/accepted" || m.QoS != qos || answer.ClientToken != "a" {
					t.Errorf("%s QoS %d: %+v %s", thing, qos, m, m.Payload)
				}
			}
			c.quiet()
			other.quiet()
			c.bye()
			other.bye()
		}
	}
	d := f.newDevice("deaf", only("nothing"))
	c := f.connect(d, "deaf", mqtt.V5)
	c.pub(1, "$aws/things/deaf/jobs/get", `{}`)
	eventually(t, "the refusal to receive", func() bool { return strings.Contains(f.denials(), "jobs/get/accepted") })
	c.quiet()
	// Published over HTTPS there is nobody to answer.
	f.api("POST", "/topics/$aws/things/deaf/jobs/get?qos=1", []byte(`{}`), nil)
}

// TestJobDocumentURL: a device that takes the address out of the job document as it stands, without
// undoing escape sequences, can download the file.
func TestJobDocumentURL(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("lamp", allowAll)
	f.api("PUT", "/berth/files/fw.bin", []byte("firmware"), nil)
	c := f.connect(d, "lamp", mqtt.V311)
	c.sub(1, "$aws/things/lamp/jobs/notify-next")
	f.api("PUT", "/jobs/j", map[string]any{"targets": []string{arn + "thing/lamp"}, "document": `{"url":"${aws:iot:s3-presigned-url:berth://fw.bin}"}`,
		"presignedUrlConfig": map[string]any{"roleArn": "arn:aws:iam::000000000000:role/r", "expiresInSec": 300}}, nil)
	payload := string(c.next().Payload)
	_, url, ok := strings.Cut(payload, `"url":"`)
	url, _, _ = strings.Cut(url, `"`)
	if !ok {
		t.Fatal(payload)
	}
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: f.tls(nil), DisableKeepAlives: true}}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "firmware" {
		t.Errorf("%s: %d %s %v", url, resp.StatusCode, b, err)
	}
}
