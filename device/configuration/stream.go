package configuration

import (
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"io"
	"time"
)

// Bounds of a stream.
const (
	streamWindow  = 8  // chunks on their way without acknowledgement
	streamQueue   = 16 // messages that wait to be sent
	streamTimeout = 500 * time.Millisecond
	streamSlowest = 4 * time.Second
	remembered    = 8 // numbers of finished messages, so that none arrives twice
)

// Stream carries whole messages over the values of one characteristic, in both directions. Values may
// be lost, doubled and reordered, and parts of a message damaged; a message arrives whole and once, in the order of the calls of Send.
// A message that was interrupted by a lost connection goes on where it was. It is pure: what is to be
// sent is asked for with Next, and the time comes in. It is not safe for concurrent use.
type Stream struct {
	direction byte // of what this side sends
	queue     [][]byte
	replies   []frame // acknowledgements that wait to be sent
	last      uint32  // number of the last message

	// The message that is being sent.
	sending  bool
	number   uint32
	acked    int
	sent     int
	begun    bool // the other side has answered begin since the last timeout
	asked    bool // begin was sent since the last timeout
	doubles  int  // acknowledgements of the same offset in a row
	deadline time.Time
	wait     time.Duration

	// The message that is being received.
	receiving  bool
	from       frame // its begin
	buf        []byte
	finished   [remembered]uint32
	finishedAt int
}

// NewStream returns the device's end of a stream, or the other one. Its messages are numbered from a
// random number on.
func NewStream(device bool) *Stream {
	s := &Stream{}
	if device {
		s.direction = fromDevice
	}
	var b [4]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err == nil {
		s.last = binary.BigEndian.Uint32(b[:])
	}
	return s
}

// Send queues a message, of which the stream keeps the slice.
func (s *Stream) Send(message []byte) error {
	switch {
	case len(message) == 0 || len(message) > MaxMessage:
		return ErrTooLong
	case len(s.queue) >= streamQueue:
		return ErrBusy
	}
	s.queue = append(s.queue, message)
	return nil
}

// Idle reports whether every message has been acknowledged.
func (s *Stream) Idle() bool { return len(s.queue) == 0 && len(s.replies) == 0 }

// Resume forgets what is on its way: the connection is a new one. Messages go on where they were.
func (s *Stream) Resume() {
	s.replies = nil
	s.begun, s.asked, s.deadline, s.wait = false, false, time.Time{}, 0
}

// Next returns the next value to send, of at most size bytes, which is at least MinValue. ok is false
// when there is nothing to send before Deadline or the next Receive.
func (s *Stream) Next(now time.Time, size int) (value []byte, ok bool) {
	if len(s.replies) > 0 {
		value = s.replies[0].append(nil, s.direction)
		s.replies = s.replies[1:]
		return value, true
	}
	if len(s.queue) == 0 {
		return nil, false
	}
	message := s.queue[0]
	if !s.sending {
		s.last++
		s.sending, s.number, s.acked, s.sent = true, s.last, 0, 0
		s.begun, s.asked, s.wait, s.doubles = false, false, 0, 0
	}
	if s.asked && !now.Before(s.deadline) {
		// Nothing has come for a while: ask where the other side is.
		s.begun, s.asked = false, false
	}
	if !s.asked {
		s.asked = true
		s.wait = min(max(2*s.wait, streamTimeout), streamSlowest)
		s.deadline = now.Add(s.wait)
		return frame{kind: frameBegin, number: s.number, length: len(message), crc: crc32.ChecksumIEEE(message)}.append(nil, s.direction), true
	}
	chunk := size - dataHeader
	if !s.begun || s.sent >= len(message) || s.sent-s.acked >= streamWindow*chunk {
		return nil, false
	}
	end := min(s.sent+chunk, len(message))
	value = frame{kind: frameData, number: s.number, offset: s.sent, payload: message[s.sent:end]}.append(make([]byte, 0, size), s.direction)
	s.sent = end
	return value, true
}

