package realclients

import (
	"bufio"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

const installMosquitto = "apt-get install mosquitto-clients"

// mosquittoPolicy lets a device be itself and use the topics below its name, and no others.
const mosquittoPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:` + region + `:` + account + `:client/kettle*"},
	{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:` + region + `:` + account + `:topic/of/${iot:Connection.Thing.ThingName}"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive","iot:RetainPublish"],"Resource":"arn:aws:iot:` + region + `:` + account + `:topic/kettle/*"},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:` + region + `:` + account + `:topicfilter/*kettle/*"}]}`

// mosquitto are the options that mosquitto_pub and mosquitto_sub share.
func (s *server) mosquitto(d *device, id string, more ...string) []string {
	args := []string{"-h", "localhost", "-p", strconv.Itoa(s.mqttPort), "--cafile", s.ca(), "-i", id}
	if d != nil {
		args = append(args, "--cert", d.cert, "--key", d.key)
	}
	return append(args, more...)
}

// publish runs mosquitto_pub to its end and returns what it says.
func (s *server) publish(t *testing.T, d *device, id string, more ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx(t, 8*time.Second), program(t, "mosquitto_pub", installMosquitto), s.mosquitto(d, id, more...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *server) mustPublish(t *testing.T, d *device, id string, more ...string) {
	t.Helper()
	if out, err := s.publish(t, d, id, more...); err != nil {
		t.Fatalf("mosquitto_pub %s: %v\n%s", strings.Join(more, " "), err, out)
	}
}

// refusePublish expects mosquitto_pub to fail, and to say so in some of these words if there are any.
func (s *server) refusePublish(t *testing.T, d *device, id string, words []string, more ...string) {
	t.Helper()
	out, err := s.publish(t, d, id, more...)
	if err == nil {
		t.Errorf("mosquitto_pub %s succeeded:\n%s", strings.Join(more, " "), out)
	}
	for _, w := range words {
		if strings.Contains(strings.ToLower(out), w) {
			return
		}
	}
	if len(words) > 0 {
		t.Errorf("mosquitto_pub %s says none of %q:\n%s", strings.Join(more, " "), words, out)
	}
}

// subscriber is a running mosquitto_sub.
type subscriber struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  chan string // its debug lines
	got  chan string // messages in the given format
	done chan error
}

// format prints topic, QoS, retain flag and payload of a message.
const format = "message %t %q %r %p"

// subscribe starts mosquitto_sub and waits for its SUBACK.
func (s *server) subscribe(t *testing.T, d *device, id string, more ...string) *subscriber {
	t.Helper()
	sub := s.listen(t, d, id, append([]string{"-F", format}, more...)...)
	sub.wait("received SUBACK")
	return sub
}

func (s *server) listen(t *testing.T, d *device, id string, more ...string) *subscriber {
	t.Helper()
	args := append([]string{"-oL", program(t, "mosquitto_sub", installMosquitto), "-d"}, s.mosquitto(d, id, more...)...)
	sub := &subscriber{t: t, cmd: exec.Command("stdbuf", args...), log: make(chan string, 10000), got: make(chan string, 10000), done: make(chan error, 1)}
	stdout, err := sub.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	sub.cmd.Stderr = sub.cmd.Stdout
	if err := sub.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if m, ok := strings.CutPrefix(lines.Text(), "message "); ok {
				sub.got <- m
			} else {
				sub.log <- lines.Text()
			}
		}
		sub.done <- sub.cmd.Wait()
	}()
	t.Cleanup(func() { sub.cmd.Process.Kill() })
	return sub
}

// wait waits for a debug line.
func (sub *subscriber) wait(words ...string) string {
	sub.t.Helper()
	var seen []string
	deadline := time.After(15 * time.Second)
	for {
		select {
		case line := <-sub.log:
			seen = append(seen, line)
			for _, w := range words {
				if strings.Contains(line, w) {
					return line
				}
			}
		case <-deadline:
			sub.t.Fatalf("mosquitto_sub did not say %q but:\n%s", words, strings.Join(seen, "\n"))
		}
	}
}

// want expects these messages, in this order.
func (sub *subscriber) want(messages ...string) {
	sub.t.Helper()
	for _, want := range messages {
		select {
		case got := <-sub.got:
			if got != want {
				sub.t.Fatalf("mosquitto_sub got %q, want %q", got, want)
			}
		case <-time.After(15 * time.Second):
			sub.t.Fatalf("mosquitto_sub did not get %q", want)
		}
	}
}

// quit ends mosquitto_sub with a DISCONNECT, or without.
func (sub *subscriber) kill() {
	sub.t.Helper()
	sub.cmd.Process.Kill()
	<-sub.done
}

func TestMosquitto(t *testing.T) {
	outside(t)
	t.Parallel()
	s := start(t)
	kettle := s.device(t, "kettle", mosquittoPolicy)

	t.Run("publish and subscribe", func(t *testing.T) {
		for _, v := range []string{"mqttv311", "mqttv5"} {
			for _, tls := range []string{"tlsv1.2", "tlsv1.3"} {
				id := "kettle-" + v + tls
				sub := s.subscribe(t, kettle, id+"-sub", "-V", v, "--tls-version", tls, "-q", "1", "-t", "kettle/+/state")
				s.mustPublish(t, kettle, id, "-V", v, "--tls-version", tls, "-q", "0", "-t", "kettle/1/state", "-m", "on")
				s.mustPublish(t, kettle, id+"b", "-V", v, "--tls-version", tls, "-q", "1", "-t", "kettle/2/state", "-m", "off")
				sub.want("kettle/1/state 0 0 on", "kettle/2/state 1 0 off")
				sub.kill()
			}
		}
	})

	t.Run("by address", func(t *testing.T) {
		args := s.mosquitto(kettle, "kettle-address", "-q", "1", "-t", "kettle/a", "-m", "x")
		args[1] = "127.0.0.1"
		if out, err := exec.Command("mosquitto_pub", args...).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("policy variable", func(t *testing.T) {
		s.mustPublish(t, kettle, "kettle", "-q", "1", "-t", "of/kettle", "-m", "x")
		s.refusePublish(t, kettle, "kettle", nil, "-q", "1", "-t", "of/toaster", "-m", "x")
		// The variable has a value only if the client identifier is the thing's name.
		s.refusePublish(t, kettle, "kettle-2", nil, "-q", "1", "-t", "of/kettle", "-m", "x")
	})

	t.Run("large payload", func(t *testing.T) {
		sub := s.subscribe(t, kettle, "kettle-large", "-q", "1", "-t", "kettle/large")
		fits := strings.Repeat("x", 128<<10)
		s.mustPublish(t, kettle, "kettle-fits", "-q", "1", "-t", "kettle/large", "-f", write(t, "fits", []byte(fits)))
		sub.want("kettle/large 1 0 " + fits)
		s.refusePublish(t, kettle, "kettle-over", nil, "-V", "mqttv5", "-q", "1", "-t", "kettle/large", "-f", write(t, "over", []byte(fits+"x")))
	})

	t.Run("connect denied", func(t *testing.T) {
		s.refusePublish(t, kettle, "toaster", []string{"not authori"}, "-t", "kettle/a", "-m", "x")
		s.refusePublish(t, kettle, "toaster", []string{"not authori"}, "-V", "mqttv5", "-t", "kettle/a", "-m", "x")
		s.why("client/toaster")
	})

	t.Run("publish denied", func(t *testing.T) {
		s.refusePublish(t, kettle, "kettle-denied", nil, "-q", "1", "-t", "toaster/a", "-m", "x")
		out, _ := s.publish(t, kettle, "kettle-denied5", "-V", "mqttv5", "-d", "-q", "1", "-t", "toaster/b", "-m", "x")
		if !strings.Contains(out, "RC:135") {
			t.Errorf("no PUBACK with Not authorized:\n%s", out)
		}
		s.why("topic/toaster/a")
		s.why("topic/toaster/b")
	})

	t.Run("subscribe denied", func(t *testing.T) {
		for _, v := range []string{"mqttv311", "mqttv5"} {
			sub := s.listen(t, kettle, "kettle-nosub-"+v, "-V", v, "-t", "toaster/#")
			sub.wait("denied", "rejected")
			sub.kill()
		}
		s.why("topicfilter/toaster/#")
	})

	t.Run("retained", func(t *testing.T) {
		s.mustPublish(t, kettle, "kettle-retain", "-q", "1", "-r", "-t", "kettle/config", "-m", "v1")
		s.subscribe(t, kettle, "kettle-r1", "-q", "1", "-t", "kettle/config").want("kettle/config 1 1 v1")
		// AWS IoT sends stored retained messages for the exact topic only.
		wild := s.subscribe(t, kettle, "kettle-r2", "-q", "1", "-t", "kettle/+")
		s.mustPublish(t, kettle, "kettle-retain", "-q", "1", "-r", "-t", "kettle/config", "-m", "v2")
		wild.want("kettle/config 1 0 v2")
		s.mustPublish(t, kettle, "kettle-retain", "-q", "1", "-r", "-t", "kettle/config", "-n")
		none := s.subscribe(t, kettle, "kettle-r3", "-q", "1", "-t", "kettle/config")
		s.mustPublish(t, kettle, "kettle-retain", "-q", "1", "-t", "kettle/config", "-m", "live")
		none.want("kettle/config 1 0 live")
	})

	t.Run("will", func(t *testing.T) {
		watch := s.subscribe(t, kettle, "kettle-watch", "-q", "1", "-t", "kettle/gone")
		dies := s.subscribe(t, kettle, "kettle-dies", "-t", "kettle/a", "--will-topic", "kettle/gone", "--will-payload", "died", "--will-qos", "1")
		dies.kill()
		watch.want("kettle/gone 1 0 died")
		// An orderly end publishes no will.
		s.mustPublish(t, kettle, "kettle-leaves", "-t", "kettle/a", "-m", "x", "--will-topic", "kettle/gone", "--will-payload", "left")
		s.mustPublish(t, kettle, "kettle-last", "-q", "1", "-t", "kettle/gone", "-m", "marker")
		watch.want("kettle/gone 1 0 marker")
		s.refusePublish(t, kettle, "kettle-badwill", []string{"not authori"}, "-t", "kettle/a", "-m", "x", "--will-topic", "toaster/gone", "--will-payload", "x")
	})

	t.Run("taken over", func(t *testing.T) {
		first := s.subscribe(t, kettle, "kettle-twin", "-V", "mqttv5", "-t", "kettle/a")
		s.mustPublish(t, kettle, "kettle-twin", "-V", "mqttv5", "-t", "kettle/b", "-m", "x")
		first.wait("eceived DISCONNECT (142)")
		first.kill()
	})

	t.Run("MQTT 5 options", func(t *testing.T) {
		sub := s.listen(t, kettle, "kettle-five", "-V", "mqttv5", "-q", "1", "-t", "kettle/five",
			"-F", "message %t %q %p %C %R %D %A %P")
		sub.wait("received SUBACK")
		s.mustPublish(t, kettle, "kettle-5", "-V", "mqttv5", "-q", "1", "-t", "kettle/five", "-m", "hi",
			"-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "kettle/answer",
			"-D", "publish", "correlation-data", "42", "-D", "publish", "user-property", "a", "1", "-D", "publish", "user-property", "b", "2",
			"-D", "publish", "message-expiry-interval", "100")
		sub.want("kettle/five 1 hi text/plain kettle/answer 42  a:1 b:2")
		alias := s.subscribe(t, kettle, "kettle-alias-sub", "-V", "mqttv5", "-t", "kettle/alias")
		s.mustPublish(t, kettle, "kettle-alias", "-V", "mqttv5", "-t", "kettle/alias", "-m", "one", "-D", "publish", "topic-alias", "3", "--repeat", "3")
		alias.want("kettle/alias 0 0 one", "kettle/alias 0 0 one", "kettle/alias 0 0 one")
		// More aliases than the server takes, and a session expiry that it lowers.
		s.refusePublish(t, kettle, "kettle-alias9", nil, "-V", "mqttv5", "-q", "1", "-t", "kettle/alias", "-m", "x", "-D", "publish", "topic-alias", "9")
		s.mustPublish(t, kettle, "kettle-expiry", "-V", "mqttv5", "-q", "1", "-t", "kettle/a", "-m", "x", "-D", "connect", "session-expiry-interval", "100000")
	})

	t.Run("shared subscription", func(t *testing.T) {
		one := s.subscribeAny(t, kettle, "kettle-s1")
		two := s.subscribeAny(t, kettle, "kettle-s2")
		for i := range 20 {
			s.mustPublish(t, kettle, "kettle-share", "-q", "1", "-t", "kettle/job", "-m", strconv.Itoa(i))
		}
		if !within(10*time.Second, func() bool { return len(one.got)+len(two.got) == 20 }) {
			t.Errorf("%d + %d messages, want 20 together", len(one.got), len(two.got))
		}
		if len(one.got) == 0 || len(two.got) == 0 {
			t.Errorf("%d and %d messages: not shared", len(one.got), len(two.got))
		}
	})
}

// subscribeAny joins the group that shares kettle/job.
func (s *server) subscribeAny(t *testing.T, d *device, id string) *subscriber {
	t.Helper()
	return s.subscribe(t, d, id, "-V", "mqttv5", "-q", "1", "-t", "$share/workers/kettle/job")
}

// TestMosquittoSession kills the server between a persistent session and its messages.
func TestMosquittoSession(t *testing.T) {
	outside(t)
	t.Parallel()
	s := start(t)
	kettle := s.device(t, "kettle", allowAll)
	for _, v := range []string{"mqttv311", "mqttv5"} {
		t.Run(v, func(t *testing.T) {
			session := []string{"-V", v, "-c", "-q", "1", "-t", "kettle/" + v}
			if v == "mqttv5" {
				session = append(session, "-x", "3000")
			}
			s.subscribe(t, kettle, "sleeper-"+v, session...).kill()
			s.mustPublish(t, kettle, "p", "-V", v, "-q", "1", "-t", "kettle/"+v, "-m", "before")
			s.mustPublish(t, kettle, "p", "-V", v, "-q", "1", "-r", "-t", "kept/"+v, "-m", "retained")
			s.kill()
			s.run()
			s.mustPublish(t, kettle, "p", "-V", v, "-q", "1", "-t", "kettle/"+v, "-m", "after")
			s.subscribe(t, kettle, "sleeper-"+v, session...).want("kettle/"+v+" 1 0 before", "kettle/"+v+" 1 0 after")
			s.subscribe(t, kettle, "reader-"+v, "-q", "1", "-t", "kept/"+v).want("kept/" + v + " 1 1 retained")
		})
	}
}

// TestMosquittoCertificates connects with certificates that must not be let in.
func TestMosquittoCertificates(t *testing.T) {
	outside(t)
	t.Parallel()
	s := start(t)
	kettle := s.device(t, "kettle", allowAll)
	hello := []string{"-q", "1", "-t", "a", "-m", "x"}

	s.mustPublish(t, kettle, "kettle", hello...)
	t.Run("none", func(t *testing.T) {
		s.refusePublish(t, nil, "nobody", nil, hello...)
		s.why("the client sent no certificate")
	})
	t.Run("self-made", func(t *testing.T) {
		s.refusePublish(t, selfMade(t), "stranger", nil, hello...)
		s.why("not registered")
	})
	t.Run("expired", func(t *testing.T) {
		s.refusePublish(t, s.expired(t), "old", nil, hello...)
		s.why("expired")
	})
	t.Run("the client does not trust the server", func(t *testing.T) {
		args := s.mosquitto(kettle, "doubter", hello...)
		args[5] = selfMade(t).cert
		if out, err := exec.Command("mosquitto_pub", args...).CombinedOutput(); err == nil {
			t.Errorf("connected:\n%s", out)
		}
	})
	t.Run("plain TCP to the TLS port", func(t *testing.T) {
		cmd := exec.CommandContext(ctx(t, 10*time.Second), "mosquitto_pub", "-h", "127.0.0.1", "-p", strconv.Itoa(s.mqttPort), "-t", "a", "-m", "x")
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("connected:\n%s", out)
		}
		s.why("did not speak TLS")
	})
	t.Run("revoked", func(t *testing.T) {
		live := s.subscribe(t, kettle, "kettle-live", "-V", "mqttv5", "-t", "a")
		if _, err := s.iot.UpdateCertificate(ctx(t, time.Minute), &iot.UpdateCertificateInput{CertificateId: &kettle.id, NewStatus: "REVOKED"}); err != nil {
			t.Fatal(err)
		}
		live.wait("eceived DISCONNECT (135)")
		s.refusePublish(t, kettle, "kettle", nil, hello...)
		s.why("REVOKED")
	})
	t.Run("policy detached", func(t *testing.T) {
		lamp := s.device(t, "lamp", allowAll)
		s.mustPublish(t, lamp, "lamp", hello...)
		if _, err := s.iot.DetachPolicy(ctx(t, time.Minute), &iot.DetachPolicyInput{PolicyName: aws.String("lamp"), Target: &lamp.arn}); err != nil {
			t.Fatal(err)
		}
		s.refusePublish(t, lamp, "lamp", []string{"not authori"}, hello...)
	})
}
