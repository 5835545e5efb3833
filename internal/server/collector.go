package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/berth-iot/berth/internal/session"
)

const (
	busyMessages = 20_000   // a second, from which a server is busy
	busyHeap     = 96 << 20 // bytes that a busy server's heap may grow to before it is collected

	// loadingPercent is GOGC while sessions and retained messages are read at the start. Nearly all of that stays:
	// a heap of a gigabyte would be gone through a dozen times on the way there.
	loadingPercent = 400
)

// collectSeldom lets the heap grow by loadingPercent until collectLoop begins.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(loadingPercent)
	}
}

// collectLoop lets the heap of a busy server grow to busyHeap before it is collected: with little that
// lives, Go would collect a dozen times a second. A server that is not busy keeps its memory small, from when
// all its state is in memory; what reading that took returns to the system. GOGC in the environment turns this
// off.
func collectLoop(ctx context.Context, sessions *session.Sessions, loaded func() bool) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	last, percent := sessions.Counts().MessagesReceived, 100
	debug.SetGCPercent(percent)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		received := sessions.Counts().MessagesReceived
		messages := received - last
		last = received
		if loaded != nil {
			if !loaded() {
				continue
			}
			loaded = nil
			debug.FreeOSMemory()
		}
		metrics.Read(live)
		if want := collectPercent(messages, live[0].Value.Uint64()); want != percent {
			percent = want
			debug.SetGCPercent(percent)
		}
	}
}

// collectPercent is GOGC for a server that took so many messages in the last second and has so many bytes
// in use. It has few values, as each change stops the world.
func collectPercent(messages, liveBytes uint64) int {
	if messages < busyMessages {
		return 100
	}
	for percent := 800; percent > 100; percent /= 2 {
		if liveBytes*uint64(100+percent)/100 <= busyHeap {
			return percent
		}
	}
	return 100
}
