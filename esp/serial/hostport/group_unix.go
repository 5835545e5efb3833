//go:build unix

package hostport

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// groupOf returns the group of a device, or nothing if it would not help.
func groupOf(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Gid == 0 {
		return ""
	}
	group, err := user.LookupGroupId(strconv.Itoa(int(stat.Gid)))
	if err != nil {
		return ""
	}
	return group.Name
}
