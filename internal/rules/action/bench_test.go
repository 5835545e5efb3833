package action

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// deliver carries messages out as a lane does: four calls at once, of as many messages as are given.
func deliver(b *testing.B, s *Services, a Batcher, size int) {
	var wait sync.WaitGroup
	lanes := make(chan int)
	for range 4 {
		wait.Go(func() {
			for begin := range lanes {
				list := make([]Delivery, min(size, b.N-begin))
				for i := range list {
					list[i] = Delivery{a, message(fmt.Sprint(b.N, "-", begin+i), fmt.Sprintf(`{"temperature":%d.5,"humidity":55.1,"battery":3100,"door":true}`, i%40))}
				}
				for _, err := range a.DoBatch(b.Context(), s, list) {
					if err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	for i := 0; i < b.N; i += size {
		lanes <- i
	}
	close(lanes)
	wait.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkPostgres(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			s := connected(b, ConnectionConfig{})
			a := &Postgres{URL: cluster.Database(b), Table: "r", IDColumn: "id", TimeColumn: "at", CreateTable: true}
			b.ResetTimer()
			deliver(b, s, a, size)
		})
	}
}

func BenchmarkKafka(b *testing.B) {
	for _, size := range []int{1, 100, 500} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "readings"))
			if err != nil {
				b.Fatal(err)
			}
			defer broker.Close()
			s := connected(b, ConnectionConfig{})
			a := &Kafka{Topic: "readings", ClientProperties: map[string]string{"bootstrap.servers": strings.Join(broker.ListenAddrs(), ",")}}
			b.ResetTimer()
			deliver(b, s, a, size)
		})
	}
}

func BenchmarkFile(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			deliver(b, connected(b, ConnectionConfig{Files: b.TempDir()}), &File{Path: "r.ndjson"}, size)
		})
	}
}
