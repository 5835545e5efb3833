package defender

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Value is a value of a metric: what is set depends on its kind. An empty list is set, too.
type Value struct {
	Count   *int64     `json:"count,omitempty"`
	CIDRs   *[]string  `json:"cidrs,omitempty"`
	Ports   *[]int     `json:"ports,omitempty"`
	Number  *float64   `json:"number,omitempty"`
	Numbers *[]float64 `json:"numbers,omitempty"`
	Strings *[]string  `json:"strings,omitempty"`
}

// Report is what a device tells of itself: values by metric, with the names of behaviours.
type Report struct {
	ID     int64            `json:"reportId"`
	Values map[string]Value `json:"values"`
}

// Format is the form of reports and their answers: the last level of the topic.
type Format uint8

// Formats.
const (
	JSON Format = iota
	CBOR        // RFC 8949
)

var (
	errPayload = errors.New("invalid payload")
	errJSON    = errors.New("invalid JSON")
)

// Bounds of a report's lists.
const (
	maxList     = 1000
	maxElements = 4096
)

// names maps the short names of reports to the long ones (AWS IoT developer guide, "Device-side
// metrics"). What a name means depends on where it stands only for t.
var names = map[string]string{
	"hed": "header", "rid": "report_id", "v": "version", "met": "metrics", "cmet": "custom_metrics",
	"tc": "tcp_connections", "ec": "established_connections", "cs": "connections", "rad": "remote_addr", "lp": "local_port", "li": "local_interface", "t": "total",
	"tp": "listening_tcp_ports", "up": "listening_udp_ports", "pts": "ports", "pt": "port", "if": "interface",
	"ns": "network_stats", "bi": "bytes_in", "bo": "bytes_out", "pi": "packets_in", "po": "packets_out",
}

// object is a map of a report.
type object map[string]any

func (o object) get(long string) (any, bool) {
	if v, ok := o[long]; ok {
		return v, true
	}
	for short, name := range names {
		if name == long {
			if v, ok := o[short]; ok {
				return v, true
			}
		}
	}
	return nil, false
}

// child returns a member that is an object, nil for none.
func (o object) child(long string) (object, error) {
	v, ok := o.get(long)
	if !ok || v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, refuse(errPayload, "%s is not an object", long)
	}
	return m, nil
}

func (o object) list(long string) ([]any, bool, error) {
	v, ok := o.get(long)
	if !ok || v == nil {
		return nil, false, nil
	}
	l, ok := v.([]any)
	if !ok || len(l) > maxList {
		return nil, false, refuse(errPayload, "%s is not a list of at most %d members", long, maxList)
	}
	return l, true, nil
}

// count returns a member that is a whole number and not negative.
func (o object) count(long string) (int64, bool, error) {
	v, ok := o.get(long)
	if !ok || v == nil {
		return 0, false, nil
	}
	n, ok := number(v)
	if !ok || n < 0 || n > 1<<53 || n != math.Trunc(n) {
		return 0, false, refuse(errPayload, "%s is not a whole number from 0", long)
	}
	return int64(n), true, nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	case uint64:
		return float64(v), true
	case int64:
		return float64(v), true
	}
	return 0, false
}

func (f Format) decode(payload []byte) (tree map[string]any, err error) {
	if f == CBOR {
		mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 12, MaxMapPairs: maxElements, MaxArrayElements: maxElements,
			DefaultMapType: reflect.TypeFor[map[string]any]()}.DecMode()
		if err != nil {
			return nil, err
		}
		if err := mode.Unmarshal(payload, &tree); err != nil || tree == nil {
			return nil, refuse(errPayload, "the payload is not a CBOR map with text names")
		}
		return tree, nil
	}
	payload = bytes.TrimRight(payload, "\x00") // firmware in C sends the end of its string along
	if !utf8.Valid(payload) || !json.Valid(payload) {
		return nil, refuse(errJSON, "the payload is not JSON in UTF-8")
	}
	if err := json.Unmarshal(payload, &tree); err != nil || tree == nil {
		return nil, refuse(errPayload, "the payload is not a JSON object")
	}
	return tree, nil
}

// ParseReport reads a device's report, in long or short names. Refusals say what is wrong.
func ParseReport(f Format, payload []byte) (*Report, error) {
	tree, err := f.decode(payload)
	if err != nil {
		return nil, err
	}
	root := object(tree)
	header, err := root.child("header")
	if err != nil {
		return nil, err
	}
	if header == nil {
		return nil, refuse(errPayload, "header is missing")
	}
	r := &Report{Values: make(map[string]Value)}
	id, ok, err := header.count("report_id")
	if err != nil || !ok {
		return nil, errors.Join(err, missing(ok, "header.report_id"))
	}
	r.ID = id
	if v, _ := header.get("version"); !isVersion(v) {
		return nil, refuse(errPayload, "header.version is not of the form MAJOR.MINOR")
	}
	metrics, err := root.child("metrics")
	if err != nil {
		return nil, err
	}
	custom, err := root.child("custom_metrics")
	if err != nil {
		return nil, err
	}
	if metrics == nil && custom == nil {
		return nil, refuse(errPayload, "metrics and custom_metrics are both missing")
	}
	if err := errors.Join(r.network(metrics), r.ports(metrics, "listening_tcp_ports", "tcp"), r.ports(metrics, "listening_udp_ports", "udp"),
		r.connections(metrics), r.custom(custom)); err != nil {
		return nil, err
	}
	return r, nil
}

func missing(there bool, what string) error {
	if there {
		return nil
	}
	return refuse(errPayload, "%s is missing", what)
}

