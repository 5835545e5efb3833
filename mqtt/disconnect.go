package mqtt

// Disconnect is a DISCONNECT packet (section 3.14), or an AUTH packet (section 3.15): they share
// their form.
type Disconnect struct {
	Code       ReasonCode
	Properties Properties
}

// Decode reads the body of a DISCONNECT or AUTH packet.
func (d *Disconnect) Decode(t Type, body []byte, v Version) error {
	*d = Disconnect{}
	if len(body) == 0 {
		return nil
	}
	if v != V5 {
		return malformed("%s with a body", t)
	}
	r := reader{b: body}
	d.Code = ReasonCode(r.byte())
	if len(r.b) > 0 {
		d.Properties.read(&r, t)
	}
	return r.done(t)
}

// Append appends a DISCONNECT packet in the given version; MQTT 3.1.1 carries no code.
func (d *Disconnect) Append(dst []byte, v Version) []byte {
	if v != V5 || d.Code == Success && d.Properties.Empty() {
		return append(dst, byte(DISCONNECT)<<4, 0)
	}
	dst, start := begin(dst)
	dst = append(dst, byte(d.Code))
	if !d.Properties.Empty() {
		dst = d.Properties.Append(dst)
	}
	return finish(dst, start, byte(DISCONNECT)<<4)
}

// AppendPingreq and AppendPingresp append the two packets without a body.
func AppendPingreq(dst []byte) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// AppendPingresp appends a PINGRESP packet.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }
