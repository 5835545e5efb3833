package defender

import (
	"net/netip"
	"slices"
	"strings"
)

// Behavior is what is expected of things: the metric's value satisfies the criteria.
type Behavior struct {
	Name      string           `json:"name"`
	Metric    string           `json:"metric,omitempty"`
	Dimension *MetricDimension `json:"metricDimension,omitempty"`
	Criteria  *Criteria        `json:"criteria,omitempty"`
	Suppress  *bool            `json:"suppressAlerts,omitempty"`
	Export    *bool            `json:"exportMetric,omitempty"`
}

// MetricDimension narrows a metric of the cloud side.
type MetricDimension struct {
	Name     string `json:"dimensionName"`
	Operator string `json:"operator,omitempty"`
}

// Criteria says what a value is compared with. Statistical and machine-learning criteria are stored
// only.
type Criteria struct {
	Operator    string       `json:"comparisonOperator,omitempty"`
	Value       *Value       `json:"value,omitempty"`
	Duration    int          `json:"durationSeconds,omitempty"`
	ToAlarm     int          `json:"consecutiveDatapointsToAlarm,omitempty"`
	ToClear     int          `json:"consecutiveDatapointsToClear,omitempty"`
	Statistical *Statistical `json:"statisticalThreshold,omitempty"`
	ML          *Confidence  `json:"mlDetectionConfig,omitempty"`
}

// Statistical is a threshold from the fleet's past.
type Statistical struct {
	Statistic string `json:"statistic,omitempty"`
}

// Confidence is that of a model.
type Confidence struct {
	Level string `json:"confidenceLevel"`
}

// Kinds of criteria.
const (
	Static          = "STATIC"
	statisticalKind = "STATISTICAL"
	mlKind          = "MACHINE_LEARNING"
)

// Kind is one of STATIC, STATISTICAL and MACHINE_LEARNING.
func (c *Criteria) Kind() string {
	switch {
	case c != nil && c.ML != nil:
		return mlKind
	case c != nil && c.Statistical != nil:
		return statisticalKind
	}
	return Static
}

// deltas are the metrics whose reports add up over a duration.
var deltas = []string{"aws:all-bytes-in", "aws:all-bytes-out", "aws:all-packets-in", "aws:all-packets-out"}

// deviceMetrics and cloudMetrics are AWS's own.
var (
	deviceMetrics = append([]string{"aws:num-listening-tcp-ports", "aws:num-listening-udp-ports", "aws:listening-tcp-ports", "aws:listening-udp-ports",
		"aws:num-established-tcp-connections", "aws:destination-ip-addresses"}, deltas...)
	cloudMetrics = []string{"aws:message-byte-size", "aws:num-messages-received", "aws:num-messages-sent", "aws:num-authorization-failures",
		"aws:num-connection-attempts", "aws:num-disconnects", "aws:disconnect-duration", "aws:source-ip-address"}
	durations = []int{300, 600, 900, 1800, 3600}
)

// Check returns what is wrong with a behaviour.
func (b *Behavior) Check() error {
	if err := checkName("behavior name", b.Name); err != nil {
		return err
	}
	if b.Metric == "" {
		return invalid("behavior %s has no metric", b.Name)
	}
	if strings.HasPrefix(b.Metric, "aws:") && !slices.Contains(deviceMetrics, b.Metric) && !slices.Contains(cloudMetrics, b.Metric) {
		return invalid("behavior %s: there is no metric %s", b.Name, b.Metric)
	}
	if err := checkName("metric", b.Metric); err != nil {
		return err
	}
	c := b.Criteria
	if c == nil {
		return nil
	}
	for _, n := range []int{c.ToAlarm, c.ToClear} {
		if n < 0 || n > 10 {
			return invalid("behavior %s: %d consecutive datapoints are not from 1 to 10", b.Name, n)
		}
	}
	if c.Duration != 0 && !slices.Contains(durations, c.Duration) {
		return invalid("behavior %s: durationSeconds is %d, not one of %v", b.Name, c.Duration, durations)
	}
	if c.Kind() != Static {
		return nil
	}
	v := c.Value
	if v == nil {
		return invalid("behavior %s: the criteria have no value", b.Name)
	}
	ok := false
	switch c.Operator {
	case "less-than", "less-than-equals", "greater-than", "greater-than-equals":
		ok = v.Count != nil && *v.Count >= 0 || v.Number != nil
	case "in-cidr-set", "not-in-cidr-set":
		ok = v.CIDRs != nil
		if ok {
			for _, s := range *v.CIDRs {
				if _, err := prefix(s); err != nil {
					return invalid("behavior %s: %q is not a CIDR", b.Name, s)
				}
			}
		}
	case "in-port-set", "not-in-port-set":
		ok = v.Ports != nil && !slices.ContainsFunc(*v.Ports, func(p int) bool { return p < 0 || p > 65535 })
	case "in-set", "not-in-set":
		ok = v.Numbers != nil || v.Strings != nil
	default:
		return invalid("behavior %s: there is no operator %q", b.Name, c.Operator)
	}
	if !ok {
		return invalid("behavior %s: the value does not fit the operator %s", b.Name, c.Operator)
	}
	return nil
}

