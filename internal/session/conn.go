package session

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
)

// Transport is a network connection as a session needs it: reads that hold no memory while they
// wait, writes that never block.
type Transport interface {
	// Fill waits for bytes and reads them into in. It calls idle before it waits.
	Fill(in *Input, idle func()) error
	// Write takes all of b. pending reports that the network has not: Drain must be called.
	Write(b []byte) (pending bool, err error)
	// Drain blocks until everything taken is written.
	Drain() error
	// Pending is the number of bytes taken and not written.
	Pending() int
	// Interrupt makes Fill and Drain return soon, with an error. It never blocks.
	Interrupt()
	// Close ends the connection. linger waits a moment for a client that may still be sending, so that
	// what was written last reaches it.
	Close(linger bool) error
	RemoteAddr() netip.AddrPort
}

// Resting is a Transport of which an idle connection asks its memory back. It is asked by Interrupt, as if
// the connection were to end; the reader then calls Rested and reads on.
type Resting interface {
	// Rested undoes Interrupt and gives memory back. Only the reader calls it, while it does not read.
	Rested()
	// Parted gives all memory back: the reader reads no more.
	Parted()
}

// DisconnectReason is why a connection ended, in the words of AWS IoT's lifecycle events.
type DisconnectReason string

// Reasons (AWS IoT developer guide, "Lifecycle events").
const (
	AuthError          DisconnectReason = "AUTH_ERROR"
	ClientInitiated    DisconnectReason = "CLIENT_INITIATED_DISCONNECT"
	ClientError        DisconnectReason = "CLIENT_ERROR"
	ConnectionLost     DisconnectReason = "CONNECTION_LOST"
	DuplicateClientID  DisconnectReason = "DUPLICATE_CLIENTID"
	ForbiddenAccess    DisconnectReason = "FORBIDDEN_ACCESS"
	KeepAliveTimeout   DisconnectReason = "MQTT_KEEP_ALIVE_TIMEOUT"
	ServerInitiated    DisconnectReason = "SERVER_INITIATED_DISCONNECT"
	ServerError        DisconnectReason = "SERVER_ERROR"
	APIInitiated       DisconnectReason = "API_INITIATED_DISCONNECT"
	WebSocketTTL       DisconnectReason = "WEBSOCKET_TTL_EXPIRATION"
	CustomAuthTTL      DisconnectReason = "CUSTOMAUTH_TTL_EXPIRATION"
	noDisconnectReason DisconnectReason = ""
)

// ending is why and how a connection ends.
type ending struct {
	reason DisconnectReason
	code   mqtt.ReasonCode // of the DISCONNECT sent to MQTT 5 clients; Success sends none
	detail string
}

// closing is the error that handling a packet returns to end the connection.
type closing struct{ ending }

func (c *closing) Error() string { return fmt.Sprintf("%s: %s", c.reason, c.detail) }

func disconnect(reason DisconnectReason, code mqtt.ReasonCode, format string, args ...any) error {
	return &closing{ending{reason, code, fmt.Sprintf(format, args...)}}
}

// Conn is one network connection of a session. Its read loop owns the fields without comment.
type Conn struct {
	all       *Sessions
	session   *Session
	transport Transport
	version   mqtt.Version
	request   Request
	origin    *router.Origin
	sessionID string
	asked     uint64  // Admission.Asked
	custom    *custom // nil unless a custom authorizer decided
	pace      *pace   // nil without rates
	publisher *router.Publisher
	input     Input

	receiveMaximum int         // of the client
	maxPacket      int         // that the client takes; 0 for any
	aliases        []string    // topic aliases of the client, by alias minus 1
	acks           []byte      // acknowledgements of this batch
	publishing     *publishing // of the first PUBLISH on; many clients only subscribe
	owed           owed
	keepAlive      int64            // milliseconds of silence allowed; 0 for any
	received       uint64           // messages of this batch
	handled        int              // packets of this batch
	stuck          bool             // the client does not read what it is sent
	yields         int              // times that a PUBLISH still lets others go first
	goodbye        *mqtt.Disconnect // received

	access     atomic.Pointer[policy.Set]
	generation atomic.Uint32 // changes with access, unique among all connections
	active     atomic.Int64  // coarse clock at the last read
	ended      atomic.Pointer[ending]
	resting    atomic.Bool // the reader is asked to give memory back
	restedAt   int64       // of tickLoop: active when it last was
	traffic    traffic

	// guarded by session.mu
	out      []byte
	box      *[]byte  // what out is pooled in
	sent     uint64   // messages since the last flush
	dirty    bool     // somebody will call Flush
	given    *aliases // topic aliases given to the client; nil if it takes none
	flushing bool     // somebody is writing
	parted   bool     // nothing more may be appended
}

