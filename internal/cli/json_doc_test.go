package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// withoutJSON are commands that print no result, or a format of their own.
var withoutJSON = map[string]bool{"completion bash": true, "completion zsh": true, "completion fish": true, "completion powershell": true,
	"serve": true, "demo": true, "device boot": true}

// TestJSONIsDocumented: every command's form with -o json is in docs/reference/cli-json.md.
func TestJSONIsDocumented(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/reference/cli-json.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(string(b)) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), " | ")
		group := ""
		for _, m := range quoted.FindAllStringSubmatch(first, -1) { // `thing create`, `describe` stands for thing describe
			words := strings.Fields(strings.Split(m[1], " --")[0])
			if len(words) > 1 {
				group = strings.Join(words[:len(words)-1], " ") + " "
			}
			documented[strings.Join(words, " ")] = true
			documented[group+words[len(words)-1]] = true
		}
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		name := strings.TrimPrefix(c.CommandPath(), "berth ")
		if len(c.Commands()) > 0 || !c.Runnable() || withoutJSON[name] || c.Hidden {
			return
		}
		if !documented[name] {
			t.Errorf("docs/reference/cli-json.md does not say what berth %s -o json prints", name)
		}
	}
	walk(New())
}
