// Command postgres runs a command with a PostgreSQL of its own, which tests use instead of SQLite:
//
//	go run ./test/postgres go test ./internal/...
//
// PostgreSQL must be installed; its data lie in a temporary folder and are removed.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/store/storetest"
)

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "postgres:", err)
	}
	os.Exit(status)
}

func run(command []string) (status int, err error) {
	if len(command) == 0 {
		return 2, errors.New("name a command to run")
	}
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM) // the command ends, then PostgreSQL
	var cluster postgrestest.Cluster
	defer cluster.Stop()
	url, err := cluster.Open()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), storetest.Variable+"="+url)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return max(1, exit.ExitCode()), nil
		}
		return 1, err
	}
	return 0, nil
}
