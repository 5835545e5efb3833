package link

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/mqtt"
)

func asking(expiry uint32) mqtt.Properties {
	p := mqtt.Properties{MessageExpiry: expiry, ContentType: "application/json", ResponseTopic: "lamp/answers", CorrelationData: []byte{1, 2},
		User: []mqtt.UserProperty{{Key: "a", Value: "b"}}}
	p.Mark(mqtt.PropMessageExpiry, mqtt.PropContentType, mqtt.PropResponseTopic, mqtt.PropCorrelationData, mqtt.PropUserProperty)
	return p
}

// TestProperties: the properties of a message go both ways, and the expiry that it waited for is taken
// off, over a restart, too.
func TestProperties(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := flash.NewMemory()
		store, err := flash.Open(m, 0)
		if err != nil {
			t.Fatal(err)
		}
		loop := event.NewLoop(nil)
		offline, err := New(Config{Loop: loop, Store: store, Dial: func(context.Context) (c net.Conn, err error) { return nil, errNoRoute }})
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 2)
		for _, expiry := range []uint32{60, 3600} {
			if err := offline.Publish(Publication{Topic: "t", Payload: []byte("x"), QoS: 1, Properties: asking(expiry)}, func(err error) { results <- err }); err != nil {
				t.Fatal(err)
			}
		}
		offline.Close(t.Context())
		store.Close()
		loop.Close()
		<-loop.Done()
		time.Sleep(10 * time.Minute)
		if store, err = flash.Open(m, 0); err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		got := make(chan mqtt.Publish, 1)
		b := against(t, Config{Store: store}, func(s *script) {
			s.accept(false)
			p := s.publish()
			s.ack(p)
			got <- p
			back := mqtt.Publish{Topic: []byte("lamp/answers"), Payload: []byte("y"), Properties: p.Properties}
			s.write(back.Append(nil, mqtt.V5), (&mqtt.Publish{Topic: []byte("z")}).Append(nil, mqtt.V5))
			s.idle()
		})
		b.Start()
		p := <-got
		want := asking(3600 - 600)
		if string(p.Properties.Append(nil)) != string(want.Append(nil)) {
			t.Errorf("%+v", p.Properties)
		}
		synctest.Wait()
		if dropped := b.find(MessageDropped); len(dropped) != 1 || !errors.Is(dropped[0].Err, ErrExpired) {
			t.Errorf("%v", dropped)
		}
		r, ok := b.Receive()
		if !ok || string(r.Properties.Append(nil)) != string(want.Append(nil)) {
			t.Errorf("%+v", r.Properties)
		}
	})
}

// TestPropertiesRefused: what a client may not set is refused at once.
func TestPropertiesRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := against(t, Config{})
		var alias, response mqtt.Properties
		alias.TopicAlias = 1
		alias.Mark(mqtt.PropTopicAlias)
		response.ResponseTopic = "a/#"
		response.Mark(mqtt.PropResponseTopic)
		for _, p := range []mqtt.Properties{alias, response} {
			if err := b.Publish(Publication{Topic: "t", QoS: 1, Properties: p}, nil); err == nil {
				t.Errorf("%+v is taken", p)
			}
		}
	})
}
