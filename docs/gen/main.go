// Command gen writes the pages of docs/reference that follow from the code: flags.md from the tree of
// commands, log.md from the calls of log/slog. Run it by go generate ./docs.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// pages are what there is to write below docs, given the module's root.
func pages(root string) (map[string][]byte, error) {
	log, err := logPage(root)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"reference/flags.md": flagsPage(), "reference/log.md": log}, nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen ROOT")
		os.Exit(2)
	}
	all, err := pages(os.Args[1])
	for name, b := range all {
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], "docs", filepath.FromSlash(name)), b, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}
