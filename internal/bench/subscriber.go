package bench

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// subscriber counts and judges what arrives on one connection.
type subscriber struct {
	*link
	flow   *flow
	index  int
	filter string
	next   []uint64 // by publisher: the number after the highest that has arrived
	fresh  []int64  // by publisher: arrived in this batch
	seen   []uint32 // publishers of this batch

	latency                 histogram
	unique, disorder, twice int
	last                    atomic.Int64 // time of the last arrival since the flow's start
}

// receive reads until the link ends.
func (s *subscriber) receive() error {
	var (
		p   mqtt.Publish
		out []byte
		now time.Duration
	)
	each := func(h mqtt.Header, body []byte) error {
		if h.Type() == mqtt.DISCONNECT {
			return errServerLeft
		}
		if h.Type() != mqtt.PUBLISH {
			return nil
		}
		if now == 0 { // once a batch, after the read
			now = time.Since(s.flow.start)
		}
		if err := p.Decode(h, body, s.version); err != nil {
			return err
		}
		if p.QoS > 0 {
			out = mqtt.AppendAck(out, mqtt.PUBACK, p.PacketID, mqtt.Success, s.version)
		}
		return s.judge(p.Payload, now)
	}
	for {
		now, out = 0, out[:0]
		err := s.batch(each)
		if err == nil && len(out) > 0 {
			_, err = s.conn.Write(out)
		}
		if err != nil {
			return fmt.Errorf("subscriber %d: %w", s.index, err)
		}
		if len(s.seen) == 0 {
			continue
		}
		s.last.Store(int64(now))
		for _, i := range s.seen {
			pub := s.flow.publishers[i]
			pub.delivered.Add(s.fresh[i])
			s.fresh[i] = 0
			pub.progress()
		}
		s.seen = s.seen[:0]
	}
}

// judge looks at one message. What another run left behind is none of ours.
func (s *subscriber) judge(payload []byte, now time.Duration) error {
	if len(payload) < HeaderSize || binary.BigEndian.Uint32(payload) != s.flow.run {
		return nil
	}
	i := binary.BigEndian.Uint32(payload[4:])
	if int(i) >= len(s.next) {
		return fmt.Errorf("a message of publisher %d, which does not exist", i)
	}
	number := binary.BigEndian.Uint64(payload[8:])
	s.latency.add(now - time.Duration(binary.BigEndian.Uint64(payload[16:])))
	switch next := s.next[i]; {
	case number >= next:
		s.next[i] = number + 1
		s.unique++
	case number == next-1:
		s.twice++
		return nil
	default:
		s.disorder++
		s.unique++
	}
	if s.fresh[i] == 0 {
		s.seen = append(s.seen, i)
	}
	s.fresh[i]++
	return nil
}
