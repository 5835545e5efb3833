package action

import (
	"context"
	"math"
	"net/url"
	"strconv"
	"strings"
)

var locationService = &service{"Location", "geo", "tracking.geo", "", "application/json"}

// Location tells a tracker of Amazon Location Service where a device is; the result of the statement is
// not used.
type Location struct {
	RoleARN     string     `json:"roleArn,omitempty"`
	TrackerName string     `json:"trackerName,omitempty"`
	DeviceID    string     `json:"deviceId,omitempty"`
	Timestamp   *Timestamp `json:"timestamp,omitempty"` // default now
	Latitude    string     `json:"latitude,omitempty"`
	Longitude   string     `json:"longitude,omitempty"`
}

// Validate implements Action.
func (l *Location) Validate() error {
	if err := l.Timestamp.validate("location"); err != nil {
		return err
	}
	return required("location", "roleArn", l.RoleARN, "trackerName", l.TrackerName, "deviceId", l.DeviceID, "latitude", l.Latitude, "longitude", l.Longitude)
}

// Destination implements Action.
func (l *Location) Destination() string { return l.TrackerName }

// Do implements Action.
func (l *Location) Do(ctx context.Context, s *Services, m *Message) error {
	at, err := l.Timestamp.time("location", m.Time)
	if err != nil {
		return err
	}
	var place [2]float64 // longitude first
	for i, x := range []struct {
		text  string
		limit float64
	}{{l.Longitude, 180}, {l.Latitude, 90}} {
		if place[i], err = strconv.ParseFloat(x.text, 64); err != nil || !(math.Abs(place[i]) <= x.limit) {
			return refuse("location: %q is not a number of degrees up to %g", x.text, x.limit)
		}
	}
	var out struct {
		Errors []struct {
			Error struct{ Code, Message string }
		}
	}
	err = s.AWS.ask(ctx, locationService, "/tracking/v0/trackers/"+url.PathEscape(l.TrackerName)+"/positions", map[string]any{"Updates": []any{
		map[string]any{"DeviceId": l.DeviceID, "Position": place, "SampleTime": at.UTC().Format("2006-01-02T15:04:05.000Z")}}}, &out)
	if err != nil {
		return failure("location", err)
	}
	for _, e := range out.Errors {
		soon := strings.HasPrefix(e.Error.Code, "Throttl") || strings.HasPrefix(e.Error.Code, "Internal")
		return refused("location", e.Error.Code, e.Error.Message, !soon)
	}
	return nil
}
