package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/cli"
)

// run runs a command on the instance, which must succeed, and returns its JSON.
func (in *instance) run(t *testing.T, args ...string) map[string]any {
	t.Helper()
	out, errs, code := in.try(args...)
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil {
		t.Fatalf("berth %v: exit code %d\n%s%s", args, code, out, errs)
	}
	return v
}

func (in *instance) try(args ...string) (out, errs string, code int) {
	var stdout, stderr bytes.Buffer
	code = cli.Run(append(args, "--data", in.dir, "-o", "json"), &stdout, &stderr)
	return stdout.String(), stderr.String(), code
}

// TestIdentityCommands uses the commands for authorizers, domains and role aliases on a server.
func TestIdentityCommands(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"isAuthenticated":true,"principalId":"P","policyDocuments":[]}`)
	}))
	t.Cleanup(function.Close)

	in.run(t, "authorizer", "create", "open", "--function", function.URL, "--signing-disabled", "--default")
	if v := in.run(t, "authorizer", "test", "open", "-u", "lamp", "-P", "x"); v["isAuthenticated"] != true || v["principalId"] != "P" {
		t.Error(v)
	}
	list := in.run(t, "authorizer", "list")["authorizers"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["isDefault"] != true {
		t.Error(list)
	}

	in.run(t, "domain", "create", "brand", "--domain-name", "iot.example.com", "--authorizer", "open", "--authentication", "CUSTOM_AUTH")
	if _, errs, code := in.try("authorizer", "delete", "open"); code != 1 || !strings.Contains(errs, "brand") {
		t.Error(code, errs)
	}
	if got := in.run(t, "domain", "list")["domainConfigurations"].([]any); len(got) != 2 {
		t.Error(got)
	}
	in.run(t, "domain", "delete", "brand")
	in.run(t, "authorizer", "delete", "open")
	// A certificate from elsewhere, which is for another name.
	_, errs, code := in.try("domain", "create", "own", "--domain-name", "iot.example.org", "--certificate", filepath.Join(in.dir, "server.pem"), "--key", filepath.Join(in.dir, "server.key"))
	if code != 1 || !strings.Contains(errs, "iot.example.org") {
		t.Error(code, errs)
	}
}

// TestCredentialsCommand gets temporary credentials as a device does.
func TestCredentialsCommand(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	dir := t.TempDir()
	in.must(t, "POST", "/policies/assume", `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"iot:AssumeRoleWithCertificate\",\"Resource\":\"*\"}}"}`)
	in.run(t, "thing", "create", "lamp")
	made := in.run(t, "cert", "create", "--out", dir, "--thing", "lamp", "--policy", "assume")["files"].(map[string]any)
	if v := in.run(t, "role-alias", "create", "uploads", "--role", "uploader", "--duration", "15m"); v["roleArn"] != "arn:aws:iam::000000000000:role/uploader" {
		t.Error(v)
	}
	credentials := []string{"role-alias", "credentials", "uploads", "--cert", made["certificate"].(string), "--key", made["privateKey"].(string), "--thing"}
	if v := in.run(t, append(credentials, "lamp")...)["credentials"].(map[string]any); !strings.HasPrefix(v["accessKeyId"].(string), "ASIA") {
		t.Error(v)
	}
	if _, errs, code := in.try(append(credentials, "other")...); code != 1 || !strings.Contains(errs, "403") {
		t.Error(code, errs)
	}
	if got := in.run(t, "role-alias", "list")["roleAliases"].([]any); len(got) != 1 {
		t.Error(got)
	}
	in.run(t, "role-alias", "delete", "uploads")
	if _, errs, code := in.try(append(credentials, "lamp")...); code != 1 || !strings.Contains(errs, "404") {
		t.Error(code, errs)
	}
}
