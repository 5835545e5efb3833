package session

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/mqtt"
)

// TestTalkers: messages of the last window count, and those of a client that has fallen silent do not.
func TestTalkers(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		l, _ := connect(t, a, &script{t: t, steps: []step{{topic: "a"}}})
		for range 3 {
			if code := l.publish(t, "a"); code >= 0x80 {
				t.Fatal(code)
			}
		}
		if got := a.Talkers(10); len(got) != 0 {
			t.Errorf("before the end of a window: %+v", got)
		}
		time.Sleep(TrafficWindow + tick)
		want := []Talker{{ClientID: "c", Received: 3, ReceivedTotal: 3}}
		if diff := cmp.Diff(want, a.Talkers(10)); diff != "" {
			t.Error(diff)
		}
		time.Sleep(TrafficWindow + tick)
		if got := a.Talkers(10); len(got) != 0 {
			t.Errorf("after a silent window: %+v", got)
		}
		l.toServer <- (&mqtt.Disconnect{}).Append(nil, mqtt.V5)
	})
}
