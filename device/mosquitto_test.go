package device_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/mqtt"
)

// TestMosquitto holds the connection against a server that is not ours: messages in order over a
// restart of it, subscriptions restored, persistent session. It is left out where there is none.
func TestMosquitto(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		t.Skip("there is no mosquitto")
	}
	for _, v := range []mqtt.Version{mqtt.V5, mqtt.V311} {
		dir := t.TempDir()
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := free.Addr().String()
		free.Close()
		_, port, _ := net.SplitHostPort(address)
		conf := filepath.Join(dir, "conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, "listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\npersistence false\n", port), 0o600); err != nil {
			t.Fatal(err)
		}
		serve := func() (stop func()) {
			cmd := exec.Command(path, "-c", conf)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return func() { cmd.Process.Kill(); cmd.Wait() }
		}
		stop := serve()
		defer func() { stop() }()
		loop := event.NewLoop(nil)
		var mu sync.Mutex
		var events []string
		got := make(chan string, 1000)
		l, err := link.New(link.Config{Loop: loop, ClientID: "lamp", Version: v, Backoff: link.Backoff{Base: 10 * time.Millisecond, Cap: 50 * time.Millisecond},
			Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) },
			Events: func(e link.Event) {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, fmt.Sprint(e.Kind, " ", e.Err))
			}})
		if err != nil {
			t.Fatal(err)
		}
		l.OnMessage(func(m link.Message) { got <- string(m.Payload) })
		subscribed := make(chan error, 1)
		l.Subscribe("a/#", 1, func(err error) { subscribed <- err })
		l.Start()
		if err := <-subscribed; err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 500)
		publish := func(from, to int) {
			for i := from; i < to; i++ {
				l.Publish(link.Publication{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: 1}, func(err error) { done <- err })
			}
		}
		want := func(from, to int) {
			t.Helper()
			for i := from; i < to; i++ {
				select {
				case s := <-got:
					if s != fmt.Sprint(i) {
						t.Errorf("version %d: got %s, want %d", v, s, i)
					}
				case <-time.After(10 * time.Second):
					mu.Lock()
					t.Fatalf("version %d: message %d does not come: %v", v, i, events)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		publish(0, 200)
		want(0, 200)
		stop()
		for deadline := time.Now().Add(10 * time.Second); l.Connected() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		publish(200, 400)
		stop = serve()
		want(200, 400)
		l.Close(t.Context())
		loop.Close()
		<-loop.Done()
	}
}
