package defender

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/berth-iot/berth/internal/store"
)

// CheckConfiguration says whether audits may make a check.
type CheckConfiguration struct {
	Enabled       bool              `json:"enabled"`
	Configuration map[string]string `json:"configuration,omitempty"` // stored only
}

// AuditConfiguration is the account's; a check that is not in it is disabled.
type AuditConfiguration struct {
	Role          string                        `json:"roleArn,omitempty"`                               // stored only
	Notifications map[string]json.RawMessage    `json:"auditNotificationTargetConfigurations,omitempty"` // stored only: there is no SNS
	Checks        map[string]CheckConfiguration `json:"auditCheckConfigurations"`
}

// DescribeAccountAuditConfiguration returns the configuration with every check.
func (s *Service) DescribeAccountAuditConfiguration(ctx context.Context) (c AuditConfiguration, err error) {
	if _, err = readObject(s.reader(ctx), kindAudit, "", &c); errors.Is(err, ErrNotFound) {
		err = nil
	}
	if c.Checks == nil {
		c.Checks = make(map[string]CheckConfiguration)
	}
	for _, check := range Checks() {
		if _, ok := c.Checks[check.Name]; !ok {
			c.Checks[check.Name] = CheckConfiguration{}
		}
	}
	return c, err
}

// UpdateAccountAuditConfiguration changes what is given. A check of a scheduled audit cannot be
// disabled. ErrInvalid.
func (s *Service) UpdateAccountAuditConfiguration(ctx context.Context, u AuditConfiguration) error {
	for name := range u.Checks {
		if _, ok := findCheck(name); !ok {
			return invalid("there is no check %q", name)
		}
	}
	schedules, _, err := listObjects[Schedule](s.reader(ctx), kindSchedule)
	if err != nil {
		return err
	}
	for _, c := range schedules {
		for _, name := range c.Checks {
			if given, ok := u.Checks[name]; ok && !given.Enabled {
				return invalid("check %s belongs to the scheduled audit %s", name, c.Name)
			}
		}
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		var c AuditConfiguration
		if _, err := readObject(tx, kindAudit, "", &c); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if u.Role != "" {
			c.Role = u.Role
		}
		for name, v := range u.Notifications {
			if c.Notifications == nil {
				c.Notifications = make(map[string]json.RawMessage)
			}
			c.Notifications[name] = v
		}
		for name, v := range u.Checks {
			if c.Checks == nil {
				c.Checks = make(map[string]CheckConfiguration)
			}
			c.Checks[name] = v
		}
		return s.saveObject(tx, kindAudit, "", c)
	})
}

// DeleteAccountAuditConfiguration disables all checks and forgets every finding. ErrInvalid if there
// are scheduled audits that are to stay, ErrNotFound without a configuration.
func (s *Service) DeleteAccountAuditConfiguration(ctx context.Context, schedules bool) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if _, err := readObject(tx, kindAudit, "", &AuditConfiguration{}); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(`SELECT count(*) FROM defender_object WHERE kind = ?`, []any{kindSchedule}, &n); err != nil {
			return err
		}
		if n > 0 && !schedules {
			return invalid("there are %d scheduled audits", n)
		}
		for _, query := range []string{`DELETE FROM defender_object WHERE kind IN ('audit', 'schedule')`, `DELETE FROM defender_finding`} {
			if _, err := tx.Exec(query); err != nil {
				return err
			}
		}
		return nil
	})
}

// enabled returns what is wrong with the checks of an audit.
func (s *Service) enabled(ctx context.Context, checks []string) error {
	if len(checks) == 0 {
		return invalid("targetCheckNames is empty")
	}
	c, err := s.DescribeAccountAuditConfiguration(ctx)
	if err != nil {
		return err
	}
	for _, name := range checks {
		if _, ok := findCheck(name); !ok {
			return invalid("there is no check %q", name)
		}
		if !c.Checks[name].Enabled {
			return invalid("check %s is not enabled in the account's audit configuration", name)
		}
	}
	return nil
}
