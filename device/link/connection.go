package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// maxSuspect is how many connections in a row the server may end while the same message is the
// first unacknowledged, before it is given up: MQTT 3.1.1 has no other way to refuse a message.
const maxSuspect = 4

// connection is one MQTT connection. Fields below mu are guarded by the link's lock.
type connection struct {
	net.Conn
	id        uint64
	version   mqtt.Version
	keepAlive time.Duration
	window    int // unacknowledged publishes that the server takes
	maxPacket int // bytes that the server takes
	retain    bool
	wake      chan struct{}

	up           bool // CONNACK has come
	outbox       []byte
	written      []*entry // of QoS 0, in the outbox
	unacked      int
	restored     bool
	toldBudget   bool
	lastReceived time.Time
	pinged       time.Time // when the PINGREQ without an answer was sent
	paused       bool      // the reader waits for room in the ring
	stuck        bool      // it has waited in vain
	over         chan struct{}
	end          *Failure

	buf  []byte // the reader's: read and not yet consumed is buf[from:]
	from int
}

func (c *connection) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// tooLarge reports whether the server would not take a publish. Twelve bytes are more than the
// header, lengths and identifier.
func (c *connection) tooLarge(e *entry) bool { return c.maxPacket > 0 && e.size()+12 > c.maxPacket }

// next reads one packet; the body is valid until the following call.
func (c *connection) next(limit int) (mqtt.Header, []byte, error) {
	for {
		h, body, size, err := mqtt.Frame(c.buf[c.from:], limit)
		if err != nil {
			return 0, nil, err
		}
		if body != nil {
			c.from += size
			return h, body, nil
		}
		if c.from > 0 {
			c.buf = c.buf[:copy(c.buf, c.buf[c.from:])]
			c.from = 0
		}
		if len(c.buf) == cap(c.buf) {
			grown := make([]byte, len(c.buf), max(1024, 2*cap(c.buf)))
			copy(grown, c.buf)
			c.buf = grown
		}
		n, err := c.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		if err != nil && n == 0 {
			return 0, nil, err
		}
	}
}

