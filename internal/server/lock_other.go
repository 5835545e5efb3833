//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package server

import "os"

func lockFile(*os.File) error { return nil }