// prefix reads a CIDR or one address.
func prefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// Holds reports whether a value is as the criteria expect; judged is false for a value of a kind that
// the operator is not for.
func (c *Criteria) Holds(v Value) (holds, judged bool) {
	if c == nil || c.Value == nil || c.Kind() != Static {
		return true, false
	}
	want := c.Value
	limit, have := want.scalar(), v.scalar()
	if limit != nil && have != nil {
		switch c.Operator {
		case "less-than":
			return *have < *limit, true
		case "less-than-equals":
			return *have <= *limit, true
		case "greater-than":
			return *have > *limit, true
		case "greater-than-equals":
			return *have >= *limit, true
		}
	}
	inside := !strings.HasPrefix(c.Operator, "not-")
	switch strings.TrimPrefix(c.Operator, "not-") {
	case "in-cidr-set":
		if want.CIDRs == nil || v.CIDRs == nil {
			return true, false
		}
		var nets []netip.Prefix
		for _, s := range *want.CIDRs {
			if p, err := prefix(s); err == nil {
				nets = append(nets, p)
			}
		}
		return all(*v.CIDRs, inside, func(s string) bool {
			addr, err := netip.ParseAddr(s)
			return err == nil && slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(addr) })
		}), true
	case "in-port-set":
		if want.Ports == nil || v.Ports == nil {
			return true, false
		}
		return all(*v.Ports, inside, func(p int) bool { return slices.Contains(*want.Ports, p) }), true
	case "in-set":
		switch {
		case want.Numbers != nil && v.Numbers != nil:
			return all(*v.Numbers, inside, func(n float64) bool { return slices.Contains(*want.Numbers, n) }), true
		case want.Strings != nil && v.Strings != nil:
			return all(*v.Strings, inside, func(s string) bool { return slices.Contains(*want.Strings, s) }), true
		}
	}
	return true, false
}

func all[T any](list []T, inside bool, in func(T) bool) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return in(v) != inside })
}

func (v *Value) scalar() *float64 {
	if v.Count != nil {
		n := float64(*v.Count)
		return &n
	}
	return v.Number
}

// Streak counts datapoints of one behaviour of one thing.
type Streak struct{ Bad, Good int }

// Outcome is what a datapoint leads to.
type Outcome uint8

// Outcomes.
const (
	Nothing Outcome = iota
	InAlarm         // a violation begins
	Still           // it goes on
	Cleared         // it ends
)

// After counts a datapoint: a violation begins after ToAlarm bad ones in a row and ends after ToClear
// good ones; 0 is 1.
func (s Streak) After(holds, active bool, c *Criteria) (Streak, Outcome) {
	if holds {
		s = Streak{Good: min(s.Good+1, 10)}
		if active && s.Good >= max(1, c.ToClear) {
			return s, Cleared
		}
		return s, Nothing
	}
	s = Streak{Bad: min(s.Bad+1, 10)}
	switch {
	case active:
		return s, Still
	case s.Bad >= max(1, c.ToAlarm):
		return s, InAlarm
	}
	return s, Nothing
}
