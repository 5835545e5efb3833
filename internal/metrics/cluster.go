package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-iot/berth/internal/cluster"
)

// Cluster adds what is known of a cluster.
func (m *Metrics) Cluster(n *cluster.Node, i *cluster.Interest) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	is := func(yes bool) float64 {
		if yes {
			return 1
		}
		return 0
	}
	gauge("berth_cluster_nodes", "Nodes of the cluster, as this one sees it.", func() float64 { return float64(len(n.Peers())) })
	gauge("berth_cluster_alive", "1 while this node may act for its clients.", func() float64 { return is(n.Alive()) })
	gauge("berth_cluster_leader", "1 on the node that does what is done once.", func() float64 { return is(n.Leader()) })
	gauge("berth_cluster_nats_connected", "1 while NATS can be reached.", func() float64 { return is(n.Bus().Connected()) })
	gauge("berth_cluster_lease_remaining_seconds", "Time until other nodes may declare this one dead.", func() float64 { return n.Remaining().Seconds() })
	gauge("berth_cluster_applied_change", "Number of the last change of other nodes that this one has heard of.", func() float64 { return float64(n.Applied()) })
	gauge("berth_cluster_announced_filters", "Filters that this node announces to others.", func() float64 { own, _ := i.Filters(); return float64(own) })
	gauge("berth_cluster_known_filters", "Filters that other nodes have announced to this one.", func() float64 { _, others := i.Filters(); return float64(others) })
}
