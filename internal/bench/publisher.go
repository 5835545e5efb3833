package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// HeaderSize is what each payload begins with: the run, the publisher, a number and the time.
const HeaderSize = 24

// publisher sends on one topic as far as its windows let it.
type publisher struct {
	*link
	cfg    *Config
	flow   *flow
	index  uint32
	topic  string
	fanout int // deliveries of one message
	window int // unacknowledged messages, QoS 1
	limit  int // deliveries under way
	enough int // room that is worth waking up for

	sent, acked, delivered, writtenOff atomic.Int64
	waiting                            atomic.Bool
	wake                               chan struct{}
	timer                              *time.Timer
}

// room is how many messages may be sent now.
func (p *publisher) room() int {
	sent := p.sent.Load()
	room := math.MaxInt
	if p.cfg.QoS > 0 {
		room = p.window - int(sent-p.acked.Load())
	}
	under := int(sent)*p.fanout - int(p.delivered.Load()+p.writtenOff.Load())
	byDelivery := (p.limit - under) / p.fanout
	if under <= 0 {
		byDelivery = max(byDelivery, 1)
	}
	return min(room, byDelivery)
}

// progress wakes the publisher if it waits and there is enough room.
func (p *publisher) progress() {
	if p.waiting.Load() && p.room() >= p.enough && p.waiting.CompareAndSwap(true, false) {
		p.wake <- struct{}{}
	}
}

// await returns when there is room or the run is over.
func (p *publisher) await(ctx context.Context) error {
	for {
		before := p.acked.Load() + p.delivered.Load()
		p.waiting.Store(true)
		p.progress() // what came in between
		p.timer.Reset(p.cfg.Stall)
		select {
		case <-p.wake:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-p.timer.C:
		}
		if !p.waiting.CompareAndSwap(true, false) {
			<-p.wake // it was just sent
			return nil
		}
		if p.room() > 0 {
			return nil
		}
		if before != p.acked.Load()+p.delivered.Load() {
			continue
		}
		if p.cfg.QoS > 0 && p.sent.Load() > p.acked.Load() {
			return fmt.Errorf("publisher %d: no PUBACK for %v, %d messages are unacknowledged", p.index, p.cfg.Stall, p.sent.Load()-p.acked.Load())
		}
		p.writtenOff.Store(p.sent.Load()*int64(p.fanout) - p.delivered.Load())
	}
}

// publish sends until the time is over or limit messages are sent.
func (p *publisher) publish(ctx context.Context, limit int) error {
	payload := make([]byte, p.cfg.Payload)
	binary.BigEndian.PutUint32(payload, p.flow.run)
	binary.BigEndian.PutUint32(payload[4:], p.index)
	out := make([]byte, 0, bufferSize)
	batch := max(1, bufferSize/(p.cfg.Payload+len(p.topic)+8))
	interval := time.Duration(0)
	if p.cfg.Rate > 0 {
		interval = time.Duration(float64(time.Second) * float64(p.cfg.Publishers) / p.cfg.Rate)
	}
	sent := 0
	var name []byte
	for sent < limit {
		if ctx.Err() != nil {
			return nil
		}
		n := min(p.room(), batch, limit-sent)
		if n <= 0 {
			if err := p.await(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			continue
		}
		if interval > 0 {
			// Publishers take turns within the interval.
			due := interval*time.Duration(p.index)/time.Duration(p.cfg.Publishers) + time.Duration(sent)*interval
			if wait := due - time.Since(p.flow.start); wait > 0 {
				p.timer.Reset(wait)
				select {
				case <-p.timer.C:
				case <-ctx.Done():
					return nil
				}
			}
			n = min(n, max(1, int((time.Since(p.flow.start)-due)/interval)))
		}
		out = out[:0]
		now := uint64(time.Since(p.flow.start))
		for range n {
			binary.BigEndian.PutUint64(payload[8:], uint64(sent))
			binary.BigEndian.PutUint64(payload[16:], now)
			// With at most 10,000 under way an identifier is free again when its turn comes.
			topic := p.topic
			if p.cfg.Topics > 0 {
				name = strconv.AppendInt(append(append(name[:0], topic...), '/'), int64(sent%p.cfg.Topics), 10)
				topic = string(name)
			}
			out, _ = mqtt.AppendPublish(out, p.version, p.cfg.QoS<<1, uint16(sent%65535+1), topic, payload, nil)
			sent++
		}
		p.sent.Store(int64(sent))
		if _, err := p.conn.Write(out); err != nil {
			return fmt.Errorf("publisher %d: %w", p.index, err)
		}
	}
	return nil
}

var errServerLeft = errors.New("the server disconnected")

// acknowledge reads PUBACKs until the link ends.
func (p *publisher) acknowledge() error {
	for {
		n := int64(0)
		err := p.batch(func(h mqtt.Header, body []byte) error {
			switch h.Type() {
			case mqtt.PUBACK:
				if p.version == mqtt.V5 && len(body) > 2 && mqtt.ReasonCode(body[2]).Failed() {
					return fmt.Errorf("a publish is refused: %s", mqtt.ReasonCode(body[2]))
				}
				n++
			case mqtt.DISCONNECT:
				return errServerLeft
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("publisher %d: %w", p.index, err)
		}
		p.acked.Add(n)
		p.progress()
	}
}
