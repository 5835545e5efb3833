package rules

import "testing"

func TestConfirmed(t *testing.T) {
	t.Parallel()
	s := new(Service)
	s.goals.Store(&[]Destination{{URL: "https://a.example/hooks/", Status: Enabled}, {URL: "https://b.example/", Status: InProgress}})
	for to, want := range map[string]bool{
		"https://a.example/hooks/":                true,
		"https://a.example/hooks/lamp?x=../..":    true,
		"https://a.example/hooks/..lamp":          true,
		"https://a.example/hook":                  false,
		"https://a.example/hooks/../admin":        false,
		"https://a.example/hooks/x/%2e%2E/%2e%2e": false,
		"https://a.example/hooks/..%2fadmin":      false,
		"https://a.example/hooks/..\\admin":       false,
		"https://a.example/hooks/./x":             false,
		"https://a.example/hooks/x#y":             false,
		"https://b.example/":                      false,
		"https://a.example@b.example/hooks/":      false,
	} {
		if got := s.confirmed(to); got != want {
			t.Errorf("%s: %v", to, got)
		}
	}
}
