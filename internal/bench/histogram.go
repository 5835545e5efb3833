package bench

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets whose width is at most 1/32 of their value.
type histogram struct {
	counts [1920]uint32
	total  int
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

// bucket is the value itself below 64, and then 32 buckets for each power of two.
func bucket(v uint64) int {
	if v < 64 {
		return int(v)
	}
	shift := bits.Len64(v) - 6
	return shift*32 + int(v>>shift)
}

// lower is the least value of a bucket.
func lower(i int) uint64 {
	if i < 64 {
		return uint64(i)
	}
	shift := i/32 - 1
	return uint64(i-shift*32) << shift
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// quantile is the least duration that a share q of all does not exceed, in microseconds, 0 without
// any.
func (h *histogram) quantile(q float64) float64 {
	rest := min(int(q*float64(h.total)), h.total-1)
	if h.total == 0 {
		return 0
	}
	for i, n := range h.counts {
		if rest -= int(n); rest < 0 {
			return float64(lower(i)) / 1000
		}
	}
	return 0
}
