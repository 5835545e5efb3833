package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth is deeper than any valid document goes: the values of a condition
// key are at level 6.
const maxDepth = 8

type nodeKind uint8

const (
	nodeNull nodeKind = iota
	nodeBool
	nodeNumber
	nodeString
	nodeArray
	nodeObject
)

var nodeKinds = [...]string{"null", "true or false", "a number", "a string", "an array", "an object"}

// node is a JSON value that keeps the order of keys.
type node struct {
	kind nodeKind
	text string // of strings, numbers and booleans
	keys []string
	kids []node
}

// parseJSON reads one JSON value that fills doc. Unlike encoding/json it
// refuses a key that appears twice, which AWS refuses too.
func parseJSON(doc []byte) (node, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	n, err := parseNode(dec, "", 0)
	if err != nil {
		return node{}, jsonError(doc, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return node{}, &SyntaxError{Reason: "there is text after the end of the document; give one JSON object"}
	}
	return n, nil
}

func parseNode(dec *json.Decoder, where string, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, &SyntaxError{Where: where, Reason: "the document is nested too deeply"}
	}
	tok, err := dec.Token()
	if err != nil {
		return node{}, err
	}
	switch tok := tok.(type) {
	case nil:
		return node{}, nil
	case bool:
		return node{kind: nodeBool, text: fmt.Sprint(tok)}, nil
	case json.Number:
		return node{kind: nodeNumber, text: tok.String()}, nil
	case string:
		return node{kind: nodeString, text: tok}, nil
	}
	if tok == json.Delim('[') {
		n := node{kind: nodeArray}
		for dec.More() {
			kid, err := parseNode(dec, at(where, len(n.kids)), depth+1)
			if err != nil {
				return node{}, err
			}
			n.kids = append(n.kids, kid)
		}
		_, err := dec.Token()
		return n, err
	}
	n := node{kind: nodeObject}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return node{}, err
		}
		key, _ := tok.(string)
		for _, have := range n.keys {
			if have == key {
				return node{}, &SyntaxError{Where: under(where, key), Reason: "the key is given twice; join the two into one"}
			}
		}
		kid, err := parseNode(dec, under(where, key), depth+1)
		if err != nil {
			return node{}, err
		}
		n.keys, n.kids = append(n.keys, key), append(n.kids, kid)
	}
	_, err = dec.Token()
	return n, err
}

func at(where string, i int) string { return fmt.Sprintf("%s[%d]", where, i) }

func under(where, key string) string {
	if where == "" {
		return key
	}
	return where + "." + key
}

// jsonError puts a JSON error into words, with line and column.
func jsonError(doc []byte, err error) error {
	var own *SyntaxError
	if errors.As(err, &own) {
		return own
	}
	// The decoder's own offsets are off after tokens; a second reading of the
	// whole has the right one.
	if whole := json.Unmarshal(doc, new(json.RawMessage)); whole != nil {
		err = whole
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		before := doc[:min(max(int(syntax.Offset)-1, 0), len(doc))]
		line := 1 + bytes.Count(before, []byte("\n"))
		column := len(before) - bytes.LastIndexByte(before, '\n')
		return &SyntaxError{Where: fmt.Sprintf("line %d, column %d", line, column), Reason: "not valid JSON: " + syntax.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &SyntaxError{Reason: "not valid JSON: the document ends too early"}
	}
	return &SyntaxError{Reason: "not valid JSON: " + err.Error()}
}
