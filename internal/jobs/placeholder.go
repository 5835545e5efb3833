package jobs

import (
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/plainjson"
)

const placeholderOpen = "${aws:iot:"

// resolve fills the placeholders ${aws:iot:s3-presigned-url:ADDRESS} of a job document with what sign
// makes of the address. Those that sign does not know stay as they are (AWS IoT developer guide,
// "Presigned URLs").
func resolve(document string, expires time.Duration, sign func(address string, expires time.Duration) (string, bool)) string {
	if sign == nil || !strings.Contains(document, placeholderOpen) {
		return document
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(document, placeholderOpen)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			b.WriteString(placeholderOpen + rest)
			return b.String()
		}
		address, found := strings.CutPrefix(inner, "s3-presigned-url:")
		if !found {
			address, found = strings.CutPrefix(inner, "s3-presigned-url-v2:")
		}
		url := ""
		if found {
			url, found = sign(strings.TrimSpace(address), expires)
		}
		if found {
			b.WriteString(inString(url))
		} else {
			b.WriteString(placeholderOpen + inner + "}")
		}
		document = after
	}
}

// substitute fills ${aws:iot:parameter:NAME} with parameters; what has none becomes an empty string.
func substitute(document string, parameters map[string]string) string {
	const open = placeholderOpen + "parameter:"
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(document, open)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			b.WriteString(open + rest)
			return b.String()
		}
		b.WriteString(inString(parameters[name]))
		document = after
	}
}

// inString returns text as it stands inside a JSON string.
func inString(s string) string {
	quoted, err := plainjson.Marshal(s)
	if err != nil {
		return ""
	}
	return string(quoted[1 : len(quoted)-1])
}
