package defender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// Kinds of named objects.
const (
	kindProfile     = "profile"
	kindMetric      = "metric"
	kindDimension   = "dimension"
	kindSchedule    = "schedule"
	kindSuppression = "suppression"
	kindAudit       = "audit" // the one configuration, with the name ""
)

// Meta is what every named object has.
type Meta struct {
	Version  int64  `json:"-"`
	Created  Moment `json:"-"`
	Modified Moment `json:"-"`
}

// readObject reads an object into v. ErrNotFound.
func readObject(rd reader, kind, name string, v any) (m Meta, err error) {
	var body string
	var created, modified int64
	err = rd.QueryRow(`SELECT body, version, created_at, modified_at FROM defender_object WHERE kind = ? AND name = ?`, []any{kind, name}, &body, &m.Version, &created, &modified)
	if errors.Is(err, store.ErrNoRows) {
		return m, refuse(ErrNotFound, "%s %s cannot be found", kind, name)
	}
	if err != nil {
		return m, err
	}
	m.Created, m.Modified = Moment{time.UnixMilli(created)}, Moment{time.UnixMilli(modified)}
	return m, json.Unmarshal([]byte(body), v)
}

// createObject adds an object. One that is there with the same contents is no error; ErrAlreadyExists.
func (s *Service) createObject(ctx context.Context, kind, name string, v any) error {
	body := encode(v)
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO defender_object (kind, name, body, version, created_at, modified_at) VALUES (?, ?, ?, 1, ?, ?) ON CONFLICT (kind, name) DO NOTHING`,
			kind, name, body, s.now().UnixMilli(), s.now().UnixMilli())
		if err != nil || n > 0 {
			return err
		}
		var old string
		if err := tx.QueryRow(`SELECT body FROM defender_object WHERE kind = ? AND name = ?`, []any{kind, name}, &old); err != nil {
			return err
		}
		if old != body {
			return refuse(ErrAlreadyExists, "%s %s already exists", kind, name)
		}
		return nil
	})
}

func (s *Service) saveObject(tx *store.Tx, kind, name string, v any) error {
	_, err := tx.Exec(`INSERT INTO defender_object (kind, name, body, version, created_at, modified_at) VALUES (?, ?, ?, 1, ?, ?)
		ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body, version = defender_object.version + 1, modified_at = excluded.modified_at`,
		kind, name, encode(v), s.now().UnixMilli(), s.now().UnixMilli())
	return err
}

// updateObject changes an object. ErrNotFound.
func updateObject[T any](s *Service, ctx context.Context, kind, name string, change func(v *T, m Meta) error) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		var v T
		m, err := readObject(tx, kind, name, &v)
		if err != nil {
			return err
		}
		if err := change(&v, m); err != nil {
			return err
		}
		return s.saveObject(tx, kind, name, v)
	})
}

func (s *Service) deleteObject(ctx context.Context, kind, name string) (there bool, err error) {
	var n int64
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		n, err = tx.Exec(`DELETE FROM defender_object WHERE kind = ? AND name = ?`, kind, name)
		return err
	})
	return n > 0, err
}

// listObjects reads all objects of a kind by name.
func listObjects[T any](rd reader, kind string) (list []T, names []string, err error) {
	err = rd.Query(`SELECT name, body FROM defender_object WHERE kind = ? ORDER BY name`, []any{kind}, func(row store.Row) error {
		var name, body string
		if err := row.Scan(&name, &body); err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			return fmt.Errorf("read %s %q: %w", kind, name, err)
		}
		list, names = append(list, v), append(names, name)
		return nil
	})
	return list, names, err
}

// CustomMetric is a metric that devices report beside AWS's.
type CustomMetric struct {
	Name        string `json:"metricName"`
	Type        string `json:"metricType"` // string-list, ip-address-list, number-list or number
	DisplayName string `json:"displayName,omitempty"`
	Meta
}

// CreateCustomMetric adds a metric. ErrAlreadyExists, ErrInvalid.
func (s *Service) CreateCustomMetric(ctx context.Context, m CustomMetric) (arn string, err error) {
	if err := checkName("metricName", m.Name); err != nil {
		return "", err
	}
	switch m.Type {
	case "string-list", "ip-address-list", "number-list", "number":
	default:
		return "", invalid("there is no metricType %q", m.Type)
	}
	return s.CustomMetricARN(m.Name), s.createObject(ctx, kindMetric, m.Name, m)
}

// CustomMetricARN returns a metric's Amazon resource name.
func (s *Service) CustomMetricARN(name string) string { return s.arn("custommetric/" + name) }

// DescribeCustomMetric returns a metric. ErrNotFound.
func (s *Service) DescribeCustomMetric(ctx context.Context, name string) (m CustomMetric, err error) {
	m.Meta, err = readObject(s.reader(ctx), kindMetric, name, &m)
	return m, err
}

// UpdateCustomMetric changes the display name. ErrNotFound.
func (s *Service) UpdateCustomMetric(ctx context.Context, name, display string) error {
	return updateObject(s, ctx, kindMetric, name, func(m *CustomMetric, _ Meta) error {
		m.DisplayName = display
		return nil
	})
}

// DeleteCustomMetric removes a metric that no profile uses; one that is not there is no error.
func (s *Service) DeleteCustomMetric(ctx context.Context, name string) error {
	if err := s.unused(ctx, func(b *Behavior) bool { return b.Metric == name }, "custom metric "+name); err != nil {
		return err
	}
	_, err := s.deleteObject(ctx, kindMetric, name)
	return err
}

// ListCustomMetrics lists the names of metrics.
func (s *Service) ListCustomMetrics(ctx context.Context, page Page) ([]string, string, error) {
	_, names, err := listObjects[CustomMetric](s.reader(ctx), kindMetric)
	if err != nil {
		return nil, "", err
	}
	return cut(names, page)
}

// Dimension narrows metrics of the cloud side to topics. It is only stored.
type Dimension struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"` // TOPIC_FILTER
	Values []string `json:"stringValues"`
	Meta
}

