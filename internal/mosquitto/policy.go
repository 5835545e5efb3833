package mosquitto

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// statement is one of a policy document.
type statement struct {
	Effect   string
	Action   []string
	Resource []string
}

type document struct {
	Version   string
	Statement []statement
}

// maxDocument is the largest policy document in characters, without blanks (AWS IoT Core endpoints and
// quotas, "Maximum policy document size").
const maxDocument = 2048

// translation collects what rules become.
type translation struct {
	allow, deny map[string][]string // resources without prefix, by "Publish" and "Receive"
	wide        []string            // what is allowed or denied beyond the rules, in words
}

var directions = []struct {
	name   string
	access Access
}{{"Publish", Write}, {"Receive", Read}}

// translate turns rules into resources. In policies * stands for any text, slashes too, where + stands for
// one level: what * would allow beyond is denied, unless other rules need it.
func translate(rules []Rule) *translation {
	t := &translation{allow: make(map[string][]string), deny: make(map[string][]string)}
	for _, d := range directions {
		for i, r := range rules {
			if r.Access == Deny {
				t.add(t.deny, d.name, globs(r.filter())...)
				if len(beyond(r.filter())) > 0 || stretches(r.Filter) {
					t.note("line %d: deny %s: + becomes *, which also denies several levels", r.Line, r.Filter)
				}
				continue
			}
			if r.Access&d.access == 0 {
				continue
			}
			t.add(t.allow, d.name, globs(r.filter())...)
			extra := beyond(r.filter())
			if strings.HasPrefix(r.Filter, "+") || strings.HasPrefix(r.Filter, "#") {
				extra = append(extra, "${$}*") // [MQTT-4.7.2-1]
			}
			for _, glob := range extra {
				if covered(glob, rules, d.access) {
					continue
				}
				if needed(glob, rules, i, d.access) {
					t.note("line %d: %s: wildcards become *, which also allows %s: other rules need some of that, so that it cannot be denied", r.Line, r.Filter, glob)
					continue
				}
				t.add(t.deny, d.name, glob)
			}
			if stretches(r.Filter) {
				t.note("line %d: %s: + becomes *, which also allows several levels", r.Line, r.Filter)
			}
		}
	}
	return t
}

func (t *translation) add(to map[string][]string, direction string, globs ...string) {
	for _, g := range globs {
		if !slices.Contains(to[direction], g) {
			to[direction] = append(to[direction], g)
		}
	}
}

func (t *translation) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(t.wide, text) {
		t.wide = append(t.wide, text)
	}
}

// literal writes a level as policies do.
var literal = strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}", "%c", "${iot:ClientId}", "%u", "${berth:UserName}", percent, "%")

// percent stands for a percent sign that is none of a pattern.
const percent = "\x01"

// filter is the topic filter in which %c and %u are those of a pattern.
func (r Rule) filter() string {
	if r.Pattern {
		return r.Filter
	}
	return strings.ReplaceAll(r.Filter, "%", percent)
}

// globs are the patterns of a policy for a topic filter: a/# is a and a/*.
func globs(filter string) []string {
	if filter == "#" {
		return []string{"*"}
	}
	base, deep := strings.CutSuffix(filter, "/#")
	levels := strings.Split(base, "/")
	for i, level := range levels {
		if level == "+" {
			levels[i] = "*"
		} else {
			levels[i] = literal.Replace(level)
		}
	}
	glob := strings.Join(levels, "/")
	if deep {
		return []string{glob, glob + "/*"}
	}
	return []string{glob}
}

// beyond are patterns for what the patterns of a filter match and the filter does not: each + over several
// levels. There is none for filters that end with #, whose own topics those would match too.
func beyond(filter string) []string {
	if strings.HasSuffix(filter, "#") {
		return nil
	}
	levels := strings.Split(filter, "/")
	var out []string
	for i, level := range levels {
		if level == "+" {
			wide := slices.Clone(levels)
			wide[i] = "+/+"
			out = append(out, globs(strings.Join(wide, "/"))...)
		}
	}
	return out
}

// stretches reports whether a filter that ends with # has a + that its patterns let be several levels.
func stretches(filter string) bool {
	base, deep := strings.CutSuffix(filter, "/#")
	for strings.HasSuffix(base, "/+") {
		base = strings.TrimSuffix(base, "/+")
	}
	return deep && base != "+" && strings.Contains(base, "+")
}

