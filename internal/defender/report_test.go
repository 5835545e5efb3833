package defender

import (
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
)

func pointer[T any](v T) *T { return &v }

const longReport = `{"header":{"report_id":1530304554,"version":"1.0"},
	"metrics":{"listening_tcp_ports":{"ports":[{"interface":"eth0","port":24800},{"port":22}],"total":2},
		"listening_udp_ports":{"ports":[{"interface":"eth0","port":5353}]},
		"network_stats":{"bytes_in":29358693495,"bytes_out":26485035,"packets_in":1,"packets_out":2},
		"tcp_connections":{"established_connections":{"connections":[{"local_interface":"eth0","local_port":80,"remote_addr":"192.168.0.1:8000"}],"total":5}}},
	"custom_metrics":{"n":[{"number":1.5}],"l":[{"number_list":[1,2]}],"s":[{"string_list":["a"]}],"ip":[{"ip_list":["172.0.0.0","::1"]}]}}`

const shortReport = `{"hed":{"rid":1530304554,"v":"1.0"},
	"met":{"tp":{"pts":[{"if":"eth0","pt":24800},{"pt":22}],"t":2},"up":{"pts":[{"if":"eth0","pt":5353}]},
		"ns":{"bi":29358693495,"bo":26485035,"pi":1,"po":2},"tc":{"ec":{"cs":[{"li":"eth0","lp":80,"rad":"192.168.0.1:8000"}],"t":5}}},
	"cmet":{"n":[{"number":1.5}],"l":[{"number_list":[1,2]}],"s":[{"string_list":["a"]}],"ip":[{"ip_list":["172.0.0.0","::1"]}]}}`

func TestParseReport(t *testing.T) {
	t.Parallel()
	count := func(n int64) Value { return Value{Count: &n} }
	want := &Report{ID: 1530304554, Values: map[string]Value{
		"aws:listening-tcp-ports": {Ports: &[]int{24800, 22}}, "aws:num-listening-tcp-ports": count(2),
		"aws:listening-udp-ports": {Ports: &[]int{5353}}, "aws:num-listening-udp-ports": count(1),
		"aws:all-bytes-in": count(29358693495), "aws:all-bytes-out": count(26485035), "aws:all-packets-in": count(1), "aws:all-packets-out": count(2),
		"aws:destination-ip-addresses": {CIDRs: &[]string{"192.168.0.1"}}, "aws:num-established-tcp-connections": count(5),
		"n": {Number: pointer(1.5)}, "l": {Numbers: &[]float64{1, 2}}, "s": {Strings: &[]string{"a"}}, "ip": {CIDRs: &[]string{"172.0.0.0", "::1"}},
	}}
	for _, text := range []string{longReport, shortReport} {
		got, err := ParseReport(JSON, []byte(text))
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%v %s", err, cmp.Diff(want, got))
		}
		tree, err := JSON.decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		b, err := cbor.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseReport(CBOR, b); err != nil || !cmp.Equal(got, want) {
			t.Errorf("CBOR: %v %s", err, cmp.Diff(want, got))
		}
	}
}

func TestBadReports(t *testing.T) {
	t.Parallel()
	const head = `{"header":{"report_id":1,"version":"1.0"},`
	for text, want := range map[string]error{
		``: errJSON, `{`: errJSON, "{\"header\":\"\xff\"}": errJSON,
		`[]`: errPayload, `null`: errPayload, `{}`: errPayload,
		`{"header":{"report_id":1,"version":"1.0"}}`:                           errPayload,
		`{"header":{"version":"1.0"},"metrics":{}}`:                            errPayload,
		`{"header":{"report_id":-1,"version":"1.0"},"metrics":{}}`:             errPayload,
		`{"header":{"report_id":1,"version":"one"},"metrics":{}}`:              errPayload,
		head + `"metrics":[]}`:                                                 errPayload,
		head + `"metrics":{"network_stats":{"bytes_in":1.5}}}`:                 errPayload,
		head + `"metrics":{"listening_tcp_ports":{"ports":[{"port":70000}]}}}`: errPayload,
		head + `"metrics":{"listening_tcp_ports":{"ports":[7]}}}`:              errPayload,
		head + `"metrics":{"tc":{"ec":{"cs":[{"rad":"host:1"}]}}}}`:            errPayload,
		head + `"custom_metrics":{"a":{"number":1}}}`:                          errPayload,
		head + `"custom_metrics":{"a":[{"number":1,"ip_list":[]}]}}`:           errPayload,
		head + `"custom_metrics":{"a":[{"number":"1"}]}}`:                      errPayload,
		head + `"custom_metrics":{"a":[{"ip_list":["here"]}]}}`:                errPayload,
		head + `"custom_metrics":{"a":[{"map":[]}]}}`:                          errPayload,
		head + `"custom_metrics":{"a b":[{"number":1}]}}`:                      errPayload,
		head + `"custom_metrics":{"a":[{"string_list":["a\u0000"]}]}}`:         errPayload,
		head + `"custom_metrics":{"a":[{"number":1e400}]}}`:                    errPayload,
	} {
		if _, err := ParseReport(JSON, []byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	for _, b := range [][]byte{nil, {0xf6}, {0xff}, {0x80}} {
		if _, err := ParseReport(CBOR, b); !errors.Is(err, errPayload) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(false, []byte(longReport))
	f.Add(false, []byte(shortReport))
	f.Add(true, []byte("\xa2chaX\x00"))
	f.Fuzz(func(t *testing.T, binary bool, payload []byte) {
		format := JSON
		if binary {
			format = CBOR
		}
		r, err := ParseReport(format, payload)
		if err != nil {
			refusal := (*Error)(nil)
			if !errors.As(err, &refusal) {
				t.Fatalf("%v is not a refusal", err)
			}
			return
		}
		for name, v := range r.Values {
			if !namePattern.MatchString(name) || v == (Value{}) {
				t.Fatalf("%q %+v", name, v)
			}
		}
	})
}
