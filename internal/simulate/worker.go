package simulate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// line is what a worker tells its parent.
type line struct {
	At     time.Duration `json:"at,omitempty"`
	Text   string        `json:"text,omitempty"`
	Report *Report       `json:"report,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// Run runs a simulation in a process of its own: this program again, with arguments that lead to
// Worker. Virtual time is to be had within a test only, and a test takes a process over.
func Run(ctx context.Context, cfg Config, args ...string) (*Report, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.fill()
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	in, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	// Standard input stays open: when this process dies, the worker sees its end.
	_, err = stdin.Write(append(in, '\n'))
	var last line
	for lines := bufio.NewReader(stdout); ; {
		text, end := lines.ReadBytes('\n')
		var l line
		switch {
		case json.Unmarshal(text, &l) != nil: // the end of a test
		case l.Text != "":
			cfg.Tell(l.At, l.Text)
		default:
			last = l
		}
		if end != nil {
			break
		}
	}
	failed := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case last.Error != "":
		return nil, errors.New(last.Error)
	case last.Report == nil:
		return nil, fmt.Errorf("simulate: the worker ended without a report: %w", errors.Join(err, failed))
	}
	last.Report.Real = time.Since(began)
	return last.Report, nil
}

// Worker runs the simulation that its parent writes to in, and ends the process.
func Worker(in io.Reader, out io.Writer) {
	enc := json.NewEncoder(out)
	var cfg Config
	reader := bufio.NewReader(in)
	text, err := reader.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &cfg)
	}
	if err != nil {
		_ = enc.Encode(line{Error: fmt.Sprintf("simulate: read configuration: %v", err)})
		os.Exit(1)
	}
	go func() {
		_, _ = reader.ReadByte() // the parent has gone
		os.Exit(1)
	}()
	cfg.Tell = func(at time.Duration, text string) { _ = enc.Encode(line{At: at, Text: text}) }
	os.Args = os.Args[:1] // testing reads them
	testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "simulate", F: func(t *testing.T) {
		report, err := bubble(t, cfg)
		if err != nil {
			_ = enc.Encode(line{Error: err.Error()})
			os.Exit(1)
		}
		_ = enc.Encode(line{Report: report})
		os.Exit(0)
	}}}, nil, nil)
}

// bubble runs a simulation in virtual time.
func bubble(t *testing.T, cfg Config) (report *Report, err error) {
	cfg.fill()
	synctest.Test(t, func(*testing.T) { report, err = run(cfg, new(atomic.Bool)) })
	return report, err
}
