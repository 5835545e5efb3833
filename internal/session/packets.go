package session

import "github.com/berth-iot/berth/mqtt"

// packets holds encoded PUBLISH packets that wait for a client's window, one after another in pooled buffers:
// a message of its own for each would be work for the collector. It is the cheaper form while there is one
// subscriber; several share a message.
type packets struct {
	count   int
	buffers []output // the smallest size first, then larger ones; none while there are no packets
	from    int      // what of the first is gone
	allowed uint32   // generation of the connection when they were allowed
}

// maxPacked is the longest packet that is kept so.
const maxPacked = 1 << 10

// add keeps a copy of a packet and returns it.
func (p *packets) add(b []byte) []byte {
	p.count++
	last := len(p.buffers) - 1
	if last < 0 || len(p.buffers[last].bytes)+len(b) > cap(p.buffers[last].bytes) {
		size := 0
		if last >= 0 {
			size = 1
		}
		p.buffers = append(p.buffers, takeOutput(size))
		last++
	}
	to := &p.buffers[last].bytes
	n := len(*to)
	*to = append(*to, b...)
	return (*to)[n:]
}

// next takes the first packet, of n bytes, and hands it to use, which must not keep it.
func (p *packets) next(n int, use func(packet []byte)) {
	if p.from == len(p.buffers[0].bytes) {
		p.buffers[0].recycle()
		p.buffers[0] = output{}
		p.buffers, p.from = p.buffers[1:], 0
	}
	p.from += n
	use(p.buffers[0].bytes[p.from-n : p.from])
	if p.count--; p.count == 0 {
		p.release()
	}
}

// release gives all buffers back, with whatever is in them.
func (p *packets) release() {
	for i, o := range p.buffers {
		o.recycle()
		p.buffers[i] = output{}
	}
	p.count, p.buffers, p.from = 0, p.buffers[:0], 0
}

// publishTopic returns the topic of a PUBLISH packet of QoS 1 or 2, after which its packet identifier is.
func publishTopic(packet []byte) (topic []byte, idAt int) {
	at := 1
	for packet[at]&0x80 != 0 {
		at++
	}
	at++
	idAt = at + 2 + int(packet[at])<<8 + int(packet[at+1])
	return packet[at+2 : idAt], idAt
}

// pack keeps a message for the window as the packet that will be sent, if that is possible, and reports whether it
// has. generation is that of the connection when the message was allowed.
func (s *Session) pack(d *delivery, packet []byte, retain bool, generation uint32) bool {
	c, q := s.conn, &s.queue
	if len(packet) > maxPacked || c.maxPacket > 0 && len(packet) > c.maxPacket {
		return false
	}
	if q.packets == nil {
		q.packets = &packets{}
	}
	if q.packets.count == 0 {
		q.packets.allowed = generation
	} else if q.packets.allowed != generation {
		return false
	}
	kept := q.packets.add(packet)
	if retain {
		kept[0] |= mqtt.FlagRetain
	}
	d.size = uint32(len(packet))
	q.push(*d)
	return true
}

// unpack moves the packet of the queue's first delivery into the window and the output.
func (s *Session) unpack(c *Conn) {
	d := s.queue.pop()
	if d.receipt != nil {
		d.receipt.Release(nil)
		d.receipt = nil
	}
	s.queue.packets.next(int(d.size), func(packet []byte) {
		topic, idAt := publishTopic(packet)
		if s.queue.packets.allowed != c.generation.Load() && !s.mayReceive(c, string(topic)) {
			return
		}
		id, _ := s.inflight.add(d)
		packet[idAt], packet[idAt+1] = byte(id>>8), byte(id)
		c.append(packet)
		c.sent++
	})
}
