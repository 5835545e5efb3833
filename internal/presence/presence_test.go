package presence

import (
	"fmt"
	"testing"

	"github.com/berth-iot/berth/internal/session"
)

func TestLatest(t *testing.T) {
	t.Parallel()
	l := NewLog(4)
	for i := range 6 {
		l.Connected(session.Client{ClientID: fmt.Sprint("c", i)})
	}
	l.Disconnected(session.Client{ClientID: "other", ThingName: "c5"}, session.ClientInitiated)
	got := ""
	for _, e := range l.Latest(10, "") {
		got += e.ClientID + " "
	}
	if got != "other c5 c4 c3 " {
		t.Errorf("all events: %s", got)
	}
	if e := l.Latest(1, "c5"); len(e) != 1 || e[0].Kind != Disconnected || e[0].Reason != string(session.ClientInitiated) {
		t.Errorf("latest of c5: %+v", e)
	}
	if e := l.Latest(10, "c5"); len(e) != 2 {
		t.Errorf("of c5, as thing and client: %+v", e)
	}
	if e := l.Latest(10, "c0"); len(e) != 0 {
		t.Errorf("an event that is too old: %+v", e)
	}
}
