//go:build unix

package broker

import "syscall"

// canTry says that sockets can be read and written without waiting.
const canTry = true

func readFD(fd uintptr, p []byte) (int, error)  { return syscall.Read(int(fd), p) }
func writeFD(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
