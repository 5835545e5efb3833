package action

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

var (
	eventsService    = &service{"IoT Events Data", "ioteventsdata", "data.iotevents", "", "application/json"}
	analyticsService = &service{"IoTAnalytics", "iotanalytics", "iotanalytics", "", "application/json"}
)

// Messages of one call (IoT Events and IoT Analytics API references, BatchPutMessage).
const (
	eventsMessages    = 10
	analyticsMessages = 100
)

// IoTEvents sends the result to an input of AWS IoT Events.
type IoTEvents struct {
	InputName string `json:"inputName,omitempty"`
	MessageID string `json:"messageId,omitempty"` // default the delivery's own
	BatchMode bool   `json:"batchMode,omitempty"` // an array is a message for each element
	RoleARN   string `json:"roleArn,omitempty"`
}

// Validate implements Action.
func (e *IoTEvents) Validate() error {
	if e.BatchMode && e.MessageID != "" {
		return refuse("iotEvents: there is no messageId with batchMode")
	}
	return required("iotEvents", "roleArn", e.RoleARN, "inputName", e.InputName)
}

// Destination implements Action.
func (e *IoTEvents) Destination() string { return e.InputName }

// Do implements Action.
func (e *IoTEvents) Do(ctx context.Context, s *Services, m *Message) error {
	id := e.MessageID
	if id == "" {
		id = m.ID
	}
	return putMessages(ctx, s, eventsService, "iotEvents", "/inputs/messages", nil, e.BatchMode, eventsMessages, id, m,
		func(id string, payload []byte) map[string]any {
			return map[string]any{"messageId": id, "inputName": e.InputName, "payload": payload,
				"timestamp": map[string]int64{"timeInMillis": m.Time.UnixMilli()}}
		})
}

// IoTAnalytics sends the result to a channel of AWS IoT Analytics.
type IoTAnalytics struct {
	ChannelName string `json:"channelName,omitempty"`
	ChannelARN  string `json:"channelArn,omitempty"` // the older way to name it
	BatchMode   bool   `json:"batchMode,omitempty"`  // an array is a message for each element
	RoleARN     string `json:"roleArn,omitempty"`
}

// Validate implements Action.
func (a *IoTAnalytics) Validate() error {
	return required("iotAnalytics", "channelName", a.Destination())
}

// Destination implements Action.
func (a *IoTAnalytics) Destination() string {
	if a.ChannelName != "" {
		return a.ChannelName
	}
	return a.ChannelARN[strings.LastIndexByte(a.ChannelARN, '/')+1:]
}

// Do implements Action.
func (a *IoTAnalytics) Do(ctx context.Context, s *Services, m *Message) error {
	return putMessages(ctx, s, analyticsService, "iotAnalytics", "/messages/batch", map[string]any{"channelName": a.Destination()}, a.BatchMode,
		analyticsMessages, m.ID, m, func(id string, payload []byte) map[string]any {
			return map[string]any{"messageId": id, "payload": payload}
		})
}

// putMessages calls BatchPutMessage of one of the two services.
func putMessages(ctx context.Context, s *Services, v *service, kind, path string, in map[string]any, batch bool, most int, id string, m *Message,
	entry func(id string, payload []byte) map[string]any) error {
	messages := []map[string]any{entry(id, m.Payload)}
	if batch {
		parts, err := elements(kind, m, most)
		if err != nil {
			return err
		}
		messages = messages[:0]
		for _, p := range parts {
			messages = append(messages, entry(uuid.NewString(), p))
		}
	}
	if in == nil {
		in = make(map[string]any)
	}
	in["messages"] = messages
	type refusal struct {
		Code    string `json:"errorCode"`
		Message string `json:"errorMessage"`
	}
	var out struct {
		Events    []refusal `json:"BatchPutMessageErrorEntries"`
		Analytics []refusal `json:"batchPutMessageErrorEntries"`
	}
	if err := s.AWS.ask(ctx, v, path, in, &out); err != nil {
		return failure(kind, err)
	}
	for _, r := range append(out.Events, out.Analytics...) {
		soon := strings.Contains(r.Code, "Throttl") || strings.Contains(r.Code, "Internal") || strings.Contains(r.Code, "Unavailable")
		return refused(kind, r.Code, fmt.Sprintf("%s (%d of %d messages)", r.Message, len(out.Events)+len(out.Analytics), len(messages)), !soon)
	}
	return nil
}