func (d *Dimension) check() error {
	if d.Type != "TOPIC_FILTER" {
		return invalid("type is %q, not TOPIC_FILTER", d.Type)
	}
	if len(d.Values) < 1 || len(d.Values) > 100 {
		return invalid("stringValues has %d members, not 1 to 100", len(d.Values))
	}
	for _, v := range d.Values {
		if len(v) < 1 || len(v) > 256 {
			return invalid("%q in stringValues is not 1 to 256 characters long", v)
		}
	}
	return checkName("name", d.Name)
}

// DimensionARN returns a dimension's Amazon resource name.
func (s *Service) DimensionARN(name string) string { return s.arn("dimension/" + name) }

// CreateDimension adds a dimension. ErrAlreadyExists, ErrInvalid.
func (s *Service) CreateDimension(ctx context.Context, d Dimension) error {
	if err := d.check(); err != nil {
		return err
	}
	return s.createObject(ctx, kindDimension, d.Name, d)
}

// DescribeDimension returns a dimension. ErrNotFound.
func (s *Service) DescribeDimension(ctx context.Context, name string) (d Dimension, err error) {
	d.Meta, err = readObject(s.reader(ctx), kindDimension, name, &d)
	return d, err
}

// UpdateDimension replaces the values. ErrNotFound, ErrInvalid.
func (s *Service) UpdateDimension(ctx context.Context, name string, values []string) error {
	return updateObject(s, ctx, kindDimension, name, func(d *Dimension, _ Meta) error {
		d.Values = values
		return d.check()
	})
}

// DeleteDimension removes a dimension that no profile uses; one that is not there is no error.
func (s *Service) DeleteDimension(ctx context.Context, name string) error {
	if err := s.unused(ctx, func(b *Behavior) bool { return b.Dimension != nil && b.Dimension.Name == name }, "dimension "+name); err != nil {
		return err
	}
	_, err := s.deleteObject(ctx, kindDimension, name)
	return err
}

// ListDimensions lists the names of dimensions.
func (s *Service) ListDimensions(ctx context.Context, page Page) ([]string, string, error) {
	_, names, err := listObjects[Dimension](s.reader(ctx), kindDimension)
	if err != nil {
		return nil, "", err
	}
	return cut(names, page)
}

// unused refuses what a behaviour of a profile uses.
func (s *Service) unused(ctx context.Context, uses func(b *Behavior) bool, what string) error {
	list, names, err := listObjects[Profile](s.reader(ctx), kindProfile)
	for i := range list {
		for j := range list[i].Behaviors {
			if uses(&list[i].Behaviors[j]) {
				return invalid("%s is used by security profile %s", what, names[i])
			}
		}
	}
	return err
}
