package sigv4

import (
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// canonicalRequest is the text that is hashed and signed, in its parts.
type canonicalRequest struct {
	method  string
	path    string
	query   string
	host    string
	headers []header // sorted by name
	signed  string   // names joined with ;
	payload string   // hash
}

// header is a signed header; host has its value in canonicalRequest.
type header struct{ name, value string }

func (c *canonicalRequest) appendTo(dst []byte) []byte {
	dst = append(dst, c.method...)
	dst = append(dst, '\n')
	dst = append(dst, c.path...)
	dst = append(dst, '\n')
	dst = append(dst, c.query...)
	dst = append(dst, '\n')
	for _, h := range c.headers {
		dst = append(dst, h.name...)
		dst = append(dst, ':')
		if h.name == "host" {
			dst = append(dst, c.host...)
		} else {
			dst = append(dst, h.value...)
		}
		dst = append(dst, '\n')
	}
	dst = append(dst, '\n')
	dst = append(dst, c.signed...)
	dst = append(dst, '\n')
	return append(dst, c.payload...)
}

// signedHeaders reads the named headers from the request. Values are trimmed,
// runs of spaces become one, and repeated headers are joined with commas.
func signedHeaders(r *http.Request, names []string) []header {
	out := make([]header, len(names))
	for i, name := range names {
		out[i].name = name
		vals := r.Header.Values(name)
		switch {
		case len(vals) > 0:
		case name == "content-length" && r.ContentLength >= 0:
			// net/http takes these two out of the header.
			vals = []string{strconv.FormatInt(r.ContentLength, 10)}
		case name == "transfer-encoding":
			vals = r.TransferEncoding
		}
		if len(vals) == 1 {
			out[i].value = foldSpaces(vals[0])
			continue
		}
		folded := make([]string, len(vals))
		for j, v := range vals {
			folded[j] = foldSpaces(v)
		}
		out[i].value = strings.Join(folded, ",")
	}
	slices.SortFunc(out, func(a, b header) int { return strings.Compare(a.name, b.name) })
	return out
}

func foldSpaces(v string) string {
	v = strings.Trim(v, " \t")
	if !strings.Contains(v, "  ") {
		return v
	}
	var b strings.Builder
	for i := range len(v) {
		if v[i] != ' ' || v[i-1] != ' ' {
			b.WriteByte(v[i])
		}
	}
	return b.String()
}

// hosts are the names under which clients sign: as sent, without the port
// (AWS IoT device SDK v2), and with a port where none was sent.
func hosts(r *http.Request) []string {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	out := []string{host}
	bare := host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		bare = host[:i]
	}
	out = appendNew(out, bare)
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(addr.String()); err == nil {
			out = appendNew(out, bare+":"+port)
		}
	}
	if bare == host {
		out = appendNew(out, bare+":443")
	}
	return out
}

// paths are the canonical forms of a path: every service but S3 encodes the
// path as sent once more, some after removing empty and dot segments; clients
// that sign it as sent exist.
func paths(r *http.Request) []string {
	sent := r.URL.EscapedPath()
	if strings.HasPrefix(r.RequestURI, "/") {
		sent, _, _ = strings.Cut(r.RequestURI, "?")
	}
	if sent == "" {
		sent = "/"
	}
	out := []string{escape(sent, true)}
	out = appendNew(out, sent)
	clean := path.Clean(sent)
	if strings.HasSuffix(sent, "/") && clean != "/" {
		clean += "/"
	}
	out = appendNew(out, escape(clean, true))
	return out
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// param is a query parameter, decoded.
type param struct{ name, value string }

// parseQuery decodes a raw query. Unlike net/url it keeps everything: a
// semicolon, a broken escape, and a plus sign, which is a space only if
// plusIsSpace is set.
func parseQuery(raw string, plusIsSpace bool) []param {
	var out []param
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		out = append(out, param{unescape(name, plusIsSpace), unescape(value, plusIsSpace)})
	}
	return out
}

// canonicalQuery encodes and sorts the parameters, without those named.
func canonicalQuery(params []param, without ...string) string {
	pairs := make([]param, 0, len(params))
	for _, p := range params {
		if !slices.Contains(without, p.name) {
			pairs = append(pairs, param{escape(p.name, false), escape(p.value, false)})
		}
	}
	slices.SortFunc(pairs, func(a, b param) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String()
}

// escape encodes every byte that is not unreserved in RFC 3986, and keeps
// slashes if asked to.
func escape(s string, slashes bool) string {
	const digits = "0123456789ABCDEF"
	n := 0
	for i := range len(s) {
		if !plain(s[i], slashes) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; plain(c, slashes) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

func plain(c byte, slashes bool) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~' || slashes && c == '/'
}

// unescape decodes percent escapes and leaves broken ones as they are.
func unescape(s string, plusIsSpace bool) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		if s[i] == '+' && plusIsSpace {
			b = append(b, ' ')
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
