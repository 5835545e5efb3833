package virtualesp

import (
	"bytes"
	"testing"
)

// deframe feeds a stream and returns its frames.
func deframe(stream []byte, limit int) (frames [][]byte, dropped int) {
	var d deframer
	for _, b := range stream {
		frame, bad := d.next(b, limit)
		if bad {
			dropped++
		}
		if frame != nil {
			frames = append(frames, bytes.Clone(frame))
		}
	}
	return frames, dropped
}

func TestDeframerFindsItsWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream  string
		frames  []string
		dropped int
	}{
		"escapes":              {"\xC0a\xDB\xDC\xDB\xDDb\xC0", []string{"a\xC0\xDBb"}, 0},
		"noise before":         {"noise\xC0a\xC0", []string{"a"}, 0},
		"two ends":             {"\xC0a\xC0\xC0b\xC0", []string{"a", "b"}, 0},
		"end lost":             {"\xC0a\xC0b\xC0c\xC0", []string{"a", "b", "c"}, 0},
		"wrong escape":         {"\xC0a\xDBx\xC0b\xC0", []string{"b"}, 1},
		"escape cut off":       {"\xC0a\xDB\xC0b\xC0", []string{"b"}, 1},
		"too long":             {"\xC0123456789\xC0b\xC0", []string{"b"}, 1},
		"as long as it may be": {"\xC012345678\xC0", []string{"12345678"}, 0},
	} {
		got, dropped := deframe([]byte(c.stream), 8)
		var names []string
		for _, f := range got {
			names = append(names, string(f))
		}
		if len(names) != len(c.frames) || dropped != c.dropped {
			t.Errorf("%s: %q, %d dropped", name, names, dropped)
			continue
		}
		for i := range names {
			if names[i] != c.frames[i] {
				t.Errorf("%s: %q", name, names)
			}
		}
	}
}

func FuzzDeframer(f *testing.F) {
	f.Add([]byte("\xC0a\xDB\xDC\xC0"), []byte{0xC0, 0xDB, 1})
	f.Fuzz(func(t *testing.T, noise, payload []byte) {
		stream := append(bytes.Clone(noise), slipEnd)
		frames, _ := deframe(append(stream, appendFrame(nil, payload)...), 1<<20)
		switch {
		case len(payload) == 0:
		case len(frames) == 0 || !bytes.Equal(frames[len(frames)-1], payload):
			t.Errorf("after %x: %x is not the last of %x", noise, payload, frames)
		}
	})
}