// connect dials and exchanges CONNECT and CONNACK. The connection is the link's afterwards.
func (l *Link) connect() (*connection, mqtt.Connack, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.ConnectTimeout)
	defer cancel()
	raw, err := l.cfg.Dial(ctx)
	if err != nil {
		return nil, mqtt.Connack{}, failureOf(err, Unreachable, "the server cannot be reached")
	}
	// The deadline of the transport runs on the system's clock, which may be adjusted meanwhile; the
	// context does not.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	c := &connection{Conn: raw, version: l.tryVersion(), keepAlive: l.cfg.KeepAlive, wake: make(chan struct{}, 1), over: make(chan struct{}), retain: true}
	fail := func(err error, kind FailureKind, reason string) (*connection, mqtt.Connack, error) {
		raw.Close()
		return nil, mqtt.Connack{}, failureOf(l.cfg.Explain(err), kind, reason)
	}
	p := mqtt.Connect{Version: c.version, ClientID: l.cfg.ClientID, CleanStart: l.cfg.CleanStart, Will: l.cfg.Will,
		KeepAlive: uint16(l.cfg.KeepAlive / time.Second), UserName: l.cfg.UserName, HasUserName: l.cfg.UserName != "",
		Password: l.cfg.Password, HasPassword: l.cfg.Password != nil}
	if c.version == mqtt.V5 {
		p.Properties.ReceiveMaximum = uint16(l.cfg.ReceiveMessages)
		p.Properties.MaximumPacketSize = uint32(l.cfg.MaxPacket)
		p.Properties.Mark(mqtt.PropReceiveMaximum, mqtt.PropMaximumPacketSize)
		if !l.cfg.CleanStart {
			p.Properties.SessionExpiry = uint32(l.cfg.SessionExpiry / time.Second)
			p.Properties.Mark(mqtt.PropSessionExpiry)
		}
	}
	if _, err := raw.Write(p.Append(nil)); err != nil {
		return fail(err, Refused, "the server ends the connection before CONNECT is sent")
	}
	h, body, err := c.next(l.cfg.MaxPacket)
	if err != nil {
		if ctx.Err() != nil {
			return fail(fmt.Errorf("connect: %w", ctx.Err()), Unreachable, "the server does not answer CONNECT")
		}
		return fail(err, Refused, "the server ends the connection without an answer to CONNECT: is the certificate registered and ACTIVE?")
	}
	var a mqtt.Connack
	if h.Type() != mqtt.CONNACK {
		return fail(fmt.Errorf("%v instead of CONNACK", h.Type()), Broken, "the server breaks the protocol")
	}
	if c.version == mqtt.V5 && len(body) == 2 && body[1] == 1 {
		// The CONNACK of a server that knows 3.1.1 only has no properties.
		a.Code = mqtt.UnsupportedVersion
	} else if err := a.Decode(body, c.version); err != nil {
		return fail(err, Broken, "the server breaks the protocol")
	}
	if a.Code != mqtt.Success {
		if a.Code == mqtt.UnsupportedVersion && l.cfg.Version == 0 && c.version == mqtt.V5 {
			l.mu.Lock()
			l.version = mqtt.V311
			l.mu.Unlock()
			return fail(&Failure{Kind: Ended, Code: mqtt.UnsupportedVersion, Reason: "the server does not know MQTT 5: 3.1.1 is next"}, Ended, "")
		}
		return fail(refusal(a.Code, c.version, a.Properties.ReasonString), Refused, "")
	}
	c.window, c.maxPacket = 65535, 0
	if props := &a.Properties; c.version == mqtt.V5 {
		if props.Has(mqtt.PropServerKeepAlive) {
			c.keepAlive = time.Duration(props.ServerKeepAlive) * time.Second
		}
		if props.Has(mqtt.PropReceiveMaximum) && props.ReceiveMaximum > 0 {
			c.window = int(props.ReceiveMaximum)
		}
		if props.Has(mqtt.PropMaximumPacketSize) {
			c.maxPacket = int(props.MaximumPacketSize)
		}
		c.retain = !props.Has(mqtt.PropRetainAvailable) || props.RetainAvailable == 1
	} else {
		c.window = 100 // AWS IoT takes no more (message broker quotas, "Inbound unacknowledged messages")
	}
	if !stop() {
		return fail(fmt.Errorf("connect: %w", ctx.Err()), Unreachable, "the server does not answer in time")
	}
	return c, a, nil
}

func (l *Link) tryVersion() mqtt.Version {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.version
}

// serve works with a connection until its end and returns the reason; nil if the link wanted it.
func (l *Link) serve(c *connection, a mqtt.Connack) *Failure {
	now := time.Now()
	l.mu.Lock()
	l.lastConn++
	c.id, c.up, c.lastReceived = l.lastConn, true, now
	l.conn = c
	l.restore(a.SessionPresent)
	if !a.SessionPresent {
		// Without its session the server does not know what was sent: nothing is a duplicate to it.
		for _, e := range l.queue.entries {
			e.dup = false
		}
	}
	l.tell(Event{Kind: Connected, SessionPresent: a.SessionPresent, Version: c.version})
	l.mu.Unlock()
	abort := context.AfterFunc(l.ctx, func() { c.Close() })
	defer abort()
	read := make(chan struct{})
	go func() {
		defer close(read)
		l.read(c)
	}()
	wanted := l.pump(c)
	c.Close()
	close(c.over)
	<-read

	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = nil
	clear(l.asked)
	for _, e := range c.written {
		l.finish(e, ErrOffline)
	}
	first := true
	for i := 0; i < len(l.queue.entries); i++ {
		e := l.queue.entries[i]
		if !e.sent {
			continue
		}
		e.sent = false
		if ended := c.end != nil && c.end.Kind == Ended && c.end.Code == 0; first && ended && !wanted {
			if e.suspect++; e.suspect >= maxSuspect {
				l.queue.remove(e)
				i--
				delete(l.inflight, e.packetID)
				err := &Failure{Kind: Refused, Reason: fmt.Sprintf("the server has ended %d connections in a row after the message to %q: a policy must allow iot:Publish", e.suspect, e.topic)}
				l.tell(Event{Kind: MessageDropped, Topic: e.topic, Err: err})
				l.finish(e, err)
			}
		}
		first = false
	}
	l.keepUnsent()
	if wanted {
		return nil
	}
	return c.end
}

