package serial

// SLIP (RFC 1055) delimits frames with 0xC0; 0xC0 and 0xDB inside a frame are sent as 0xDB 0xDC
// and 0xDB 0xDD.
const (
	slipEnd     = 0xC0
	slipEsc     = 0xDB
	slipEscEnd  = 0xDC
	slipEscEsc  = 0xDD
	maxFrame    = 0x5000 // the longest answer is 4,096 bytes of flash; more is noise
	maxNoise    = 2048   // of what is no frame, in bytes: enough for a boot log
	frameQueued = 64
)

// appendSLIP appends payload as one frame.
func appendSLIP(dst, payload []byte) []byte {
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

// slipDecoder finds frames in a stream that may begin with a boot log and lose bytes anywhere. It
// takes every delimiter both as the end of a frame and as the beginning of one, so that a lost
// delimiter costs one frame at most. The zero value is ready.
type slipDecoder struct {
	frames  [][]byte
	frame   []byte
	inside  bool // after the first delimiter
	escaped bool
	broken  bool // until the next delimiter
	noise   []byte
}

// feed takes bytes as they arrive.
func (d *slipDecoder) feed(p []byte) {
	for _, b := range p {
		switch {
		case b == slipEnd:
			if len(d.frame) > 0 && !d.broken && !d.escaped && len(d.frames) < frameQueued {
				d.frames = append(d.frames, d.frame)
				d.frame = nil
			}
			d.frame, d.inside, d.escaped, d.broken = d.frame[:0], true, false, false
		case !d.inside:
			d.spoil(b)
		case d.broken:
			d.spoil(b)
		case d.escaped:
			d.escaped = false
			switch b {
			case slipEscEnd:
				d.frame = append(d.frame, slipEnd)
			case slipEscEsc:
				d.frame = append(d.frame, slipEsc)
			default:
				d.broken = true
			}
		case b == slipEsc:
			d.escaped = true
		case len(d.frame) >= maxFrame:
			d.broken = true
		default:
			d.frame = append(d.frame, b)
		}
	}
}

// next returns the oldest frame that has come whole; its bytes are the caller's.
func (d *slipDecoder) next() ([]byte, bool) {
	if len(d.frames) == 0 {
		return nil, false
	}
	frame := d.frames[0]
	d.frames = d.frames[1:]
	return frame, true
}

// spoil keeps the last of what is no frame, because a chip that is not in download mode says so in
// words.
func (d *slipDecoder) spoil(p ...byte) {
	d.noise = append(d.noise, p...)
	if over := len(d.noise) - 2*maxNoise; over > 0 {
		d.noise = append(d.noise[:0], d.noise[over+maxNoise:]...)
	}
}

// partial returns what has come of a frame without its end, for a chip that talks without frames.
func (d *slipDecoder) partial() []byte { return d.frame }

// reset forgets everything.
func (d *slipDecoder) reset() { *d = slipDecoder{} }
