package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/backup"
	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store"
)

const quickCost = 10

// thingNames lists what a server has.
func (f *fixture) thingNames() []string {
	var names []string
	for token := ""; ; {
		var page struct {
			Things    []struct{ ThingName string }
			NextToken string
		}
		f.api("GET", "/things?maxResults=250&nextToken="+token, nil, &page)
		for _, t := range page.Things {
			names = append(names, t.ThingName)
		}
		if token = page.NextToken; token == "" {
			return names
		}
	}
}

// restored starts a server on what a backup has.
func (f *fixture) restored(path, passphrase, database string) *fixture {
	f.t.Helper()
	other := &fixture{t: f.t, dir: filepath.Join(f.t.TempDir(), "restored"), cfg: f.cfg}
	if _, err := backup.Restore(f.t.Context(), path, passphrase, other.dir, database); err != nil {
		f.t.Fatal(err)
	}
	other.cfg.Data, other.cfg.Database, other.cfg.BackupDir = other.dir, database, ""
	other.cfg.AdminKeyID, other.cfg.AdminSecret = "", "" // from the backup
	other.restart()
	f.t.Cleanup(func() { other.Close() })
	return other
}

// TestBackup makes backups of a server that writers keep busy. What was acknowledged before a backup
// began is on a server that is started on it, with the same keys.
func TestBackup(t *testing.T) {
	t.Parallel()
	testBackup(t, start(t), "")
}

// TestBackupOfPostgres is the same with the state in PostgreSQL, to SQLite and to another PostgreSQL.
func TestBackupOfPostgres(t *testing.T) {
	t.Parallel()
	var cluster postgrestest.Cluster
	t.Cleanup(cluster.Stop)
	url := cluster.Database(t)
	testBackup(t, start(t, func(c *server.Config) { c.Database = url }), url+"&search_path=elsewhere")
}

func testBackup(t *testing.T, f *fixture, other string) {
	f.api("PUT", "/berth/files/app.bin", []byte(strings.Repeat("firmware", 4000)), nil)
	lamp := f.newDevice("lamp", allowAll)
	var mu sync.Mutex
	var things []string
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("thing-%d-%d", w, i)
				if status, _ := f.request("POST", "/things/"+name, map[string]string{}); status == 200 {
					mu.Lock()
					things = append(things, name)
					mu.Unlock()
				}
			}
		})
	}
	var path string
	var acknowledged []string
	for i, passphrase := range []string{"", "a passphrase"} {
		path = filepath.Join(t.TempDir(), "b.tar.gz")
		mu.Lock()
		acknowledged = slices.Clone(things)
		mu.Unlock()
		m, err := backup.Create(t.Context(), f.cfg.Source(), path, backup.Options{Passphrase: passphrase, Cost: quickCost})
		if err != nil {
			t.Fatal(err)
		}
		if m.Rows["thing"] < int64(len(acknowledged)) || m.Rows["certificate"] != 1 {
			t.Errorf("round %d: %d things, %d acknowledged before", i, m.Rows["thing"], len(acknowledged))
		}
	}
	stop()
	writers.Wait()
	for _, database := range slices.Compact([]string{"", other}) {
		again := f.restored(path, "a passphrase", database)
		names := again.thingNames()
		for _, name := range append(acknowledged, "lamp") {
			if !slices.Contains(names, name) {
				t.Errorf("%s is missing", name)
			}
		}
		again.connect(lamp, "lamp", 4).bye()
		var files struct {
			Files []struct{ Name, SHA256 string }
		}
		again.api("GET", "/berth/files", nil, &files)
		if len(files.Files) != 1 || files.Files[0].Name != "app.bin" {
			t.Errorf("files %+v", files)
		}
	}
	for _, name := range []string{".backup-*", ".berth-backup-*"} {
		if left, _ := filepath.Glob(filepath.Join(f.dir, name)); len(left) > 0 {
			t.Error("left:", left)
		}
	}
	t.Logf("%d things acknowledged before the last backup, %d in all", len(acknowledged), len(things))
}

