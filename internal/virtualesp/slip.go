package virtualesp

// Bytes of SLIP framing.
const (
	slipEnd    = 0xC0
	slipEsc    = 0xDB
	slipEscEnd = 0xDC
	slipEscEsc = 0xDD
)

// appendFrame appends payload as a SLIP frame with an end byte on both sides.
func appendFrame(dst, payload []byte) []byte {
	dst = append(dst, slipEnd)
	for _, b := range payload {
		switch b {
		case slipEnd:
			dst = append(dst, slipEsc, slipEscEnd)
		case slipEsc:
			dst = append(dst, slipEsc, slipEscEsc)
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, slipEnd)
}

// deframer takes SLIP frames out of a stream. Every end byte is a boundary, so that the
// frame after a lost end byte is whole again; what stands before the first one is noise.
type deframer struct {
	frame   []byte
	inFrame bool
	escaped bool
	bad     bool
}

// next takes one byte. It returns a frame if the byte ends one; bad reports one that was
// dropped, for a wrong escape or for more than limit bytes. The frame is valid until the
// next call.
func (d *deframer) next(b byte, limit int) (frame []byte, bad bool) {
	if b == slipEnd {
		frame, bad = d.frame, d.bad || d.escaped
		*d = deframer{frame: d.frame[:0], inFrame: true}
		if bad || len(frame) == 0 {
			return nil, bad
		}
		return frame, false
	}
	if !d.inFrame || d.bad {
		return nil, false
	}
	switch {
	case d.escaped:
		d.escaped = false
		switch b {
		case slipEscEnd:
			b = slipEnd
		case slipEscEsc:
			b = slipEsc
		default:
			d.bad = true
			return nil, false
		}
	case b == slipEsc:
		d.escaped = true
		return nil, false
	}
	if len(d.frame) >= limit {
		d.bad = true
		return nil, false
	}
	d.frame = append(d.frame, b)
	return nil, false
}

// reset forgets a frame that has begun.
func (d *deframer) reset() { *d = deframer{frame: d.frame[:0]} }
