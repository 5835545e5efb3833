package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	metricRow = regexp.MustCompile("(?m)^\\| `(berth_[a-z_]+)(?:\\{[a-z,]+\\})?` \\| (counter|gauge|histogram) \\| (.*) \\|$")
	helpLine  = regexp.MustCompile(`(?m)^# HELP (berth_[a-z_]+) (.*)$`)
	typeLine  = regexp.MustCompile(`(?m)^# TYPE (berth_[a-z_]+) (.*)$`)
)

// TestMetrics compares the page of metrics with what a server exposes.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := open(t, installed(t))
	s.leave(block{text: "berth serve"})
	// What has labels is there once something has happened.
	s.run(block{text: `berth rule create copy --sql "SELECT * FROM 'a'" --republish b
berth pub a -m '{}' -q 1`})
	var exposed string
	s.within(15e9, func() bool {
		resp, err := http.Get(s.metrics)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		exposed = string(b)
		return strings.Contains(exposed, "berth_rules_action_seconds")
	})
	written := make(map[string][2]string)
	for _, m := range metricRow.FindAllStringSubmatch(page(t, "reference/metrics.md"), -1) {
		written[m[1]] = [2]string{m[2], m[3]}
	}
	kinds := make(map[string]string)
	for _, m := range typeLine.FindAllStringSubmatch(exposed, -1) {
		kinds[m[1]] = m[2]
	}
	if len(kinds) == 0 {
		t.Fatalf("no metrics: %s", exposed)
	}
	for _, m := range helpLine.FindAllStringSubmatch(exposed, -1) {
		if want := [2]string{kinds[m[1]], m[2]}; written[m[1]] != want {
			t.Errorf("docs/reference/metrics.md has %q for %s, the server says %q", written[m[1]], m[1], want)
		}
	}
	for name := range written {
		// These need a failure, or a fleet metric.
		if _, ok := kinds[name]; !ok && name != "berth_rules_action_failed_total" && name != "berth_fleet_metric" {
			t.Errorf("docs/reference/metrics.md has %s, which the server does not expose", name)
		}
	}
}

var exceptionName = regexp.MustCompile(`^[A-Z][A-Za-z]+Exception$`)

// TestExceptions finds exceptions of the code that the page of errors does not name.
func TestExceptions(t *testing.T) {
	t.Parallel()
	text := page(t, "reference/errors.md")
	told := make(map[string]bool)
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(filepath.ToSlash(path), "/internal/rules/action/") || strings.Contains(filepath.ToSlash(path), "/internal/transfer/") {
			return err // both name exceptions of other services
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if s, err := strconv.Unquote(lit.Value); err == nil && exceptionName.MatchString(s) && !told[s] && !strings.Contains(text, "`"+s+"`") {
				told[s] = true
				t.Errorf("docs/reference/errors.md does not name %s of %s", s, path)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var operation = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]+\b`)

// TestTerraform checks that every call of Terraform's resources is carried out.
func TestTerraform(t *testing.T) {
	t.Parallel()
	there := make(map[string]bool)
	for line := range strings.Lines(page(t, "compatibility.md")) {
		if cells := strings.Split(line, "|"); len(cells) > 4 && strings.Contains(cells[3], "**yes**") {
			there[strings.TrimSpace(cells[1])] = true
		}
	}
	resources, calls := 0, 0
	for line := range strings.Lines(page(t, "terraform.md")) {
		cells := strings.SplitN(line, "|", 3)
		if len(cells) < 3 || !strings.Contains(cells[1], "`aws_iot_") && !strings.Contains(cells[1], "tags") {
			continue
		}
		resources++
		for _, name := range operation.FindAllString(cells[2], -1) {
			calls++
			if !there[name] {
				t.Errorf("%s calls %s, which berth does not carry out", strings.TrimSpace(cells[1]), name)
			}
		}
	}
	if resources < 22 || calls < 80 {
		t.Errorf("the table has %d resources and %d calls", resources, calls)
	}
}
