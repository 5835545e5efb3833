package session

import (
	"time"

	"github.com/berth-iot/berth/topic"
)

// Limits are the numbers and the departures from the MQTT standard that a server lives by.
type Limits struct {
	Topics           topic.Rules
	MaxQoS           byte
	MaxPayload       int           // bytes of one message; 0 for none but MaxPacket
	MaxPacket        int           // bytes of one packet
	MaxClientID      int           // bytes
	MaxFilters       int           // topic filters in one SUBSCRIBE; 0 for any number
	MaxSubscriptions int           // subscriptions of one session; 0 for any number
	MaxConnections   int           // clients connected at a time; 0 for any number
	MinKeepAlive     uint16        // seconds; shorter is raised to it
	MaxKeepAlive     uint16        // seconds; longer, and 0, is lowered to it; 0 leaves the client's choice
	SessionExpiry    time.Duration // of MQTT 3.1.1 sessions with Clean Session 0; negative for never
	MaxSessionExpiry time.Duration // ceiling for MQTT 5; negative for none
	MaxMessageExpiry time.Duration // ceiling; 0 for none
	Inflight         int           // unacknowledged QoS 1 and 2 messages, each direction
	TopicAliases     uint16        // that clients may use
	SubscriptionIDs  bool          // subscription identifiers are available
	Reserved         bool          // topics beginning with $ belong to the service and are checked
	RetainedForWild  bool          // subscriptions with wildcards get retained messages
	RedeliverDup     bool          // redeliveries carry the DUP flag
	MaxRetained      int           // retained messages; 0 for any number
	MaxRetainedBytes int64         // of their topics and payloads; 0 for any number

	QueueMemory    int           // messages that wait in memory for one connected client
	QueueStored    int           // messages that wait on disk for one session
	QueueBytes     int           // of their payloads
	OutputBytes    int           // unsent bytes for one client from which QoS 0 messages are dropped
	HoldTime       time.Duration // how long a connected subscriber may delay a publisher's PUBACK
	DeafTime       time.Duration // the same for one whose session does not outlive its connection, which ends then
	ConnectTimeout time.Duration // from the first byte to a whole CONNECT

	Rates Rates
}

// AWS are the limits of AWS IoT Core (AWS IoT developer guide, "AWS IoT Core message broker
// limits", "MQTT").
func AWS() Limits {
	l := Standard()
	l.Topics = topic.AWS
	l.MaxQoS = 1
	l.Inflight = 100
	l.MaxPayload = 128 << 10
	l.MaxPacket = 146 << 10 // the payload and generous room for topic and properties
	l.MaxClientID = 128
	l.MaxFilters = 8
	l.MaxSubscriptions = 50
	l.MinKeepAlive, l.MaxKeepAlive = 30, 1200
	l.SessionExpiry, l.MaxSessionExpiry = time.Hour, time.Hour
	l.MaxMessageExpiry = 7 * 24 * time.Hour
	l.TopicAliases = 8
	l.MaxRetained = 500_000
	l.SubscriptionIDs, l.RetainedForWild, l.RedeliverDup, l.Reserved = false, false, false, true
	return l
}

// Standard are the limits for people who come from other brokers: what MQTT allows.
func Standard() Limits {
	return Limits{
		Topics:           topic.Standard,
		MaxQoS:           2,
		MaxPacket:        16 << 20,
		MaxClientID:      65535,
		SessionExpiry:    -1,
		MaxSessionExpiry: -1,
		Inflight:         1000,
		TopicAliases:     64,
		SubscriptionIDs:  true,
		RetainedForWild:  true,
		RedeliverDup:     true,
		MaxRetained:      5_000_000,
		MaxRetainedBytes: 1 << 30,
		QueueMemory:      10_000,
		QueueBytes:       32 << 20,
		QueueStored:      100_000,
		OutputBytes:      2 << 20,
		HoldTime:         200 * time.Millisecond,
		DeafTime:         30 * time.Second,
		ConnectTimeout:   10 * time.Second,
	}
}