// end asks the connection to close. The first reason stays.
func (c *Conn) end(e ending) {
	if c.ended.CompareAndSwap(nil, &e) {
		c.interrupt()
	}
}

// interrupt makes the reader notice that the connection has ended.
func (c *Conn) interrupt() {
	c.transport.Interrupt()
	c.owed.abandon()
}

// serve reads packets until the connection ends.
func (c *Conn) serve() {
	err := c.readSafely()
	if err == errRested {
		go c.serve() // its stack is small again
		return
	}
	var cl *closing
	var me *mqtt.Error
	switch {
	case errors.As(err, &cl):
		c.ended.CompareAndSwap(nil, &cl.ending)
	case errors.As(err, &me):
		c.ended.CompareAndSwap(nil, &ending{ClientError, me.Code, me.What})
	default:
		detail := "the network connection was closed"
		if err != nil && !errors.Is(err, io.EOF) {
			detail = err.Error()
		}
		c.ended.CompareAndSwap(nil, &ending{ConnectionLost, mqtt.Success, detail})
	}
	c.all.part(c)
}

// readSafely keeps a bug that one client's packets trigger from ending the process.
func (c *Conn) readSafely() (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.all.log.Error("handling a packet panicked", "client_id", c.request.ClientID, "panic", r, "stack", string(debug.Stack()))
			err = disconnect(ServerError, mqtt.UnspecifiedError, "internal error")
		}
	}()
	return c.read()
}

// pressedPause is how long a publisher pauses after a batch for a subscriber that cannot follow.
const pressedPause = time.Millisecond

// maxBatch is the number of packets after which output is written although more input waits.
const maxBatch = 512

// read handles packets until an error ends the connection. Output is written when the input is used
// up, just before waiting for more.
func (c *Conn) read() error {
	idle := c.flushBatch // one closure for the life of the connection
	// Packets may have come together with CONNECT: clients need not wait for CONNACK (MQTT 5.0
	// section 3.1.4).
	for unread := len(c.input.bytes()) > 0; ; unread = false {
		if c.stuck {
			c.awaitReader()
		}
		if !unread {
			if err := c.transport.Fill(&c.input, idle); err != nil {
				return c.rest(err)
			}
			c.active.Store(c.all.clock.Load())
			if c.all.node != nil && !c.all.node.Alive() {
				return disconnect(ServerError, mqtt.ServerUnavailable, "the lease of this node has ended")
			}
		}
		if c.ended.Load() != nil {
			return nil
		}
		err := c.handleInput()
		if err != nil || c.handled >= maxBatch || c.publisher.Pressed {
			c.flushBatch()
		}
		if err != nil {
			return err
		}
		if c.publisher.Pressed {
			// A subscriber cannot follow: give it a moment before it would lose messages.
			c.publisher.Pressed = false
			time.Sleep(pressedPause)
		}
	}
}

// clogged reports whether a client has left more unread than it may. s.mu is held.
func (c *Conn) clogged() bool {
	return c.flushing && len(c.out)+c.transport.Pending() > c.all.limits.OutputBytes
}

// awaitReader reads nothing more from a client until it reads: its own acknowledgements would pile up
// without end. Its keep-alive goes on, and ends it.
func (c *Conn) awaitReader() {
	for c.stuck && c.ended.Load() == nil {
		time.Sleep(stuckPause)
		c.session.mu.Lock()
		c.stuck = c.clogged()
		c.session.mu.Unlock()
	}
}

// stuckPause is how often it is looked whether a client reads again.
const stuckPause = 10 * time.Millisecond

// errRested ends a reader that another one follows.
var errRested = errors.New("the connection rested")

