package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/mqtt"
)

// TestOutage: what is published while there is no connection, and what was unacknowledged when it
// ended, arrives in order after it, and callbacks tell of it.
func TestOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []string
		b := against(t, Config{Random: half, Will: &mqtt.Will{Topic: "gone", Payload: []byte("x")}}, nil, func(s *script) {
			c := s.accept(false)
			if c.Version != mqtt.V5 || c.ClientID != "lamp" || c.Will == nil || c.KeepAlive != 120 || c.Properties.SessionExpiry != 3600 {
				t.Errorf("CONNECT %+v", c)
			}
			s.ack(s.publish())
			got = append(got, "a")
			s.publish() // b gets lost with the connection
		}, nil, func(s *script) {
			s.accept(true)
			for range 4 {
				p := s.publish()
				got = append(got, string(p.Payload))
				if p.Dup != (string(p.Payload) != "e") {
					t.Errorf("%s: dup %v", p.Payload, p.Dup)
				}
				s.ack(p)
			}
			s.idle()
		})
		var done []string
		for _, p := range []string{"a", "b", "c"} {
			b.pub(p, func(err error) { done = append(done, fmt.Sprint(p, err)) })
		}
		b.Start()
		time.Sleep(time.Second / 2)
		b.pub("d", nil)
		time.Sleep(time.Second)
		b.pub("e", nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) || !slices.Equal(done, []string{"a<nil>", "b<nil>", "c<nil>"}) {
			t.Errorf("server got %v, callbacks %v", got, done)
		}
		if n, bytes := b.Queued(); n != 0 || bytes != 0 {
			t.Errorf("queued %d, %d bytes", n, bytes)
		}
		if k := b.kinds(); !slices.Equal(k, []EventKind{Waiting, Connected, Restored, Disconnected, Waiting, Waiting, Connected, Restored}) {
			t.Errorf("events %v", k)
		}
	})
}

// TestRestartKeepsQueue: messages survive the process in order, whatever was sent of them.
func TestRestartKeepsQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := flash.NewMemory()
		store, err := flash.Open(m, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := against(t, Config{Store: store}, func(s *script) {
			s.accept(false)
			s.ack(s.publish())
			s.idle()
		})
		b.Start()
		for i := range 12 {
			b.pub(string('a'+rune(i)), nil)
		}
		time.Sleep(time.Second)
		b.Close(t.Context())
		store.Close()

		store, err = flash.Open(m, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		var got []byte
		again := against(t, Config{Store: store}, func(s *script) {
			s.accept(true)
			for range 12 {
				p := s.publish()
				got = append(got, p.Payload...)
				s.ack(p)
			}
			s.idle()
		})
		again.pub("new", nil)
		again.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		if string(got) != "bcdefghijklnew" {
			t.Errorf("after the restart %q", got)
		}
		if err := store.Flush(t.Context()); err != nil || len(store.Keys("q.")) != 0 {
			t.Errorf("left in flash %v, %v", store.Keys("q."), err)
		}
	})
}

// TestDurableAlways: nothing is sent before it is in flash.
func TestDurableAlways(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := flash.NewMemory()
		store, _ := flash.Open(m, 0)
		defer store.Close()
		b := against(t, Config{Store: store, Queue: QueueOptions{Durability: DurableAlways}}, func(s *script) {
			s.accept(false)
			s.publish()
			if len(store.Keys("q.")) != 1 || m.Writes() != 1 {
				t.Error("sent before it was written")
			}
			s.idle()
		})
		b.Start()
		time.Sleep(time.Second)
		b.pub("x", nil)
		time.Sleep(time.Second)
	})
}

// TestServerHints: Receive Maximum, Server Keep Alive, Maximum Packet Size and Quota Exceeded.
func TestServerHints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := against(t, Config{Random: half}, func(s *script) {
			s.accept(false, func(a *mqtt.Connack) {
				p := &a.Properties
				p.ReceiveMaximum, p.ServerKeepAlive, p.MaximumPacketSize, p.RetainAvailable = 2, 40, 100, 0
				p.Mark(mqtt.PropReceiveMaximum, mqtt.PropServerKeepAlive, mqtt.PropMaximumPacketSize, mqtt.PropRetainAvailable)
			})
			first, second := s.publish(), s.publish()
			began := time.Now()
			s.conn.SetReadDeadline(time.Now().Add(45 * time.Second))
			var one [1]byte
			s.conn.Read(one[:])
			if waited := time.Since(began); waited != 30*time.Second || one[0]>>4 != byte(mqtt.PINGREQ) {
				t.Errorf("%x after %v", one, waited)
			}
			s.conn.Read(one[:])
			s.conn.SetReadDeadline(time.Time{})
			s.write(mqtt.AppendPingresp(nil))
			s.write(mqtt.AppendAck(nil, mqtt.PUBACK, first.PacketID, mqtt.QuotaExceeded, s.version))
			s.ack(second)
			began = time.Now()
			if p := s.publish(); string(p.Payload) != "0" || time.Since(began) < 500*time.Millisecond {
				t.Errorf("%s after %v", p.Payload, time.Since(began))
			}
			s.idle()
		})
		var large error
		for i := range 3 {
			b.pub(fmt.Sprint(i), nil)
		}
		b.Start()
		time.Sleep(50 * time.Second)
		b.pub(string(make([]byte, 100)), func(err error) { large = err })
		time.Sleep(time.Second)
		synctest.Wait()
		_ = large
	})
}

