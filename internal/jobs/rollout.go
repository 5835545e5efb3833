package jobs

import (
	"math"
	"time"
)

// defaultPerMinute is the rate of a job that names none (AWS IoT developer guide, "Job rollout,
// scheduling, and abort configurations").
const defaultPerMinute = 1000

// Rollout says how many things hear of a job per minute. The zero value is the default rate.
type Rollout struct {
	MaximumPerMinute *int64       `json:"maximumPerMinute,omitempty"` // at least 1; default 1000
	Exponential      *Exponential `json:"exponentialRate,omitempty"`
}

// Exponential is a rate that grows with success.
type Exponential struct {
	BaseRatePerMinute int64    `json:"baseRatePerMinute"`
	IncrementFactor   float64  `json:"incrementFactor"`
	Increase          Increase `json:"rateIncreaseCriteria"`
}

// Increase is after how many things the rate grows: again at every multiple.
type Increase struct {
	NotifiedThings  int64 `json:"numberOfNotifiedThings,omitempty"`
	SucceededThings int64 `json:"numberOfSucceededThings,omitempty"`
}

// Check returns what is wrong.
func (r *Rollout) Check() error {
	if r == nil {
		return nil
	}
	if n := r.MaximumPerMinute; n != nil && *n < 1 {
		return invalid("maximumPerMinute is %d, not at least 1", *n)
	}
	e := r.Exponential
	if e == nil {
		return nil
	}
	switch {
	case e.BaseRatePerMinute < 1 || e.BaseRatePerMinute > 1000:
		return invalid("baseRatePerMinute is %d, not from 1 to 1000", e.BaseRatePerMinute)
	case !(e.IncrementFactor >= 1.1 && e.IncrementFactor <= 5):
		return invalid("incrementFactor is %v, not from 1.1 to 5", e.IncrementFactor)
	case e.Increase.NotifiedThings < 0 || e.Increase.SucceededThings < 0,
		(e.Increase.NotifiedThings > 0) == (e.Increase.SucceededThings > 0):
		return invalid("rateIncreaseCriteria needs one of numberOfNotifiedThings and numberOfSucceededThings, at least 1")
	}
	return nil
}

// Rate is the number of things per minute when so many have been notified and so many have
// succeeded.
func (r *Rollout) Rate(notified, succeeded int64) int64 {
	limit := int64(defaultPerMinute)
	if r == nil {
		return limit
	}
	if r.MaximumPerMinute != nil {
		limit = *r.MaximumPerMinute
	}
	e := r.Exponential
	if e == nil {
		return limit
	}
	steps := int64(0)
	if n := e.Increase.NotifiedThings; n > 0 {
		steps = notified / n
	} else if n := e.Increase.SucceededThings; n > 0 {
		steps = succeeded / n
	}
	rate := float64(e.BaseRatePerMinute) * math.Pow(e.IncrementFactor, float64(min(steps, 64)))
	if rate >= float64(limit) {
		return limit
	}
	return max(1, int64(rate))
}

// Window is the minute in which a job rolls out now, and how many things have heard of it in that
// minute.
type Window struct {
	Start time.Time
	Count int64
}

// Allow returns how many more things may be notified now at a rate per minute, in which window, and
// when there will be more if there are none.
func (w Window) Allow(rate int64, now time.Time) (n int64, in Window, next time.Time) {
	if w.Start.IsZero() || now.Sub(w.Start) >= time.Minute || now.Before(w.Start) {
		w = Window{Start: now}
	}
	return max(0, rate-w.Count), w, w.Start.Add(time.Minute)
}
