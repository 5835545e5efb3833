package session

import "sync/atomic"

// counters are what the server counts about sessions; Counts reads them.
type counters struct {
	connectsTried, connectsRefused, connectsBroken atomic.Uint64
	connected                                      atomic.Int64
	received, sent, dropped, notReceived           atomic.Uint64
	denied, refused, pings, wills, throttled       atomic.Uint64
}

// Counts are numbers since the start, except those called now.
type Counts struct {
	ConnectsTried    uint64 // network connections that were admitted to MQTT
	ConnectsRefused  uint64 // CONNECT packets answered with a refusal
	ConnectsBroken   uint64 // connections that sent no usable CONNECT
	ConnectedNow     int64
	SessionsNow      int
	MessagesReceived uint64 // PUBLISH packets from clients
	MessagesSent     uint64 // PUBLISH packets to clients
	MessagesDropped  uint64 // because a client or its queue could not take more
	NotReceived      uint64 // deliveries that iot:Receive did not allow
	Denied           uint64 // by policy
	Refused          uint64 // for breaking the protocol or a limit
	Pings            uint64
	Wills            uint64
	Throttled        uint64 // times that a rate made somebody wait or refused a connect
}

// Counts returns the counters.
func (a *Sessions) Counts() Counts {
	a.mu.Lock()
	sessions := len(a.sessions)
	a.mu.Unlock()
	c := &a.count
	return Counts{c.connectsTried.Load(), c.connectsRefused.Load(), c.connectsBroken.Load(), c.connected.Load(), sessions,
		c.received.Load(), c.sent.Load(), c.dropped.Load(), c.notReceived.Load(), c.denied.Load(), c.refused.Load(), c.pings.Load(), c.wills.Load(), c.throttled.Load()}
}
