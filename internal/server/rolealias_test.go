package server_test

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

func TestRoleAlias(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("lamp", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"`+arn+`rolealias/up*"}]}`)
	f.api("POST", "/things/other", map[string]string{}, nil)
	for _, name := range []string{"uploads", "secret"} {
		f.api("POST", "/role-aliases/"+name, map[string]any{"roleArn": "arn:aws:iam::000000000000:role/path/uploader", "credentialDurationSeconds": 900}, nil)
	}
	var list struct{ RoleAliases []string }
	f.api("GET", "/role-aliases?isAscendingOrder=false&pageSize=1", nil, &list)
	if fmt.Sprint(list.RoleAliases) != "[uploads]" {
		t.Errorf("%v", list)
	}
	ask := func(d *device, alias, thing string) (int, string) {
		return f.https(d, "GET", "/role-aliases/"+alias+"/credentials", map[string]string{"x-amzn-iot-thingname": thing})
	}
	for name, c := range map[string]struct {
		device       *device
		alias, thing string
		want         int
	}{
		"as the thing":        {d, "uploads", "lamp", 200},
		"as another thing":    {d, "uploads", "other", 403},
		"as no thing there":   {d, "uploads", "nobody", 403},
		"alias not allowed":   {d, "secret", "lamp", 403},
		"alias not there":     {d, "up", "lamp", 404},
		"without certificate": {nil, "uploads", "lamp", 403},
	} {
		if status, body := ask(c.device, c.alias, c.thing); status != c.want {
			t.Errorf("%s: %d %s, want %d", name, status, body, c.want)
		}
	}
	_, body := ask(d, "uploads", "lamp")
	var out struct {
		Credentials struct {
			AccessKeyID, SecretAccessKey, SessionToken string
			Expiration                                 time.Time
		}
	}
	unmarshal(t, []byte(body), &out)
	creds := out.Credentials
	if left := time.Until(creds.Expiration); !strings.HasPrefix(creds.AccessKeyID, "ASIA") || left < 14*time.Minute || left > 15*time.Minute {
		t.Errorf("%s expires in %v", creds.AccessKeyID, left)
	}
	signer := sigv4.Signer{AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey, SessionToken: creds.SessionToken, Region: "us-east-1", Service: "iotdata"}
	send := func(s sigv4.Signer, method, path string) int {
		r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", f.Ready.HTTPPort, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Sign(r, nil, time.Now())
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := send(signer, "POST", "/topics/up/lamp"); status != 403 {
		t.Errorf("publish before the role has a policy: %d", status)
	}
	f.api("POST", "/policies/uploader", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"` + arn + `topic/up/${credentials-iot:ThingName}"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"` + arn + `topicfilter/up/*"},
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`}, nil)
	noToken, otherToken := signer, signer
	noToken.SessionToken, otherToken.SessionToken = "", "dG9rZW4"
	for range 2 {
		for name, c := range map[string]struct {
			signer       sigv4.Signer
			method, path string
			want         int
		}{
			"own topic":     {signer, "POST", "/topics/up/lamp", 200},
			"another topic": {signer, "POST", "/topics/up/other", 403},
			"control plane": {signer, "GET", "/things", 403},
			"berth's own":   {signer, "GET", "/berth/access-keys", 403},
			"no token":      {noToken, "POST", "/topics/up/lamp", 403},
			"wrong token":   {otherToken, "POST", "/topics/up/lamp", 403},
		} {
			if status := send(c.signer, c.method, c.path); status != c.want {
				t.Errorf("%s: %d, want %d", name, status, c.want)
			}
		}
		signer.Service = "iotdevicegateway"
		c, err := f.login(client.Options{ClientID: "x", Version: mqtt.V5, WebSocket: signer.PresignWebSocket(net.JoinHostPort("localhost", strconv.Itoa(f.Ready.HTTPSPort)), time.Minute, time.Now())})
		if err != nil {
			t.Fatal(err)
		}
		c.sub(1, "up/lamp")
		c.pub(1, "up/lamp", "y")
		c.want("up/lamp", "y")
		c.bye()
		f.restart() // credentials outlive it
	}
	c, err := f.login(client.Options{ClientID: "x", Version: mqtt.V5, WebSocket: signer.PresignWebSocket(net.JoinHostPort("localhost", strconv.Itoa(f.Ready.HTTPSPort)), time.Minute, time.Now())})
	if err != nil {
		t.Fatal(err)
	}
	f.api("POST", "/policies/uploader/version?setAsDefault=true", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`}, nil)
	eventually(t, "the changed policy holds", func() bool { return c.tryPub(1, "up/lamp") == mqtt.NotAuthorized })
	f.api("PUT", "/certificates/"+d.id+"?newStatus=INACTIVE", nil, nil)
	if status := send(signer, "POST", "/topics/up/lamp"); status != 403 {
		t.Errorf("with the certificate INACTIVE: %d", status)
	}
	c.ended()
}
