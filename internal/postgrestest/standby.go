package postgrestest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Open makes the cluster if it is not there and returns the URL of an empty database of it. It is for
// programs; tests call Database.
func (c *Cluster) Open() (url string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir == "" && c.failed == nil {
		c.failed = c.create()
	}
	return c.url("postgres"), c.failed
}

// Standby makes a cluster that follows this one by streaming replication, as a copy of it. With
// synchronous, a commit waits for it from now on.
func (c *Cluster) Standby(tb testing.TB, synchronous bool) *Cluster {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, err := os.MkdirTemp("", "berth-standby-")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Cluster{bin: c.bin, dir: dir, as: c.as}
	if real, err := filepath.EvalSymlinks(filepath.Join(c.bin, "postgres")); err == nil { // more programs are beside it
		s.bin = filepath.Dir(real)
	}
	if c.as != nil {
		if err := os.Chown(dir, int(c.as.Uid), int(c.as.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	out, err := s.command("pg_basebackup", "-h", c.dir, "-U", "berth", "-D", filepath.Join(dir, "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync").CombinedOutput()
	if err == nil {
		err = s.start()
	}
	if err != nil {
		os.RemoveAll(dir)
		tb.Fatalf("standby: %v: %s", err, out)
	}
	if synchronous {
		if err = c.exec("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'"); err == nil {
			err = c.exec("postgres", "SELECT pg_reload_conf()")
		}
		for end := time.Now().Add(30 * time.Second); err == nil; time.Sleep(20 * time.Millisecond) {
			if err = c.exec("postgres", "SELECT 1 / (SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync')"); err == nil {
				break
			} else if time.Now().Before(end) {
				err = nil
			}
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Promote makes a standby take writes.
func (c *Cluster) Promote(tb testing.TB) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.exec("postgres", "SELECT pg_promote()"); err != nil {
		tb.Fatal(err)
	}
}

// Either is the URL of a database by both clusters: of the one that takes writes.
func (c *Cluster) Either(other *Cluster, database string) string {
	return fmt.Sprintf("postgres:///%s?host=%s,%s&user=berth&target_session_attrs=read-write", database, c.dir, other.dir)
}
