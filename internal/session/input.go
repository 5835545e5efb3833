package session

import "sync"

// inputSize is the size of the pooled read buffers: large enough that a busy client's packets are
// handled, and answered, in batches.
const inputSize = 32 << 10

var inputs = sync.Pool{New: func() any { b := make([]byte, inputSize); return &b }}

// Input is a connection's read buffer. It holds memory only while it holds bytes.
type Input struct {
	pooled     *[]byte // the pooled buffer, nil while idle or while buf is a larger one
	buf        []byte
	start, end int
}

// Space returns where to read to; it is never empty.
func (in *Input) Space() []byte {
	if in.buf == nil {
		in.pooled = inputs.Get().(*[]byte)
		in.buf = *in.pooled
		in.start, in.end = 0, 0
	}
	if in.start == in.end {
		in.start, in.end = 0, 0
	}
	return in.buf[in.end:]
}

// Filled says that n bytes were read to Space.
func (in *Input) Filled(n int) { in.end += n }

// Idle gives the buffer back if it is empty.
func (in *Input) Idle() {
	if in.start < in.end || in.buf == nil {
		return
	}
	if in.pooled != nil {
		inputs.Put(in.pooled)
	}
	*in = Input{}
}

// Drop gives the buffer back with whatever is in it.
func (in *Input) Drop() {
	in.start = in.end
	in.Idle()
}

// Take moves bytes to p and returns how many.
func (in *Input) Take(p []byte) int {
	n := copy(p, in.bytes())
	in.consume(n)
	return n
}

func (in *Input) bytes() []byte { return in.buf[in.start:in.end] }

func (in *Input) consume(n int) { in.start += n }

// room makes room for more of a packet of size bytes that has begun to arrive. The buffer grows
// with what has arrived, not with what a header claims.
func (in *Input) room(size int) {
	if in.start == in.end {
		in.Idle()
		return
	}
	if in.start+size <= len(in.buf) && in.end < len(in.buf) {
		return
	}
	if in.start > 0 {
		in.end = copy(in.buf, in.buf[in.start:in.end])
		in.start = 0
	}
	if in.end < len(in.buf) {
		return
	}
	bigger := make([]byte, min(size, 2*len(in.buf)))
	n := copy(bigger, in.bytes())
	if in.pooled != nil {
		inputs.Put(in.pooled)
	}
	*in = Input{buf: bigger, end: n}
}