// TestBusyServer: the reason of a refusal decides how long the device keeps away.
func TestBusyServer(t *testing.T) {
	t.Parallel()
	refuse := func(code mqtt.ReasonCode) func(*script) {
		return func(s *script) { s.accept(false, func(a *mqtt.Connack) { a.Code = code }) }
	}
	synctest.Test(t, func(t *testing.T) {
		b := against(t, Config{Random: half, Backoff: Backoff{Base: 10 * time.Second, Cap: 100 * time.Second}},
			refuse(mqtt.ServerBusy), refuse(mqtt.NotAuthorized), func(s *script) {
				s.accept(false)
				s.write((&mqtt.Disconnect{Code: mqtt.SessionTakenOver}).Append(nil, s.version))
				s.idle()
			}, nil)
		b.Start()
		time.Sleep(10 * time.Minute)
		waits := b.find(Waiting)
		var f *Failure
		if waits[0].Wait != 7500*time.Millisecond || !errors.As(waits[0].Err, &f) || f.Code != mqtt.ServerBusy {
			t.Errorf("busy: %+v", waits[0])
		}
		if waits[1].Wait != 50*time.Second || !errors.As(waits[1].Err, &f) || f.Kind != Refused {
			t.Errorf("not authorized: %+v", waits[1])
		}
		if waits[2].Wait != 50*time.Second || !errors.As(waits[2].Err, &f) || f.Kind != TakenOver {
			t.Errorf("taken over: %+v", waits[2])
		}
		if !errors.Is(waits[3].Err, errNoRoute) {
			t.Errorf("no network: %+v", waits[3])
		}
	})
}

func TestOldServerAndSilentServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := against(t, Config{}, func(s *script) {
			s.read()
			s.write([]byte{0x20, 2, 0, 1}) // CONNACK of 3.1.1: unacceptable protocol version
		}, func(s *script) {
			if c := s.accept(false); c.Version != mqtt.V311 {
				t.Errorf("version %d", c.Version)
			}
			io.Copy(io.Discard, s.conn) // answers no ping
		})
		b.Start()
		time.Sleep(4 * time.Minute)
		ends := b.find(Disconnected)
		if len(ends) != 1 || ends[0].Err == nil || ends[0].Err.Error() != "the server has not answered a ping for 30s" {
			t.Errorf("ends %+v", ends)
		}
	})
}

func TestSubscriptionsAreRestored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked [][]string
		b := against(t, Config{}, func(s *script) {
			s.accept(false)
			asked = append(asked, s.grant(), s.grant())
			asked = append(asked, s.grant())
		}, func(s *script) {
			s.accept(true)
			asked = append(asked, s.grant()) // only what was refused
		}, func(s *script) {
			s.accept(false)
			asked = append(asked, s.grant(), s.grant())
			s.idle()
		})
		var refused error
		for i := range 8 {
			b.Subscribe(fmt.Sprint("f", i), 1, nil)
		}
		b.Subscribe("forbidden", 0, func(err error) { refused = err })
		b.Start()
		time.Sleep(time.Second)
		b.Subscribe("late", 1, nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		var sizes []int
		for _, a := range asked {
			sizes = append(sizes, len(a))
		}
		if !slices.Equal(sizes, []int{8, 1, 1, 1, 8, 2}) || asked[3][0] != "forbidden" {
			t.Errorf("asked for %v", asked)
		}
		var f *Failure
		if !errors.As(refused, &f) || f.Code != mqtt.NotAuthorized || len(b.find(SubscribeFailed)) != 3 {
			t.Errorf("refused: %v, told %d times", refused, len(b.find(SubscribeFailed)))
		}
	})
}

