package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-iot/berth/internal/rules"
)

// Rules adds the counters of rules.
func (m *Metrics) Rules(s *rules.Service) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("berth_rule_"+name+"_total", help, []string{"rule"}, nil)
	}
	m.registry.MustRegister(&ruleMetrics{s,
		prometheus.NewDesc("berth_rules_action_seconds", "Time from the evaluation of a rule until its action was carried out.", []string{"rule", "action"}, nil),
		prometheus.NewDesc("berth_rules_action_failed_total", "Actions of a rule that failed for good, by kind.", []string{"rule", "action"}, nil),
		[]ruleMetric{
			{desc("matched", "Messages whose topic a rule's FROM matches."), func(v *rules.Stats) uint64 { return v.Matched }},
			{desc("where_false", "Of them, messages that WHERE stopped."), func(v *rules.Stats) uint64 { return v.WhereFalse }},
			{desc("failed", "Evaluations and actions of a rule that failed for good."), func(v *rules.Stats) uint64 { return v.Failed }},
			{desc("retried", "Tries of actions that failed and are made again."), func(v *rules.Stats) uint64 { return v.Retried }},
			{desc("dropped", "Actions that found no room to wait, or of QoS 0 that failed."), func(v *rules.Stats) uint64 { return v.Dropped }},
			{desc("delivered", "Actions that were carried out."), func(v *rules.Stats) uint64 { return v.Delivered }},
		}})
}

type ruleMetric struct {
	desc  *prometheus.Desc
	value func(v *rules.Stats) uint64
}

// ruleMetrics collects the counters of every rule.
type ruleMetrics struct {
	rules           *rules.Service
	seconds, failed *prometheus.Desc
	list            []ruleMetric
}

// Describe implements prometheus.Collector.
func (m *ruleMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.seconds
	ch <- m.failed
	for _, x := range m.list {
		ch <- x.desc
	}
}

// Collect implements prometheus.Collector.
func (m *ruleMetrics) Collect(ch chan<- prometheus.Metric) {
	bounds := rules.LatencyBounds()
	for _, v := range m.rules.AllStats() {
		for _, a := range v.Actions {
			ch <- prometheus.MustNewConstMetric(m.failed, prometheus.CounterValue, float64(a.Failed), v.Rule, a.Action)
			below, buckets := uint64(0), make(map[float64]uint64, len(bounds))
			for i, bound := range bounds {
				below += a.Latency.Buckets[i]
				buckets[bound] = below
			}
			ch <- prometheus.MustNewConstHistogram(m.seconds, a.Latency.Count, a.Latency.Sum, buckets, v.Rule, a.Action)
		}
		for _, x := range m.list {
			ch <- prometheus.MustNewConstMetric(x.desc, prometheus.CounterValue, float64(x.value(&v)), v.Rule)
		}
	}
}
