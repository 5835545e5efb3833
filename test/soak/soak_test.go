package soak

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
)

// Bounds of growth after the warm-up, which is the first third: medians of the last quarter are compared
// with those of the quarter after the warm-up.
const (
	residentGrowth = 0.10 // of the memory, and a part of what the data has grown by, see below
	residentSlack  = 16 << 20
	dataShare      = 0.5 // memory that may come with each byte of data: indexes and caches are filled
	routineGrowth  = 20
	fileGrowth     = 10
)

// sample is what the process uses at a moment.
type sample struct {
	resident   int64 // bytes
	goroutines int
	files      int
	data       int64 // bytes in the data directory
}

func (s *site) sample() (m sample, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return m, err
	}
	if _, rest, ok := strings.Cut(string(status), "VmRSS:"); ok {
		n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		m.resident = n << 10
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		return m, err
	}
	m.files = len(files)
	filepath.Walk(s.dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			m.data += info.Size()
		}
		return nil
	})
	resp, err := s.http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", s.where().HTTPPort))
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			m.goroutines, _ = strconv.Atoi(text)
		}
	}
	return m, nil
}

// TestSoak runs a server under a steady load of all kinds and looks for what grows. Devices come and go;
// the number of things, sessions and messages that are kept stays the same after the warm-up.
func TestSoak(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("needs /proc")
	}
	t.Parallel()
	length := *durationFlag
	if length == 0 {
		length = 10 * time.Second
	}
	s := newSite(t, t.TempDir(), "", "--table-retention", "30s")
	writers := steady(t)
	s.open(writers)
	interval := max(length/120, 200*time.Millisecond)
	var samples []sample
	began := time.Now()
	s.during(writers, func() {
		for time.Since(began) < length {
			time.Sleep(interval)
			m, err := s.sample()
			if err != nil {
				t.Error(err)
				return
			}
			samples = append(samples, m)
		}
	})
	s.check(writers, true)
	report(t, fmt.Sprintf("soak of %v", length), writers)
	judge(t, samples, *durationFlag > 0)
}

// median of a part of the samples.
func median(samples []sample, value func(sample) int64) int64 {
	var list []int64
	for _, m := range samples {
		list = append(list, value(m))
	}
	slices.Sort(list)
	return list[len(list)/2]
}

func judge(t *testing.T, samples []sample, strict bool) {
	t.Helper()
	if len(samples) < 12 {
		t.Fatalf("%d samples", len(samples))
	}
	n := len(samples)
	first, last := samples[n/3:n/3+n/4], samples[n-n/4:]
	row := func(name string, value func(sample) int64, bound func(first int64) int64) {
		a, b := median(first, value), median(last, value)
		t.Logf("| %s | %d | %d | %+d | %+d |", name, a, b, b-a, bound(a))
		if strict && b-a > bound(a) {
			t.Errorf("%s has grown from %d to %d", name, a, b)
		}
	}
	data := func(m sample) int64 { return m.data }
	grown := max(0, median(last, data)-median(first, data))
	t.Log("| what | after warm-up | at the end | growth | bound |")
	row("resident bytes", func(m sample) int64 { return m.resident }, func(a int64) int64 {
		return int64(residentGrowth*float64(a)) + residentSlack + int64(dataShare*float64(grown))
	})
	row("goroutines", func(m sample) int64 { return int64(m.goroutines) }, func(int64) int64 { return routineGrowth })
	row("open files", func(m sample) int64 { return int64(m.files) }, func(int64) int64 { return fileGrowth })
	row("bytes of data", data, func(a int64) int64 { return a + 64<<20 })
}

// steady is a load whose state does not grow without end: messages of all kinds, shadows, retained
// messages, and devices that come and go.
func steady(t testing.TB) []writer {
	list := []writer{newShadows(), newRetained(), newPosts(t), newReadings(), newVisitors(), newExchange("online", "QoS 1 to a connected persistent session", 1, true)}
	for _, w := range list {
		switch w := w.(type) {
		case *shadows:
			w.pause = gentle
		case *retained:
			w.pause = gentle
		case *messages:
			for _, p := range w.publishers {
				p.pause = 5 * time.Millisecond
			}
		case *posts:
			for _, p := range w.publishers {
				p.pause = 20 * time.Millisecond
			}
		case *readings:
			for _, p := range w.publishers {
				p.pause = 20 * time.Millisecond
			}
			w.passing = true
		}
	}
	return list
}

// gentle is the pause between two effects that leaves others, and other tests, something of the machine.
const gentle = 10 * time.Millisecond

// visitors are things that are registered, connect, and are gone again.
type visitors struct{ tally }

func newVisitors() *visitors {
	return &visitors{tally{kind: "things that come, connect and go", pause: gentle}}
}

func (w *visitors) prepare(*site) {}

func (w *visitors) check(*site, bool) {}

func (w *visitors) write(ctx context.Context, s *site) {
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("visitor-%d", i%1000)
		if s.call(ctx, http.MethodPost, "/things/"+name, object{}, nil) != nil {
			return
		}
		c, _, err := dial(s, name)
		if err != nil {
			return
		}
		_, err = c.Publish(ctx, client.Message{Topic: "visit/" + name, Payload: []byte("here"), QoS: 1})
		c.Close(context.Background())
		if err != nil || s.call(ctx, http.MethodDelete, "/things/"+name, nil, nil) != nil {
			return
		}
		w.acked(3)
		time.Sleep(w.pause)
	}
}
