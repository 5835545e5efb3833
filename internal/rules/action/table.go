package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-iot/berth/internal/table"
)

// Recorder is an Action that writes rows to the tables of this server.
type Recorder interface {
	Action
	// Record returns the rows; local is false when they go elsewhere, by Do. Errors are permanent.
	Record(ctx context.Context, s *Services, m *Message) (name string, rows []table.Row, local bool, err error)
}

// Table writes the result as a row of a table of this server. AWS has no such action.
type Table struct {
	Table     string     `json:"table,omitempty"`
	Thing     string     `json:"thing,omitempty"`     // default the client's thing or identifier, or else the topic
	Timestamp *Timestamp `json:"timestamp,omitempty"` // default the time of the evaluation
	// Measures are the members of the result that are written, a.b for a member of a member; default
	// all of them, where a member that is no number, string or bool is written as JSON.
	Measures []string `json:"measures,omitempty"`
}

// maxMeasures bounds the list of an action.
const maxMeasures = 256

// Validate implements Action.
func (t *Table) Validate() error {
	if err := t.Timestamp.validate("table"); err != nil {
		return err
	}
	if len(t.Measures) > maxMeasures {
		return refuse("table: more than %d measures", maxMeasures)
	}
	for _, m := range t.Measures {
		if m == "" {
			return refuse("table: a measure has no name")
		}
	}
	return required("table", "table", t.Table)
}

// Destination implements Action.
func (t *Table) Destination() string { return t.Table }

// Record implements Recorder.
func (t *Table) Record(_ context.Context, _ *Services, m *Message) (string, []table.Row, bool, error) {
	at, err := t.Timestamp.time("table", m.Time)
	if err != nil {
		return "", nil, true, err
	}
	measures, err := t.measures(m)
	if err != nil {
		return "", nil, true, refuse("table: %w", err)
	}
	row := table.Row{Time: at.UnixMilli(), Thing: firstOf(t.Thing, m.Thing, m.Topic), ID: rowID(m), Measures: measures}
	return t.Table, []table.Row{row}, true, nil
}

// Do implements Action.
func (t *Table) Do(ctx context.Context, s *Services, m *Message) error {
	return record(ctx, s, t, "table", m)
}

// rowID makes a row one that is written once, however often its delivery is tried.
func rowID(m *Message) string { return m.Rule + "/" + m.ID }

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// record writes rows and waits until they are on disk.
func record(ctx context.Context, s *Services, r Recorder, kind string, m *Message) error {
	name, rows, _, err := r.Record(ctx, s, m)
	if err != nil {
		return err
	}
	if s.Tables == nil {
		return refuse("%s: this server has no tables", kind)
	}
	err = s.Tables.Insert(ctx, name, rows)
	if errors.Is(err, table.ErrInvalid) || errors.Is(err, table.ErrLimit) {
		return Permanent(fmt.Errorf("%s: %w", kind, err))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return nil
}

// onlyMeasure is the measure of a result that is no object.
const onlyMeasure = "value"

func (t *Table) measures(m *Message) (table.Measures, error) {
	if m.Binary {
		return nil, errors.New("the result is not JSON")
	}
	if len(t.Measures) == 0 {
		return measuresOf(m.Payload)
	}
	var list table.Measures
	for _, path := range t.Measures {
		raw := json.RawMessage(m.Payload)
		for name := range strings.SplitSeq(path, ".") {
			var members map[string]json.RawMessage
			if json.Unmarshal(raw, &members) != nil {
				raw = nil
				break
			}
			raw = members[name]
		}
		if len(raw) == 0 {
			continue
		}
		var v table.Value
		if err := v.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("measure %q: %w", path, err)
		}
		if v.Kind() != 0 {
			list = append(list, table.Measure{Name: path, Value: v})
		}
	}
	return some(list)
}

func measuresOf(payload []byte) (list table.Measures, err error) {
	if payload = bytes.TrimSpace(payload); len(payload) == 0 {
		return nil, errors.New("the result is Undefined")
	}
	if payload[0] == '{' {
		if err := list.UnmarshalJSON(payload); err != nil {
			return nil, err
		}
		return some(list)
	}
	var v table.Value
	if err := v.UnmarshalJSON(payload); err != nil {
		return nil, err
	}
	if v.Kind() != 0 {
		list = table.Measures{{Name: onlyMeasure, Value: v}}
	}
	return some(list)
}

func some(list table.Measures) (table.Measures, error) {
	if len(list) == 0 {
		return nil, errors.New("the result has no measures")
	}
	return list, nil
}
