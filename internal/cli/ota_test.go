package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSignerAndOTACommands(t *testing.T) {
	t.Parallel()
	const signer = `{"name":"lamps","algorithm":"ecdsa-p256","certificatePem":"PEM\n","certificatePathOnDevice":"lamps.crt.pem"}`
	f := newFakeAPI(t, map[string]string{
		"GET /things/lamp":                     `{"thingName":"lamp","thingArn":"` + testARN + `thing/lamp"}`,
		"POST /berth/signers/lamps":            signer,
		"GET /berth/signers/lamps":             signer,
		"GET /berth/signers":                   `{"signers":[` + signer + `]}`,
		"DELETE /berth/signers/lamps":          `{}`,
		"POST /berth/signers/lamps/signatures": `{"name":"lamps","algorithm":"ecdsa-p256","signature":"AQID"}`,
		"PUT /berth/files/fw.bin":              `{"name":"fw.bin","version":3,"size":4,"sha256":"ab"}`,
		"POST /otaUpdates/u":                   `{"otaUpdateId":"u","awsIotJobId":"AFR_OTA-u","otaUpdateStatus":"CREATE_PENDING"}`,
		"GET /otaUpdates/u": `{"otaUpdateInfo":{"otaUpdateId":"u","awsIotJobId":"AFR_OTA-u","otaUpdateStatus":"CREATE_COMPLETE",
			"otaUpdateFiles":[{"fileLocation":{"stream":{"streamId":"AFR_OTA-s","fileId":0}}}]}}`,
		"GET /otaUpdates/bad":     `{"otaUpdateInfo":{"otaUpdateId":"bad","otaUpdateStatus":"CREATE_FAILED","errorInfo":{"code":"C","message":"why"}}}`,
		"POST /otaUpdates/bad":    `{"otaUpdateId":"bad","otaUpdateStatus":"CREATE_PENDING"}`,
		"GET /jobs/AFR_OTA-u":     `{"job":{"jobId":"AFR_OTA-u","status":"COMPLETED","jobProcessDetails":{"numberOfSucceededThings":2}}}`,
		"GET /otaUpdates":         `{"otaUpdates":[{"otaUpdateId":"u","creationDate":1700000000.5}]}`,
		"DELETE /otaUpdates/u":    `{}`,
		"GET /otaUpdates/failed":  `{"otaUpdateInfo":{"otaUpdateId":"failed","awsIotJobId":"AFR_OTA-f","otaUpdateStatus":"CREATE_COMPLETE"}}`,
		"POST /otaUpdates/failed": `{"otaUpdateId":"failed","otaUpdateStatus":"CREATE_PENDING"}`,
		"GET /jobs/AFR_OTA-f":     `{"job":{"status":"COMPLETED","jobProcessDetails":{"numberOfSucceededThings":2,"numberOfFailedThings":1}}}`,
	})
	dir := t.TempDir()
	firmware, out := filepath.Join(dir, "fw.bin"), filepath.Join(dir, "out")
	if err := os.WriteFile(firmware, []byte("abcd"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"signer create lamps --algorithm rsa-2048 --path /c.pem", exitOK, "created signer lamps"},
		{"signer list", exitOK, "lamps.crt.pem"},
		{"signer certificate lamps", exitOK, "PEM\n"},
		{"signer certificate lamps --out " + out, exitOK, "wrote"},
		{"signer sign lamps " + firmware, exitOK, "AQID"},
		{"signer sign lamps " + firmware + " --out " + out, exitOK, "3 bytes"},
		{"signer delete lamps", exitOK, "deleted signer lamps"},
		{"ota create --thing lamp --signer lamps --id u --protocol http,mqtt --rate 5 --timeout 6 --continuous " + firmware, exitOK, "created OTA update u"},
		{"ota create --thing lamp --id u --wait " + firmware, exitOK, "COMPLETED, 2 SUCCEEDED"},
		{"ota create --thing lamp --id bad --wait " + firmware, exitFailed, "C: why"},
		{"ota create --thing lamp --id failed --wait " + firmware, exitFailed, "1 FAILED"},
		{"ota create " + firmware, exitUsage, "--thing"},
		{"ota list -o json", exitOK, `"creationDate": "2023-11-14T22:13:20.5Z"`},
		{"ota show u", exitOK, "AFR_OTA-s"},
		{"ota show bad -o json", exitOK, `"error": "C: why"`},
		{"ota delete u --force --stream", exitOK, "deleted OTA update u"},
	} {
		var stdout, stderr strings.Builder
		if code := Run(append(strings.Fields(tc.args), "--data", f.dir), &stdout, &stderr); code != tc.code || !strings.Contains(stdout.String()+stderr.String(), tc.want) {
			t.Errorf("%s: %d %s %s\nwant %s", tc.args, code, &stdout, &stderr, tc.want)
		}
	}
	if b, err := os.ReadFile(out); err != nil || string(b) != "\x01\x02\x03" {
		t.Errorf("%q %v", b, err)
	}
	if body := f.body["POST /berth/signers/lamps/signatures"]; body != `{"sha256":"88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"}` {
		t.Error(body)
	}
}

func TestUpdateID(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, want := range map[string]string{"lamp 1.2.bin": "lamp-1-2-20260203040506", "": "-20260203040506"} {
		if got := updateID(name, at); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
	if n := len(updateID(strings.Repeat("x", 100), at)); n > 56 {
		t.Error(n)
	}
}
