//go:build !unix

package broker

import "errors"

// canTry is false where sockets cannot be read and written without waiting: connections are then
// served by goroutines that block.
const canTry = false

func readFD(uintptr, []byte) (int, error)  { return 0, errors.ErrUnsupported }
func writeFD(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

// openFiles is how many files this process may open; 0 if that is not known.
func openFiles() int { return 0 }
