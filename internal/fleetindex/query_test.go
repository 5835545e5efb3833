package fleetindex

import (
	"errors"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
)

// example is a table with one thing.
func example(t testing.TB) *table {
	t.Helper()
	tab := newTable(false)
	w := writer{dictionary: tab.dictionary}
	r := tab.row("Lamp1")
	r.parts[partRegistry] = w.thing(&registry.Thing{Name: "Lamp1", ID: "id-1", Type: "Bulb", Version: 7, Attributes: map[string]string{
		"model": "X-100", "serial": "abce", "temp": "75", "loose": "007", "mac": "aa:bb", "neg": "-5", "dotted.key": "v"}}, []string{"Kitchen", "House"})
	r.parts[partDynamic] = w.dynamicGroups([]string{"Warm"})
	docs := map[string]*shadow.Document{
		"": {Live: true, Version: 3, State: `{"desired":{"power":true,"one":{"two":{"three":"v2"}},"same":1},"reported":{"power":false,"location":"New  York City",` +
			`"stats":{"battery":78.5},"myvalues":[1,2,3],"palette":[{"a":1},2],"text":"12","uni":"Ärger","big":1e3,"same":1.0,"empty":""}}`},
		"cfg":   {Live: true, Version: 9, State: `{"desired":{"mode":"eco"}}`},
		"other": {Live: true, Version: 1, State: `{"reported":{"hidden":"yes"}}`},
	}
	for name, d := range docs {
		f, err := w.shadow(new(shadow.Reader), name, d)
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			r.parts[partShadow] = f
		} else {
			r.setNamed(name, f)
		}
	}
	r.parts[partLive] = w.connection(connection{known: true, connected: false, timestamp: 1700000000000, version: 2, reason: "CONNECTION_LOST"})
	r.parts[partDefender] = w.violations(2)
	return tab
}

func everything() *view {
	return &view{shadow: true, live: true, defender: true, named: map[string]bool{"cfg": true}}
}

