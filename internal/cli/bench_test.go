package cli

import (
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/bench"
)

func TestBenchJobs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		b    benchmark
		name string
		want string
	}{
		{benchmark{}, "pairs", "pairs0"},
		{benchmark{qos: []int{0, 1}}, "pairs", "pairs0 pairs1"},
		{benchmark{}, "sparse", "sparse1"},
		{benchmark{qos: []int{0}}, "sparse", "sparse0"},
		{benchmark{qos: []int{1}}, "connect", "connect0"},
		{benchmark{}, "all", "connect0 sparse1 fan-in0 fan-in1 fan-out0 fan-out1 pairs0 pairs1"}, // idle needs a process
		{benchmark{pid: 1, qos: []int{1}}, "all", "idle0 connect0 sparse1 fan-in1 fan-out1 pairs1"},
		{benchmark{targets: []string{"a=plain://h:1,pid=1", "b=plain://h:2"}, qos: []int{1}}, "all", "connect0 sparse1 fan-in1 fan-out1 pairs1"},
	} {
		jobs, err := test.b.jobs(test.name)
		var got []string
		for _, j := range jobs {
			got = append(got, j.scenario+string('0'+j.qos))
		}
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s of %+v: %v, %v, want %s", test.name, test.b, got, err, test.want)
		}
	}
}

func TestBenchTargets(t *testing.T) {
	t.Parallel()
	cert, key, ca := "testdata/header/lamp.cert.pem", "testdata/header/lamp.private.key", "testdata/header/ca.pem"
	b := benchmark{tls: "1.2", targets: []string{
		"mosquitto=plain://127.0.0.1:1883,pid=12",
		"berth=tls://localhost:8883,cafile=" + ca + ",cert=" + cert + ",key=" + key,
	}}
	list, err := b.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if list[0].Name != "mosquitto" || list[0].Address != "127.0.0.1:1883" || list[0].PID != 12 || list[0].TLS != nil {
		t.Errorf("first is %+v", list[0])
	}
	if c := list[1].TLS; c == nil || len(c.Certificates) != 1 || c.RootCAs == nil || c.ServerName != "localhost" || c.ClientSessionCache != nil {
		t.Errorf("second is %+v", list[1])
	}
}

func TestBenchRatios(t *testing.T) {
	t.Parallel()
	tab := benchTable([]bench.Result{
		{Scenario: "pairs", Target: "a", ServerCPU: 10}, {Scenario: "pairs", Target: "b", ServerCPU: 2.5},
		{Scenario: "idle", Target: "a", MemoryKiB: 4}, {Scenario: "idle", Target: "b", MemoryKiB: 1},
	}, 2)
	var got []string
	for _, row := range tab.rows {
		got = append(got, row[7]+" "+row[9])
	}
	if want := "1.000 -|0.250 -|- 1.000|- 0.250"; strings.Join(got, "|") != want {
		t.Errorf("ratios are %q, want %q", strings.Join(got, "|"), want)
	}
}
