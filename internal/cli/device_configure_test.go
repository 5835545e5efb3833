package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/internal/gateway"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/virtualesp"
	"github.com/berth-iot/berth/sigv4"
)

// lampCloud starts a server with a thing, and writes the thing's files to a folder.
func lampCloud(t *testing.T) (dir, endpoint, https string) {
	t.Helper()
	dir = t.TempDir()
	cfg := server.Defaults()
	cfg.MQTT, cfg.HTTPS, cfg.HTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Data, cfg.AdminKeyID, cfg.AdminSecret = filepath.Join(dir, "berth"), "AKIATESTTESTTESTTEST", "test-secret-of-forty-characters-or-so-yes"
	s, err := server.Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	api := func(method, path string, in any, out any, header ...string) {
		t.Helper()
		body, _ := json.Marshal(in)
		r, _ := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", s.Ready.HTTPPort, path), bytes.NewReader(body))
		if len(header) > 0 {
			r.Header.Set(header[0], header[1])
		}
		r.Close = true
		signer := sigv4.Signer{AccessKeyID: cfg.AdminKeyID, SecretAccessKey: cfg.AdminSecret, Region: "us-east-1", Service: "iot"}
		signer.Sign(r, body, time.Now())
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 {
			t.Fatalf("%s %s: %s", method, path, b)
		}
		if out != nil {
			if err := json.Unmarshal(b, out); err != nil {
				t.Fatal(err)
			}
		}
	}
	key, err := linux.Keys{}.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := linux.Keys{}.SigningRequest(key, "lamp")
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ CertificateARN, CertificatePEM string }
	api("POST", "/policies/devices", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`}, nil)
	api("POST", "/certificates?setAsActive=true", map[string]string{"certificateSigningRequest": string(csr)}, &made)
	api("PUT", "/target-policies/devices", map[string]string{"target": made.CertificateARN}, nil)
	api("POST", "/things/lamp", map[string]string{}, nil)
	api("PUT", "/things/lamp/principals", nil, nil, "X-Amzn-Principal", made.CertificateARN)
	ca, err := os.ReadFile(filepath.Join(cfg.Data, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"ca.pem": string(ca), "lamp.cert.pem": made.CertificatePEM,
		"key.json":         fmt.Sprintf(`{"accessKeyId":%q,"secretAccessKey":%q}`, cfg.AdminKeyID, cfg.AdminSecret),
		"lamp.private.key": string(key), "wifi.txt": "correct horse\n",
		"lamp.yaml": "thing: lamp\ncertificate: lamp.cert.pem\nkey: lamp.private.key\nca: ca.pem\nwifi: {ssid: home, password-file: wifi.txt}\napplication: {color: green}\n"})
	return dir, fmt.Sprintf("localhost:%d", s.Ready.MQTTPort), fmt.Sprintf("localhost:%d", s.Ready.HTTPSPort)
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// running starts `berth device run` as a process of its own and waits for an event, which it returns.
func running(t *testing.T, dir, config, event string) (gateway.Event, func() string) {
	t.Helper()
	write(t, dir, map[string]string{"device.yaml": config})
	cmd := exec.CommandContext(t.Context(), "berth", "device", "run", "-o", "json", "--config", filepath.Join(dir, "device.yaml"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	events := make(chan gateway.Event, 1000)
	go func() {
		defer close(events)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e gateway.Event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				events <- e
			}
		}
	}()
	stopped := false
	stop := func() (log string) {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(os.Interrupt)
			for e := range events {
				log += fmt.Sprintf("%+v\n", e)
			}
			_ = cmd.Wait()
		}
		return log
	}
	t.Cleanup(func() { stop() })
	for e := range events {
		if e.Event == event {
			return e, stop
		}
		t.Logf("%+v", e)
	}
	t.Fatalf("berth device run ended without %q", event)
	return gateway.Event{}, nil
}

// berth runs a command as a process of its own.
func berth(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "berth", args...)
	cmd.Dir = dir
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), complaint.String(), cmd.ProcessState.ExitCode()
}

// TestDeviceConfigure: a device without identity is configured by another process, over every way that
// needs no radio, connects, and connects again after a restart.
func TestDeviceConfigure(t *testing.T) {
	t.Parallel()
	dir, endpoint, _ := lampCloud(t)
	_, registration, _ := strings.Cut(func() string {
		s, _, _ := berth(t, dir, "device", "code", "--code", "8642-9753", "--iterations", "1000")
		return s
	}(), "registration")
	pty, err := virtualesp.OpenPty()
	if err != nil {
		t.Skip(err)
	}
	defer pty.Close()
	for way, c := range map[string]struct{ section, flag string }{
		"tcp":  {"tcp: 127.0.0.1:0", "--tcp"},
		"http": {"http: 127.0.0.1:0", "--http"},
	} {
		config := fmt.Sprintf("data: data-%s\nserver-name: localhost\nconfiguration: {name: lamp, %s, registration: %q, wifi-command: [sh, -c, 'cat > %s']}\n",
			way, c.section, strings.TrimSpace(registration), filepath.Join(dir, way+".json"))
		ready, stop := running(t, dir, config, "configuration")
		address, ok := strings.CutPrefix(ready.Address, way+"://")
		if !ok {
			t.Fatalf("%+v", ready)
		}
		if _, stderr, code := berth(t, dir, "device", "configure", c.flag, address, "--code", "0000-0000", "--endpoint", endpoint); code != exitFailed || !strings.Contains(stderr, "the code is wrong") || !strings.Contains(stderr, "hint: the code is on the device's label") {
			t.Errorf("%s: wrong code: %d %s", way, code, stderr)
		}
		out, stderr, code := berth(t, dir, "device", "configure", c.flag, address, "--code", "86429753", "--endpoint", endpoint, "--config", "lamp.yaml", "-o", "json")
		if code != exitOK || !strings.Contains(out, `"thing": "lamp"`) || !strings.Contains(stderr, "authenticated\nreceived\n") {
			t.Fatalf("%s: %d\n%s%s\n%s", way, code, out, stderr, stop())
		}
		if b, err := os.ReadFile(filepath.Join(dir, way+".json")); err != nil || !strings.Contains(string(b), `"password":"correct horse"`) {
			t.Errorf("%s: the network's command got %q, %v", way, b, err)
		}
		stop()
		again, stop := running(t, dir, config, "connected")
		if again.Thing != "lamp" {
			t.Errorf("%s: after a restart: %+v", way, again)
		}
		stop()
	}
}

// TestDeviceConfigureSerial: the same over a terminal device of this machine.
func TestDeviceConfigureSerial(t *testing.T) {
	t.Parallel()
	dir, endpoint, _ := lampCloud(t)
	far, err := virtualesp.OpenPty()
	if err != nil {
		t.Skip(err) // a machine without pseudo-terminals
	}
	defer far.Close()
	near, err := virtualesp.OpenPty()
	if err != nil {
		t.Skip(err)
	}
	defer near.Close()
	// The cable between two terminals.
	go io.Copy(far.Line(), near.Line())
	go io.Copy(near.Line(), far.Line())
	config := "server-name: localhost\nconfiguration: {code: 8642-9753, serial: " + far.Path + "}\n"
	write(t, dir, map[string]string{"device.yaml": config})
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "berth", "device", "run", "--config", filepath.Join(dir, "device.yaml"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var log bytes.Buffer
	cmd.Stdout = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out, stderr, code := berth(t, dir, "device", "configure", "--serial", near.Path, "--code", "8642-9753", "--endpoint", endpoint, "--config", "lamp.yaml", "--timeout", "50s")
	cancel()
	_ = cmd.Wait()
	if code != exitOK || out != "connected as lamp\n" {
		t.Errorf("%d\n%s%s\n%s", code, out, stderr, log.String())
	}
}

// TestDeviceRunWebSocket: a device with an access key instead of a certificate.
func TestDeviceRunWebSocket(t *testing.T) {
	t.Parallel()
	dir, _, https := lampCloud(t)
	e, stop := running(t, dir, "endpoint: "+https+"\nca: ca.pem\nthing: lamp\nwebsocket: {access-key-file: key.json}\n", "restored")
	if log := stop(); strings.Contains(log, "Event:error") {
		t.Errorf("%+v\n%s", e, log)
	}
}
