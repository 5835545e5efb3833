package session

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/bench"
	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
)

// BenchmarkOpen starts sessions and router over many persistent sessions, each with a subscription, and
// as many retained messages. cpu-s/op is the processor time of a start, the collector's and the database's with it.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ctx, log := context.Background(), slog.New(slog.DiscardHandler)
			db, err := store.Open(ctx, b.TempDir(), log)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			open := func() *Sessions {
				r, err := router.New(ctx, AWS().Topics, db)
				if err != nil {
					b.Fatal(err)
				}
				a, err := Open(ctx, Config{Limits: AWS(), Router: r, Store: db, Authority: byGrant{}, Denials: denial.NewLog(10), Log: log})
				if err != nil {
					b.Fatal(err)
				}
				if err := r.Loaded(); err != nil {
					b.Fatal(err)
				}
				return a
			}
			open().Close(ctx)
			now := time.Now().UnixMilli()
			for i := 0; i < n; i += 1000 {
				var sessions, subscriptions, retained [][]any
				for k := i; k < i+1000; k++ {
					id := fmt.Sprint("device-", k)
					sessions = append(sessions, []any{id, 3600, now})
					subscriptions = append(subscriptions, []any{id, "device/" + id + "/command", 1, false, false, 0})
					retained = append(retained, []any{"device/" + id + "/state", []byte(`{"on":true,"since":1700000000}`), 1, []byte{}, int64(0), now})
				}
				db.Put(sessionTable, sessions, nil)
				db.Put(subscriptionTable, subscriptions, nil)
				db.Put(&store.Table{Name: "retained_message", Key: 1,
					Columns: []string{"topic", "payload", "qos", "properties", "expires_at", "modified_at"}}, retained, nil)
			}
			if err := db.Flush(ctx); err != nil {
				b.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			busy, _ := bench.CPUTime(os.Getpid()) // 0 where there is no /proc
			spent := time.Duration(0)
			for b.Loop() {
				a := open()
				b.StopTimer()
				now, _ := bench.CPUTime(os.Getpid())
				spent += now - busy
				runtime.GC()
				if a.Counts().SessionsNow != n || a.router.RetainedCount() != n {
					b.Fatalf("%d sessions, %d retained messages, want %d", a.Counts().SessionsNow, a.router.RetainedCount(), n)
				}
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/session+retained")
				a.Close(ctx)
				a = nil
				runtime.GC()
				busy, _ = bench.CPUTime(os.Getpid())
				b.StartTimer()
			}
			b.ReportMetric(spent.Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}
