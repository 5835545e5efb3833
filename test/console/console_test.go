// Package console runs the web console in Chromium against a berth process, by playwright-core and
// axe-core: each page's main task, in light and dark, wide and on a phone.
//
// It is skipped unless BERTH_REAL_CLIENTS=1 is set. `go test -artifacts` keeps the screenshots.
package console

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/spiffs"
	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/mqtt"
)

func TestConsole(t *testing.T) {
	if os.Getenv("BERTH_REAL_CLIENTS") != "1" {
		t.Skip("runs a browser; set BERTH_REAL_CLIENTS=1 to demand it")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing; install it with: apt-get install chromium")
	}
	if _, err := os.Stat("node_modules/playwright-core"); err != nil {
		t.Fatal("playwright-core is missing; install it with: npm ci --prefix test/console")
	}
	berth := filepath.Join(t.TempDir(), "berth")
	if out, err := exec.Command("go", "build", "-o", berth, "../../cmd/berth").CombinedOutput(); err != nil {
		t.Fatalf("build berth: %v\n%s", err, out)
	}
	pages, err := filepath.Glob("pages/*.mjs")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	for _, file := range pages {
		page := strings.TrimSuffix(filepath.Base(file), ".mjs")
		t.Run(page, func(t *testing.T) {
			s := serve(t, berth, page == "large")
			s.run(page, chromium)
		})
	}
}

// server is a berth process and the devices that are connected to it.
type server struct {
	t       *testing.T
	dir     string
	berth   string // the program
	ports   struct{ MQTTPort, HTTPSPort, HTTPPort int }
	viewer  map[string]string
	devices map[string]*client.Client
}

// things is how many a large registry has.
const things = 100_000

// prepare makes a read-only key and, for a large registry, its things.
func prepare(t *testing.T, dir string, large bool) map[string]string {
	t.Helper()
	ctx := t.Context()
	db, err := store.Open(ctx, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keys, err := accesskey.Open(ctx, db, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Create(ctx, accesskey.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	if large {
		reg, err := registry.Open(ctx, db, registry.Config{Account: "000000000000", Region: "us-east-1"})
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 64)
		for w := range cap(errs) {
			go func() {
				var err error
				for i := w; i < things && err == nil; i += cap(errs) {
					_, err = reg.CreateThing(ctx, registry.NewThing{Name: fmt.Sprintf("thing-%06d", i), Attributes: map[string]string{"room": fmt.Sprint("r", i%50)}})
				}
				errs <- err
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
	return map[string]string{"id": key.ID, "secret": key.Secret}
}

func serve(t *testing.T, berth string, large bool) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), berth: berth, devices: make(map[string]*client.Client)}
	s.viewer = prepare(t, s.dir, large)
	var log bytes.Buffer
	cmd := exec.Command(berth, "serve", "--data", s.dir, "--mqtt", "127.0.0.1:0", "--https", "127.0.0.1:0", "--http", "127.0.0.1:0")
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the log of berth:\n%s", log.String())
		}
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		cmd.Wait()
		t.Fatalf("berth did not get ready:\n%s", log.String())
	}
	go func() {
		for lines.Scan() {
		}
	}()
	b, err := os.ReadFile(filepath.Join(s.dir, "endpoint.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &s.ports); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs the checks of one page; each is a subtest.
func (s *server) run(page, chromium string) {
	t := s.t
	password, err := os.ReadFile(filepath.Join(s.dir, "console-password"))
	if err != nil {
		t.Fatal(err)
	}
	options, err := json.Marshal(map[string]any{
		"base": fmt.Sprintf("https://localhost:%d", s.ports.HTTPSPort), "plain": fmt.Sprintf("http://127.0.0.1:%d", s.ports.HTTPPort),
		"password": strings.TrimSpace(string(password)), "viewer": s.viewer, "chromium": chromium, "dir": t.ArtifactDir(), "berth": s.berth,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "node", "run.mjs", page, string(options))
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var said line
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			t.Logf("%s", lines.Bytes())
			continue
		}
		if said.Check != "" {
			t.Run(said.Check, func(t *testing.T) {
				if !said.OK {
					t.Error(said.Note)
				} else if said.Note != "" {
					t.Log(said.Note)
				}
			})
			continue
		}
		answer := []byte(`{}`)
		if err := s.do(ctx, said); err != nil {
			answer, _ = json.Marshal(map[string]string{"error": err.Error()})
		}
		fmt.Fprintf(in, "%s\n", answer)
	}
	if err := cmd.Wait(); err != nil && !t.Failed() {
		t.Errorf("node: %v\n%s", err, stderr.String())
	}
}

// line is what a script says: how a check went, or what it wants.
type line struct {
	Check string
	OK    bool
	Note  string

	Do, ID, Cert, Key, CA string
	Topic, Payload        string
	Format                string
	Image                 []byte
}

func (s *server) do(ctx context.Context, l line) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	switch l.Do {
	case "connect":
		pair, err := tls.X509KeyPair([]byte(l.Cert), []byte(l.Key))
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(l.CA))
		c, err := client.Dial(ctx, client.Options{Address: fmt.Sprintf("127.0.0.1:%d", s.ports.MQTTPort), ClientID: l.ID, CleanStart: true, Version: mqtt.V5,
			KeepAlive: time.Minute, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "localhost"}})
		if err != nil {
			return err
		}
		s.devices[l.ID] = c
		return nil
	case "publish":
		code, err := s.devices[l.ID].Publish(ctx, client.Message{Topic: l.Topic, Payload: []byte(l.Payload), QoS: 1})
		if err == nil && code >= 0x80 {
			err = fmt.Errorf("refused: %v", code)
		}
		return err
	case "disconnect":
		return s.devices[l.ID].Close(ctx)
	case "image":
		return holds(l.Format, l.Image, l.Key)
	}
	return fmt.Errorf("do not know how to %q", l.Do)
}

// holds reports whether a flash image holds a private key where firmware looks for it.
func holds(format string, image []byte, key string) error {
	var got string
	if format == "nvs" {
		m, err := nvs.Read(image, nil)
		if err != nil {
			return err
		}
		v, _ := m.Lookup("aws", "key")
		got, _ = v.(string)
	} else {
		m, err := spiffs.Read(image, spiffs.DefaultConfig())
		if err != nil {
			return err
		}
		if o, ok := m.Open("/private.pem.key"); ok {
			b, err := o.Data()
			if err != nil {
				return err
			}
			got = string(b)
		}
	}
	if got != key {
		return fmt.Errorf("the %s image holds %q as key", format, got)
	}
	return nil
}
