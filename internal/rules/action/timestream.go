package action

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-iot/berth/internal/table"
)

var timestreamService = &service{"Timestream Write", "timestream", "ingest.timestream", "Timestream_20181101", json10}

// timestreamRecords go into one call of WriteRecords.
const timestreamRecords = 100

// Timestream writes the members of the result as measures. They become a row of this server's table
// DATABASE.TABLE, unless AWS_ENDPOINT_URL_TIMESTREAM_WRITE names a Timestream.
type Timestream struct {
	RoleARN      string      `json:"roleArn,omitempty"`
	DatabaseName string      `json:"databaseName,omitempty"`
	TableName    string      `json:"tableName,omitempty"`
	Dimensions   []Dimension `json:"dimensions,omitempty"`
	Timestamp    *Timestamp  `json:"timestamp,omitempty"` // default the time of the evaluation
}

// Dimension is a name with a value that a series of readings is known by.
type Dimension struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

// Validate implements Action.
func (t *Timestream) Validate() error {
	if err := t.Timestamp.validate("timestream"); err != nil {
		return err
	}
	if len(t.Dimensions) == 0 || len(t.Dimensions) > 128 {
		return refuse("timestream: there are %d dimensions, not 1 to 128", len(t.Dimensions))
	}
	for _, d := range t.Dimensions {
		switch n := d.Name; {
		case n == "", n == "measure_name", n == "measure_value", n == "time", strings.HasPrefix(n, "ts_"), strings.HasPrefix(n, "measure_value"), strings.Contains(n, ":"):
			return refuse("timestream: %q cannot be the name of a dimension", n)
		case d.Value == "":
			return required("timestream", "dimensions.value", "")
		}
	}
	return required("timestream", "roleArn", t.RoleARN, "databaseName", t.DatabaseName, "tableName", t.TableName)
}

// Destination implements Action.
func (t *Timestream) Destination() string { return t.DatabaseName + "." + t.TableName }

// configured reports whether the endpoint of a Timestream is; that of all services does not count.
func (t *Timestream) configured(ctx context.Context, s *Services) bool {
	if s.AWS == nil {
		return false
	}
	cfg, err := s.AWS.config(ctx, "")
	if err != nil {
		return false
	}
	cfg.BaseEndpoint = nil
	_, own := timestreamService.endpoint(ctx, cfg)
	return own
}

// Record implements Recorder. The thing of the row is the value of the dimension; with several, their
// values joined by slashes, and each is a measure too.
func (t *Timestream) Record(ctx context.Context, s *Services, m *Message) (string, []table.Row, bool, error) {
	if t.configured(ctx, s) {
		return "", nil, false, nil
	}
	at, err := t.Timestamp.time("timestream", m.Time)
	if err != nil {
		return "", nil, true, err
	}
	if m.Binary {
		return "", nil, true, refuse("timestream: the result is not JSON")
	}
	measures, err := measuresOf(m.Payload)
	if err != nil {
		return "", nil, true, refuse("timestream: %w", err)
	}
	var values []string
	for _, d := range t.Dimensions {
		values = append(values, d.Value)
		if len(t.Dimensions) > 1 {
			measures = append(measures, table.Measure{Name: d.Name, Value: table.String(d.Value)})
		}
	}
	return t.Destination(), []table.Row{{Time: at.UnixMilli(), Thing: strings.Join(values, "/"), ID: rowID(m), Measures: measures}}, true, nil
}

// Do implements Action.
func (t *Timestream) Do(ctx context.Context, s *Services, m *Message) error {
	if !t.configured(ctx, s) {
		return record(ctx, s, t, "timestream", m)
	}
	at, err := t.Timestamp.time("timestream", m.Time)
	if err != nil {
		return err
	}
	var members map[string]any
	dec := json.NewDecoder(bytes.NewReader(m.Payload))
	dec.UseNumber()
	if m.Binary || dec.Decode(&members) != nil {
		return refuse("timestream: the result is not a JSON object")
	}
	var records []map[string]string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if kind, value := timestreamValue(members[name]); kind != "" {
			records = append(records, map[string]string{"MeasureName": name, "MeasureValue": value, "MeasureValueType": kind})
		}
	}
	if len(records) == 0 {
		return refuse("timestream: the result has no measures")
	}
	var dimensions []map[string]string
	for _, d := range t.Dimensions {
		dimensions = append(dimensions, map[string]string{"Name": d.Name, "Value": d.Value})
	}
	for part := range slices.Chunk(records, timestreamRecords) {
		err := s.AWS.ask(ctx, timestreamService, "WriteRecords", map[string]any{"DatabaseName": t.DatabaseName, "TableName": t.TableName,
			"CommonAttributes": map[string]any{"Dimensions": dimensions, "Time": strconv.FormatInt(at.UnixNano(), 10), "TimeUnit": "NANOSECONDS"},
			"Records":          part}, nil)
		if err != nil {
			return failure("timestream", err)
		}
	}
	return nil
}

// timestreamValue returns the type and text of a measure (developer guide, "Timestream"); null is none.
func timestreamValue(v any) (kind, text string) {
	switch v := v.(type) {
	case nil:
		return "", ""
	case bool:
		return "BOOLEAN", strconv.FormatBool(v)
	case string:
		return "VARCHAR", v
	case json.Number:
		if _, err := v.Int64(); err == nil {
			return "BIGINT", v.String()
		}
		return "DOUBLE", v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", ""
	}
	return "VARCHAR", string(b)
}
