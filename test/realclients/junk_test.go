package realclients

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// junk is what the connections of TestJunk say, on the plain and the TLS listener alike.
var junk = [][]byte{
	nil,
	[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	[]byte("SSH-2.0-OpenSSH_9.2\r\n"),
	[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 half a ClientHello"),
	[]byte("\x16\x03\x01\xff\xff"),
	[]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"),         // a CONNECT that the policy denies or not
	[]byte("\x10\x0c\x00\x04MQXX\x04\x02\x00\x3c\x00\x00"),         // unknown protocol
	[]byte("\x10\x0c\x00\x04MQTT\x09\x02\x00\x3c\x00\x00"),         // unknown version
	[]byte("\x10\xff\xff\xff\x7f"),                                 // 256 MiB announced
	[]byte("\x10\xff\xff\xff\xff\xff"),                             // remaining length of five bytes
	[]byte("\x10\x80"),                                             // half a length
	[]byte("\x30\x05\x00\x01a"),                                    // PUBLISH before CONNECT
	[]byte("\xc0\x00"),                                             // PINGREQ before CONNECT
	[]byte("\x00\x00\x00\x00\x00\x00\x00\x00"),                     // no such packet
	[]byte("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02\xc3\x28"), // client identifier that is not UTF-8
	[]byte("\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x7f\x00\x00"),     // properties longer than the packet
	[]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"), // two CONNECTs
	[]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\x30\x06\x00\x03a/#x"),                         // wildcard in a topic name
	[]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\x82\x02\x00\x00"),                             // SUBSCRIBE without filters
}

// proper is a well-behaved client that exchanges messages with itself until it is stopped.
type proper struct {
	slowest atomic.Int64 // nanoseconds
	count   atomic.Int64
	stop    context.CancelFunc
	done    chan error
}

func (s *server) proper(t *testing.T) *proper {
	t.Helper()
	echo := make(chan string, 100)
	c, err := client.Dial(ctx(t, 10*time.Second), client.Options{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.plainPort)),
		ClientID: "proper", CleanStart: true, Version: mqtt.V5, OnMessage: func(m client.Message) { echo <- string(m.Payload) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(ctx(t, 10*time.Second), mqtt.Subscription{Filter: "proper", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	p := &proper{stop: stop, done: make(chan error, 1)}
	go func() {
		defer c.Close(context.Background())
		for i := 0; running.Err() == nil; i++ {
			began := time.Now()
			bounded, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_, err := c.Publish(bounded, client.Message{Topic: "proper", Payload: []byte(strconv.Itoa(i)), QoS: 1})
			cancel()
			if err != nil {
				p.done <- fmt.Errorf("message %d: %w", i, err)
				return
			}
			select {
			case got := <-echo:
				if got != strconv.Itoa(i) {
					p.done <- fmt.Errorf("message %d came back as %q", i, got)
					return
				}
			case <-time.After(10 * time.Second):
				p.done <- fmt.Errorf("message %d did not come back", i)
				return
			}
			p.slowest.Store(max(p.slowest.Load(), int64(time.Since(began))))
			p.count.Add(1)
			time.Sleep(time.Millisecond)
		}
		p.done <- nil
	}()
	return p
}

// check ends the client, which must have been served all the time.
func (p *proper) check(t *testing.T) {
	t.Helper()
	p.stop()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
	slowest := time.Duration(p.slowest.Load())
	t.Logf("a proper client exchanged %d messages meanwhile, the slowest in %v", p.count.Load(), slowest)
	if slowest > 3*time.Second {
		t.Errorf("a message took %v", slowest)
	}
}

// level is what must come back to where it was.
type level struct{ files, goroutines, memory float64 }

func (s *server) level() level {
	http.DefaultClient.CloseIdleConnections()
	return level{s.metric("process_open_fds"), s.metric("go_goroutines"), s.metric("process_resident_memory_bytes") / (1 << 20)}
}

// settles waits until nothing is left of what came since before.
func (s *server) settles(t *testing.T, before level) {
	t.Helper()
	var after level
	ok := within(30*time.Second, func() bool {
		after = s.level()
		return after.files <= before.files+10 && after.goroutines <= before.goroutines+10 && after.memory <= before.memory+64
	})
	t.Logf("before %.0f files, %.0f goroutines, %.0f MiB; after %.0f, %.0f, %.0f MiB", before.files, before.goroutines, before.memory,
		after.files, after.goroutines, after.memory)
	if !ok {
		t.Error("something was left behind")
	}
}

// TestJunk makes connections that are of no use to anybody, one after the other and several at a
// time, and wants the server as it was: 100,000 with BERTH_REAL_CLIENTS=1, otherwise fewer.
func TestJunk(t *testing.T) {
	t.Parallel()
	n := 3000
	if os.Getenv("BERTH_REAL_CLIENTS") == "1" {
		n = 100_000
	}
	s := start(t, plain("aws")...)
	s.policy(t, "lab", allowAll)
	p := s.proper(t)
	time.Sleep(500 * time.Millisecond)
	before, lines, began := s.level(), strings.Count(s.log.String(), "\n"), time.Now()

	stranger := selfMade(t)
	cert, err := tls.LoadX509KeyPair(stranger.cert, stranger.key)
	if err != nil {
		t.Fatal(err)
	}
	unknown := &tls.Config{RootCAs: s.roots(), ServerName: "localhost", Certificates: []tls.Certificate{cert}}
	nobody := &tls.Config{RootCAs: s.roots(), ServerName: "localhost"}

	var next, failed atomic.Int64
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for {
				i := int(next.Add(1))
				if i > n {
					return
				}
				// Many loopback addresses, so that ports do not run out.
				from := &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i%200), byte(1+i/200%200))}
				dialer := net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}
				port := s.plainPort
				if i%2 == 0 {
					port = s.mqttPort
				}
				c, err := dialer.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
				if err != nil {
					failed.Add(1)
					continue
				}
				c.SetDeadline(time.Now().Add(10 * time.Second))
				switch i % 50 {
				case 0: // a certificate that nobody knows
					hello(tls.Client(c, unknown))
				case 10: // no certificate
					hello(tls.Client(c, nobody))
				case 20: // random bytes
					b := make([]byte, 1+random.IntN(2000))
					for j := range b {
						b[j] = byte(random.Uint32())
					}
					c.Write(b)
				case 30: // an end by reset
					c.Write(junk[random.IntN(len(junk))])
					c.(*net.TCPConn).SetLinger(0)
				default:
					c.Write(junk[random.IntN(len(junk))])
				}
				c.Close()
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	t.Logf("%d connections in %v", n, took.Round(time.Millisecond))
	if failed.Load() > 0 {
		t.Errorf("%d connections were not accepted", failed.Load())
	}
	p.check(t)
	s.settles(t, before)
	if got := s.metric("berth_connections_accepted_total"); int(got) < n {
		t.Errorf("%.0f connections were counted", got)
	}
	if got := s.metric("berth_handshakes_failed_total"); int(got) < n/2 {
		t.Errorf("%.0f failed handshakes were counted, want %d", got, n/2)
	}
	if got := s.metric("berth_connects_broken_total"); int(got) < n/4 {
		t.Errorf("%.0f unusable connections were counted", got)
	}
	// One line a second about each: handshakes that failed, and clients that broke the protocol.
	said := strings.Split(s.log.String(), "\n")[lines:]
	for _, kind := range []string{"TLS handshake failed", ""} {
		var got int
		for _, line := range said {
			if handshake := strings.Contains(line, "TLS handshake failed"); line != "" && handshake == (kind != "") {
				got++
			}
		}
		if got > int(time.Since(began).Seconds())+3 {
			t.Errorf("%d lines %q were logged in %v", got, kind, took)
		}
	}
	if strings.Contains(s.log.String(), "panic") {
		t.Error("a handler panicked")
	}
}

// hello shakes hands and waits for the alert that follows.
func hello(c *tls.Conn) {
	if c.Handshake() == nil {
		c.Read(make([]byte, 1))
	}
}

// TestSlow opens 1,000 connections that never finish what they began.
func TestSlow(t *testing.T) {
	t.Parallel()
	s := start(t, plain("aws")...)
	s.policy(t, "lab", allowAll)
	p := s.proper(t)
	time.Sleep(500 * time.Millisecond)
	before := s.level()

	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range 1000 {
		port, say := s.plainPort, []byte("\x10\x20\x00\x04MQTT\x05")
		switch i % 4 {
		case 1: // half a ClientHello
			port, say = s.mqttPort, []byte("\x16\x03\x01\x02\x00\x01\x00")
		case 2: // nothing at all
			port, say = s.mqttPort, nil
		case 3:
			say = nil
		}
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		c.Write(say)
		conns = append(conns, c)
	}
	// The server takes them as fast as it can; the first are over after 10 s.
	open, until := s.metric("process_open_fds"), time.Now().Add(8*time.Second)
	for ; open < before.files+900 && time.Now().Before(until); open = s.metric("process_open_fds") {
		time.Sleep(50 * time.Millisecond)
	}
	if open < before.files+900 {
		t.Fatalf("only %.0f files are open", open)
	}
	// Every tenth goes on, a byte a second.
	running, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		for running.Err() == nil {
			for i := 0; i < len(conns); i += 10 {
				conns[i].Write([]byte{0})
			}
			time.Sleep(time.Second)
		}
	}()
	deadline := time.Now().Add(25 * time.Second)
	for i, c := range conns {
		c.SetReadDeadline(deadline)
		for b := make([]byte, 100); ; {
			if _, err := c.Read(b); err != nil {
				if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
					t.Fatalf("connection %d is still open", i)
				}
				break
			}
		}
	}
	stop()
	p.check(t)
	s.settles(t, before)
}