func isVersion(v any) bool {
	s, ok := v.(string)
	major, minor, found := strings.Cut(s, ".")
	_, err1 := strconv.ParseUint(major, 10, 16)
	_, err2 := strconv.ParseUint(minor, 10, 16)
	return ok && found && err1 == nil && err2 == nil
}

func (r *Report) network(metrics object) error {
	stats, err := metrics.child("network_stats")
	if err != nil || stats == nil {
		return err
	}
	for member, metric := range map[string]string{"bytes_in": "aws:all-bytes-in", "bytes_out": "aws:all-bytes-out", "packets_in": "aws:all-packets-in", "packets_out": "aws:all-packets-out"} {
		n, ok, err := stats.count(member)
		if err != nil {
			return err
		}
		if ok {
			r.Values[metric] = Value{Count: &n}
		}
	}
	return nil
}

func (r *Report) ports(metrics object, member, protocol string) error {
	o, err := metrics.child(member)
	if err != nil || o == nil {
		return err
	}
	list, there, err := o.list("ports")
	if err != nil {
		return err
	}
	ports := []int{}
	for _, v := range list {
		entry, ok := v.(map[string]any)
		if !ok {
			return refuse(errPayload, "%s.ports has a member that is no object", member)
		}
		port, ok, err := object(entry).count("port")
		if err != nil || !ok || port < 1 || port > 65535 {
			return refuse(errPayload, "%s.ports has a member without a port from 1 to 65535", member)
		}
		ports = append(ports, int(port))
	}
	total, ok, err := o.count("total")
	if err != nil {
		return err
	}
	if !ok {
		total = int64(len(ports))
	}
	if there {
		r.Values["aws:listening-"+protocol+"-ports"] = Value{Ports: &ports}
	}
	if ok || there {
		r.Values["aws:num-listening-"+protocol+"-ports"] = Value{Count: &total}
	}
	return nil
}

func (r *Report) connections(metrics object) error {
	o, err := metrics.child("tcp_connections")
	if err != nil || o == nil {
		return err
	}
	if o, err = o.child("established_connections"); err != nil || o == nil {
		return err
	}
	list, there, err := o.list("connections")
	if err != nil {
		return err
	}
	addresses := []string{}
	for _, v := range list {
		entry, ok := v.(map[string]any)
		if !ok {
			return refuse(errPayload, "connections has a member that is no object")
		}
		remote, _ := object(entry).get("remote_addr")
		text, _ := remote.(string)
		addr, err := netip.ParseAddrPort(text)
		if err != nil {
			return refuse(errPayload, "remote_addr %q is not an IP address with a port", text)
		}
		addresses = append(addresses, addr.Addr().WithZone("").String())
	}
	total, ok, err := o.count("total")
	if err != nil {
		return err
	}
	if !ok {
		total = int64(len(addresses))
	}
	if there {
		r.Values["aws:destination-ip-addresses"] = Value{CIDRs: &addresses}
	}
	if ok || there {
		r.Values["aws:num-established-tcp-connections"] = Value{Count: &total}
	}
	return nil
}

// custom reads the custom metrics: a list of one object with a value each.
func (r *Report) custom(metrics object) error {
	if len(metrics) > maxList {
		return refuse(errPayload, "custom_metrics has more than %d members", maxList)
	}
	for name, v := range metrics {
		if !namePattern.MatchString(name) {
			return refuse(errPayload, "the name %q of a custom metric is not 1 to 128 of a-z, A-Z, 0-9, :, _ and -", name)
		}
		list, ok := v.([]any)
		if !ok || len(list) != 1 {
			return refuse(errPayload, "custom metric %s is not a list of one value", name)
		}
		entry, ok := list[0].(map[string]any)
		if !ok || len(entry) != 1 {
			return refuse(errPayload, "custom metric %s has not one of number, number_list, string_list and ip_list", name)
		}
		for kind, v := range entry {
			value, err := customValue(kind, v)
			if err != nil {
				return refuse(errPayload, "custom metric %s: %v", name, err)
			}
			r.Values[name] = value
		}
	}
	return nil
}

func customValue(kind string, v any) (Value, error) {
	if kind == "number" {
		n, ok := number(v)
		if !ok {
			return Value{}, refuse(errPayload, "number is none")
		}
		return Value{Number: &n}, nil
	}
	list, ok := v.([]any)
	if !ok || len(list) > maxList {
		return Value{}, refuse(errPayload, "%s is not a list of at most %d members", kind, maxList)
	}
	texts, values := []string{}, []float64{}
	for _, v := range list {
		switch kind {
		case "number_list":
			n, ok := number(v)
			if !ok {
				return Value{}, refuse(errPayload, "number_list holds something else")
			}
			values = append(values, n)
		case "string_list", "ip_list":
			text, ok := v.(string)
			if !ok || strings.Contains(text, "\x00") {
				return Value{}, refuse(errPayload, "%s holds something else", kind)
			}
			if kind == "ip_list" {
				addr, err := netip.ParseAddr(text)
				if err != nil || addr.Zone() != "" {
					return Value{}, refuse(errPayload, "%q is not an IP address", text)
				}
			}
			texts = append(texts, text)
		}
	}
	switch kind {
	case "number_list":
		return Value{Numbers: &values}, nil
	case "string_list":
		return Value{Strings: &texts}, nil
	case "ip_list":
		return Value{CIDRs: &texts}, nil
	}
	return Value{}, refuse(errPayload, "there is no kind %q", kind)
}
