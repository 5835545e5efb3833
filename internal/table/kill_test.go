package table

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

const killChild = "BERTH_TEST_TABLE_CHILD"

// TestMain is also the child that TestKill kills: it prints the number of every insert that is done.
func TestMain(m *testing.M) {
	dir := os.Getenv(killChild)
	if dir == "" {
		code := m.Run()
		cluster.Stop()
		os.Exit(code)
	}
	tables, err := Open(context.Background(), dir, Config{})
	if err != nil {
		panic(err)
	}
	begin, _ := strconv.Atoi(os.Getenv(killChild + "_FROM"))
	for i := begin; ; i++ {
		rows := make([]Row, 10)
		for k := range rows {
			rows[k] = Row{Time: int64(i + 1), Thing: fmt.Sprintf("t%d", k), ID: strconv.Itoa(i), Measures: Measures{{"n", Number(float64(i))}}}
		}
		if err := tables.Submit(context.Background(), "k", rows, func(err error) {
			if err == nil {
				fmt.Println(i)
			}
		}); err != nil {
			panic(err)
		}
	}
}

// TestKill kills a writer again and again: what it was told to be on disk is there, whole, and the
// counts that are kept beside the rows are right.
func TestKill(t *testing.T) {
	t.Parallel()
	dir, next := t.TempDir(), 0
	for round := range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), killChild+"="+dir, killChild+"_FROM="+strconv.Itoa(next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last, lines := -1, bufio.NewScanner(out)
		for lines.Scan() {
			if last, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if last >= next+300*(round+1) {
				cmd.Process.Kill()
				break
			}
		}
		for lines.Scan() {
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				last = n
			}
		}
		cmd.Wait()
		tables := open(t, dir)
		info, _, err := tables.Describe("k")
		if err != nil {
			t.Fatal(err)
		}
		var rows int64
		err = tables.Rows(t.Context(), Query{Table: "k"}, func(Row) bool { rows++; return true })
		if err != nil || rows != info.Rows || rows%10 != 0 || rows < int64(last+1)*10 {
			t.Fatalf("round %d: %d rows, %d counted, %d acknowledged: %v", round, rows, info.Rows, (last+1)*10, err)
		}
		next = last + 1
		tables.Close()
	}
}

// TestCopy copies the files in the middle of writing, as a power cut would leave them.
func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tables := open(t, dir)
	var acknowledged int
	for i := range 40 {
		insert(t, tables, "r", row(int64(i), "x", 1), row(int64(i), "y", 1))
		acknowledged = i
	}
	other := t.TempDir()
	for _, name := range []string{FileName, FileName + "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(other, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := open(t, other).List()
	if len(list) != 1 || list[0].Rows != int64(2*acknowledged+2) {
		t.Errorf("%+v", list)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}
