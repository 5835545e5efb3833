package cli

import (
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// onTerminal makes what goes to a terminal harmless; files and pipes get every byte as it is.
func onTerminal(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return w
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return w
	}
	return &terminal{w: w}
}

// terminal shows control characters instead of sending them: topics, payloads and names come from devices,
// and an escape sequence in one of them could rewrite the screen or more. berth itself sends none.
type terminal struct {
	w    io.Writer
	held []byte // the beginning of a character
}

// Write implements io.Writer.
func (t *terminal) Write(p []byte) (int, error) {
	b := append(t.held, p...)
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 && utf8.FullRune(b) {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, b[0])
		case r == '\n' || r == '\t':
			out = append(out, byte(r))
		case r < 0x20 || r == 0x7F:
			out = fmt.Appendf(out, `\x%02x`, r)
		case r >= 0x80 && r < 0xA0, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x200E, r == 0x200F, r == 0x061C:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	t.held = append(t.held[:0:0], b...)
	if _, err := t.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