// covered reports whether some rule allows all that glob matches.
func covered(glob string, rules []Rule, access Access) bool {
	for _, r := range rules {
		if r.Access == Deny || r.Access&access == 0 || !strings.HasSuffix(r.Filter, "#") || strings.Contains(r.Filter, "+") {
			continue
		}
		all := globs(r.filter())
		below := strings.TrimSuffix(all[len(all)-1], "*")
		if strings.HasPrefix(glob, below) && (below != "" || !strings.HasPrefix(glob, "${$}")) {
			return true
		}
	}
	return false
}

// needed reports whether any other rule may allow something that glob matches.
func needed(glob string, rules []Rule, except int, access Access) bool {
	for i, r := range rules {
		if i == except || r.Access == Deny || r.Access&access == 0 {
			continue
		}
		for _, other := range globs(r.filter()) {
			if glob == "${$}*" && !strings.HasPrefix(other, "${") { // * at the beginning means no $ either
				continue
			}
			if overlap(glob, other) {
				return true
			}
		}
	}
	return false
}

// overlap reports whether some text may match both patterns. Variables may be any text.
func overlap(a, b string) bool {
	x, y := tokens(a), tokens(b)
	// row[j]: whether the rests x[i:] and y[j:] have a text in common
	next := make([]bool, len(y)+1)
	for i := len(x); i >= 0; i-- {
		row := make([]bool, len(y)+1)
		for j := len(y); j >= 0; j-- {
			switch {
			case i == len(x) && j == len(y):
				row[j] = true
			case i < len(x) && x[i] == star:
				row[j] = next[j] || j < len(y) && row[j+1]
			case j < len(y) && y[j] == star:
				row[j] = row[j+1] || i < len(x) && next[j]
			case i < len(x) && j < len(y):
				row[j] = x[i] == y[j] && next[j+1]
			}
		}
		next = row
	}
	return next[0]
}

const star rune = -1

func tokens(glob string) []rune {
	var out []rune
	for glob != "" {
		if rest, ok := strings.CutPrefix(glob, "${"); ok {
			name, after, _ := strings.Cut(rest, "}")
			if len(name) == 1 {
				out = append(out, rune(name[0]))
			} else {
				out = append(out, star)
			}
			glob = after
			continue
		}
		r, n := utf8.DecodeRuneInString(glob)
		if r == '*' {
			r = star
		}
		out, glob = append(out, r), glob[n:]
	}
	return out
}

// documents writes rules as policy documents, as many as their size takes. Everybody may connect and
// subscribe: Mosquitto checks what is delivered, not what is subscribed to.
func documents(t *translation, arnPrefix string, clients []string) []string {
	resources := func(kind string, globs []string) []string {
		var out []string
		for _, g := range globs {
			out = append(out, arnPrefix+kind+g)
		}
		return out
	}
	connect := statement{"Allow", []string{"iot:Connect"}, resources("client/", clients)}
	subscribe := statement{"Allow", []string{"iot:Subscribe"}, []string{arnPrefix + "topicfilter/*"}}
	statements := []statement{connect, subscribe}
	for _, d := range directions {
		actions := []string{"iot:" + d.name}
		if d.name == "Publish" {
			actions = append(actions, "iot:RetainPublish")
		}
		for _, globs := range chunks(t.allow[d.name], len(arnPrefix)) {
			statements = append(statements, statement{"Allow", actions, resources("topic/", globs)})
		}
		for _, globs := range chunks(t.deny[d.name], len(arnPrefix)) {
			statements = append(statements, statement{"Deny", actions, resources("topic/", globs)})
		}
	}
	var out []string
	doc := document{Version: "2012-10-17"}
	text := ""
	for _, s := range statements {
		larger := document{doc.Version, append(slices.Clone(doc.Statement), s)}
		b := encode(larger)
		if len(b) > maxDocument && len(doc.Statement) > 0 {
			out = append(out, text)
			larger.Statement = []statement{s}
			b = encode(larger)
		}
		doc, text = larger, b
	}
	return append(out, text)
}

// chunks parts resources so that each statement fits into a document.
func chunks(globs []string, prefix int) [][]string {
	var out [][]string
	size := maxDocument
	for _, g := range globs {
		n := prefix + len(g) + 12
		if size+n > maxDocument/2 {
			out, size = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], g)
		size += n
	}
	return out
}

func encode(d document) string {
	b, err := json.Marshal(d)
	if err != nil { // it holds nothing but strings
		return ""
	}
	return string(b)
}