// TestReceive: the ring holds messages until they are read; they are acknowledged then; services
// get theirs at once.
func TestReceive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var acks []uint16
		b := against(t, Config{ReceiveMessages: 2}, func(s *script) {
			if c := s.accept(false); c.Properties.ReceiveMaximum != 2 {
				t.Errorf("receive maximum %d", c.Properties.ReceiveMaximum)
			}
			for id := range uint16(3) {
				p := mqtt.Publish{QoS: min(1, byte(id)), PacketID: id, Topic: []byte("a"), Payload: []byte{'0' + byte(id)}}
				s.write(p.Append(nil, s.version))
			}
			s.write((&mqtt.Publish{QoS: 1, PacketID: 9, Topic: []byte("service/x")}).Append(nil, s.version))
			for h, body := s.read(); h != 0; h, body = s.read() {
				var a mqtt.Ack
				if h.Type() == mqtt.PUBACK && a.Decode(mqtt.PUBACK, body, s.version) == nil {
					acks = append(acks, a.PacketID)
				}
			}
		})
		served := 0
		b.Route("service/#", func(m Message) { served++ })
		b.Start()
		time.Sleep(time.Second)
		<-b.Arrived()
		m, ok := b.Receive()
		if !ok || string(m.Payload) != "1" || len(b.find(Overrun)) != 1 {
			t.Errorf("received %+v, %v", m, b.kinds())
		}
		time.Sleep(time.Second)
		b.OnMessage(func(m Message) {
			if string(m.Payload) != "2" {
				t.Errorf("handled %+v", m)
			}
			panic("a handler")
		})
		time.Sleep(time.Second)
		synctest.Wait()
		if served != 1 || !slices.Equal(acks, []uint16{9, 1, 2}) {
			t.Errorf("service got %d, acknowledged %v", served, acks)
		}
	})
}

// TestFlood: a handler that is slow costs the messages that the ring does not hold, and no memory.
func TestFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 5000
		b := against(t, Config{ReceiveMessages: 10}, func(s *script) {
			s.accept(false)
			for i := range n {
				s.write((&mqtt.Publish{Topic: []byte("a"), Payload: fmt.Append(nil, i)}).Append(nil, s.version))
			}
			s.idle()
		})
		handled, last := 0, ""
		slow := make(chan struct{})
		b.OnMessage(func(m Message) {
			if handled++; handled == 1 {
				<-slow
			}
			last = string(m.Payload)
		})
		b.Start()
		time.Sleep(time.Minute)
		close(slow)
		time.Sleep(time.Minute)
		synctest.Wait()
		told := b.find(Overrun)
		if handled != 11 || last != fmt.Sprint(n-1) || len(told) != 1 || told[0].Count != n-11 {
			t.Errorf("handled %d, last %s, overruns %v", handled, last, told)
		}
	})
}

// TestFullRing: with MQTT 3.1.1 a full ring holds the server up, and loses nothing; an application that
// takes nothing at all does not keep services from their answers.
func TestFullRing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var acks []uint16
		b := against(t, Config{Version: mqtt.V311, ReceiveMessages: 2}, func(s *script) {
			s.accept(false)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for id := range uint16(5) {
					s.conn.Write((&mqtt.Publish{QoS: 1, PacketID: id + 1, Topic: []byte("a")}).Append(nil, s.version))
				}
				s.conn.Write((&mqtt.Publish{Topic: []byte("service")}).Append(nil, s.version))
			}()
			for h, body := s.read(); h != 0; h, body = s.read() {
				var a mqtt.Ack
				if h.Type() == mqtt.PUBACK && a.Decode(mqtt.PUBACK, body, s.version) == nil {
					acks = append(acks, a.PacketID)
				}
			}
			<-sent
		})
		var served time.Duration
		began := time.Now()
		b.Route("service", func(Message) { served = time.Since(began) })
		b.Start()
		for range 2 {
			time.Sleep(4 * time.Second)
			b.Receive()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := 13 * time.Second; served != want {
			t.Errorf("the service was served after %v, want %v", served, want)
		}
		for _, ok := b.Receive(); ok; _, ok = b.Receive() {
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(acks, []uint16{1, 2, 3, 4}) {
			t.Errorf("acknowledged %v", acks)
		}
	})
}

