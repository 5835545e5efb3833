package session

import (
	"io"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/mqtt"
)

// restingLine is a line that is interrupted as a socket is, by a deadline.
type restingLine struct {
	*line
	interrupts chan struct{}
	rests      atomic.Int64
}

func (l *restingLine) Fill(in *Input, idle func()) error {
	idle()
	select {
	case b := <-l.toServer:
		in.Filled(copy(in.Space(), b))
		return nil
	case <-l.interrupts:
		return os.ErrDeadlineExceeded
	case <-l.ended:
		return io.EOF
	}
}

func (l *restingLine) Interrupt() {
	select {
	case l.interrupts <- struct{}{}:
	default:
	}
}
func (l *restingLine) Rested() { l.rests.Add(1) }
func (l *restingLine) Parted() {}

// TestRest: a silent connection rests once for each silence, and goes on where it was.
func TestRest(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		l := &restingLine{line: newLine(), interrupts: make(chan struct{}, 1)}
		go func() {
			l.toServer <- (&mqtt.Connect{Version: mqtt.V311, ClientID: "c", CleanStart: true}).Append(nil)
		}()
		a.Accept(t.Context(), l, Admission{Authenticator: &script{t: t, steps: []step{{topic: "a"}}}})
		l.packets(t)
		packet := (&mqtt.Publish{QoS: 1, PacketID: 1, Topic: []byte("a"), Payload: []byte("halves")}).Append(nil, mqtt.V311)
		for i := range 3 {
			l.toServer <- packet[:5] // a packet may have begun
			time.Sleep(time.Minute)
			if n := l.rests.Load(); n != int64(i)+1 {
				t.Errorf("%d rests in %d silences", n, i+1)
			}
			l.toServer <- packet[5:]
			if types, _ := l.packets(t); len(types) != 1 || types[0] != mqtt.PUBACK {
				t.Errorf("answered %v", types)
			}
			time.Sleep(time.Second)
		}
		if a.Counts().ConnectedNow != 1 {
			t.Error("it is gone")
		}
		if !a.DeleteConnection("c", true, true) {
			t.Error("it cannot be ended")
		}
		synctest.Wait()
	})
}
