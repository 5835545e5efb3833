package action

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Timestamp is a moment in a unit: SECONDS, MILLISECONDS (default), MICROSECONDS or NANOSECONDS. A
// value may also be RFC 3339, which AWS does not take.
type Timestamp struct {
	Value string `json:"value,omitempty"`
	Unit  string `json:"unit,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler: a string alone is the value.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte{'"'}) {
		t.Unit = ""
		return json.Unmarshal(b, &t.Value)
	}
	type plain Timestamp
	return json.Unmarshal(b, (*plain)(t))
}

var units = map[string]time.Duration{"": time.Millisecond, "MILLISECONDS": time.Millisecond, "SECONDS": time.Second, "MICROSECONDS": time.Microsecond,
	"NANOSECONDS": time.Nanosecond}

func (t *Timestamp) validate(kind string) error {
	if t == nil || strings.Contains(t.Unit, "${") {
		return nil
	}
	if _, ok := units[t.Unit]; !ok {
		return refuse("%s: timestamp.unit is %q, not SECONDS, MILLISECONDS, MICROSECONDS or NANOSECONDS", kind, t.Unit)
	}
	return required(kind, "timestamp.value", t.Value)
}

// time returns the moment, or now if there is none.
func (t *Timestamp) time(kind string, now time.Time) (time.Time, error) {
	if t == nil || t.Value == "" {
		return now, nil
	}
	if err := t.validate(kind); err != nil {
		return now, err
	}
	unit := units[t.Unit]
	if n, err := strconv.ParseInt(t.Value, 10, 64); err == nil {
		perSecond := int64(time.Second / unit)
		return time.Unix(n/perSecond, n%perSecond*int64(unit)), nil
	}
	if at, err := time.Parse(time.RFC3339, t.Value); err == nil {
		return at, nil
	}
	v, err := strconv.ParseFloat(t.Value, 64)
	if err != nil || !(math.Abs(v) < math.MaxInt64/2) {
		return now, refuse("%s: timestamp is %q, not a number of %s since 1970", kind, t.Value, strings.ToLower(cmp.Or(t.Unit, "MILLISECONDS")))
	}
	seconds, rest := math.Modf(v * unit.Seconds())
	return time.Unix(int64(seconds), int64(rest*1e9)), nil
}
