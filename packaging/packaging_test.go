package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/berth-iot/berth/internal/cli"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/sigv4"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// scrape starts a server that has a rule, and returns the names of all its metrics.
func scrape(t *testing.T) []string {
	cfg := server.Defaults()
	cfg.Data = t.TempDir()
	cfg.BackupDir = filepath.Join(cfg.Data, "backups")
	cfg.MQTT, cfg.HTTPS, cfg.HTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.AdminKeyID, cfg.AdminSecret = "AKIATESTTESTTESTTEST", "test-secret-of-forty-characters-or-so-yes"
	s, err := server.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	base := fmt.Sprintf("http://127.0.0.1:%d", s.Ready.HTTPPort)
	body := []byte(`{"sql":"SELECT * FROM 'a'","actions":[{"republish":{"roleArn":"arn:aws:iam::000000000000:role/r","topic":"b"}}]}`)
	r, err := http.NewRequest("POST", base+"/rules/r", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	(&sigv4.Signer{AccessKeyID: cfg.AdminKeyID, SecretAccessKey: cfg.AdminSecret, Region: "us-east-1", Service: "iot"}).Sign(r, body, time.Now())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp, err = http.Get(base + "/metrics"); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)[{ ]`).FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE ([a-z_]+) histogram`).FindAllSubmatch(text, -1) {
		names = append(names, string(m[1])+"_bucket", string(m[1])+"_count")
	}
	return names
}

// TestMetricNames compares the dashboard and the alerts with the metrics of a running server.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(readFile(t, "grafana/berth.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(readFile(t, "prometheus/berth.rules.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	expressions := make(map[string]string)
	for _, p := range dashboard.Panels {
		for i, x := range p.Targets {
			expressions[fmt.Sprint("panel ", p.Title, " ", i)] = x.Expr
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			expressions["alert "+r.Alert] = r.Expr
		}
	}
	if len(expressions) < 50 {
		t.Fatalf("%d expressions", len(expressions))
	}
	there := scrape(t)
	name := regexp.MustCompile(`\b(berth|process)_[a-z_]+`)
	for where, x := range expressions {
		for _, n := range name.FindAllString(x, -1) {
			// What a rule has not done yet has no sample.
			if !slices.Contains(there, n) && !strings.HasPrefix(n, "berth_rules_action_seconds") {
				t.Errorf("%s: there is no metric %s", where, n)
			}
		}
	}
}

// TestSettings checks that what the packages set are flags of `berth serve`.
func TestSettings(t *testing.T) {
	t.Parallel()
	serve, _, err := cli.New().Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	known := func(where, flag string) {
		if flag != "cluster" && serve.Flags().Lookup(flag) == nil {
			t.Errorf("%s: serve has no flag --%s", where, flag)
		}
	}
	config := regexp.MustCompile(`(?m)^(?:# )?([a-z-]+): `)
	for _, path := range []string{"debian/berth.yaml"} {
		for _, m := range config.FindAllSubmatch(readFile(t, path), -1) {
			known(path, string(m[1]))
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^    ([a-z-]+): `).FindAllSubmatch(readFile(t, "helm/berth/templates/configmap.yaml"), -1) {
		known("configmap.yaml", string(m[1]))
	}
	var compose struct {
		Services map[string]struct{ Environment map[string]string }
	}
	if err := yaml.Unmarshal(readFile(t, "docker/compose.yaml"), &compose); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services["berth"].Environment) == 0 {
		t.Error("no environment")
	}
	variable := regexp.MustCompile(`^BERTH_([A-Z_]+)$`)
	for name := range compose.Services["berth"].Environment {
		if m := variable.FindStringSubmatch(name); m != nil {
			known("compose.yaml", strings.ReplaceAll(strings.ToLower(m[1]), "_", "-"))
		}
	}
	var cfg server.Config
	dec := yaml.NewDecoder(bytes.NewReader(readFile(t, "debian/berth.yaml")))
	dec.KnownFields(true)
	if err := dec.Decode(&cfg); err != nil || cfg.Data != "/var/lib/berth" {
		t.Error(cfg.Data, err)
	}
}

// TestChartValues checks that the schema of the chart knows every value, and the other way.
func TestChartValues(t *testing.T) {
	t.Parallel()
	var values map[string]any
	if err := yaml.Unmarshal(readFile(t, "helm/berth/values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	var schema struct{ Properties map[string]any }
	if err := json.Unmarshal(readFile(t, "helm/berth/values.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	delete(schema.Properties, "global") // Helm's own
	keys := func(m map[string]any) (list []string) {
		for k := range m {
			list = append(list, k)
		}
		slices.Sort(list)
		return list
	}
	if !cmp.Equal(keys(values), keys(schema.Properties)) {
		t.Error(cmp.Diff(keys(values), keys(schema.Properties)))
	}
}

// members reads an archive of ar.
func members(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	rest, ok := bytes.CutPrefix(b, []byte("!<arch>\n"))
	list := make(map[string][]byte)
	for ok && len(rest) > 0 {
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil || string(rest[58:60]) != "`\n" {
			t.Fatalf("header %q", rest[:60])
		}
		list[strings.TrimSpace(string(rest[:16]))] = rest[60 : 60+size]
		rest = rest[60+size+size%2:]
	}
	return list
}