// rest gives memory back if that is why reading ended, not an error.
func (c *Conn) rest(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) || !c.resting.CompareAndSwap(true, false) {
		return err
	}
	c.transport.(Resting).Rested()
	if c.ended.Load() != nil { // its interruption may be what Rested undid
		return errEnded
	}
	c.publisher.Forget()
	c.publishing, c.acks = nil, nil
	return errRested
}

// handleInput handles the whole packets in the buffer.
func (c *Conn) handleInput() error {
	in := &c.input
	for {
		h, body, size, err := mqtt.Frame(in.bytes(), c.all.limits.MaxPacket)
		if err != nil {
			return err
		}
		if body == nil {
			in.room(max(size, 8))
			return nil
		}
		if c.ended.Load() != nil { // what a connection that was ended still sent is not for its successor
			return errEnded
		}
		switch h.Type() {
		case mqtt.PUBLISH:
			if c.handled == 0 && c.yields > 0 {
				// Go runs those that a poll of the network woke in no order. Letting others go first
				// serves a SUBSCRIBE that came before this message before it. A connection that has
				// published for a while is not among those that have just begun together.
				c.yields--
				runtime.Gosched()
			}
		case mqtt.PUBACK:
			if err := c.handleAcks(); err != nil {
				return err
			}
			continue
		}
		if err := c.handle(h, body); err != nil {
			return err
		}
		c.handled++
		in.consume(size)
	}
}

// firstPublishes is how often a connection's PUBLISH lets others go first.
const firstPublishes = 32

// errEnded stops the read loop of a connection whose end was decided elsewhere.
var errEnded = errors.New("the connection ended")

func (c *Conn) handle(h mqtt.Header, body []byte) error {
	switch t := h.Type(); t {
	case mqtt.PUBLISH:
		return c.handlePublish(h, body)
	case mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		return c.handleAck(t, body)
	case mqtt.SUBSCRIBE:
		return c.handleSubscribe(body)
	case mqtt.UNSUBSCRIBE:
		return c.handleUnsubscribe(body)
	case mqtt.PINGREQ:
		if len(body) != 0 {
			return disconnect(ClientError, mqtt.MalformedPacket, "PINGREQ with a body")
		}
		c.all.count.pings.Add(1)
		c.acks = mqtt.AppendPingresp(c.acks)
		return nil
	case mqtt.DISCONNECT:
		return c.handleDisconnect(body)
	case mqtt.CONNECT: // [MQTT-3.1.0-2]
		return disconnect(ClientError, mqtt.ProtocolError, "second CONNECT")
	}
	return disconnect(ClientError, mqtt.ProtocolError, "%s from a client", h.Type())
}

func (c *Conn) handleDisconnect(body []byte) error {
	var d mqtt.Disconnect
	if err := d.Decode(mqtt.DISCONNECT, body, c.version); err != nil {
		return err
	}
	if d.Properties.Has(mqtt.PropSessionExpiry) {
		s := c.session
		s.mu.Lock()
		expiry := s.expiry
		s.mu.Unlock()
		if expiry == 0 && d.Properties.SessionExpiry != 0 { // [MQTT-3.14.2-2]
			return disconnect(ClientError, mqtt.ProtocolError, "DISCONNECT raises a session expiry of 0")
		}
	}
	c.goodbye = &d
	return disconnect(ClientInitiated, mqtt.Success, "the client sent DISCONNECT")
}

// handleAcks takes the PUBACKs at the front of the input, under one lock, and sends on what waited for
// their places in the window.
func (c *Conn) handleAcks() error {
	s, in := c.session, &c.input
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return errEnded
	}
	for {
		h, body, size, err := mqtt.Frame(in.bytes(), c.all.limits.MaxPacket)
		if err != nil {
			return err
		}
		if body == nil || h.Type() != mqtt.PUBACK {
			break
		}
		var a mqtt.Ack
		if err := a.Decode(mqtt.PUBACK, body, c.version); err != nil {
			return err
		}
		if d := s.inflight.find(a.PacketID); d != nil { // else late, from before a reconnect: harmless
			if d.qos == 2 {
				return disconnect(ClientError, mqtt.ProtocolError, "PUBACK for a QoS 2 message")
			}
			s.discard(d)
		}
		c.handled++
		in.consume(size)
	}
	if s.queue.len() > 0 || s.backlog > 0 {
		s.pump()
	}
	return nil
}

