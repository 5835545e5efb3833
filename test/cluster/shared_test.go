package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/berth-iot/berth/internal/console"
)

// firmware is a content of several pieces.
func firmware() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 100_000) }

// get reads an address that a node has signed, from any node.
func (n *node) get(t testing.TB, address string) (int, []byte) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme, u.Host = "http", fmt.Sprint("127.0.0.1:", n.Ready.HTTPPort)
	resp, err := http.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

func contents(t testing.TB, n *node) (count int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.cfg.Data, "files"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(e.Name()) == 64 {
			count++
		}
	}
	return count
}

// A file that was uploaded to one node is served by the others, to devices that a node has given an address; who
// deletes it deletes it everywhere.
func TestFilesOnAllNodes(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	a, b := c.nodes[0], c.nodes[1]
	content := firmware()
	a.api("PUT", "/berth/files/fw.bin", content, nil)
	a.api("POST", "/things/D", map[string]string{}, nil)
	a.api("PUT", "/jobs/update", map[string]any{"targets": []string{"arn:aws:iot:us-east-1:000000000000:thing/D"},
		"document":           `{"url":"${aws:iot:s3-presigned-url:berth://fw.bin}"}`,
		"presignedUrlConfig": map[string]any{"roleArn": "arn:aws:iam::000000000000:role/r", "expiresInSec": 300}}, nil)
	d := b.connect("D")
	d.sub(1, "$aws/things/D/jobs/start-next/accepted")
	var answer struct {
		Execution struct{ JobDocument struct{ URL string } }
	}
	eventually(t, "the device has the job", func() bool {
		d.pub(1, "$aws/things/D/jobs/start-next", `{}`)
		select {
		case m := <-d.messages:
			if err := json.Unmarshal(m.Payload, &answer); err != nil {
				t.Fatalf("%s: %v", m.Payload, err)
			}
		case <-timeoutChannel():
			t.Fatal("start-next was not answered")
		}
		return answer.Execution.JobDocument.URL != ""
	})
	for _, n := range c.nodes { // the address is of b
		if status, got := n.get(t, answer.Execution.JobDocument.URL); status != 200 || !bytes.Equal(got, content) {
			t.Errorf("%s: %d, %d bytes", n.cfg.Node, status, len(got))
		}
	}
	b.api("DELETE", "/berth/files/fw.bin", nil, nil)
	eventually(t, "the content is gone everywhere", func() bool { return contents(t, a)+contents(t, b) == 0 })
	if status, _ := a.get(t, answer.Execution.JobDocument.URL); status != 404 {
		t.Errorf("deleted: %d", status)
	}
}

// A node has all files in its own folder soon, and takes them along when the cluster ends.
func TestFilesStayWithoutCluster(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	content := firmware()
	c.nodes[0].api("PUT", "/berth/files/fw.bin", content, nil)
	eventually(t, "the other node has a copy", func() bool { return contents(t, c.nodes[1]) == 1 })
	c.nodes[0].stop()
	c.nodes[1].stop()
	alone := c.nodes[1]
	alone.cfg.Cluster, alone.cfg.Node = "", ""
	if err := os.RemoveAll(filepath.Join(alone.cfg.Data, "files")); err != nil {
		t.Fatal(err)
	}
	alone.start()
	if n := contents(t, alone); n != 1 {
		t.Errorf("%d contents are there", n)
	}
}

// browser asks nodes with the cookies that any of them has set.
type browser struct {
	t    testing.TB
	jar  http.CookieJar
	csrf string
}

func (b *browser) ask(n *node, method, path, body string, out any) int {
	b.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, fmt.Sprintf("http://127.0.0.1:%d%s", n.Ready.HTTPPort, path), strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("X-Berth-Csrf", b.csrf)
	resp, err := (&http.Client{Jar: b.jar}).Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode
}

// Who has signed in to the console of one node is signed in on all, and out on all.
func TestConsoleOnAllNodes(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	password, err := os.ReadFile(filepath.Join(c.nodes[0].cfg.Data, console.PasswordFile))
	if err != nil {
		t.Fatal(err)
	}
	jar, _ := cookiejar.New(nil)
	b := &browser{t: t, jar: jar}
	var state struct {
		SignedIn  bool
		CSRFToken string
	}
	in, _ := json.Marshal(map[string]string{"password": strings.TrimSpace(string(password))})
	if status := b.ask(c.nodes[1], "POST", "/console/api/sign-in", string(in), &state); status != 200 { // node 1 has the password of node 0
		t.Fatalf("%d", status)
	}
	b.csrf = state.CSRFToken
	for _, n := range c.nodes {
		if b.ask(n, "GET", "/console/api/session", "", &state); !state.SignedIn {
			t.Errorf("not signed in on %s", n.cfg.Node)
		}
	}
	var things struct{ Things []any }
	if status := b.ask(c.nodes[0], "GET", "/console/api/iot/things", "", &things); status != 200 {
		t.Errorf("things: %d", status)
	}
	cookies := *b
	if status := b.ask(c.nodes[0], "POST", "/console/api/sign-out", "", &state); status != 200 {
		t.Errorf("sign out: %d", status)
	}
	eventually(t, "signed out on all nodes", func() bool {
		cookies.ask(c.nodes[1], "GET", "/console/api/session", "", &state)
		return !state.SignedIn
	})
}

// Changes of one authorizer and of one domain configuration on two nodes at once are both there.
func TestConfigurationsOnAllNodes(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	c.nodes[0].api("POST", "/authorizer/a", map[string]any{"authorizerFunctionArn": "https://127.0.0.1:1/0", "signingDisabled": true, "tokenKeyName": "k"}, nil)
	c.nodes[0].api("POST", "/domainConfigurations/d", map[string]any{"domainName": "d.example.com"}, nil)
	for i := range 20 {
		var changes sync.WaitGroup
		protocol, authentication := "DEFAULT", "DEFAULT"
		if i%2 == 0 {
			protocol, authentication = "SECURE_MQTT", "AWS_X509"
		}
		for n, in := range []map[string]any{{"authorizerFunctionArn": fmt.Sprint("https://127.0.0.1:1/", i)}, {"tokenKeyName": fmt.Sprint("k", i)}} {
			changes.Go(func() {
				if status, body, err := request(c.nodes[n].Ready.HTTPPort, "PUT", "/authorizer/a", in); err != nil || status != 200 {
					t.Errorf("%d %s %v", status, body, err)
				}
			})
		}
		for n, in := range []map[string]any{{"applicationProtocol": protocol}, {"authenticationType": authentication}} {
			changes.Go(func() {
				if status, body, err := request(c.nodes[n].Ready.HTTPPort, "PUT", "/domainConfigurations/d", in); err != nil || status != 200 {
					t.Errorf("%d %s %v", status, body, err)
				}
			})
		}
		changes.Wait()
		for _, n := range c.nodes {
			eventually(t, "both changes are there", func() bool {
				var a struct {
					AuthorizerDescription struct{ AuthorizerFunctionARN, TokenKeyName string }
				}
				var d struct{ ApplicationProtocol, AuthenticationType string }
				n.api("GET", "/authorizer/a", nil, &a)
				n.api("GET", "/domainConfigurations/d", nil, &d)
				return a.AuthorizerDescription.AuthorizerFunctionARN == fmt.Sprint("https://127.0.0.1:1/", i) && a.AuthorizerDescription.TokenKeyName == fmt.Sprint("k", i) &&
					d.ApplicationProtocol == protocol && d.AuthenticationType == authentication
			})
		}
	}
}
