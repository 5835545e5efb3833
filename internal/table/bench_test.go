package table

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"
)

// benchRows are readings of a fleet, one row of four measures per thing and second.
func benchRows(begin, n, things int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		k := begin + i
		rows[i] = Row{Time: 1_700_000_000_000 + int64(k/things)*1000 + int64(k%things)%997, Thing: fmt.Sprintf("sensor-%05d", k%things), Measures: Measures{
			{"temperature", Number(math.Round(2000+500*math.Sin(float64(k)/1e5)+float64(k*7919%100)) / 100)},
			{"humidity", Number(float64(300+k*104729%400) / 10)},
			{"battery", Number(float64(3000 + k%700))},
			{"door", Bool(k%5 == 0)}}}
	}
	return rows
}

// BenchmarkInsert writes rows of four measures in inserts of 500, pipelined.
func BenchmarkInsert(b *testing.B) {
	for _, where := range []string{"SQLite", "PostgreSQL"} {
		for _, things := range []int{1, 1000, 10000} {
			b.Run(fmt.Sprintf("%s/things=%d", where, things), func(b *testing.B) {
				tables := open(b, home(b, where))
				b.ResetTimer()
				fill(b, tables, b.N, things)
				s := tables.Stats()
				b.ReportMetric(float64(s.Rows)/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64(s.Bytes)/float64(s.Rows), "B/row")
				b.ReportMetric(float64(s.Rows)/float64(s.Commits), "rows/commit")
			})
		}
	}
}

// home is an empty directory, or the URL of an empty database.
func home(b *testing.B, where string) string {
	if where == "PostgreSQL" {
		return cluster.Database(b)
	}
	return b.TempDir()
}

func fill(b *testing.B, tables *Tables, n, things int) {
	var wait sync.WaitGroup
	for i := 0; i < n; i += 500 {
		wait.Add(1)
		err := tables.Submit(context.Background(), "bench", benchRows(i, min(500, n-i), things), func(err error) {
			if err != nil {
				b.Error(err)
			}
			wait.Done()
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	wait.Wait()
}

// BenchmarkQuery reads 2.5 million rows, ten million readings, of a thousand things.
func BenchmarkQuery(b *testing.B) {
	if testing.Short() {
		b.Skip("fills a large table")
	}
	for _, where := range []string{"SQLite", "PostgreSQL"} {
		for _, things := range []int{1000, 10000} {
			b.Run(fmt.Sprintf("%s/things=%d", where, things), func(b *testing.B) { benchmarkQuery(b, home(b, where), things) })
		}
	}
}

func benchmarkQuery(b *testing.B, dir string, things int) {
	const rows = 2_500_000
	tables := open(b, dir)
	begin := time.Now()
	fill(b, tables, rows, things)
	took := time.Since(begin)
	tables.Close() // so that the file has everything
	begin = time.Now()
	tables = open(b, dir)
	opened := time.Since(begin)
	s := tables.Stats()
	b.Logf("%d rows in %v, opened in %v; file %d bytes, %.1f per row and %.1f per reading; counted %.1f per row", s.Rows, took.Round(time.Millisecond), opened.Round(time.Millisecond),
		s.FileBytes, float64(s.FileBytes)/rows, float64(s.FileBytes)/rows/4, float64(s.Bytes)/rows)
	end := int64(1_700_000_000_000 + rows/things*1000)
	one := []string{"sensor-00500"}
	for _, c := range []struct {
		name string
		q    Query
	}{
		{"thing, all rows", Query{Things: one, Limit: MaxRows}},
		{"thing, last 100", Query{Things: one, Limit: 100, Descending: true}},
		{"thing, 1m avg of one measure", Query{Things: one, Measures: []string{"temperature"}, Every: time.Minute}},
		{"all things, last minute", Query{From: end - 60_000, Limit: MaxRows}},
		{"all things, 100 ms", Query{From: end - 1000, To: end - 900, Limit: MaxRows}},
		{"all things, 1 s", Query{From: end - 1000, Limit: MaxRows}},
		{"all things, newest 100", Query{Limit: 100, Descending: true}},
		{"all things, 10m avg of last 10m", Query{From: end - 600_000, Every: 10 * time.Minute, Limit: MaxRows}},
		{"all things, 1h avg of everything", Query{Every: time.Hour, Limit: MaxRows}},
	} {
		c.q.Table = "bench"
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				p, err := tables.Query(b.Context(), c.q)
				if err != nil || len(p.Rows)+len(p.Samples) == 0 {
					b.Fatal(len(p.Rows), len(p.Samples), err)
				}
			}
		})
	}
}
