// Package shadow is the Device Shadow service of AWS IoT Core: documents of desired and reported
// state, one classic and any number of named ones for every thing. It follows the AWS IoT developer
// guide, "AWS IoT Device Shadow service".
//
// What a request does to a document is pure and in one place: an update is parsed into a tree
// (tree.go, parse.go, request.go), merged into the tree of the document (merge.go) and answered
// (answer.go, delta.go). Numbers and strings are kept as they were sent. A [Service] keeps the
// documents in the database, and answers a request after what it did is on disk.
package shadow

import (
	"encoding/binary"
	"fmt"
)

// ID names a shadow. Shadow is empty for the classic one.
type ID struct{ Thing, Shadow string }

// label is the name that errors give.
func (n ID) label() string {
	if n.Shadow != "" {
		return n.Shadow
	}
	return n.Thing
}

// Document is the stored content of one shadow. The zero value is a shadow that never was. It is
// immutable.
type Document struct {
	// Version counts the updates. It outlives a deletion for a while.
	Version int64
	// State is compact JSON: an object with desired, reported, both or neither.
	State string
	// stamps are the timestamps of the leaves of State in their order, each as the difference to
	// the one before.
	stamps string
	// Live is false for a shadow that was deleted or never was.
	Live bool
	// Deleted is when it was deleted, in epoch milliseconds, 0 if never.
	Deleted int64
}

// Metadata is the JSON object with the timestamps of the document's values.
func (d *Document) Metadata() ([]byte, error) {
	var w draft
	if err := w.open(d); err != nil {
		return nil, err
	}
	return append([]byte{}, w.meta...), nil
}

// draft is a document opened for reading and changing. It may be used for one after another.
type draft struct {
	tree
	version           int64
	live              bool
	deleted           int64
	desired, reported int32 // 0: not there

	state, meta         []byte // of the document as it is now
	oldState, oldMeta   []byte // before the last update
	deltaState, deltaMe []byte
}

// open takes up a document. An error means that it was not written by this package.
func (w *draft) open(d *Document) error {
	w.reset()
	w.version, w.live, w.deleted = d.Version, d.Live, d.Deleted
	w.desired, w.reported = 0, 0
	if d.State != "" {
		root, err := w.parse(d.State)
		if err != nil {
			return fmt.Errorf("stored shadow: %w", err)
		}
		w.desired, w.reported = w.member(root, `"desired"`), w.member(root, `"reported"`)
		if err := w.loadStamps(d.stamps); err != nil {
			return err
		}
	}
	w.render()
	return nil
}

// document returns the document as it is now.
func (w *draft) document() *Document {
	d := &Document{Version: w.version, Live: w.live, Deleted: w.deleted}
	if w.live {
		d.State, d.stamps = string(w.state), string(w.appendStamps(nil))
	}
	return d
}

// render writes state and metadata of the document as it is now.
func (w *draft) render() {
	w.state = append(w.state[:0], '{')
	w.meta = append(w.meta[:0], '{')
	for _, s := range [...]struct {
		node int32
		key  string
	}{{w.desired, `"desired":`}, {w.reported, `"reported":`}} {
		if s.node == 0 {
			continue
		}
		if len(w.state) > 1 {
			w.state, w.meta = append(w.state, ','), append(w.meta, ',')
		}
		w.state = w.appendValue(append(w.state, s.key...), s.node)
		w.meta = w.appendMetadata(append(w.meta, s.key...), s.node, 0)
	}
	w.state, w.meta = append(w.state, '}'), append(w.meta, '}')
}

// size is the size of the document as the limit counts it.
func (w *draft) size() int {
	n := len(w.state) - len(`{}`)
	switch {
	case w.desired != 0 && w.reported != 0:
		n -= len(`"desired":,"reported":`)
	case w.desired != 0:
		n -= len(`"desired":`)
	case w.reported != 0:
		n -= len(`"reported":`)
	}
	return n
}

func (w *draft) appendStamps(dst []byte) []byte {
	last := int64(0)
	visit := func(stamp *int64) {
		dst = binary.AppendVarint(dst, *stamp-last)
		last = *stamp
	}
	for _, n := range [...]int32{w.desired, w.reported} {
		if n != 0 {
			w.eachStamp(n, visit)
		}
	}
	return dst
}

func (w *draft) loadStamps(stamps string) error {
	b, last := []byte(stamps), int64(0)
	ok := true
	visit := func(stamp *int64) {
		d, n := binary.Varint(b)
		if n <= 0 {
			ok = false
			return
		}
		b = b[n:]
		last += d
		*stamp = last
	}
	for _, n := range [...]int32{w.desired, w.reported} {
		if n != 0 {
			w.eachStamp(n, visit)
		}
	}
	if !ok || len(b) != 0 {
		return fmt.Errorf("stored shadow: timestamps do not fit the state")
	}
	return nil
}

// apply changes the document by an update and writes the answers to it. On an error the document is
// as it was.
func (w *draft) apply(u *update, now int64, out *answers) *Error {
	if u.version >= 0 && u.version != w.version {
		return errConflict()
	}
	out.accepted(w, u, now) // before the merge uses the request up
	var before *Document
	if w.size()+out.size() > MaxDocument {
		before = w.document()
	}
	w.oldState, w.state = w.state, w.oldState
	w.oldMeta, w.meta = w.meta, w.oldMeta
	if u.clear {
		w.desired, w.reported = 0, 0
	}
	w.desired = w.mergeSection(w.desired, u.desired, now)
	w.reported = w.mergeSection(w.reported, u.reported, now)
	w.render()
	if w.size() > MaxDocument {
		out.forget()
		if err := w.open(before); err != nil {
			return errInternal()
		}
		return errTooLarge()
	}
	w.version++
	w.live, w.deleted = true, 0
	out.delta(w, u.clientToken, now)
	out.documents(w, u.clientToken, now)
	return nil
}

// mergeSection returns what a section becomes; an empty one is none.
func (w *draft) mergeSection(n int32, s section, now int64) int32 {
	switch {
	case !s.sent:
		return n
	case s.node == 0:
		return 0
	case n == 0:
		w.settle(s.node, now)
		n = s.node
	default:
		w.merge(n, s.node, now)
	}
	if w.nodes[n].count == 0 {
		return 0
	}
	return n
}

// remove deletes the document and answers.
func (w *draft) remove(token string, now int64, nowMillis int64, out *answers) {
	out.deleted(w.version, token, now)
	w.reset()
	w.desired, w.reported = 0, 0
	w.live, w.deleted = false, nowMillis
	w.render()
}
