package device_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/mode"
	"github.com/berth-iot/berth/mqtt"
)

// TestLifeOfADevice: connect, shadow, messages, an outage of the server with messages published
// meanwhile, jobs, restart.
func TestLifeOfADevice(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V5, mqtt.V311} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			t.Parallel()
			c := startCloud(t)
			id, _ := c.issue("lamp", "devices")
			storage := flash.NewMemory()
			got := make(chan string, 100)
			b := c.boot(storage, func(cfg *device.Config, h *device.Handlers, b *board) {
				cfg.Given = id
				cfg.Link.Version = v
				h.Message = func(m device.Message) {
					got <- string(m.Payload)
					if string(m.Payload) == "crash" {
						panic("as told")
					}
				}
				h.Delta = func(d device.Delta) ([]byte, error) { b.note("delta %s", d.State); return d.State, nil }
				h.Reported = func() []byte { return []byte(`{"firmware":"1.0"}`) }
				h.Restart = func() { b.note("restart handler") }
			})
			if err := b.Subscribe("lamp/#", 1); err != nil {
				t.Fatal(err)
			}
			b.eventually("connected", b.Connected)
			b.eventually("the first report", func() bool {
				r := c.reported("lamp")
				return r["connected"] == true && r["firmware"] == "1.0"
			})
			c.api("POST", "/things/lamp/shadow", []byte(`{"state":{"desired":{"on":true}}}`), nil)
			b.eventually("the delta's answer", func() bool { return c.reported("lamp")["on"] == true })

			done := make(chan error, 20)
			for _, p := range []string{"one", "crash", "two"} {
				if err := b.Publish(link.Publication{Topic: "lamp/x", Payload: []byte(p), QoS: 1}, func(err error) { done <- err }); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range []string{"one", "crash", "two"} {
				if p := <-got; p != want {
					t.Errorf("got %s, want %s", p, want)
				}
			}
			b.eventually("the crash", func() bool { return b.noted("message handler crashed: as told") == 1 })

			for range 3 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			c.Close()
			b.eventually("disconnected", func() bool { return !b.Connected() })
			for i := range 20 {
				b.Publish(link.Publication{Topic: "lamp/x", Payload: fmt.Append(nil, i), QoS: 1}, func(err error) { done <- err })
			}
			c.start()
			c.api("POST", "/things/lamp/shadow", []byte(`{"state":{"desired":{"on":false}}}`), nil)
			for i := range 20 {
				p := <-got
				for p == "one" || p == "crash" || p == "two" {
					p = <-got // once more: the server went before it knew that it had come
				}
				if p != fmt.Sprint(i) {
					t.Errorf("after the outage got %s, want %d", p, i)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			b.eventually("the delta of the outage", func() bool { return c.reported("lamp")["on"] == false })

			if err := b.SetData([]byte("state"), nil); err != nil {
				t.Fatal(err)
			}
			if err := b.SetData(make([]byte, 257), nil); !errors.Is(err, device.ErrData) {
				t.Errorf("257 bytes: %v", err)
			}
			b.Restart()
			<-b.restarts
			if b.noted("restart handler") != 1 {
				t.Error("the application was not told of the restart")
			}
			b.eventually("presence", func() bool { return c.reported("lamp")["connected"] == true })
			again := c.boot(storage, nil)
			again.eventually("connected after the restart", again.Connected)
			if string(again.Data()) != "state" || again.Thing() != "lamp" || again.Mode() != mode.Normal {
				t.Errorf("after the restart: data %q, thing %q, mode %v", again.Data(), again.Thing(), again.Mode())
			}
		})
	}
}

// TestWillSetsShadowOffline: a device that vanishes without goodbye is reported as not connected.
func TestWillSetsShadowOffline(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, _ := c.issue("lamp", "devices")
	conns := make(chan net.Conn, 10)
	var cut atomic.Bool
	b := c.boot(flash.NewMemory(), func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Given = id
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context, id device.Identity) (net.Conn, error) {
			if cut.Load() {
				return nil, errors.New("cut off")
			}
			conn, err := dial(ctx, id)
			if err == nil {
				conns <- conn.(*tls.Conn).NetConn()
			}
			return conn, err
		}
	})
	b.eventually("the first report", func() bool { return c.reported("lamp")["connected"] == true })
	cut.Store(true)
	(<-conns).Close()
	b.eventually("the will", func() bool { return c.reported("lamp")["connected"] == false })
	cut.Store(false)
	b.eventually("the next report", func() bool { return c.reported("lamp")["connected"] == true })
}

