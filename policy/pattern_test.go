package policy

import (
	"math/rand/v2"
	"testing"
	"unicode/utf8"
)

// naive is the definition of a pattern, one character at a time.
func naive(p, s []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	switch p[0] {
	case '*':
		for i := range len(s) + 1 {
			if naive(p[1:], s[i:]) {
				return true
			}
		}
		return false
	case '?':
		return len(s) > 0 && naive(p[1:], s[1:])
	}
	return len(s) > 0 && s[0] == p[0] && naive(p[1:], s[1:])
}

func toPattern(s string) pattern {
	t, _ := parseTemplate(s, templateMode{wild: true})
	p, _, _ := t.resolve(nil)
	return p
}

func random(r *rand.Rand, alphabet []rune, most int) string {
	out := make([]rune, r.IntN(most+1))
	for i := range out {
		out[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(out)
}

// Matching the whole, and matching the rest after a prefix in the compiled
// form, agree with the definition.
func TestPatternProperty(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 200000 {
		ps := random(r, []rune("ab/ü**?"), 9)
		s := random(r, []rune("ab/ü"), 9)
		p := toPattern(ps)
		want := naive([]rune(ps), []rune(s))
		if got := p.match(s); got != want {
			t.Fatalf("seed %d: %q matches %q: %v, want %v", seed, ps, s, got, want)
		}
		cut := r.IntN(utf8.RuneCountInString(s) + 1)
		head, tail := string([]rune(s)[:cut]), string([]rune(s)[cut:])
		var rl rule
		rl.add(p.after(head))
		rl.finish()
		if got := rl.match(tail); got != want {
			t.Fatalf("seed %d: %q after %q = %v matches %q: %v, want %v", seed, ps, head, p.after(head), tail, got, want)
		}
	}
}

func TestPatternOnBytes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		p, s string
		want bool
	}{
		{"a?b", "a\xffb", true}, {"a?b", "a\xe2\x82b", false}, {"a??b", "a\xe2\x82b", true}, {"*", "\xff", true}, {"*?", "\xff", true}, {"?", "", false},
	} {
		if got := toPattern(tt.p).match(tt.s); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.p, tt.s, got)
		}
		var rl rule
		rl.add([]pattern{toPattern(tt.p)})
		if got := rl.match(tt.s); got != tt.want {
			t.Errorf("rule %q matches %q: %v", tt.p, tt.s, got)
		}
	}
}
