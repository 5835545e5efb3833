package fleetindex

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Statistics sum up the values of a field. Only Count is there for strings and for no values.
type Statistics struct {
	Count        int64    `json:"count"`
	Average      *float64 `json:"average,omitempty"`
	Sum          *float64 `json:"sum,omitempty"`
	Minimum      *float64 `json:"minimum,omitempty"`
	Maximum      *float64 `json:"maximum,omitempty"`
	SumOfSquares *float64 `json:"sumOfSquares,omitempty"`
	Variance     *float64 `json:"variance,omitempty"` // of the values as a whole population
	StdDeviation *float64 `json:"stdDeviation,omitempty"`
}

// Percentile is a value that a share of the values does not exceed.
type Percentile struct {
	Percent float64 `json:"percent"`
	Value   float64 `json:"value"`
}

// Bucket is a value and the number of things that have it.
type Bucket struct {
	Key   string `json:"keyValue"`
	Count int64  `json:"count"`
}

// Limits of aggregations (AWS IoT API reference).
const (
	maxPercents    = 100
	MaxBuckets     = 10000
	DefaultBuckets = 10
)

// sample is the values of a field in the rows that a query found.
type sample struct {
	kind    string    // type of the field
	rows    int64     // found by the query
	having  int64     // of them, with a value
	numbers []float64 // of a Number, or of a Boolean as 0 and 1
	texts   []string  // of each row once
}

// take collects the values of a field. A value that is not of the field's type does not count.
func (s *sample) take(rows []*row, p *plan) {
	s.rows = int64(len(rows))
	var own []string
	for _, r := range rows {
		own = own[:0]
		if !p.none {
			p.values(r, func(v value) bool {
				text := v.text
				switch s.kind {
				case Number:
					if v.kind != numberValue {
						return true
					}
					s.numbers = append(s.numbers, v.number)
					text = strconv.FormatFloat(v.number, 'f', -1, 64)
				case Boolean:
					n := 0.0
					if text = fold(text); text == "true" {
						n = 1
					} else if text != "false" {
						return true
					}
					s.numbers = append(s.numbers, n)
				}
				if !slices.Contains(own, text) {
					own = append(own, text)
				}
				return true
			})
		}
		if len(own) > 0 {
			s.having++
			s.texts = append(s.texts, own...)
		}
	}
}

func (s *sample) statistics() Statistics {
	st := Statistics{Count: s.having}
	if len(s.numbers) == 0 {
		return st
	}
	low, high := math.Inf(1), math.Inf(-1)
	var sum, squares float64
	for _, n := range s.numbers {
		sum += n
		squares += n * n
		low, high = min(low, n), max(high, n)
	}
	count := float64(len(s.numbers))
	average := sum / count
	variance := 0.0
	for _, n := range s.numbers {
		variance += (n - average) * (n - average)
	}
	variance /= count
	deviation := math.Sqrt(variance)
	for _, n := range []float64{sum, squares, average, variance} {
		if math.IsInf(n, 0) || math.IsNaN(n) {
			return st // beyond the range of a double the statistics are empty
		}
	}
	st.Average, st.Sum, st.Minimum, st.Maximum = &average, &sum, &low, &high
	st.SumOfSquares, st.Variance, st.StdDeviation = &squares, &variance, &deviation
	return st
}

func (s *sample) cardinality() int64 {
	seen := make(map[string]struct{})
	for _, t := range s.texts {
		seen[t] = struct{}{}
	}
	return int64(len(seen))
}

// percentiles interpolates between the values next to each rank.
func (s *sample) percentiles(percents []float64) []Percentile {
	list := []Percentile{}
	if len(s.numbers) == 0 {
		return list
	}
	slices.Sort(s.numbers)
	percents = slices.Compact(slices.Sorted(slices.Values(percents)))
	for _, p := range percents {
		rank := p / 100 * float64(len(s.numbers)-1)
		i := int(rank)
		v := s.numbers[i]
		if i+1 < len(s.numbers) {
			v += (s.numbers[i+1] - v) * (rank - float64(i))
		}
		list = append(list, Percentile{p, v})
	}
	return list
}

// buckets lists the most frequent values, the most frequent first, equally frequent ones by value.
func (s *sample) buckets(n int) []Bucket {
	counts := make(map[string]int64)
	for _, t := range s.texts {
		counts[t]++
	}
	list := make([]Bucket, 0, len(counts))
	for key, count := range counts {
		list = append(list, Bucket{key, count})
	}
	slices.SortFunc(list, func(a, b Bucket) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Key, b.Key))
	})
	return list[:min(n, len(list))]
}
