package rules

import (
	"slices"
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of the intervals that times from the message to the delivery are
// counted in, in seconds; the last interval is open.
func LatencyBounds() []float64 { return slices.Clone(latencyBounds[:]) }

var latencyBounds = [...]float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400}

// latency counts times.
type latency struct {
	counts [len(latencyBounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (l *latency) observe(d time.Duration) {
	d = max(d, 0)
	i, _ := slices.BinarySearch(latencyBounds[:], d.Seconds())
	l.counts[i].Add(1)
	l.sum.Add(int64(d))
}

// Latency is how long deliveries took, from the evaluation of the rule until the destination had them.
type Latency struct {
	Count   uint64   `json:"count"`
	Sum     float64  `json:"sumSeconds"`
	P50     float64  `json:"p50Seconds"` // within the interval of LatencyBounds, interpolated
	P99     float64  `json:"p99Seconds"`
	Buckets []uint64 `json:"buckets"` // by LatencyBounds, not added up
}

func (l *latency) read() Latency {
	v := Latency{Sum: time.Duration(l.sum.Load()).Seconds(), Buckets: make([]uint64, len(l.counts))}
	for i := range l.counts {
		v.Buckets[i] = l.counts[i].Load()
		v.Count += v.Buckets[i]
	}
	v.P50, v.P99 = v.quantile(0.5), v.quantile(0.99)
	return v
}

func (l *latency) restore(v Latency) {
	if len(v.Buckets) != len(l.counts) {
		return
	}
	for i, n := range v.Buckets {
		l.counts[i].Store(n)
	}
	l.sum.Store(int64(v.Sum * 1e9))
}

func (v *Latency) quantile(q float64) float64 {
	rank, before := q*float64(v.Count), 0.0
	for i, n := range v.Buckets {
		if n == 0 || before+float64(n) < rank {
			before += float64(n)
			continue
		}
		if i == len(latencyBounds) {
			return latencyBounds[i-1]
		}
		low := 0.0
		if i > 0 {
			low = latencyBounds[i-1]
		}
		return low + (latencyBounds[i]-low)*(rank-before)/float64(n)
	}
	return 0
}
