package shadow

import (
	"strings"

	"github.com/berth-iot/berth/topic"
)

// operation is what a request asks for.
type operation uint8

const (
	get operation = iota
	set
	remove
)

// Longest names (AWS IoT API reference, UpdateThingShadow).
const (
	maxThing  = 128
	maxShadow = 64
)

// Valid reports whether a shadow can have this name. Names that begin with $ belong to AWS's own
// features, which use shadows like anybody else.
func (n ID) Valid() bool {
	return n.Thing != "" && len(n.Thing) <= maxThing && len(n.Shadow) <= maxShadow &&
		nameOnly(n.Thing, false) && nameOnly(n.Shadow, true)
}

func nameOnly(s string, dollar bool) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == ':', c == '_', c == '-':
		case c == '$' && dollar:
		default:
			return false
		}
	}
	return true
}

// prefix is the part that the topics of a shadow share.
func (n ID) prefix() string {
	if n.Shadow == "" {
		return "$aws/things/" + n.Thing + "/shadow"
	}
	return "$aws/things/" + n.Thing + "/shadow/name/" + n.Shadow
}

// parseTopic tells which request a topic name is for.
func parseTopic(name string) (n ID, op operation, ok bool) {
	thing, rest, ok := topic.Thing(name)
	if !ok {
		return ID{}, 0, false
	}
	rest, ok = strings.CutPrefix(rest, "shadow/")
	if !ok {
		return ID{}, 0, false
	}
	n.Thing = thing
	if named, found := strings.CutPrefix(rest, "name/"); found {
		if n.Shadow, rest, ok = strings.Cut(named, "/"); !ok || n.Shadow == "" {
			return ID{}, 0, false
		}
	}
	switch rest {
	case "get":
		op = get
	case "update":
		op = set
	case "delete":
		op = remove
	default:
		return ID{}, 0, false
	}
	return n, op, n.Valid()
}
