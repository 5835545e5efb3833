// Command scaling computes what fleets of 1, 10 and 100 million devices take, from what single things were
// measured to cost; docs/scaling.md has its table and the sources of the figures.
//
//	go run ./test/scaling
package main

import (
	"fmt"
	"io"
	"math"
	"os"
)

// costs are measured; docs/performance.md and docs/cluster.md say how.
type costs struct {
	telemetryCPU  float64 // µs of a sparse QoS 1 message over mutual TLS, with a rule that writes it on
	connectCPU    float64 // µs of a full handshake with look-up and policies
	connection    float64 // KiB of an idle connection over mutual TLS
	session       float64 // KiB of a persistent session with a subscription, on every node
	filter        float64 // bytes of one announced filter of another node
	announce      float64 // bytes of announcing it
	shadowRate    float64 // durable shadow updates a second that PostgreSQL takes
	inboxRate     float64 // rows a second to lasting sessions of other nodes
	connectRate   float64 // connects a second of the whole cluster: three commits each
	coresPerNode  float64
	memoryPerNode float64 // GiB for berth
	useful        float64 // part of CPU and memory that is planned with
}

// load is what one device does.
type load struct {
	telemetry float64 // a second
	shadows   float64
	commands  float64
	connects  float64
	filters   float64
}

var measured = costs{telemetryCPU: 15.75 + 2.2, connectCPU: 1265, connection: 12, session: 4.5, filter: 280, announce: 28,
	shadowRate: 22_700, inboxRate: 21_500, connectRate: 1100, coresPerNode: 8, memoryPerNode: 32, useful: 0.6}

// A telemetry message a minute, a shadow update every ten minutes, a command an hour, two connects a day.
var usual = load{telemetry: 1. / 60, shadows: 1. / 600, commands: 1. / 3600, connects: 2. / 86400, filters: 2}

// plan is what a number of devices takes in one cluster.
type plan struct {
	devices, nodes                                        float64
	telemetry, shadows, commands, connects                float64 // a second
	cores, perNode, everywhere, announced, postgres, fill float64 // cores in all; GiB of connections and of what all nodes hold; filters; writes a second; s to connect a lost node's devices
}

func compute(devices float64, c costs, l load) plan {
	p := plan{devices: devices, telemetry: devices * l.telemetry, shadows: devices * l.shadows, commands: devices * l.commands, connects: devices * l.connects}
	p.cores = (p.telemetry*c.telemetryCPU + p.connects*c.connectCPU) / 1e6
	p.everywhere = devices * c.session / (1 << 20)
	for p.nodes = 3; ; p.nodes++ { // one may be away
		rest := p.nodes - 1
		p.perNode = devices / rest * c.connection / (1 << 20)
		p.announced = devices * l.filters * (p.nodes - 1) / p.nodes
		if p.cores/rest <= c.coresPerNode*c.useful && p.perNode <= c.memoryPerNode*c.useful {
			break
		}
	}
	p.everywhere += p.announced * c.filter / (1 << 30)
	p.postgres = p.shadows + 2*p.commands*(p.nodes-1)/p.nodes + 3*p.connects
	p.fill = devices / p.nodes / c.connectRate
	return p
}

func main() { write(os.Stdout) }

func write(out io.Writer) {
	fmt.Fprintln(out, "| devices | messages/s | shadow updates/s | nodes | cores used, all | GiB a node: connections | GiB a node: sessions and interest | filters of others | NATS messages/s | PostgreSQL writes/s | a node lost: its devices are back after |")
	fmt.Fprintln(out, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, n := range []float64{1e6, 1e7, 1e8} {
		p := compute(n, measured, usual)
		fmt.Fprintf(out, "| %s | %s | %s | %.0f | %.1f | %.1f | %.1f | %s | %s | %s | %s |\n", number(n), number(p.telemetry), number(p.shadows), p.nodes, p.cores, p.perNode, p.everywhere,
			number(p.announced), number(p.commands+2*p.connects), number(p.postgres), duration(p.fill))
	}
}

func number(f float64) string {
	switch {
	case f >= 1e6:
		return fmt.Sprintf("%.3g million", f/1e6)
	case f >= 1e4:
		return fmt.Sprintf("%.0f,%03.0f", math.Floor(f/1000), math.Floor(math.Mod(f, 1000)/100)*100)
	}
	return fmt.Sprintf("%.0f", f)
}

func duration(s float64) string {
	switch {
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	case s < 7200:
		return fmt.Sprintf("%.0f min", s/60)
	}
	return fmt.Sprintf("%.1f h", s/3600)
}