// TestPoison: a message after which a server of MQTT 3.1.1 always ends the connection does not hold
// up the others for ever.
func TestPoison(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []string
		serve := func(s *script) {
			s.accept(true)
			for {
				p := s.publish()
				if string(p.Payload) == "bad" || len(p.Payload) == 0 {
					return
				}
				got = append(got, string(p.Payload))
				s.ack(p)
				if string(p.Payload) == "after" {
					s.idle()
					return
				}
			}
		}
		b := against(t, Config{Version: mqtt.V311}, serve, serve, serve, serve, serve, serve, serve)
		var bad error
		b.pub("before", nil)
		b.pub("bad", func(err error) { bad = err })
		b.pub("after", nil)
		b.Start()
		time.Sleep(time.Hour)
		synctest.Wait()
		if !slices.Equal(got, []string{"before", "after"}) || bad == nil || len(b.find(MessageDropped)) != 1 {
			t.Errorf("got %v, bad: %v", got, bad)
		}
	})
}

func TestQoS0AndBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		b := against(t, Config{Limits: Limits{PerSecond: 0.5, Burst: 1}}, func(s *script) {
			s.accept(false)
			for began := time.Now(); len(times) < 4; times = append(times, time.Since(began)) {
				if p := s.publish(); p.QoS > 0 {
					s.ack(p)
				}
			}
			s.idle()
		})
		result := func(p Publication) (err error) {
			err = errors.New("no result")
			if e := b.Publish(p, func(e error) { err = e }); e != nil {
				return e
			}
			synctest.Wait()
			return err
		}
		if err := result(Publication{Topic: "t"}); !errors.Is(err, ErrOffline) {
			t.Errorf("offline: %v", err)
		}
		for _, bad := range []Publication{{Topic: "a/#"}, {Topic: ""}, {Topic: "t", QoS: 2}} {
			if err := b.Publish(bad, nil); err == nil {
				t.Errorf("%+v is taken", bad)
			}
		}
		b.Start()
		time.Sleep(time.Second)
		if err := result(Publication{Topic: "t"}); err != nil {
			t.Errorf("online: %v", err)
		}
		if err := result(Publication{Topic: "t"}); !errors.Is(err, ErrBudget) {
			t.Errorf("beyond the budget: %v", err)
		}
		if err := result(Publication{Topic: "t", Urgent: true}); err != nil {
			t.Errorf("urgent: %v", err)
		}
		b.pub("1", nil)
		b.pub("2", nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(times) != 4 || times[3]-times[2] < 1999*time.Millisecond {
			t.Errorf("sent after %v", times)
		}
	})
}

// fakeTime is a time source.
type fakeTime struct {
	t   time.Time
	err error
}

func (f fakeTime) Time(context.Context) (time.Time, error) { return f.t, f.err }

// TestClockIsSetBeforeConnecting: 1970 is not taken for the time, and the remedy comes before TLS.
func TestClockIsSetBeforeConnecting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		clock := NewClock(func() time.Time { return time.Unix(0, 0).Add(time.Since(began)) }, time.Time{})
		right := Earliest.Add(100 * time.Hour)
		b := against(t, Config{Clock: clock, Time: fakeTime{t: right}}, func(s *script) {
			s.accept(false)
			if clock.Now().Before(right) {
				t.Errorf("connected at %v", clock.Now())
			}
			s.idle()
		})
		b.Start()
		time.Sleep(time.Second)
		if k := b.kinds(); !slices.Equal(k, []EventKind{ClockNotSet, ClockSet, Connected, Restored}) {
			t.Errorf("events %v", k)
		}
		if e := b.find(ClockNotSet); !errors.Is(e[0].Err, ErrClock) {
			t.Errorf("not set: %v", e[0].Err)
		}
	})
}

func TestHoldReleaseReconnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		farewells := 0
		serve := func(s *script) {
			s.accept(false)
			if h, _ := s.read(); h.Type() == mqtt.DISCONNECT {
				farewells++
			}
		}
		b := against(t, Config{}, serve, serve, serve)
		b.Start()
		time.Sleep(time.Second)
		b.Hold()
		time.Sleep(time.Hour)
		if b.Connected() || farewells != 1 {
			t.Errorf("held: connected %v, %d farewells", b.Connected(), farewells)
		}
		b.Release()
		time.Sleep(2 * time.Second)
		b.Reconnect()
		time.Sleep(2 * time.Second)
		if !b.Connected() || farewells != 2 {
			t.Errorf("reconnected: %v, %d farewells", b.Connected(), farewells)
		}
		b.Close(t.Context())
		b.Close(t.Context())
		if farewells != 3 || len(b.dials) != 3 {
			t.Errorf("%d farewells, %d dials", farewells, len(b.dials))
		}
		var err error
		b.Publish(Publication{Topic: "t", QoS: 1}, func(e error) { err = e })
		synctest.Wait()
		if !errors.Is(err, ErrClosed) {
			t.Errorf("publish after Close: %v", err)
		}
	})
}
