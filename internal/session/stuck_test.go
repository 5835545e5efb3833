package session

import (
	"bytes"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/mqtt"
)

// deafLine is a line whose client does not read.
type deafLine struct {
	*line
	pending atomic.Int64
	reads   chan struct{}
}

func (l *deafLine) Write(b []byte) (bool, error) {
	l.pending.Add(int64(len(b)))
	return true, nil
}

func (l *deafLine) Drain() error {
	select {
	case <-l.reads:
	case <-l.ended:
	}
	l.pending.Store(0)
	return nil
}

func (l *deafLine) Pending() int { return int(l.pending.Load()) }

// TestClientThatDoesNotRead: what a client is owed does not pile up without end because it sends and
// never reads, and it is served again once it does.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	withSessions(t, func(t *testing.T, a *Sessions, _ *denial.Log) {
		l := &deafLine{line: newLine(), reads: make(chan struct{})}
		go func() {
			l.toServer <- (&mqtt.Connect{Version: mqtt.V311, ClientID: "c", CleanStart: true}).Append(nil)
		}()
		a.Accept(t.Context(), l, Admission{Authenticator: &script{t: t, steps: []step{{topic: "a"}}}})
		pings := bytes.Repeat([]byte{byte(mqtt.PINGREQ) << 4, 0}, 4000)
		send := func(most int) (n int) {
			for n < most {
				select {
				case l.toServer <- pings:
					n++
				case <-time.After(time.Second):
					return n
				}
			}
			return n
		}
		limit := a.limits.OutputBytes
		n := send(10 * limit / len(pings))
		a.mu.Lock()
		s := a.sessions["c"]
		a.mu.Unlock()
		s.mu.Lock()
		held := len(s.conn.out) + l.Pending()
		s.mu.Unlock()
		if held > limit+2*len(pings) || n*len(pings) > limit+4*len(pings) {
			t.Errorf("%d bytes are held after %d were sent; the limit is %d", held, n*len(pings), limit)
		}
		close(l.reads)
		if n := send(3); n != 3 {
			t.Error("it is not served again")
		}
		l.Interrupt()
		synctest.Wait()
	})
}
