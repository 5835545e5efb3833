// Package postgrestest runs a PostgreSQL of its own for tests: a cluster in a temporary folder, reached
// through a socket there and no network. PostgreSQL must be installed, as Debian's package does it.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cluster is a PostgreSQL. The zero value is one that is made when it is first needed; Stop ends it.
type Cluster struct {
	mu        sync.Mutex
	bin, dir  string
	as        *syscall.Credential // PostgreSQL does not run as root
	server    *exec.Cmd
	failed    error
	databases int
}

var errMissing = errors.New("PostgreSQL is not installed (Debian: apt install postgresql)")

// Database makes an empty database and returns its URL. It skips the test when PostgreSQL is not
// installed; with BERTH_REAL_CLIENTS=1 that is a failure.
func (c *Cluster) Database(tb testing.TB) string {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir == "" && c.failed == nil {
		c.failed = c.create()
	}
	if errors.Is(c.failed, errMissing) && os.Getenv("BERTH_REAL_CLIENTS") == "" {
		tb.Skip(c.failed)
	}
	if c.failed != nil {
		tb.Fatal(c.failed)
	}
	c.databases++
	name := fmt.Sprintf("test%d", c.databases)
	if err := c.exec("postgres", "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	return c.url(name)
}

func (c *Cluster) url(database string) string {
	return fmt.Sprintf("postgres:///%s?host=%s&user=berth", database, c.dir)
}

func (c *Cluster) exec(database, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func (c *Cluster) create() error {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		return errMissing
	}
	c.bin = filepath.Dir(slices.Max(found))
	var err error
	if c.dir, err = os.MkdirTemp("", "berth-postgres-"); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		u, err := user.Lookup("nobody")
		if err != nil {
			return err
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		c.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(c.dir, int(uid), int(gid)); err != nil {
			return err
		}
	}
	out, err := c.command("initdb", "-D", filepath.Join(c.dir, "data"), "-U", "berth", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return c.start()
}

func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

func (c *Cluster) start() error {
	c.server = c.command("postgres", "-D", filepath.Join(c.dir, "data"), "-c", "unix_socket_directories="+c.dir, "-c", "listen_addresses=",
		"-c", "max_connections=200", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB")
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c.server.Stdout, c.server.Stderr = log, log
	if err := c.server.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := c.exec("postgres", "SELECT 1")
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return fmt.Errorf("PostgreSQL does not start: %w: %s", err, said)
		}
	}
}

// Kill stops the server in the middle of whatever it does, without a checkpoint.
func (c *Cluster) Kill(tb testing.TB) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quit()
}

func (c *Cluster) quit() {
	c.server.Process.Signal(syscall.SIGQUIT) // immediate shutdown
	c.server.Wait()
}

// Start starts a server that was killed; it recovers first.
func (c *Cluster) Start(tb testing.TB) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.start(); err != nil {
		tb.Fatal(err)
	}
}

// Stop ends the server and removes its folder.
func (c *Cluster) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		c.quit()
	}
	if c.dir != "" {
		os.RemoveAll(c.dir)
	}
}