func matches(t testing.TB, tab *table, v *view, query string) bool {
	t.Helper()
	q, err := Parse(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	tab.read()
	defer tab.mu.RUnlock()
	return len(tab.match(tab.plan(q, v), "", -1)) == 1
}

func TestQueries(t *testing.T) {
	t.Parallel()
	tab := example(t)
	for query, want := range map[string]bool{
		// terms, words and phrases
		`*`: true, `lamp1`: true, `thingName:Lamp1`: true, `thingName:LAMP1`: true, `thingname:Lamp1`: false, `nothing`: false,
		`thingName : Lamp1`: true, `bulb`: true, `thingTypeName:bulb`: true, `registry.thingTypeName:bulb`: true,
		`attributes.model:x-100`: true, `attributes.model:x`: false, `attributes.none:x`: false, `attributes.dotted.key:v`: true,
		`shadow.reported.location:york`: true, `shadow.reported.location:new\ york`: true, `shadow.reported.location:"york city"`: true,
		`shadow.reported.location:"city york"`: false, `shadow.reported.location:(new city)`: true, `shadow.reported.location:yor`: false,
		`"new york"`: true, `shadow.reported.uni:ÄRGER`: true, `shadow.reported.empty:""`: true, `shadow.reported.location:""`: false,
		`attributes.mac:aa\:bb`: true, `attributes.mac:"aa:bb"`: true, `id-1`: true, `v2`: true, `eco`: true, `yes`: false,
		`thingGroupNames:kitchen`: true, `registry.thingGroupNames:house`: true, `thingGroupNames:warm`: true, `thingGroupNames:cold`: false,
		// wildcards
		`thingName:lam*`: true, `thingName:lamp?`: true, `thingName:lam?`: false, `attributes.model:x*0`: true, `attributes.model:x*1`: false,
		`thingName:*`: true, `attributes.none:*`: false, `thingName:lam\*`: false, `thingName:"lam*"`: false, `shadow.reported.location:y*k`: true,
		`attributes.serial:a?c?`: true, `attributes.temp:7*`: true, `shadow.reported.uni:ä*r`: true, `ki*`: true,
		// numbers
		`attributes.temp:75`: true, `attributes.temp:75.0`: true, `attributes.temp:7.5e1`: true, `attributes.temp:"75"`: true, `attributes.temp:"75.0"`: false,
		`attributes.temp:76`: false, `attributes.loose:007`: true, `attributes.loose:7`: false, `attributes.neg:-5`: true, `attributes.neg<-4`: true,
		`shadow.reported.text:12`: true, `shadow.reported.text>11`: false, `shadow.reported.text>"11"`: true, `shadow.reported.big:1000`: true,
		// comparisons and ranges
		`attributes.temp<76`: true, `attributes.temp<75`: false, `attributes.temp<=75`: true, `attributes.temp>75`: false, `attributes.temp >= 75`: true,
		`attributes.temp:>74`: true, `attributes.temp:[75 TO 80]`: true, `attributes.temp:{75 TO 80]`: false, `attributes.temp:[70 TO 75}`: false,
		`attributes.temp:{70 TO 75]`: true, `attributes.temp:[76 TO *]`: false, `attributes.temp:[* TO 75]`: true, `attributes.temp:[* TO *]`: true,
		`attributes.serial:["abcd" TO "abcf"]`: true, `attributes.serial:{"abce" TO "abcf"]`: false, `attributes.serial:["ABCD" TO "ABCF"]`: true,
		`attributes.serial:[abcd TO abcf]`: true, `attributes.serial:[1 TO 9]`: false, `shadow.reported.stats.battery:[78 TO 79]`: true,
		`attributes.neg:[-10 TO 0]`: true, `connectivity.timestamp : [1600000000000 TO 1800000000000]`: true, `connectivity.timestamp > 1800000000000`: false,
		// boolean operators
		`lamp1 bulb`: true, `lamp1 AND nothing`: false, `lamp1 nothing`: false, `nothing OR lamp1`: true, `NOT nothing`: true, `NOT lamp1`: false,
		`-nothing`: true, `lamp1 -bulb`: false, `lamp1 NOT bulb`: false, `lamp1 AND NOT nothing`: true, `NOT NOT lamp1`: true,
		`nothing AND nothing OR lamp1`: true, `lamp1 OR nothing AND nothing`: true, `(lamp1 OR nothing) AND nothing`: false,
		`lamp1 and bulb`:                     false, // in lower case it is a word
		`thingName:(lam* AND -plasma)`:       true,
		`thingName:(lam* -lamp1)`:            false,
		`attributes.serial:(x OR abce)`:      true,
		`attributes.serial:(attributes.x:1)`: false,
		`attributes.model:(NOT legacy)`:      true,
		`NOT attributes.model:legacy`:        true,
		`attributes.model:x-100 AND attributes.temp<80 NOT attributes.neg>10`: true,
		// shadows
		`shadow.desired.power:true`: true, `shadow.reported.power:true`: false, `shadow.reported.power:FALSE`: true, `shadow.desired.one.two.three:v2`: true,
		`shadow.delta.power:true`: true, `shadow.delta.one.two.three:v2`: true, `shadow.delta.same:*`: false, `shadow.hasDelta:true`: true, `shadow.version:3`: true,
		`shadow.reported.myvalues:2`: true, `shadow.reported.myvalues:4`: false, `shadow.reported.myvalues>2`: true, `shadow.reported.palette:*`: false,
		`shadow.reported.location:* NOT shadow.desired.stats.battery:*`: true,
		`shadow.name.cfg.desired.mode:ECO`:                              true, `shadow.name.cfg.hasDelta:true`: true, `shadow.name.cfg.version:9`: true, `shadow.name.other.reported.hidden:yes`: false,
		// connectivity and violations
		`connectivity.connected:false`: true, `connectivity.connected:true`: false, `connectivity.connected:*`: true, `connectivity.disconnectReason:connection_lost`: true,
		`deviceDefender.violationCount:[0 TO 100]`: true, `deviceDefender.violationCount>2`: false,
		// versions, times and connectivity are not found without a field
		`registry.version:7`: true, `7`: false, `9`: false, `1700000000000`: false, `CONNECTION_LOST`: false, `75`: true, `2`: true,
	} {
		if got := matches(t, tab, everything(), query); got != want {
			t.Errorf("%s: %v", query, got)
		}
	}
}

func TestSourcesOff(t *testing.T) {
	t.Parallel()
	tab := example(t)
	for _, query := range []string{`york`, `v2`, `eco`, `shadow.desired.power:true`, `shadow.name.cfg.desired.mode:eco`, `connectivity.connected:false`, `deviceDefender.violationCount:2`} {
		if matches(t, tab, new(view), query) {
			t.Errorf("%s is found", query)
		}
	}
	if !matches(t, tab, new(view), "thingName:lamp1") {
		t.Error("the registry is not found")
	}
	if matches(t, tab, &view{static: true}, "thingGroupNames:warm") || !matches(t, tab, &view{static: true}, "thingGroupNames:kitchen") {
		t.Error("static groups")
	}
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]int{
		``: 0, `   `: 3, `(a`: 0, `a)`: 1, `a AND`: 5, `OR a`: 0, `a OR`: 4, `NOT`: 3, `-`: 1, `()`: 1, `a:`: 2, `:a`: 0, `a:b:c`: 3,
		`*a`: 0, `?a`: 0, `f:*a`: 2, `f*:a`: 0, `f:[1 TO`: 7, `f:[1 2]`: 5, `f:[1 TO 2`: 2, `f:[ TO 2]`: 4, `f:[a* TO b]`: 3, `f:"a`: 2, `f:"a\`: 2,
		`a\`: 1, `a~`: 1, `"a"~2`: 3, `a^2`: 1, `<5`: 0, `f<`: 2, `f<*`: 1, `a b c d e f g h`: 14, `f:TO`: 2, "\xff": 0,
		strings.Repeat("a", MaxQueryBytes+1): MaxQueryBytes,
	} {
		_, err := Parse(query)
		var q *QueryError
		if !errors.As(err, &q) {
			t.Errorf("%s: %v", query, err)
		} else if q.Offset != want {
			t.Errorf("%s: at offset %d: %v", query, q.Offset, err)
		}
	}
	for _, query := range []string{`a b c d e f g`, strings.Repeat("a", MaxQueryBytes), strings.Repeat("(", 499) + "a" + strings.Repeat(")", 499)} {
		if _, err := Parse(query); err != nil {
			t.Errorf("%.20s: %v", query, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`*`, `thingName:my*`, `attributes.a:[75 TO 80}`, `a:(b OR -c) NOT d<5`, `"a b" AND c\:d`, `x>=-1.5e3`, `shadow.reported.x:{"a" TO "b"]`,
		`(((a)))`, `a ? *`, `NOT NOT -a`, `ä:ö*`, "a\\", `f:>=5`, `"\`, `f:["a\`} {
		f.Add(s)
	}
	tab := example(f)
	f.Fuzz(func(t *testing.T, s string) {
		q, err := Parse(s)
		if err != nil {
			var e *QueryError
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(s) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		tab.read()
		defer tab.mu.RUnlock()
		p := tab.plan(q, everything())
		not := tab.plan(&Query{&expr{op: opNot, sub: []*expr{q.root}}}, everything())
		if r := tab.rows["Lamp1"]; p.match(r) == not.match(r) {
			t.Fatalf("%q and its negation agree", s)
		}
	})
}
