package router

import (
	"fmt"
	"testing"

	"github.com/berth-iot/berth/topic"
)

// TestOwner: the owner of a reserved topic hears of its messages after the subscribers, and is
// looked for once per topic.
func TestOwner(t *testing.T) {
	t.Parallel()
	r := newRouter(t, topic.AWS)
	var heard []string
	asked := map[string]int{}
	s := &sink{}
	r.Subscribe(s, "$aws/things/T/shadow/update", Subscription{})
	pub := r.NewPublisher()
	publish := func(name, payload string, will bool) {
		pub.Publish(&Publication{Topic: name, Payload: []byte(payload), Will: will})
		pub.Flush()
	}
	publish("$aws/things/T/shadow/update", "before", false)
	r.Own(func(name string) Handler {
		asked[name]++
		if name != "$aws/things/T/shadow/update" {
			return nil
		}
		return func(p *Publication) {
			heard = append(heard, fmt.Sprintf("%s after %d, will %t", p.Payload, len(s.got), p.Will))
		}
	})
	r.Own(func(name string) Handler {
		return func(p *Publication) { heard = append(heard, "second "+p.Topic) }
	})
	publish("$aws/things/T/shadow/update", "1", false)
	publish("$aws/things/T/shadow/update", "2", false)
	publish("$aws/things/T/shadow/update", "gone", true)
	publish("$aws/things/U/shadow/update", "", false)
	publish("ordinary/topic", "", false)
	if got, want := fmt.Sprint(heard), "[1 after 2, will false 2 after 3, will false gone after 4, will true second $aws/things/U/shadow/update]"; got != want {
		t.Errorf("heard %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(asked), "map[$aws/things/T/shadow/update:1 $aws/things/U/shadow/update:1]"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	if len(s.got) != 4 {
		t.Errorf("the subscriber got %v", s.got)
	}
}
