package shadow

import (
	"strconv"
	"unicode/utf8"
)

// MaxDocument is the largest document, its desired and reported values as compact JSON together, in
// bytes; metadata does not count. No request may be larger either.
const MaxDocument = 8 << 10

// MaxClientToken is the longest client token in bytes.
const MaxClientToken = 64

// update is a parsed update request.
type update struct {
	clientToken string // as a JSON token; empty if there was none
	version     int64  // that the document must have; -1 for any
	clear       bool   // "state": null
	desired     section
	reported    section
}

// section is what an update says of desired or reported: nothing, null or an object.
type section struct {
	sent bool
	node int32 // 0 with sent: null
}

// parseUpdate reads an update request into the tree. The update is usable for its client token even
// with an error.
func (t *tree) parseUpdate(payload string) (u update, err *Error) {
	u.version = -1
	root, u, err := t.parseEnvelope(payload, u)
	if err != nil {
		return u, err
	}
	if n := t.member(root, `"version"`); n != 0 && t.nodes[n].kind != null {
		v, bad := strconv.ParseInt(t.nodes[n].text, 10, 64)
		if bad != nil || v < 0 || t.nodes[n].kind != number {
			return u, errVersion()
		}
		u.version = v
	}
	state := t.member(root, `"state"`)
	switch {
	case state == 0:
		return u, errNoState()
	case t.nodes[state].kind == null:
		u.clear = true
		return u, nil
	case t.nodes[state].kind != object:
		return u, errState()
	}
	if u.desired, err = t.section(state, `"desired"`, errDesired); err != nil {
		return u, err
	}
	u.reported, err = t.section(state, `"reported"`, errReported)
	return u, err
}

// parseEnvelope reads a request's JSON and its client token, which all requests may have.
func (t *tree) parseEnvelope(payload string, u update) (root int32, _ update, err *Error) {
	if !utf8.ValidString(payload) {
		return 0, u, errEncoding()
	}
	root, bad := t.parse(payload)
	switch {
	case bad == errNesting:
		return 0, u, errTooDeep()
	case bad != nil || t.nodes[root].kind != object:
		return 0, u, errJSON()
	}
	if n := t.member(root, `"clientToken"`); n != 0 && t.nodes[n].kind != null {
		token := t.nodes[n].text
		if token == "" || token[0] != '"' || tokenBytes(token) > MaxClientToken {
			return root, u, errClientToken()
		}
		u.clientToken = token
	}
	return root, u, nil
}

func (t *tree) section(state int32, key string, wrong func() *Error) (section, *Error) {
	n := t.member(state, key)
	switch {
	case n == 0:
		return section{}, nil
	case t.nodes[n].kind == null:
		return section{sent: true}, nil
	case t.nodes[n].kind != object:
		return section{}, wrong()
	}
	return section{true, n}, t.checkSection(n, 0)
}

// parseToken reads the client token of a get or delete request. An empty payload is one without.
// Of a delete request nothing else matters, not even that it is JSON (AWS IoT developer guide,
// "/delete").
func (t *tree) parseToken(payload string, lenient bool) (token string, err *Error) {
	if payload == "" {
		return "", nil
	}
	_, u, err := t.parseEnvelope(payload, update{})
	if err != nil && lenient && err.Message != errClientToken().Message {
		err = nil
	}
	return u.clientToken, err
}
