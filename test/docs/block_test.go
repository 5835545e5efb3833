// Package docs runs the commands of the documentation.
//
// A fenced block with the info string "sh test" is run in the page's own temporary folder, in the order
// of the page; "sh test background" is left running, and the next block begins when it is ready; "sh test
// again" is run until it prints what it should. A block "text prints" after one of them is what it prints:
// its lines in this order, with … for anything, and "text prints background" what was left running. A block with file=NAME is written to that file first.
// Ports are replaced by free ones.
package docs

import (
	"strings"
)

// block is a fenced block of a page.
type block struct {
	line int
	lang string
	info []string // the words after the language
	text string
}

func (b block) has(word string) bool {
	for _, w := range b.info {
		if w == word {
			return true
		}
	}
	return false
}

// file is the name of file=NAME.
func (b block) file() string {
	for _, w := range b.info {
		if name, ok := strings.CutPrefix(w, "file="); ok {
			return name
		}
	}
	return ""
}

// blocks returns the fenced blocks of a page.
func blocks(page string) []block {
	var all []block
	var open *block
	indent := 0
	n := 0
	for line := range strings.Lines(page) {
		n++
		trimmed := strings.TrimSpace(line)
		switch {
		case open == nil && strings.HasPrefix(trimmed, "```"):
			words := strings.Fields(strings.TrimPrefix(trimmed, "```"))
			open, indent = &block{line: n}, strings.Index(line, "`")
			if len(words) > 0 {
				open.lang, open.info = words[0], words[1:]
			}
		case open != nil && trimmed == "```":
			all = append(all, *open)
			open = nil
		case open != nil:
			shift := min(indent, len(line)-len(strings.TrimLeft(line, " ")))
			open.text += line[shift:]
		}
	}
	return all
}