// TestRestoreRefused writes nothing where it says no.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) { c.Database = "" })
	ctx, dir := t.Context(), t.TempDir()
	whole := filepath.Join(dir, "whole")
	if _, err := backup.Create(ctx, f.cfg.Source(), whole, backup.Options{Passphrase: "p", Cost: quickCost}); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Create(ctx, f.cfg.Source(), whole, backup.Options{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	short, damaged := filepath.Join(dir, "short"), filepath.Join(dir, "damaged")
	changed := bytes.Clone(b)
	changed[len(b)/2] ^= 1
	for path, content := range map[string][]byte{short: b[:len(b)-100], damaged: changed} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "target")
	for _, tc := range []struct {
		path, passphrase, dir string
		want                  error
	}{
		{whole, "p", full, backup.ErrNotEmpty},
		{whole, "q", target, backup.ErrPassphrase},
		{whole, "", target, backup.ErrEncrypted},
		{short, "p", target, backup.ErrDamaged},
		{damaged, "p", target, backup.ErrDamaged},
		{filepath.Join(dir, "none"), "p", target, os.ErrNotExist},
		{filepath.Join(f.dir, "ca.pem"), "p", target, backup.ErrNotBackup},
	} {
		if _, err := backup.Restore(ctx, tc.path, tc.passphrase, tc.dir, ""); !errors.Is(err, tc.want) {
			t.Errorf("%s with %q: %v, want %v", tc.path, tc.passphrase, err, tc.want)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 3 {
		t.Errorf("left %v, %v", list, err)
	}
	// An empty folder, such as the mount of a volume, is filled in place.
	mount := t.TempDir()
	if os.Geteuid() == 0 { // as whose it is
		if err := os.Chown(mount, 12345, 12346); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(mount, ".restore-killed", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(ctx, whole, "p", mount, ""); err != nil {
		t.Error(err)
	}
	for name, there := range map[string]bool{store.FileName: true, "secrets.key": true, "console-password": true, "endpoint.json": false, ".restore-killed": false} {
		if _, err := os.Stat(filepath.Join(mount, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	if info, err := os.Stat(filepath.Join(mount, "secrets.key")); err != nil || os.Geteuid() == 0 && info.Sys().(*syscall.Stat_t).Uid != 12345 {
		t.Errorf("owner of secrets.key: %+v %v", info.Sys(), err)
	}
}

// TestScheduledBackup has a server make one by itself, and /metrics tell.
func TestScheduledBackup(t *testing.T) {
	t.Parallel()
	dir := ""
	f := start(t, func(c *server.Config) { dir = filepath.Join(c.Data, "backups"); c.BackupDir = dir })
	metrics := func() string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", f.Ready.HTTPPort))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		return b.String()
	}
	eventually(t, "a backup is made", func() bool { return strings.Contains(metrics(), "berth_backup_successes_total 1\n") })
	if m := metrics(); strings.Contains(m, "berth_backup_last_success_timestamp_seconds 0\n") {
		t.Error("no time of the last backup")
	}
	list, _ := filepath.Glob(filepath.Join(dir, "berth-*.tar.gz"))
	if len(list) != 1 {
		t.Fatal(list)
	}
	if _, err := backup.Verify(t.Context(), list[0], "", ""); err != nil {
		t.Error(err)
	}
	for _, out := range []string{filepath.Join(dir, "by-hand"), filepath.Join(t.TempDir(), "elsewhere")} {
		m, err := backup.Create(t.Context(), f.cfg.Source(), out, backup.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range m.Files {
			if strings.Contains(file.Name, filepath.Base(list[0])) {
				t.Errorf("%s has the backup %s", out, file.Name)
			}
		}
	}
}

// TestBackupKilled kills backups at many moments: what has the name of a backup is a whole one.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) { c.Database = "" })
	for i := range 200 {
		f.api("POST", fmt.Sprintf("/things/t%d", i), map[string]string{}, nil)
	}
	dir := t.TempDir()
	made, began := 0, time.Now()
	backupProcess(t, f.cfg, filepath.Join(dir, "first")).Wait()
	took := time.Since(began)
	for i := range 12 {
		path := filepath.Join(dir, fmt.Sprint("b", i))
		cmd := backupProcess(t, f.cfg, path)
		time.Sleep(took * time.Duration(i+1) / 12) // the moment is the point of the test
		cmd.Process.Kill()
		cmd.Wait()
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		made++
		if _, err := backup.Verify(t.Context(), path, "", ""); err != nil {
			t.Errorf("kill %d: %v", i, err)
		}
	}
	if _, err := backup.Verify(t.Context(), filepath.Join(dir, "first"), "", ""); err != nil {
		t.Error(err)
	}
	if _, err := backup.Create(t.Context(), f.cfg.Source(), filepath.Join(dir, "last"), backup.Options{}); err != nil {
		t.Error("after kills:", err)
	}
	t.Logf("12 kills within %v, %d backups were whole", took, made)
}
