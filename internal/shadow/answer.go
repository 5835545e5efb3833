package shadow

import "strconv"

// outcome is one of the topics that the service answers on.
type outcome uint8

const (
	getAccepted outcome = iota
	getRejected
	updateAccepted
	updateRejected
	updateDelta
	updateDocuments
	deleteAccepted
	deleteRejected
)

// suffix is what follows the shadow's prefix in the topic of an outcome.
func (o outcome) suffix() string {
	return [...]string{"/get/accepted", "/get/rejected", "/update/accepted", "/update/rejected",
		"/update/delta", "/update/documents", "/delete/accepted", "/delete/rejected"}[o]
}

// answer is one message; its payload is a part of the buffer it was written to.
type answer struct {
	outcome    outcome
	start, end int
}

// answers collects messages in one buffer, in the order in which they are to be published. The
// fields are those that AWS sends, in AWS's order.
type answers struct {
	buf  []byte
	list []answer
}

func (a *answers) end(o outcome, start int) { a.list = append(a.list, answer{o, start, len(a.buf)}) }

// payload returns the message of an answer.
func (a *answers) payload(n answer) []byte { return a.buf[n.start:n.end] }

// size is the length of the last message.
func (a *answers) size() int {
	last := a.list[len(a.list)-1]
	return last.end - last.start
}

// forget drops the last message.
func (a *answers) forget() {
	last := len(a.list) - 1
	a.buf = a.buf[:a.list[last].start]
	a.list = a.list[:last]
}

func (a *answers) number(key string, n int64) {
	a.buf = append(a.buf, key...)
	a.buf = strconv.AppendInt(a.buf, n, 10)
}

func (a *answers) close(token string) {
	if token != "" {
		a.buf = append(append(a.buf, `,"clientToken":`...), token...)
	}
	a.buf = append(a.buf, '}')
}

// accepted answers an update with what it sent. Its nulls have metadata like any leaf.
func (a *answers) accepted(w *draft, u *update, now int64) {
	start := len(a.buf)
	a.buf = append(a.buf, `{"state":`...)
	if u.clear {
		a.buf = append(a.buf, `null,"metadata":{}`...)
	} else {
		a.sections(u, func(n int32) {
			if n == 0 {
				a.buf = append(a.buf, "null"...)
			} else {
				a.buf = w.appendValue(a.buf, n)
			}
		})
		a.buf = append(a.buf, `,"metadata":`...)
		a.sections(u, func(n int32) {
			if n == 0 {
				a.number(`{"timestamp":`, now)
				a.buf = append(a.buf, '}')
			} else {
				a.buf = w.appendMetadata(a.buf, n, now)
			}
		})
	}
	a.number(`,"version":`, w.version+1)
	a.number(`,"timestamp":`, now)
	a.close(u.clientToken)
	a.end(updateAccepted, start)
}

func (a *answers) sections(u *update, value func(n int32)) {
	a.buf = append(a.buf, '{')
	if u.desired.sent {
		a.buf = append(a.buf, `"desired":`...)
		value(u.desired.node)
	}
	if u.reported.sent {
		if u.desired.sent {
			a.buf = append(a.buf, ',')
		}
		a.buf = append(a.buf, `"reported":`...)
		value(u.reported.node)
	}
	a.buf = append(a.buf, '}')
}

// difference computes the delta of a document into its draft's buffers.
func (w *draft) difference() bool {
	w.deltaState, w.deltaMe = w.deltaState[:0], w.deltaMe[:0]
	if w.desired == 0 {
		return false
	}
	if w.reported == 0 {
		w.deltaState = w.appendValue(w.deltaState, w.desired)
		w.deltaMe = w.appendMetadata(w.deltaMe, w.desired, 0)
		return true
	}
	var differs bool
	w.deltaState, w.deltaMe, differs = w.appendDelta(w.deltaState, w.deltaMe, w.desired, w.reported)
	return differs
}

// delta says what of desired is not yet reported; it is silent when nothing is left.
func (a *answers) delta(w *draft, token string, now int64) {
	if !w.difference() {
		return
	}
	start := len(a.buf)
	a.number(`{"version":`, w.version)
	a.number(`,"timestamp":`, now)
	a.buf = append(append(a.buf, `,"state":`...), w.deltaState...)
	a.buf = append(append(a.buf, `,"metadata":`...), w.deltaMe...)
	a.close(token)
	a.end(updateDelta, start)
}

// documents shows the whole document before and after an update.
func (a *answers) documents(w *draft, token string, now int64) {
	start := len(a.buf)
	a.buf = append(append(a.buf, `{"previous":{"state":`...), w.oldState...)
	a.buf = append(append(a.buf, `,"metadata":`...), w.oldMeta...)
	a.number(`,"version":`, w.version-1)
	a.buf = append(append(a.buf, `},"current":{"state":`...), w.state...)
	a.buf = append(append(a.buf, `,"metadata":`...), w.meta...)
	a.number(`,"version":`, w.version)
	a.number(`},"timestamp":`, now)
	a.close(token)
	a.end(updateDocuments, start)
}

// got answers a get request.
func (a *answers) got(w *draft, token string, now int64) {
	start := len(a.buf)
	a.buf = append(append(a.buf, `{"state":`...), w.state...)
	if w.difference() {
		a.buf = append(a.buf[:len(a.buf)-1], `,"delta":`...) // there is a desired section before it
		a.buf = append(append(a.buf, w.deltaState...), '}')
	}
	a.buf = append(append(a.buf, `,"metadata":`...), w.meta...)
	a.number(`,"version":`, w.version)
	a.number(`,"timestamp":`, now)
	a.close(token)
	a.end(getAccepted, start)
}

func (a *answers) deleted(version int64, token string, now int64) {
	start := len(a.buf)
	a.number(`{"version":`, version)
	a.number(`,"timestamp":`, now)
	a.close(token)
	a.end(deleteAccepted, start)
}

// rejected refuses a request.
func (a *answers) rejected(o outcome, e *Error, token string, now int64) {
	start := len(a.buf)
	a.number(`{"code":`, int64(e.Code))
	a.buf = append(a.buf, `,"message":`...)
	a.buf = strconv.AppendQuote(a.buf, e.Message) // printable ASCII, where Go and JSON agree
	if e.stamped {
		a.number(`,"timestamp":`, now)
	}
	a.close(token)
	a.end(o, start)
}
