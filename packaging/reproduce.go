package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// reproduce builds the commit twice, in new clones whose folders have names of different lengths, and
// compares the checksums of all files. Those of the first build remain in keep.
func reproduce(ctx context.Context, keep, targets, version string, fresh bool) error {
	root, err := output(ctx, "", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	commit, err := output(ctx, root, "git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if keep, err = filepath.Abs(keep); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "berth-reproduce-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	var sums [][]byte
	for i, name := range []string{"a", "another-folder/of/berth"} {
		dir := filepath.Join(temp, name)
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		if _, err := output(ctx, "", "git", "clone", "-q", "--no-checkout", root, dir); err != nil {
			return err
		}
		if _, err := output(ctx, dir, "git", "checkout", "-q", "--detach", commit); err != nil {
			return err
		}
		out := keep
		if i > 0 {
			out = filepath.Join(temp, "out")
		}
		cmd := exec.CommandContext(ctx, "go", "run", "./packaging", "-out", out, "-targets", targets, "-version", version)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		cmd.Env = os.Environ()
		if fresh && i > 0 {
			cmd.Env = append(cmd.Env, "GOCACHE="+filepath.Join(temp, "cache"))
		}
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build in %s: %w", dir, err)
		}
		b, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
		if err != nil {
			return err
		}
		sums = append(sums, b)
	}
	if !bytes.Equal(sums[0], sums[1]) {
		return fmt.Errorf("two builds of %s differ:\n%s\n%s", commit, sums[0], sums[1])
	}
	fmt.Printf("two builds of %s are the same:\n%s", commit, sums[0])
	return nil
}
