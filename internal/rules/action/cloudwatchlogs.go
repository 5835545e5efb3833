package action

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"
)

var logsService = &service{"CloudWatch Logs", "logs", "logs", "Logs_20140328", json11}

// Limits of PutLogEvents (CloudWatch Logs API reference): each event counts 26 bytes more.
const (
	logEvents     = 10000
	logBytes      = 1 << 20
	logEventExtra = 26
)

// logStream is the stream that rules write to. It is made when it does not exist; the group must.
const logStream = "berth"

// CloudwatchLogs writes the result to a log group.
type CloudwatchLogs struct {
	RoleARN      string `json:"roleArn,omitempty"`
	LogGroupName string `json:"logGroupName,omitempty"`
	BatchMode    bool   `json:"batchMode,omitempty"` // the result is an array of {timestamp, message}
}

// Validate implements Action.
func (c *CloudwatchLogs) Validate() error {
	return required("cloudwatchLogs", "roleArn", c.RoleARN, "logGroupName", c.LogGroupName)
}

// Destination implements Action.
func (c *CloudwatchLogs) Destination() string { return c.LogGroupName }

// Batch implements Batcher.
func (c *CloudwatchLogs) Batch() string { return c.LogGroupName }

// BatchLimits implements Batcher. Events of batchMode may make more calls of it.
func (c *CloudwatchLogs) BatchLimits() (int, int, time.Duration) { return 1000, logBytes / 2, 0 }

// Do implements Action.
func (c *CloudwatchLogs) Do(ctx context.Context, s *Services, m *Message) error {
	return single(ctx, s, c, m)
}

type logEvent struct {
	Timestamp int64  `json:"timestamp"` // milliseconds
	Message   string `json:"message"`
}

// DoBatch implements Batcher.
func (c *CloudwatchLogs) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	var events []parcel[logEvent]
	add := func(i int, e logEvent) {
		if !utf8.ValidString(e.Message) || e.Message == "" {
			errs[i] = refuse("cloudwatchLogs: the message is empty or not UTF-8")
			return
		}
		events = append(events, parcel[logEvent]{e, len(e.Message) + logEventExtra, i})
	}
	for i, d := range list {
		if !d.Action.(*CloudwatchLogs).BatchMode {
			add(i, logEvent{d.Message.Time.UnixMilli(), string(d.Message.Payload)})
			continue
		}
		parts, err := elements("cloudwatchLogs", d.Message, logEvents)
		errs[i] = err
		for _, p := range parts {
			e := logEvent{Timestamp: d.Message.Time.UnixMilli()}
			if json.Unmarshal(p, &e) != nil || e.Message == "" {
				errs[i] = refuse("cloudwatchLogs: batchMode wants an array of objects with timestamp and message")
				break
			}
			add(i, e)
		}
	}
	slices.SortStableFunc(events, func(a, b parcel[logEvent]) int { return cmp.Compare(a.record.Timestamp, b.record.Timestamp) })
	return parcels(events, logEvents, logBytes, errs, func(events []logEvent) []error { return c.put(ctx, s, events) })
}

func (c *CloudwatchLogs) put(ctx context.Context, s *Services, events []logEvent) []error {
	in := map[string]any{"logGroupName": c.LogGroupName, "logStreamName": logStream}
	var out struct {
		Rejected *struct {
			TooOld  *int `json:"tooOldLogEventEndIndex"`
			Expired *int `json:"expiredLogEventEndIndex"`
			TooNew  *int `json:"tooNewLogEventStartIndex"`
		} `json:"rejectedLogEventsInfo"`
	}
	put := func() error {
		in["logEvents"] = events
		defer delete(in, "logEvents")
		return s.AWS.ask(ctx, logsService, "PutLogEvents", in, &out)
	}
	err := put()
	if isException(err, "ResourceNotFoundException") {
		err = s.AWS.ask(ctx, logsService, "CreateLogStream", in, nil)
		if err == nil || isException(err, "ResourceAlreadyExistsException") {
			err = put()
		}
	}
	if err != nil || out.Rejected == nil {
		return same(len(events), failure("cloudwatchLogs", err))
	}
	errs := make([]error, len(events))
	for i := range errs {
		switch r := out.Rejected; {
		case r.TooOld != nil && i < *r.TooOld, r.Expired != nil && i < *r.Expired:
			errs[i] = refuse("cloudwatchLogs: the event is too old")
		case r.TooNew != nil && i >= *r.TooNew:
			errs[i] = refuse("cloudwatchLogs: the event is too far in the future")
		}
	}
	return errs
}
