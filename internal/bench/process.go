package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on
// (proc(5), sysconf(_SC_CLK_TCK)).
const tick = 10 * time.Millisecond

// CPUTime is the user and system time that a process has used, exited threads included.
func CPUTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("read the server's CPU time: %w", err)
	}
	d, err := parseStat(b)
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	return d, nil
}

// parseStat adds utime and stime, fields 14 and 15. The command's name, field 2, may hold blanks
// and parentheses, so fields are counted from the last parenthesis.
func parseStat(b []byte) (time.Duration, error) {
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("%d fields after the name", len(fields))
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * tick, err
}

// ResidentKiB is the memory of a process that is in RAM.
func ResidentKiB(pid int) (float64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("read the server's memory: %w", err)
	}
	return parseStatus(b)
}

func parseStatus(b []byte) (float64, error) {
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kib, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
			return strconv.ParseFloat(string(kib), 64)
		}
	}
	return 0, fmt.Errorf("no VmRSS in the status of the process")
}
