// Package iotlogging keeps the account's logging options, for tools that set and read them. They
// steer CloudWatch on AWS and nothing here: the server's own log has a flag.
package iotlogging

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/store"
)

var schema = []string{`CREATE TABLE logging_options (id BIGINT PRIMARY KEY, options TEXT NOT NULL)`}

// options are LoggingOptions of the AWS IoT API reference, SetV2LoggingOptions.
type options struct {
	RoleARN             string          `json:"roleArn,omitempty"`
	DefaultLogLevel     string          `json:"defaultLogLevel,omitempty"`
	DisableAllLogs      bool            `json:"disableAllLogs"`
	EventConfigurations json.RawMessage `json:"eventConfigurations,omitempty"` // an array, kept as it comes
}

type plane struct{ db *store.DB }

// Open prepares the table.
func Open(ctx context.Context, db *store.DB) error { return db.Migrate(ctx, "logging", schema) }

// Operations returns the handlers that set and get the options of version 2.
func Operations(db *store.DB) awsapi.Set {
	p := &plane{db}
	return awsapi.Set{Service: awsapi.IoT, Handlers: map[string]awsapi.Handler{
		"SetV2LoggingOptions": p.set,
		"GetV2LoggingOptions": p.get,
	}}
}

func (p *plane) set(ctx context.Context, req *awsapi.Request) (any, error) {
	var o options
	if err := req.Decode(&o); err != nil {
		return nil, err
	}
	switch o.DefaultLogLevel {
	case "", "DEBUG", "INFO", "ERROR", "WARN", "DISABLED":
	default:
		return nil, awsapi.Invalid("defaultLogLevel %q: want DEBUG, INFO, WARN, ERROR or DISABLED", o.DefaultLogLevel)
	}
	if o.RoleARN != "" && !strings.HasPrefix(o.RoleARN, "arn:") {
		return nil, awsapi.Invalid("roleArn %q is no ARN", o.RoleARN)
	}
	if len(o.EventConfigurations) > 0 && o.EventConfigurations[0] != '[' {
		return nil, awsapi.Invalid("eventConfigurations is not a list")
	}
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return struct{}{}, p.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO logging_options (id, options) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET options = excluded.options`, string(b))
		return err
	})
}

func (p *plane) get(ctx context.Context, _ *awsapi.Request) (any, error) {
	var kept string
	err := p.db.Query(ctx, `SELECT options FROM logging_options`, nil, func(row store.Row) error { return row.Scan(&kept) })
	if err != nil {
		return nil, err
	}
	if kept == "" {
		return nil, &awsapi.Error{Type: "NotConfiguredException", Status: http.StatusNotFound, Message: "Logging options are not configured."}
	}
	return json.RawMessage(kept), nil
}
