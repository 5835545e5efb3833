package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestEnvironment works with the variables that berth env prints, and no data folder. Variables
// belong to the process: it does not run in parallel.
func TestEnvironment(t *testing.T) {
	f := newFakeAPI(t, map[string]string{
		"GET /things":            `{"things":[{"thingName":"lamp"}]}`,
		"GET /berth/access-keys": `{"accessKeys":[]}`,
	})
	s, err := fromData(t.Context(), f.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_IOT": s.base, "AWS_ENDPOINT_URL_IOT_DATA_PLANE": s.base, "AWS_REGION": "us-east-1",
		"AWS_CA_BUNDLE": filepath.Join(f.dir, "ca.pem"), "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": filepath.Join(f.dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(f.dir, "none"),
	} {
		t.Setenv(name, value)
	}
	for _, command := range []string{"thing list", "key list"} {
		var out, errs bytes.Buffer
		if code := Run(strings.Fields(command), &out, &errs); code != exitOK {
			t.Errorf("%s: exit code %d: %s", command, code, &errs)
		}
	}
	if len(f.seen) != 2 {
		t.Errorf("asked %v", f.seen)
	}
}
