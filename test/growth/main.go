// Command growth measures a server while its registry grows: what a start takes, its memory, and the cost of
// connects, messages and requests with more and more things. Each thing has a certificate of its own with a
// policy, and with -sessions also a persistent session with a subscription and a retained message. They are
// written straight into the database; through the API a million would take an hour.
//
//	go run ./test/growth -sizes 0,1000,10000,100000,1000000
//	go run ./test/postgres go run ./test/growth -sessions -sizes 1000000
//
// CPU time is that of the server's process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/berth-iot/berth/internal/bench"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run() error {
	list := flag.String("sizes", "0,1000,10000,100000,1000000", "numbers of things, rising, between commas")
	sessions := flag.Bool("sessions", false, "a persistent session and a retained message for each thing")
	plot := flag.String("plot", "", "draw the CPU time of connects, descriptions and pages to this SVG file")
	dir := flag.String("dir", "", "folder for the data, which stay; empty for a temporary one")
	starts := flag.Bool("starts", false, "only measure starts")
	flag.Parse()
	var sizes []int
	for s := range strings.SplitSeq(*list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || len(sizes) > 0 && n < sizes[len(sizes)-1] {
			return fmt.Errorf("sizes %q: want rising numbers between commas", *list)
		}
		sizes = append(sizes, n)
	}
	work, err := os.MkdirTemp("", "growth")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	s := &server{program: filepath.Join(work, "berth"), data: *dir}
	if s.data == "" {
		s.data = filepath.Join(work, "data")
	}
	if out, err := exec.Command("go", "build", "-o", s.program, "github.com/berth-iot/berth/cmd/berth").CombinedOutput(); err != nil {
		return fmt.Errorf("build berth: %w\n%s", err, out)
	}
	results, err := measureAll(context.Background(), s, sizes, *sessions, *starts)
	if err == nil && *plot != "" {
		err = draw(*plot, sizes, results)
	}
	return err
}

func measureAll(ctx context.Context, s *server, sizes []int, sessions, starts bool) (results []*result, err error) {
	defer func() { err = errors.Join(err, s.stop()) }()
	if _, err := s.start(ctx); err != nil { // makes the tables
		return nil, err
	}
	devices, err := s.enrol(connects)
	if err != nil {
		return nil, err
	}
	fmt.Println(header)
	for _, n := range sizes {
		if err := s.stop(); err != nil {
			return results, err
		}
		if err := s.fill(ctx, n, sessions); err != nil {
			return results, fmt.Errorf("fill with %d things: %w", n, err)
		}
		r, err := s.measure(ctx, n, devices, starts)
		if err != nil {
			return results, fmt.Errorf("measure with %d things: %w", n, err)
		}
		fmt.Println(r)
		results = append(results, r)
	}
	return results, nil
}

func draw(path string, sizes []int, results []*result) error {
	lines := []bench.Series{{Name: "connect"}, {Name: "describe-thing"}, {Name: "page of 250"}}
	for _, r := range results {
		for i, cost := range []float64{r.connect, r.describe.cpu, r.list.cpu} {
			lines[i].Y = append(lines[i].Y, cost/1000)
		}
	}
	return os.WriteFile(path, bench.Plot("CPU by things, each with its certificate", "ms", sizes, lines), 0o644)
}
