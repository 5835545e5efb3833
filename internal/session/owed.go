package session

import (
	"sync"

	"github.com/berth-iot/berth/mqtt"
)

// owed holds the acknowledgements that a publisher waits for, in the order of its messages
// [MQTT-4.6.0-2]. It is empty, and costs nothing, while nothing has to be waited for.
type owed struct {
	mu      sync.Mutex
	settled sync.Cond
	list    []debt
	first   uint64 // number of list[0]
}

type debt struct {
	id   uint16
	qos  byte
	done bool
	code mqtt.ReasonCode
}

// add notes a debt and returns its number.
func (o *owed) add(id uint16, qos byte) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, debt{id: id, qos: qos})
	return o.first + uint64(len(o.list)) - 1
}

func (o *owed) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.list)
}

// settle marks a debt as done and appends the acknowledgements that are now due.
func (o *owed) settle(number uint64, code mqtt.ReasonCode, v mqtt.Version, dst []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if number < o.first || number-o.first >= uint64(len(o.list)) {
		return dst
	}
	d := &o.list[number-o.first]
	d.done, d.code = true, code
	n := 0
	for n < len(o.list) && o.list[n].done {
		d := o.list[n]
		if d.code != mqtt.Success && v != mqtt.V5 {
			// MQTT 3.1.1 cannot say that it failed: the connection ends, and the client sends the
			// message again on the next one.
		} else if d.qos == 2 {
			dst = mqtt.AppendAck(dst, mqtt.PUBREC, d.id, d.code, v)
		} else {
			dst = mqtt.AppendAck(dst, mqtt.PUBACK, d.id, d.code, v)
		}
		n++
	}
	o.list = o.list[n:]
	o.first += uint64(n)
	if len(o.list) == 0 {
		o.list = nil
	}
	if n > 0 && o.settled.L != nil {
		o.settled.Broadcast()
	}
	return dst
}

// identifier returns the packet identifier of a debt that is a QoS 2 message.
func (o *owed) identifier(number uint64) (id uint16, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if number < o.first || number-o.first >= uint64(len(o.list)) {
		return 0, false
	}
	d := &o.list[number-o.first]
	return d.id, d.qos == 2
}

// wait blocks while limit or more are owed; stop ends the wait.
func (o *owed) wait(limit int, stop func() bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.settled.L == nil {
		o.settled.L = &o.mu
	}
	for len(o.list) >= limit && !stop() {
		o.settled.Wait()
	}
}

// abandon wakes a waiting reader so that it looks at stop again.
func (o *owed) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.settled.L != nil {
		o.settled.Broadcast()
	}
}
