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
	m.registry.MustRegister(&ruleMetrics{s, []ruleMetric{
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
	rules *rules.Service
	list  []ruleMetric
}

// Describe implements prometheus.Collector.
func (m *ruleMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, x := range m.list {
		ch <- x.desc
	}
}

// Collect implements prometheus.Collector.
func (m *ruleMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, v := range m.rules.AllStats() {
		for _, x := range m.list {
			ch <- prometheus.MustNewConstMetric(x.desc, prometheus.CounterValue, float64(x.value(&v)), v.Rule)
		}
	}
}