// handleAck takes the client's part of the delivery of a QoS 2 message, and PUBREL of its own.
func (c *Conn) handleAck(t mqtt.Type, body []byte) error {
	var a mqtt.Ack
	if err := a.Decode(t, body, c.version); err != nil {
		return err
	}
	s := c.session
	if t == mqtt.PUBREL {
		s.mu.Lock()
		_, known := s.incoming[a.PacketID]
		delete(s.incoming, a.PacketID)
		s.mu.Unlock()
		code := mqtt.Success
		if !known {
			code = mqtt.PacketIdentifierNotFound
		}
		c.acks = mqtt.AppendAck(c.acks, mqtt.PUBCOMP, a.PacketID, code, c.version)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return errEnded
	}
	d := s.inflight.find(a.PacketID)
	switch {
	case d == nil:
		if t == mqtt.PUBREC {
			c.acks = mqtt.AppendAck(c.acks, mqtt.PUBREL, a.PacketID, mqtt.PacketIdentifierNotFound, c.version)
		}
		return nil // late, from before a reconnect: harmless
	case t == mqtt.PUBREC && !a.Code.Failed():
		if d.qos != 2 {
			return disconnect(ClientError, mqtt.ProtocolError, "PUBREC for a QoS 1 message")
		}
		d.state = released
		d.message = nil
		if d.receipt != nil {
			d.receipt.Release(nil)
			d.receipt = nil
		}
		if d.stored {
			s.forgetStored(d)
			d.stored = false
		}
		c.acks = mqtt.AppendAck(c.acks, mqtt.PUBREL, a.PacketID, mqtt.Success, c.version)
		return nil
	case t == mqtt.PUBCOMP && d.state != released && s.restored && d.qos == 2:
		return nil // of a PUBREL that Session.clear has sent
	case t == mqtt.PUBCOMP && d.state != released:
		return disconnect(ClientError, mqtt.ProtocolError, "%s does not fit the message's state", t)
	}
	s.discard(d)
	if s.queue.len() > 0 || s.backlog > 0 {
		s.pump()
	}
	return nil
}

// flushBatch ends a batch: it appends the acknowledgements collected, writes this connection's
// output, and the output of everyone whom the batch gave something.
func (c *Conn) flushBatch() {
	c.handled = 0
	if c.received > 0 {
		c.all.count.received.Add(c.received)
		c.traffic.received.Add(c.received)
		c.received = 0
	}
	if c.all.node != nil && len(c.acks) > 0 && !c.all.node.Alive() {
		c.acks = c.acks[:0] // what this node knows is too old to promise anything
		c.end(ending{ServerError, mqtt.ServerUnavailable, "the lease of this node has ended"})
	}
	s := c.session
	if len(c.acks) > 0 {
		// Before the receivers are served: one write is enough for a client that is among them.
		s.mu.Lock()
		c.append(c.acks)
		c.acks = c.acks[:0]
		c.stuck = c.clogged()
		s.mu.Unlock()
	}
	c.publisher.Flush()
	s.mu.Lock()
	if len(c.out) == 0 {
		s.mu.Unlock()
		return
	}
	c.flush() // unlocks
}

// denied records that a policy, or the lack of one, said no.
func (c *Conn) denied(access *policy.Set, action policy.Action, kind policy.Kind, name string) string {
	return c.all.Denied(c.request, access, action, kind, name)
}

// Denied records that a policy, or the lack of one, said no, and returns why in one sentence.
func (a *Sessions) Denied(r Request, access *policy.Set, action policy.Action, kind policy.Kind, name string) string {
	a.count.denied.Add(1)
	if !a.denials.Admit() {
		return "not authorized"
	}
	d := access.Explain(action, kind, name)
	reason := d.String()
	statement := d.Sid
	if statement == "" && d.Policy != "" {
		statement = fmt.Sprint(d.Statement)
	}
	a.denials.Add(denial.Record{Kind: denial.Policy, ClientID: r.ClientID, Principal: r.Principal.ID, SourceIP: r.SourceIP.String(),
		Action: action.String(), Resource: kind.String() + "/" + name, Policy: d.Policy, Statement: statement, Reason: reason})
	a.log.Debug("denied", "client_id", r.ClientID, "principal", r.Principal.ID, "reason", reason)
	return reason
}