func files(t *testing.T, tarball []byte) map[string]*tar.Header {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		t.Fatal(err)
	}
	list := make(map[string]*tar.Header)
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list[h.Name] = h
	}
}

// TestDebian builds a package of something small twice: the same bytes, in the format of deb(5).
func TestDebian(t *testing.T) {
	t.Parallel()
	s := &source{version: "1.2.3-rc1", commit: "0123456789abcdef", made: time.Unix(1700000000, 0).UTC()}
	binary := filepath.Join(t.TempDir(), "berth")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var made [][]byte
	for range 2 {
		path, err := s.debian(targets[0], binary, []byte("{}"), map[string][]byte{"man/man1/berth.1.gz": compress([]byte(".TH")), "a/b": nil}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(path) != "berth_1.2.3~rc1_amd64.deb" {
			t.Error(path)
		}
		made = append(made, readFile(t, path))
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two packages of the same differ")
	}
	parts := members(t, made[0])
	if string(parts["debian-binary"]) != "2.0\n" {
		t.Errorf("debian-binary %q", parts["debian-binary"])
	}
	control, data := files(t, parts["control.tar.gz"]), files(t, parts["data.tar.gz"])
	for _, name := range []string{"./control", "./md5sums", "./conffiles", "./postinst", "./prerm", "./postrm"} {
		if control[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for name, mode := range map[string]int64{"./usr/bin/berth": 0o755, "./etc/berth/berth.yaml": 0o640, "./lib/systemd/system/berth.service": 0o644,
		"./usr/share/man/man1/": 0o755, "./usr/share/doc/berth/copyright": 0o644} {
		if h := data[name]; h == nil || h.Mode != mode || h.Uid != 0 || !h.ModTime.Equal(s.made) {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// TestMaterials looks at the bill of this test's own binary.
func TestMaterials(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &source{root: "..", version: "1.2.3", made: time.Unix(1700000000, 0).UTC()}
	var out [2][]byte
	for i := range out {
		if out[i], err = s.materials(self); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(out[0], out[1]) {
		t.Error("two bills of the same differ")
	}
	var b bom
	if err := json.Unmarshal(out[0], &b); err != nil {
		t.Fatal(err)
	}
	refs := make(map[string]bool)
	for _, c := range b.Components {
		if refs[c.Ref] || c.Version == "" {
			t.Errorf("component %+v", c)
		}
		refs[c.Ref] = true
	}
	if !slices.ContainsFunc(b.Components, func(c component) bool { return c.Name == "preact" && strings.HasPrefix(c.PURL, "pkg:npm/preact@") }) {
		t.Error("no preact, which the console has")
	}
	if len(b.Dependencies) != 1 || len(b.Dependencies[0].On) != len(b.Components) {
		t.Error("dependencies")
	}
}

// TestDockerfile checks that what the image starts are commands of berth, and what it sets are flags.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := string(readFile(t, "docker/Dockerfile"))
	image := text[strings.Index(text, "FROM scratch"):]
	started := 0
	for _, m := range regexp.MustCompile(`(?m)^(ENTRYPOINT|CMD|HEALTHCHECK .*CMD) (\[.*\])$`).FindAllStringSubmatch(image, -1) {
		var words []string
		if err := json.Unmarshal([]byte(m[2]), &words); err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		if words[0] == "/berth" {
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		started++
		if cmd, rest, err := cli.New().Find(words); err != nil || len(rest) > 0 || !cmd.HasParent() {
			t.Errorf("%s: %v %v", m[0], rest, err)
		}
	}
	if started != 2 || !strings.Contains(image, "COPY --from=build /out/berth /berth\n") || !strings.Contains(image, "ENV BERTH_DATA=/data\n") {
		t.Errorf("%d commands in\n%s", started, image)
	}
}
