package fleetindex

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
)

// fleet fills a table with things that have four attributes, two groups, a shadow of eight values and
// a connection.
func fleet(t testing.TB, n int) *table {
	t.Helper()
	tab := newTable(false)
	w := writer{dictionary: tab.dictionary}
	var reader shadow.Reader
	for i := range n {
		name := fmt.Sprintf("device-%06d", i)
		r := tab.row(name)
		r.parts[partRegistry] = w.thing(&registry.Thing{Name: name, ID: "1b4e28ba-2fa1-11d2-883f-0016d3cca427", Type: "sensor", Version: 3, Attributes: map[string]string{
			"model": fmt.Sprint("esp32-s", i%7), "serial": fmt.Sprint(1000000 + i), "site": fmt.Sprint("site-", i%1000), "hw": "1.2"}}, []string{fmt.Sprint("group-", i%100), "all"})
		f, err := w.shadow(&reader, "", &shadow.Document{Live: true, Version: int64(i), State: fmt.Sprintf(
			`{"desired":{"interval":60,"led":true},"reported":{"interval":60,"led":%v,"temperature":%.1f,"battery":%d,"firmware":"1.%d.0","wifi":{"rssi":-%d}}}`,
			i%10 > 0, float64(i%600)/10, i%101, i%20, 30+i%60)})
		if err != nil {
			t.Fatal(err)
		}
		r.parts[partShadow] = f
		r.connection = connection{known: true, connected: i%5 > 0, timestamp: 1700000000000 + int64(i), version: 4, reason: "CONNECTION_LOST"}
		r.parts[partLive] = w.connection(r.connection)
	}
	tab.settle()
	return tab
}

// BenchmarkSearch searches a hundred thousand things: what it takes to find the first page of 100, or
// all.
func BenchmarkSearch(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tab := fleet(b, 100_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	perThing := float64(after.HeapAlloc-before.HeapAlloc) / 100_000
	for _, c := range []struct {
		name, query, after string
		limit              int
	}{
		{"name", "thingName:device-099999", "", 101},
		{"exact, all", "attributes.site:site-500", "", -1},
		{"wildcard", "attributes.serial:10999*", "", 101},
		{"range", "shadow.reported.temperature>59.8", "", 101},
		{"range, all", "shadow.reported.temperature:[10 TO 20] AND connectivity.connected:true", "", -1},
		{"any field", "site-500", "", 101},
		{"any field, wildcard", "zzz*", "", 101},
		{"seven terms", "attributes.model:esp32-s1 AND attributes.hw:1.2 AND thingTypeName:sensor AND thingGroupNames:all AND shadow.reported.led:true AND shadow.reported.battery>99 AND connectivity.connected:true", "", -1},
		{"page in the middle", "connectivity.connected:true", "device-050000", 101},
		{"last page", "connectivity.connected:true", "device-099900", 101},
	} {
		b.Run(c.name, func(b *testing.B) {
			q, err := Parse(c.query)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for b.Loop() {
				tab.read()
				n = len(tab.match(tab.plan(q, everything()), c.after, c.limit))
				tab.mu.RUnlock()
			}
			b.ReportMetric(float64(n), "found")
			b.ReportMetric(perThing, "B/thing")
		})
	}
}

// BenchmarkShadowChange is what a changed shadow costs the indexing goroutine.
func BenchmarkShadowChange(b *testing.B) {
	tab := fleet(b, 1000)
	w := writer{dictionary: tab.dictionary}
	var reader shadow.Reader
	d := &shadow.Document{Live: true, Version: 5, State: `{"desired":{"interval":60,"led":true},"reported":{"interval":60,"led":false,"temperature":21.5,"battery":80,"firmware":"1.2.0","wifi":{"rssi":-50}}}`}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.shadow(&reader, "", d); err != nil {
			b.Fatal(err)
		}
	}
}
