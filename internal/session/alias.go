package session

// aliases are the topic aliases that the server gives for its messages to one client (MQTT 5.0
// section 3.3.2.3.4). The first topics get one each, for as long as the connection lasts.
type aliases struct {
	max   int
	known map[string]uint16
}

// maxGiven bounds the memory that a client can make a connection take.
const maxGiven = 256

// newAliases returns nil for a client that takes no aliases.
func newAliases(max uint16) *aliases {
	if max == 0 {
		return nil
	}
	return &aliases{max: min(int(max), maxGiven), known: make(map[string]uint16)}
}

// of returns the alias of a topic, 0 for none; fresh says that the client does not know it yet.
func (a *aliases) of(topic string) (alias uint16, fresh bool) {
	if alias, ok := a.known[topic]; ok {
		return alias, false
	}
	if len(a.known) >= a.max {
		return 0, false
	}
	alias = uint16(len(a.known) + 1)
	a.known[topic] = alias
	return alias, true
}

// forget takes back the newest alias, whose message was not sent.
func (a *aliases) forget(topic string) { delete(a.known, topic) }
