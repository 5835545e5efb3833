package action

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

var cloudwatchService = &service{"CloudWatch", "monitoring", "monitoring", "", form}

// cloudwatchVersion is that of the query protocol, which every server that speaks CloudWatch knows.
const cloudwatchVersion = "2010-08-01"

// metricsPerCall are put at once; CloudWatch takes up to 1000.
const metricsPerCall = 200

// CloudwatchMetric puts a value of a metric; the result of the statement is not used.
type CloudwatchMetric struct {
	RoleARN         string `json:"roleArn,omitempty"`
	MetricNamespace string `json:"metricNamespace,omitempty"`
	MetricName      string `json:"metricName,omitempty"`
	MetricValue     string `json:"metricValue,omitempty"`
	MetricUnit      string `json:"metricUnit,omitempty"`
	MetricTimestamp string `json:"metricTimestamp,omitempty"` // seconds since 1970; default now
}

// Validate implements Action.
func (c *CloudwatchMetric) Validate() error {
	return required("cloudwatchMetric", "roleArn", c.RoleARN, "metricNamespace", c.MetricNamespace, "metricName", c.MetricName,
		"metricValue", c.MetricValue, "metricUnit", c.MetricUnit)
}

// Destination implements Action.
func (c *CloudwatchMetric) Destination() string { return c.MetricNamespace }

// Batch implements Batcher.
func (c *CloudwatchMetric) Batch() string { return c.MetricNamespace }

// BatchLimits implements Batcher.
func (c *CloudwatchMetric) BatchLimits() (int, int, time.Duration) { return metricsPerCall, 1 << 20, 0 }

// Do implements Action.
func (c *CloudwatchMetric) Do(ctx context.Context, s *Services, m *Message) error {
	return single(ctx, s, c, m)
}

// DoBatch implements Batcher.
func (c *CloudwatchMetric) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	in := url.Values{"Namespace": {c.MetricNamespace}}
	var sent []int
	for i, d := range list {
		a := d.Action.(*CloudwatchMetric)
		at, err := metricTime(a.MetricTimestamp, d.Message.Time)
		v, bad := strconv.ParseFloat(a.MetricValue, 64)
		switch {
		case err != nil:
			errs[i] = err
			continue
		case bad != nil || math.IsNaN(v) || math.IsInf(v, 0):
			errs[i] = refuse("cloudwatchMetric: metricValue is %q, not a number", a.MetricValue)
			continue
		}
		sent = append(sent, i)
		p := "MetricData.member." + strconv.Itoa(len(sent)) + "."
		in.Set(p+"MetricName", a.MetricName)
		in.Set(p+"Value", strconv.FormatFloat(v, 'g', -1, 64))
		in.Set(p+"Unit", a.MetricUnit)
		in.Set(p+"Timestamp", at.UTC().Format(time.RFC3339))
	}
	if len(sent) > 0 {
		err := s.AWS.query(ctx, cloudwatchService, "PutMetricData", cloudwatchVersion, in)
		for _, i := range sent {
			errs[i] = failure("cloudwatchMetric", err)
		}
	}
	return errs
}

func metricTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(math.Abs(v) < 1e11) {
		return now, refuse("cloudwatchMetric: metricTimestamp is %q, not seconds since 1970", text)
	}
	return time.Unix(int64(v), 0), nil
}

// CloudwatchAlarm sets the state of an alarm; the result of the statement is not used.
type CloudwatchAlarm struct {
	RoleARN     string `json:"roleArn,omitempty"`
	AlarmName   string `json:"alarmName,omitempty"`
	StateReason string `json:"stateReason,omitempty"`
	StateValue  string `json:"stateValue,omitempty"` // OK, ALARM or INSUFFICIENT_DATA
}

var alarmStates = []string{"OK", "ALARM", "INSUFFICIENT_DATA"}

// Validate implements Action.
func (c *CloudwatchAlarm) Validate() error {
	if err := required("cloudwatchAlarm", "roleArn", c.RoleARN, "alarmName", c.AlarmName, "stateReason", c.StateReason, "stateValue", c.StateValue); err != nil {
		return err
	}
	if strings.Contains(c.StateValue, "${") {
		return nil
	}
	return c.checkState()
}

func (c *CloudwatchAlarm) checkState() error {
	if slices.Contains(alarmStates, c.StateValue) {
		return nil
	}
	return refuse("cloudwatchAlarm: stateValue is %q, not OK, ALARM or INSUFFICIENT_DATA", c.StateValue)
}

// Destination implements Action.
func (c *CloudwatchAlarm) Destination() string { return c.AlarmName }

// Do implements Action.
func (c *CloudwatchAlarm) Do(ctx context.Context, s *Services, m *Message) error {
	if err := c.checkState(); err != nil {
		return err
	}
	err := s.AWS.query(ctx, cloudwatchService, "SetAlarmState", cloudwatchVersion,
		url.Values{"AlarmName": {c.AlarmName}, "StateReason": {c.StateReason}, "StateValue": {c.StateValue}})
	if err != nil {
		return failure("cloudwatchAlarm", fmt.Errorf("%s: %w", c.AlarmName, err))
	}
	return nil
}
