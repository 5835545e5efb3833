// Command count reads what go test -json wrote and counts the tests.
//
// With -failures it prints what failed tests said instead, and why others were skipped. It exits with 1
// if a test failed or none ran.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// totals counts tests and subtests; a package that failed without a failed test counts as one.
type totals struct{ passed, failed, skipped int }

func main() {
	failures := flag.Bool("failures", false, "print the output of failed tests, and the reasons of skipped ones")
	flag.Parse()
	var sum totals
	for _, name := range flag.Args() {
		f, err := os.Open(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		w := io.Discard
		if *failures {
			w = os.Stdout
		}
		err = sum.add(f, w)
		f.Close()
		if err != nil {
			fmt.Fprintf(os.Stderr, "read %s: %v\n", name, err)
			os.Exit(1)
		}
	}
	if !*failures {
		fmt.Printf("%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped)
	}
	if sum.failed > 0 || sum.passed == 0 {
		os.Exit(1)
	}
}

// reason is what a skipped test said last of itself.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		if strings.HasPrefix(line, "    ") && !strings.HasPrefix(strings.TrimSpace(line), "---") {
			return " " + strings.TrimSpace(line)
		}
	}
	return ""
}

// add counts the events of one run and writes the output of what failed.
func (t *totals) add(r io.Reader, w io.Writer) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	said := make(map[[2]string][]string)
	failedIn := make(map[string]int)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(w, lines.Text()) // of the go command, not of a test
			continue
		}
		key := [2]string{e.Package, e.Test}
		switch e.Action {
		case "output":
			said[key] = append(said[key], e.Output)
			continue
		case "pass":
			if e.Test != "" {
				t.passed++
			}
		case "skip":
			if e.Test != "" {
				t.skipped++
				fmt.Fprintf(w, "skipped %s %s:%s\n", e.Package, e.Test, reason(said[key]))
			}
		case "fail":
			if e.Test == "" && failedIn[e.Package] > 0 {
				break
			}
			t.failed++
			failedIn[e.Package]++
			fmt.Fprintf(w, "--- %s %s\n", e.Package, e.Test)
			for _, line := range said[key] {
				fmt.Fprint(w, line)
			}
		default:
			continue
		}
		delete(said, key)
	}
	return lines.Err()
}
