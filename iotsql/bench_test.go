package iotsql

import (
	"testing"
	"time"
)

// Three typical rules. b.ReportAllocs and the time per operation are what the package promises:
// at least 300,000 evaluations a second on one core for the first.

const telemetry = `{"deviceId":"kettle-0042","temperature":31.5,"humidity":46,"pressure":1013.25,"battery":{"mv":3712,"pct":81},"firmware":"1.4.2","uptime":86411,"rssi":-67,"flags":["ok","cal"],"ts":1760000000123,"seq":48211}`

const delta = `{"state":{"power":"on","target":72.5,"schedule":{"from":"06:30","to":"22:00"}},"metadata":{"power":{"timestamp":1760000000},"target":{"timestamp":1760000000},"schedule":{"from":{"timestamp":1760000000},"to":{"timestamp":1760000000}}},"version":41,"timestamp":1760000001,"clientToken":"app-7"}`

func bench(b *testing.B, sql, topic, payload string, fresh bool) {
	b.Helper()
	q, err := Parse(sql, V2016)
	if err != nil {
		b.Fatal(err)
	}
	ctx := &Context{Topic: topic, ClientID: "kettle-0042", Time: time.UnixMilli(1760000000000)}
	data := []byte(payload)
	m := NewMessage(ctx, data)
	var out []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if fresh {
			m.Reset(ctx, data)
		}
		r, err := q.Eval(m, out[:0])
		if err != nil || !r.Matched {
			b.Fatal(r, err)
		}
		out = r.JSON
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "evals/s")
}

const (
	selectWhere = `SELECT temperature, topic(2) AS dev FROM 'dt/+/+' WHERE temperature > 30`
	withObject  = `SELECT {'id': upper(deviceId), 'c': (temperature - 32) * 5 / 9, 'pct': battery.pct, 'ok': get(flags, 0)} AS reading, timestamp() AS ts, clientid() AS client FROM 'dt/+/+' WHERE startswith(deviceId, 'kettle')`
	withCase    = `SELECT CASE state.power WHEN 'on' THEN 1 WHEN 'off' THEN 0 ELSE -1 END AS power, state.target AS target, state.schedule.from AS since, topic(3) AS thing, version FROM '$aws/things/+/shadow/update/delta' WHERE state.power = 'on' AND version > 40`
)

func BenchmarkSelectWhere(b *testing.B) { bench(b, selectWhere, "dt/kettle-0042/raw", telemetry, true) }
func BenchmarkSelectStar(b *testing.B) {
	bench(b, `SELECT * FROM 'dt/#'`, "dt/kettle-0042/raw", telemetry, true)
}
func BenchmarkStarAnd(b *testing.B) {
	bench(b, `SELECT *, topic(2) AS dev, timestamp() AS at FROM 'dt/#'`, "dt/kettle-0042/raw", telemetry, true)
}
func BenchmarkNestedObject(b *testing.B) { bench(b, withObject, "dt/kettle-0042/raw", telemetry, true) }
func BenchmarkShadowDelta(b *testing.B) {
	bench(b, withCase, "$aws/things/kettle-0042/shadow/update/delta", delta, true)
}

// BenchmarkSharedMessage is a further query on a message that another one has looked at.
func BenchmarkSharedMessage(b *testing.B) {
	bench(b, selectWhere, "dt/kettle-0042/raw", telemetry, false)
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(withCase, V2016); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	q, err := Parse(selectWhere, V2016)
	if err != nil {
		b.Fatal(err)
	}
	t, err := q.Template("alerts/${topic(2)}/${temperature}")
	if err != nil {
		b.Fatal(err)
	}
	ctx := &Context{Topic: "dt/kettle-0042/raw"}
	m := NewMessage(ctx, []byte(telemetry))
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		m.Reset(ctx, []byte(telemetry))
		if out, err = t.Eval(m, out[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAllocations holds the promise that plain rules do not allocate.
func TestAllocations(t *testing.T) {
	for _, sql := range []string{selectWhere, `SELECT * FROM 'dt/#'`, `SELECT *, topic(2) AS dev, timestamp() AS at FROM 'dt/#'`} {
		q, err := Parse(sql, V2016)
		if err != nil {
			t.Fatal(err)
		}
		ctx := &Context{Topic: "dt/kettle-0042/raw", Time: time.UnixMilli(1)}
		data := []byte(telemetry)
		m := NewMessage(ctx, data)
		out := make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() {
			m.Reset(ctx, data)
			if r, err := q.Eval(m, out); err != nil || !r.Matched {
				t.Fatal(r, err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", sql, n)
		}
	}
}
