package docs

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/cli"
	"github.com/berth-iot/berth/policy"
)

const program = "berth"

// TestMain is berth itself when it is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == program {
		os.Exit(cli.Run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

const root = "../.."

// written returns the pages of the documentation by their path.
func written(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	add := func(name string) {
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	add("README.md")
	err := fs.WalkDir(os.DirFS(root), "docs", func(name string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".md") {
			add(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCommands(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("commands are run by bash")
	}
	bin := installed(t)
	for name, page := range written(t) {
		all := blocks(page)
		tested := false
		for _, b := range all {
			tested = tested || b.has("test")
		}
		if !tested {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			follow(t, bin, all)
		})
	}
}

// installed makes this program callable as berth.
func installed(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if os.Link(self, filepath.Join(dir, program)) == nil {
		return dir
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, program), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	return dir
}

// others are programs that a machine may lack. A block that uses one is passed over then.
var others = regexp.MustCompile(`(?m)(?:^|[|(] *)(aws|mosquitto_pub|mosquitto_sub|openssl|curl|python3|jq|terraform|npx)\b`)

func lacks(b block) string {
	for _, m := range others.FindAllStringSubmatch(b.text, -1) {
		if _, err := exec.LookPath(m[1]); err != nil {
			return m[1]
		}
	}
	return ""
}

// follow does what a page says.
func follow(t *testing.T, bin string, all []block) {
	s := open(t, bin)
	var printed func(want string) string // checks the latest block
	for i, b := range all {
		if name := b.file(); name != "" {
			if err := os.WriteFile(filepath.Join(s.dir, name), []byte(s.ports.Replace(b.text)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case b.has("test") && lacks(b) != "":
			t.Logf("line %d is not run: %s is not on this machine", b.line, lacks(b))
			printed = func(string) string { return "" }
		case b.has("prints") && b.has("background"):
			s.later(b, s.background[len(s.background)-1], s.ports.Replace(b.text))
		case b.has("background"):
			out := s.leave(b)
			printed = func(want string) string { // perhaps later
				s.later(b, out, want)
				return ""
			}
		case b.has("test") && b.lang == "sh":
			text := s.run(b)
			if b.has("again") { // what it asks for may take a moment
				want := s.ports.Replace(all[i+1].text)
				s.within(15*time.Second, func() bool {
					if prints(text, want) != "" {
						text = s.run(b)
					}
					return prints(text, want) == ""
				})
			}
			printed = func(want string) string {
				if missing := prints(text, want); missing != "" {
					return "does not print " + missing + "\nbut\n" + text
				}
				return ""
			}
		case b.has("prints"):
			if printed == nil {
				t.Fatalf("line %d: nothing has run that could print this", b.line)
			}
			if wrong := printed(s.ports.Replace(b.text)); wrong != "" {
				t.Errorf("line %d: the block before %s", b.line, wrong)
			}
		}
	}
	for _, check := range s.pending {
		check()
	}
	uses(t, s.dir, all)
}

// later checks at the end of a page what a block in the background has printed.
func (s *shell) later(b block, out *output, want string) {
	s.pending = append(s.pending, func() {
		if !s.within(10*time.Second, func() bool { return prints(out.String(), want) == "" }) {
			s.t.Errorf("line %d: it does not print %s\nbut\n%s", b.line, prints(out.String(), want), out)
		}
	})
}

var (
	headerName = regexp.MustCompile(`\b(AWS_CERT_[A-Z]+|AWS_IOT_ENDPOINT|THINGNAME)\b`)
	fileName   = regexp.MustCompile(`["']/?([\w.-]+\.(?:pem|der|key|bin))["']`)
)

// uses checks that programs in a page use names and files that its commands make.
func uses(t *testing.T, dir string, all []block) {
	t.Helper()
	header, _ := os.ReadFile(filepath.Join(dir, "secrets.h"))
	for _, b := range all {
		switch b.lang {
		case "cpp":
			for _, name := range headerName.FindAllString(b.text, -1) {
				if header != nil && !strings.Contains(string(header), name) {
					t.Errorf("line %d: %s is not in secrets.h", b.line, name)
				}
			}
		case "python", "c":
			for _, m := range fileName.FindAllStringSubmatch(b.text, -1) {
				found, _ := filepath.Glob(filepath.Join(dir, "*", m[1]))
				if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil && found == nil {
					t.Errorf("line %d: %s is made by no command of the page", b.line, m[1])
				}
			}
		}
	}
}

func TestPython(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not on this machine")
	}
	for name, page := range written(t) {
		for _, b := range blocks(page) {
			if b.lang != "python" {
				continue
			}
			file := filepath.Join(t.TempDir(), "block.py")
			if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(python, "-m", "py_compile", file).CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v\n%s", name, b.line, err, out)
			}
		}
	}
}

// TestDocuments parses JSON, and policies as berth does.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for name, page := range written(t) {
		for _, b := range blocks(page) {
			if b.lang != "json" || strings.Contains(b.text, "…") {
				continue
			}
			var v any
			if err := json.Unmarshal([]byte(b.text), &v); err != nil {
				t.Errorf("%s:%d: %v", name, b.line, err)
			}
			if m, ok := v.(map[string]any); !ok || m["Statement"] == nil {
				continue
			}
			if _, err := policy.Parse([]byte(b.text)); err != nil {
				t.Errorf("%s:%d: %v", name, b.line, err)
			}
		}
	}
}

var (
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code    = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	heading = regexp.MustCompile(`(?m)^#{1,6} (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// slug is a heading's name in links.
func slug(s string) string {
	return strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(s)), ""), " ", "-")
}

func TestLinks(t *testing.T) {
	t.Parallel()
	all := written(t)
	for name, page := range all {
		for _, m := range linked.FindAllStringSubmatch(code.ReplaceAllString(page, "code"), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, at, _ := strings.Cut(m[1], "#")
			to := name
			if file != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(name), file))
			}
			target, known := all[to]
			if !known {
				if _, err := os.Stat(filepath.Join(root, to)); err != nil {
					t.Errorf("%s links to %s, which is not there", name, m[1])
				}
			}
			if !known {
				continue
			}
			found := at == ""
			for _, h := range heading.FindAllStringSubmatch(target, -1) {
				found = found || slug(strings.ReplaceAll(h[1], "`", "")) == at
			}
			if !found {
				t.Errorf("%s links to %s, and there is no such heading", name, m[1])
			}
		}
	}
}