// fail notes the first reason for a connection's end and wakes the writer.
func (l *Link) fail(c *connection, f *Failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.end == nil {
		c.end = f
	}
	c.signal()
}

// pump writes until the connection ends. It reports whether the link wanted the end.
func (l *Link) pump(c *connection) (wanted bool) {
	var buf []byte
	sent := time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l.mu.Lock()
		if c.end != nil {
			l.mu.Unlock()
			return false
		}
		wanted = l.closed || l.held || l.dropped
		buf = append(buf[:0], c.outbox...)
		c.outbox = c.outbox[:0]
		if cap(c.outbox) > 1<<14 {
			c.outbox = nil
		}
		written := c.written
		var wait time.Duration
		if !wanted {
			buf = l.ask(buf, c)
			buf, wait = l.fill(buf, c)
			var ping bool
			if ping, wait = c.pingTime(sent, wait); ping {
				buf = mqtt.AppendPingreq(buf)
			}
			if c.end != nil {
				l.mu.Unlock()
				return false
			}
		} else {
			buf = (&mqtt.Disconnect{}).Append(buf, c.version)
		}
		tellRestored := !c.restored && !wanted && l.settled()
		if tellRestored {
			c.restored = true
			l.tell(Event{Kind: Restored})
		}
		watchers := l.watchers
		l.mu.Unlock()
		if tellRestored {
			for _, w := range watchers {
				if w.Restored != nil {
					w.Restored()
				}
			}
		}
		if len(buf) > 0 {
			c.SetWriteDeadline(time.Now().Add(l.cfg.WriteTimeout))
			if _, err := c.Write(buf); err != nil {
				l.writeFailed(c, err)
				return wanted
			}
			sent = time.Now()
			l.mu.Lock()
			c.written = c.written[len(written):]
			for _, e := range written {
				l.finish(e, nil)
			}
			l.mu.Unlock()
			if cap(buf) > 1<<16 {
				buf = nil
			}
		}
		if wanted {
			return true
		}
		if len(buf) == 0 || wait > 0 {
			timer.Reset(max(wait, time.Millisecond))
			select {
			case <-c.wake:
			case <-timer.C:
			}
		}
	}
}

// writeFailed lets the reader find the server's reason, if it gave one before it closed.
func (l *Link) writeFailed(c *connection, err error) {
	f := failureOf(l.cfg.Explain(err), Unreachable, "the network takes nothing any more")
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	for {
		l.mu.Lock()
		ended := c.end != nil
		l.mu.Unlock()
		if ended {
			return
		}
		select {
		case <-c.wake:
		case <-timer.C:
			l.fail(c, f)
			return
		}
	}
}

// pingTime decides about keep-alive: whether to send PINGREQ now, and when to look again, at most
// after wait if that is not 0. A server that has not answered in time ends the connection.
func (c *connection) pingTime(sent time.Time, wait time.Duration) (ping bool, next time.Duration) {
	next = wait
	if next <= 0 {
		next = time.Hour
	}
	if c.keepAlive <= 0 {
		return false, next
	}
	now := time.Now()
	if c.paused {
		// What the server says is not heard at the moment.
		c.pinged, c.lastReceived = time.Time{}, now
	}
	patience := min(max(c.keepAlive/2, 5*time.Second), 30*time.Second)
	if !c.pinged.IsZero() {
		left := patience - now.Sub(c.pinged)
		if left <= 0 {
			c.end = &Failure{Kind: Unreachable, Reason: fmt.Sprintf("the server has not answered a ping for %v", patience)}
		}
		return false, min(next, left)
	}
	// Three quarters of the interval leave room for a slow network. What the server says does not
	// count, but its silence is a reason to ask too.
	interval := c.keepAlive * 3 / 4
	last := sent
	if c.lastReceived.Before(last) {
		last = c.lastReceived
	}
	left := interval - now.Sub(last)
	if left > 0 {
		return false, min(next, left)
	}
	c.pinged = now
	return true, min(next, patience)
}

// roomPatience is how long a full ring may keep the reader from reading on.
const roomPatience = 5 * time.Second