// Deadline is when Next is to be asked again if nothing comes; zero means never.
func (s *Stream) Deadline() time.Time {
	if len(s.queue) == 0 || !s.asked {
		return time.Time{}
	}
	return s.deadline
}

// Receive takes a value that has come. ok says that it completes a message.
func (s *Stream) Receive(value []byte, now time.Time) (message []byte, ok bool) {
	f, ok := decodeFrame(value, s.direction^fromDevice)
	if !ok {
		return nil, false
	}
	switch f.kind {
	case frameBegin:
		s.begin(f)
	case frameData:
		return s.data(f)
	case frameAck:
		s.acknowledged(f, now)
	case frameRefuse:
		s.refused(f)
	}
	return nil, false
}

func (s *Stream) begin(f frame) {
	for _, n := range s.finished {
		if n == f.number && n != 0 {
			s.reply(f.number, f.length)
			return
		}
	}
	if f.length == 0 || f.length > MaxMessage {
		s.replies = append(s.replies, frame{kind: frameRefuse, number: f.number & 0xFF, reason: refusedLength})
		return
	}
	if !s.receiving || s.from.number != f.number || s.from.length != f.length || s.from.crc != f.crc {
		s.receiving, s.from, s.buf = true, f, nil
	}
	s.reply(f.number, len(s.buf))
}

// reply acknowledges; of several acknowledgements that wait only the last counts.
func (s *Stream) reply(number uint32, offset int) {
	f := frame{kind: frameAck, number: number & 0xFF, offset: offset}
	if n := len(s.replies); n > 2*streamWindow {
		s.replies = s.replies[:n-1]
	}
	s.replies = append(s.replies, f)
}

func (s *Stream) data(f frame) (message []byte, ok bool) {
	if !s.receiving || f.number != s.from.number&0xFF {
		return nil, false
	}
	if f.offset == len(s.buf) && len(s.buf)+len(f.payload) <= s.from.length {
		if s.buf == nil {
			s.buf = make([]byte, 0, s.from.length)
		}
		s.buf = append(s.buf, f.payload...)
	}
	if len(s.buf) < s.from.length {
		s.reply(s.from.number, len(s.buf))
		return nil, false
	}
	s.receiving = false
	message, s.buf = s.buf, nil
	if crc32.ChecksumIEEE(message) != s.from.crc {
		s.replies = append(s.replies, frame{kind: frameRefuse, number: f.number, reason: refusedChecksum})
		return nil, false
	}
	s.finished[s.finishedAt%remembered] = s.from.number
	s.finishedAt++
	s.reply(s.from.number, s.from.length)
	return message, true
}

func (s *Stream) acknowledged(f frame, now time.Time) {
	if !s.sending || f.number != s.number&0xFF || f.offset > len(s.queue[0]) {
		return
	}
	switch first := !s.begun; {
	case f.offset == len(s.queue[0]):
		s.queue, s.sending = s.queue[1:], false
		return
	case first:
		// The answer to begin: go on from there, wherever it is.
		s.begun, s.acked, s.sent, s.doubles = true, f.offset, f.offset, 0
	case f.offset > s.acked:
		s.acked, s.sent, s.doubles = f.offset, max(s.sent, f.offset), 0
	case f.offset == s.acked:
		if s.doubles++; s.doubles == 3 {
			s.sent, s.doubles = s.acked, -streamWindow // once per window
		}
		return
	default:
		return // overtaken by a later one
	}
	s.wait = streamTimeout
	s.deadline = now.Add(s.wait)
}

// refused begins a damaged message again, under another number, and gives up one that is not taken.
func (s *Stream) refused(f frame) {
	if !s.sending || f.number != s.number&0xFF {
		return
	}
	s.sending = false
	if f.reason != refusedChecksum {
		s.queue = s.queue[1:]
	}
}
