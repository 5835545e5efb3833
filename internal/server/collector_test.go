package server

import "testing"

func TestCollectPercent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		messages, live uint64
		want           int
	}{
		{0, 1 << 20, 100}, {19_999, 1 << 20, 100}, {20_000, 1 << 20, 800}, {1_000_000, 15 << 20, 400}, {1_000_000, 30 << 20, 200}, {1_000_000, 40 << 20, 100}, {1_000_000, 1 << 40, 100},
	} {
		if got := collectPercent(test.messages, test.live); got != test.want {
			t.Errorf("%d messages, %d bytes: %d, want %d", test.messages, test.live, got, test.want)
		}
	}
}