// waitForRoom puts a message of QoS 1 into a full ring when the application has taken others out. That
// holds the server up, as TCP does. With MQTT 5 the Receive Maximum keeps it from coming so far. If the
// application takes nothing for a while, the message stays unacknowledged, for the server to send it
// again on the next connection, and reading goes on: services wait for their answers. The lock is held
// before and after.
func (l *Link) waitForRoom(c *connection, r received) (ok bool) {
	if c.stuck {
		return false
	}
	timer := time.NewTimer(roomPatience)
	defer timer.Stop()
	c.paused = true
	defer func() { c.paused = false }()
	for {
		l.mu.Unlock()
		over := false
		select {
		case <-l.room:
		case <-c.over:
			over = true
		case <-timer.C:
			over = true
		}
		l.mu.Lock()
		if _, ok = l.ring.put(r); ok || over {
			c.stuck = !ok
			return ok
		}
	}
}

// read handles packets until the connection ends.
func (l *Link) read(c *connection) {
	for {
		h, body, err := c.next(l.cfg.MaxPacket)
		if err == nil {
			err = l.handle(c, h, body)
		}
		if err == nil {
			continue
		}
		var broken *mqtt.Error
		switch {
		case errors.As(err, &broken):
			l.fail(c, &Failure{Kind: Broken, Reason: "the server breaks the protocol", Err: err})
		case errors.Is(err, io.EOF):
			l.fail(c, &Failure{Kind: Ended, Reason: "the server has closed the connection"})
		default:
			l.fail(c, failureOf(l.cfg.Explain(err), Unreachable, "the connection is lost"))
		}
		return
	}
}

// handle acts on one packet from the server.
func (l *Link) handle(c *connection, h mqtt.Header, body []byte) error {
	t := h.Type()
	if t == mqtt.PUBLISH {
		return l.message(c, h, body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.received()
	switch t {
	case mqtt.PUBACK:
		var a mqtt.Ack
		if err := a.Decode(t, body, c.version); err != nil {
			return err
		}
		l.acknowledged(c, &a)
		c.signal()
	case mqtt.SUBACK, mqtt.UNSUBACK:
		var a mqtt.Suback
		if err := a.Decode(t, body, c.version); err != nil {
			return err
		}
		if err := l.answered(t, &a); err != nil {
			return err
		}
		c.signal()
	case mqtt.PINGRESP:
	case mqtt.DISCONNECT:
		var d mqtt.Disconnect
		if err := d.Decode(t, body, c.version); err != nil {
			return err
		}
		return farewell(d.Code, d.Properties.ReasonString)
	default:
		return &mqtt.Error{Code: mqtt.ProtocolError, What: fmt.Sprintf("protocol error: %v from a server", t)}
	}
	return nil
}

// received notes that the server lives.
func (c *connection) received() {
	c.lastReceived = time.Now()
	if !c.pinged.IsZero() {
		c.pinged = time.Time{}
		c.signal()
	}
}

// message hands a PUBLISH to a service, or puts it into the ring.
func (l *Link) message(c *connection, h mqtt.Header, body []byte) error {
	var p mqtt.Publish
	if err := p.Decode(h, body, c.version); err != nil {
		return err
	}
	if p.QoS > 1 || len(p.Topic) == 0 {
		return &mqtt.Error{Code: mqtt.ProtocolError, What: "protocol error: a message that was not asked for like this"}
	}
	m := Message{Topic: string(p.Topic), Payload: append([]byte{}, p.Payload...), QoS: p.QoS, Retain: p.Retain, Dup: p.Dup, Properties: p.Properties}
	m.Properties.CorrelationData = bytes.Clone(p.Properties.CorrelationData)
	r := received{Message: m, packetID: p.PacketID, connection: c.id}
	l.mu.Lock()
	c.received()
	for _, route := range l.routes {
		if route.matches(m.Topic) {
			l.acknowledge(r)
			l.mu.Unlock()
			route.handle(m) // a copy: it may be replaced meanwhile
			return nil
		}
	}
	defer l.mu.Unlock()
	dropped, ok := l.ring.put(r)
	if dropped > 0 {
		l.lostMessages(dropped)
	}
	if !ok && r.packetID != 0 {
		ok = l.waitForRoom(c, r)
	}
	if ok {
		c.stuck = false
		l.deliverNext()
		select {
		case l.arrived <- struct{}{}:
		default:
		}
	}
	return nil
}
