package soak

import (
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// link is one MQTT 3.1.1 connection, packet by packet.
type link struct {
	net.Conn
	buf     []byte
	have    int
	mu      sync.Mutex // over writing
	present bool       // the session was there
}

// dialLink connects with a persistent session.
func dialLink(s *site, clientID string) (*link, error) {
	conn, err := net.DialTimeout("tcp", s.plain(), 5*time.Second)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn, buf: make([]byte, 1<<16)}
	c := mqtt.Connect{Version: mqtt.V311, ClientID: clientID, KeepAlive: 600}
	if err := l.send(c.Append(nil)); err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	h, body, err := l.next()
	conn.SetReadDeadline(time.Time{})
	if err == nil && (h.Type() != mqtt.CONNACK || body[1] != 0) {
		err = fmt.Errorf("%s: CONNACK %v % x", clientID, h.Type(), body)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	l.present = body[0] == 1
	return l, nil
}

func (l *link) send(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.SetWriteDeadline(time.Now().Add(20 * time.Second))
	_, err := l.Write(b)
	return err
}

// next returns a packet; its body is valid until the following call.
func (l *link) next() (mqtt.Header, []byte, error) {
	for {
		h, body, size, err := mqtt.Frame(l.buf[:l.have], 1<<16)
		if err != nil {
			return 0, nil, err
		}
		if body != nil {
			body = append([]byte{}, body...)
			l.have = copy(l.buf, l.buf[size:l.have])
			return h, body, nil
		}
		n, err := l.Read(l.buf[l.have:])
		if err != nil {
			return 0, nil, err
		}
		l.have += n
	}
}

// payload is what messages carry.
type payload struct {
	N int    `json:"n"`
	T string `json:"t,omitempty"` // topic, in what rules make of it
}

// sent is a message that is not done with.
type sent struct {
	id       uint16
	topic    string
	n        int
	received bool // PUBREC has come
}

// publisher sends numbered messages to its topics in turn, several in flight. It is a client of MQTT
// 3.1.1 with state: what is not acknowledged it sends again on the next connection.
type publisher struct {
	id      string
	topics  []string
	qos     byte
	window  int
	forgets bool          // does not send again
	pause   time.Duration // after each message
	acked   func(n int)   // is told every acknowledgement

	mu      sync.Mutex
	room    sync.Cond
	lastID  uint16
	next    map[string]int
	open    []*sent
	done    map[string]map[int]bool // acknowledged
	stopped bool
}

func newPublisher(id string, qos byte, topics ...string) *publisher {
	p := &publisher{id: id, qos: qos, topics: topics, window: 32, acked: func(int) {}, next: make(map[string]int), done: make(map[string]map[int]bool)}
	p.room.L = &p.mu
	for _, t := range topics {
		p.done[t] = make(map[int]bool)
	}
	return p
}

// run publishes until stop is closed or the connection breaks.
func (p *publisher) run(s *site, stop <-chan struct{}) error {
	l, err := dialLink(s, p.id)
	if err != nil {
		return err
	}
	defer l.Close()
	p.mu.Lock()
	p.stopped = false
	if p.forgets {
		p.open = nil
	}
	var again []byte
	for _, m := range p.open { // in their order [MQTT-4.6.0-1]
		if m.received {
			again = mqtt.AppendAck(again, mqtt.PUBREL, m.id, mqtt.Success, mqtt.V311)
		} else {
			again = p.packet(again, m, true)
		}
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		p.read(l)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stopped = true
		p.room.Broadcast()
	})
	wg.Go(func() {
		<-stop
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stopped = true
		p.room.Broadcast()
		l.Close()
	})
	defer wg.Wait()
	if err := l.send(again); err != nil {
		l.Close()
		return err
	}
	for i := 0; ; i++ {
		p.mu.Lock()
		for len(p.open) >= p.window && !p.stopped {
			p.room.Wait()
		}
		if p.stopped {
			p.mu.Unlock()
			l.Close()
			return nil
		}
		topic := p.topics[i%len(p.topics)]
		p.next[topic]++
		m := &sent{id: p.freeID(), topic: topic, n: p.next[topic]}
		p.open = append(p.open, m)
		b := p.packet(nil, m, false)
		p.mu.Unlock()
		if err := l.send(b); err != nil {
			l.Close()
			return err
		}
		if p.pause > 0 {
			time.Sleep(p.pause)
		}
	}
}

func (p *publisher) freeID() uint16 {
	for {
		p.lastID++
		taken := p.lastID == 0
		for _, m := range p.open {
			taken = taken || m.id == p.lastID
		}
		if !taken {
			return p.lastID
		}
	}
}

func (p *publisher) packet(b []byte, m *sent, dup bool) []byte {
	text, _ := json.Marshal(payload{N: m.n})
	pkt := mqtt.Publish{QoS: p.qos, Dup: dup, PacketID: m.id, Topic: []byte(m.topic), Payload: text}
	return pkt.Append(b, mqtt.V311)
}

// read takes acknowledgements until the connection ends.
func (p *publisher) read(l *link) {
	for {
		h, body, err := l.next()
		if err != nil {
			return
		}
		var a mqtt.Ack
		if a.Decode(h.Type(), body, mqtt.V311) != nil || p.take(l, h.Type(), a.PacketID) != nil {
			return
		}
	}
}

func (p *publisher) take(l *link, kind mqtt.Type, id uint16) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, m := range p.open {
		if m.id != id {
			continue
		}
		if !m.received { // PUBACK or PUBREC: the server has it
			p.done[m.topic][m.n] = true
			p.acked(1)
		}
		if kind == mqtt.PUBREC {
			m.received = true
			break
		}
		p.open = append(p.open[:i], p.open[i+1:]...)
		p.room.Broadcast()
		return nil
	}
	if kind == mqtt.PUBREC {
		return l.send(mqtt.AppendAck(nil, mqtt.PUBREL, id, mqtt.Success, mqtt.V311))
	}
	return nil
}

// acknowledged calls visit for every acknowledged message.
func (p *publisher) acknowledged(visit func(topic string, n int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for topic, list := range p.done {
		for n := range list {
			visit(topic, n)
		}
	}
}
