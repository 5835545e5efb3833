// Package metrics is the /metrics page in the format of Prometheus.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/broker"
	"github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/provisioning"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store"
)

// Metrics collects the server's numbers when it is asked for them.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

// New registers the metrics of every part.
func New(s *session.Sessions, b *broker.Broker, r *router.Router, shadows *shadow.Service, devices *provisioning.Service, index *fleetindex.Service, db *store.DB) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "berth_api_request_seconds", Help: "Time to answer a REST request.",
		Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3},
	}, []string{"operation", "status"})
	m.registry.MustRegister(m.requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	counter := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
	}
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	counts := func(pick func(session.Counts) uint64) func() float64 {
		return func() float64 { return float64(pick(s.Counts())) }
	}
	counter("berth_connections_accepted_total", "Network connections accepted.", func() float64 { return float64(b.Counters().Accepted.Load()) })
	counter("berth_connections_surplus_total", "Network connections closed at once because too many files are open.", func() float64 { return float64(b.Counters().Surplus.Load()) })
	counter("berth_handshakes_failed_total", "TLS handshakes that failed.", func() float64 { return float64(b.Counters().HandshakesFailed.Load()) })
	counter("berth_connects_total", "MQTT connections that were tried.", counts(func(c session.Counts) uint64 { return c.ConnectsTried }))
	counter("berth_connects_refused_total", "CONNECT packets that were refused.", counts(func(c session.Counts) uint64 { return c.ConnectsRefused }))
	counter("berth_connects_broken_total", "Connections without a usable CONNECT packet.", counts(func(c session.Counts) uint64 { return c.ConnectsBroken }))
	counter("berth_messages_received_total", "PUBLISH packets from clients.", counts(func(c session.Counts) uint64 { return c.MessagesReceived }))
	counter("berth_messages_sent_total", "PUBLISH packets to clients.", counts(func(c session.Counts) uint64 { return c.MessagesSent }))
	counter("berth_messages_dropped_total", "Messages that a client or its queue could not take.", counts(func(c session.Counts) uint64 { return c.MessagesDropped }))
	counter("berth_messages_not_received_total", "Deliveries that iot:Receive did not allow.", counts(func(c session.Counts) uint64 { return c.NotReceived }))
	counter("berth_denied_total", "Requests denied by policy.", counts(func(c session.Counts) uint64 { return c.Denied }))
	counter("berth_refused_total", "Requests refused for breaking the protocol or a limit.", counts(func(c session.Counts) uint64 { return c.Refused }))
	counter("berth_pings_total", "PINGREQ packets.", counts(func(c session.Counts) uint64 { return c.Pings }))
	counter("berth_wills_total", "Will messages published.", counts(func(c session.Counts) uint64 { return c.Wills }))
	counter("berth_throttled_total", "Times that a rate made a client wait or refused its connect.", counts(func(c session.Counts) uint64 { return c.Throttled }))
	counter("berth_handshakes_dropped_total", "Connections closed because too many waited for their TLS handshake.", func() float64 { return float64(b.Counters().HandshakesDropped.Load()) })
	counter("berth_handshakes_resumed_total", "TLS handshakes that resumed a session.", func() float64 { return float64(b.Counters().Resumed.Load()) })
	gauge("berth_handshakes", "TLS handshakes under way.", func() float64 { n, _ := b.HandshakesNow(); return float64(n) })
	gauge("berth_handshakes_waiting", "Connections that wait for their TLS handshake to begin.", func() float64 { _, n := b.HandshakesNow(); return float64(n) })
	gauge("berth_connections", "MQTT clients connected now.", func() float64 { return float64(s.Counts().ConnectedNow) })
	gauge("berth_sessions", "Sessions, connected or not.", func() float64 { return float64(s.Counts().SessionsNow) })
	gauge("berth_subscriptions", "Subscriptions.", func() float64 { return float64(r.Subscriptions()) })
	gauge("berth_retained_messages", "Retained messages.", func() float64 { return float64(r.RetainedCount()) })
	gauge("berth_retained_bytes", "Bytes of the topics and payloads of retained messages.", func() float64 { return float64(r.RetainedBytes()) })
	counter("berth_retained_refused_total", "Messages that there was no room to retain.", func() float64 { return float64(r.RetainedRefused()) })
	counter("berth_shadow_requests_accepted_total", "Shadow requests that were carried out.", func() float64 { return float64(shadows.Counts().Accepted) })
	counter("berth_shadow_requests_rejected_total", "Shadow requests that were refused.", func() float64 { return float64(shadows.Counts().Rejected) })
	counter("berth_provisioning_requests_accepted_total", "Provisioning requests over MQTT that were carried out.", func() float64 { return float64(devices.Counts().Accepted) })
	counter("berth_provisioning_requests_rejected_total", "Provisioning requests over MQTT that were refused.", func() float64 { return float64(devices.Counts().Rejected) })
	counter("berth_provisioning_requests_dropped_total", "Provisioning requests over MQTT that found no room to wait.", func() float64 { return float64(devices.Counts().Dropped) })
	counter("berth_provisioning_just_in_time_total", "Devices with a certificate of a registered CA that were provisioned as they connected.", func() float64 { return float64(devices.Counts().JustInTime) })
	counter("berth_shadow_requests_dropped_total", "Shadow requests that found no room to wait.", func() float64 { return float64(shadows.Counts().Dropped) })
	counter("berth_store_commits_total", "Transactions committed.", func() float64 { return float64(db.Stats().Commits) })
	counter("berth_store_operations_total", "Operations in committed transactions.", func() float64 { return float64(db.Stats().Operations) })
	counter("berth_store_failures_total", "Transactions that could not be committed.", func() float64 { return float64(db.Stats().Failures) })
	counter("berth_store_outages_total", "Times that the database went away.", func() float64 { return float64(db.Stats().Outages) })
	gauge("berth_store_available", "1 while the database can be reached.", func() float64 {
		if db.Available() != nil {
			return 0
		}
		return 1
	})
	gauge("berth_store_queued_operations", "Operations waiting for a commit.", func() float64 { return float64(db.Stats().Queued) })
	counter("berth_dynamic_groups_refused_total", "Times that a thing could not be kept in a dynamic thing group, being in too many groups.", func() float64 { return float64(index.Refused()) })
	m.registry.MustRegister(&fleetMetrics{index, prometheus.NewDesc("berth_fleet_metric", "Last value of a fleet metric.", []string{"metric", "value", "unit"}, nil)})
	return m
}

// fleetMetrics collects what the fleet metrics of the index gave last.
type fleetMetrics struct {
	index *fleetindex.Service
	desc  *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (f *fleetMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

// Collect implements prometheus.Collector.
func (f *fleetMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range f.index.Samples() {
		ch <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, s.Number, s.Metric, s.Value, s.Unit)
	}
}

// Request counts an answered REST request.
func (m *Metrics) Request(op *awsapi.Operation, status int, took time.Duration) {
	name := "unknown"
	if op != nil {
		name = op.Name
	}
	m.requests.WithLabelValues(name, strconv.Itoa(status)).Observe(took.Seconds())
}

// Handler serves the page.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
