package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-iot/berth/internal/table"
)

// Tables registers the metrics of the tables for readings.
func (m *Metrics) Tables(t *table.Tables) {
	c := &tableMetrics{tables: t}
	add := func(name, help string, kind prometheus.ValueType, value func(table.Stats) float64) {
		c.list = append(c.list, tableMetric{prometheus.NewDesc("berth_table_"+name, help, nil, nil), kind, value})
	}
	add("tables", "Tables for readings.", prometheus.GaugeValue, func(s table.Stats) float64 { return float64(s.Tables) })
	add("things", "Things in all tables.", prometheus.GaugeValue, func(s table.Stats) float64 { return float64(s.Things) })
	add("rows", "Rows kept in all tables.", prometheus.GaugeValue, func(s table.Stats) float64 { return float64(s.Rows) })
	add("bytes", "Bytes of the rows kept.", prometheus.GaugeValue, func(s table.Stats) float64 { return float64(s.Bytes) })
	add("file_bytes", "Size of readings.db.", prometheus.GaugeValue, func(s table.Stats) float64 { return float64(s.FileBytes) })
	add("queued_rows", "Rows waiting for a commit.", prometheus.GaugeValue, func(s table.Stats) float64 { return float64(s.QueuedRows) })
	add("queued_bytes", "Memory of the rows waiting for a commit.", prometheus.GaugeValue, func(s table.Stats) float64 { return float64(s.QueuedBytes) })
	add("inserted_rows_total", "Rows written.", prometheus.CounterValue, func(s table.Stats) float64 { return float64(s.Inserted) })
	add("duplicate_rows_total", "Rows that were there already.", prometheus.CounterValue, func(s table.Stats) float64 { return float64(s.Duplicates) })
	add("deleted_rows_total", "Rows deleted, by retention or by hand.", prometheus.CounterValue, func(s table.Stats) float64 { return float64(s.Deleted) })
	add("commits_total", "Transactions committed.", prometheus.CounterValue, func(s table.Stats) float64 { return float64(s.Commits) })
	add("failures_total", "Transactions that could not be committed.", prometheus.CounterValue, func(s table.Stats) float64 { return float64(s.Failed) })
	m.registry.MustRegister(c)
}

// tableMetrics collects all numbers of the tables from one look at them.
type tableMetrics struct {
	tables *table.Tables
	list   []tableMetric
}

type tableMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(table.Stats) float64
}

// Describe implements prometheus.Collector.
func (c *tableMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.list {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *tableMetrics) Collect(ch chan<- prometheus.Metric) {
	s := c.tables.Stats()
	for _, m := range c.list {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s))
	}
}
