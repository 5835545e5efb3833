package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-iot/berth/internal/backup"
)

// Backups adds the counters of scheduled backups.
func (m *Metrics) Backups(s *backup.Schedule) {
	gauge := func(name, help string, value func(backup.Stats) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "berth_backup_" + name, Help: help}, func() float64 { return value(s.Stats()) }))
	}
	counter := func(name, help string, value func(backup.Stats) float64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "berth_backup_" + name, Help: help}, func() float64 { return value(s.Stats()) }))
	}
	gauge("last_success_timestamp_seconds", "When the last backup in the folder was made, in seconds since 1970; 0 for none.", func(v backup.Stats) float64 {
		if v.Last.IsZero() {
			return 0
		}
		return float64(v.Last.Unix())
	})
	gauge("last_size_bytes", "Size of the last backup.", func(v backup.Stats) float64 { return float64(v.LastBytes) })
	gauge("last_duration_seconds", "Time to make and verify the last backup.", func(v backup.Stats) float64 { return v.LastTook.Seconds() })
	counter("successes_total", "Backups made and verified.", func(v backup.Stats) float64 { return float64(v.Made) })
	counter("failures_total", "Backups that failed.", func(v backup.Stats) float64 { return float64(v.Failed) })
}