func (c *cloud) job(id, thing, document string) {
	c.t.Helper()
	c.api("PUT", "/jobs/"+id, map[string]any{"targets": []string{arn + "thing/" + thing}, "document": document}, nil)
}

func (c *cloud) execution(id, thing string) (status string, details map[string]string) {
	c.t.Helper()
	var out struct {
		Execution struct {
			Status        string
			StatusDetails struct{ DetailsMap map[string]string }
		}
	}
	c.call("GET", "/things/"+thing+"/jobs/"+id, nil, &out) // it may not be there yet
	return out.Execution.Status, out.Execution.StatusDetails.DetailsMap
}

// TestJobs: every way in which a handler can end.
func TestJobs(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, _ := c.issue("lamp", "devices")
	storage := flash.NewMemory()
	handle := func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Given = id
		cfg.StepTimeout = time.Minute
		h.Job = func(ctx context.Context, j *device.Job) error {
			b.note("job %s resumed %v details %v", j.ID, j.Resumed, j.Details)
			var doc struct{ Do string }
			if err := json.Unmarshal(j.Document, &doc); err != nil {
				return err
			}
			switch doc.Do {
			case "succeed":
				for i := range 5 {
					j.Progress(map[string]string{"percent": fmt.Sprint(20 * (i + 1))})
				}
				return nil
			case "fail":
				return errors.New("no \"paint\"\nleft")
			case "crash":
				panic("job")
			case "reject":
				return fmt.Errorf("%w: no such lamp", awsiot.ErrRejected)
			case "reboot":
				if j.Resumed {
					return nil
				}
				j.Progress(map[string]string{"rebooting": "yes"})
				return awsiot.ErrRestart
			case "wait":
				<-ctx.Done()
				b.note("cancelled")
				return ctx.Err()
			}
			return errors.New("unknown")
		}
	}
	c.job("a", "lamp", `{"do":"succeed"}`)
	c.job("b", "lamp", `{"do":"fail"}`)
	b := c.boot(storage, handle)
	b.eventually("a", func() bool { s, d := c.execution("a", "lamp"); return s == "SUCCEEDED" && d["percent"] == "100" })
	b.eventually("b", func() bool {
		s, d := c.execution("b", "lamp")
		return s == "FAILED" && d["reason"] == `no "paint" left`
	})
	c.job("c", "lamp", `{"do":"crash"}`)
	b.eventually("c", func() bool {
		s, d := c.execution("c", "lamp")
		return s == "FAILED" && d["reason"] == "job handler crashed: job"
	})
	c.job("d", "lamp", `{"do":"reject"}`)
	b.eventually("d", func() bool { s, _ := c.execution("d", "lamp"); return s == "REJECTED" })

	c.job("e", "lamp", `{"do":"wait"}`)
	b.eventually("e begins", func() bool { return b.noted("job e") == 1 })
	c.api("PUT", "/jobs/e/cancel?force=true", map[string]string{}, nil)
	b.eventually("e is cancelled", func() bool { return b.noted("cancelled") == 1 })

	// An outage in the middle of a job does not end it; the result comes through afterwards.
	c.job("f", "lamp", `{"do":"wait"}`)
	b.eventually("f begins", func() bool { return b.noted("job f") == 1 })
	c.Close()
	b.eventually("disconnected", func() bool { return !b.Connected() })
	c.start()
	b.eventually("connected", b.Connected)
	c.api("PUT", "/things/lamp/jobs/f/cancel?force=true", map[string]string{}, nil)
	b.eventually("f is cancelled", func() bool { return b.noted("cancelled") == 2 })

	c.job("g", "lamp", `{"do":"reboot"}`)
	<-b.restarts
	if s, _ := c.execution("g", "lamp"); s != "IN_PROGRESS" {
		t.Errorf("g is %s during the restart", s)
	}
	again := c.boot(storage, handle)
	again.eventually("g", func() bool { s, _ := c.execution("g", "lamp"); return s == "SUCCEEDED" })
	if again.noted("job g resumed true") != 1 {
		t.Errorf("g was not resumed: %v", again.log)
	}
}
