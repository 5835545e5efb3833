package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/bench"
	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

const (
	connects  = 200
	describes = 400
	pages     = 100
	searches  = 100

	checkDelay = 31 * time.Second // from the start until a large database file is checked
)

// cost is what a request takes: CPU time of the server, µs, and the median time until it is answered, ms.
type cost struct{ cpu, answer float64 }

func (c cost) String() string { return fmt.Sprintf("%.0f (%.1f)", c.cpu, c.answer) }

type result struct {
	things                       int
	ready, readyCPU, index       float64 // s
	memory                       float64 // MiB
	connect, message             float64 // µs of the server
	describe, list, find, filter cost
}

const header = "| things | ready, s | its CPU, s | index ready, s | memory, MiB | connect, CPU µs | message | describe-thing: CPU µs (ms) | page of 250 | search by name | by an attribute |\n" +
	"|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"

func (r *result) String() string {
	return fmt.Sprintf("| %d | %.1f | %.1f | %.1f | %.0f | %.0f | %.2f | %v | %v | %v | %v |",
		r.things, r.ready, r.readyCPU, r.index, r.memory, r.connect, r.message, r.describe, r.list, r.find, r.filter)
}

// measure starts the server and takes all figures.
func (s *server) measure(ctx context.Context, n int, devices []device, starts bool) (*result, error) {
	r := &result{things: n}
	began := time.Now()
	ready, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	used, err := s.cpu()
	if err != nil {
		return nil, err
	}
	r.ready, r.readyCPU = ready.Seconds(), used.Seconds()
	if err := s.awaitIndex(); err != nil {
		return nil, err
	}
	r.index = time.Since(began).Seconds()
	if n >= 100_000 {
		time.Sleep(time.Until(began.Add(checkDelay)))
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	if r.memory, err = bench.ResidentKiB(s.cmd.Process.Pid); err != nil {
		return nil, err
	}
	r.memory /= 1024
	if starts {
		return r, nil
	}
	if r.connect, err = s.connect(ctx, devices); err != nil {
		return nil, err
	}
	t := bench.Target{Name: "berth", Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.at.PlainPort)), PID: s.cmd.Process.Pid}
	flow, err := bench.Run(ctx, t, bench.Config{Scenario: "pairs", QoS: 1, Publishers: 10, Duration: 2 * time.Second, Prefix: "bench", ClientID: "bench", Version: mqtt.V311})
	if err != nil {
		return nil, err
	}
	r.message = flow.ServerCPU
	return r, s.requests(r, n, devices)
}

// settle waits until the server has done what a start leaves for later: a collection, the check of its file.
func (s *server) settle() error {
	for began := time.Now(); time.Since(began) < startTimeout; {
		before, err := s.cpu()
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		if after, err := s.cpu(); err != nil || after-before < 100*time.Millisecond {
			return err
		}
	}
	return errors.New("the server did not come to rest")
}

// awaitIndex waits until searches are answered.
func (s *server) awaitIndex() error {
	for began := time.Now(); time.Since(began) < startTimeout; time.Sleep(20 * time.Millisecond) {
		b, err := s.call("GET", "/indices/AWS_Things", nil)
		if err != nil {
			return err
		}
		var index struct{ IndexStatus string }
		if err := json.Unmarshal(b, &index); err != nil {
			return err
		}
		if index.IndexStatus == "ACTIVE" {
			return nil
		}
	}
	return errors.New("the index was not built in time")
}

// connect connects each device once: none of them is known to the server's memory.
func (s *server) connect(ctx context.Context, devices []device) (float64, error) {
	roots := x509.NewCertPool()
	b, err := os.ReadFile(filepath.Join(s.data, "ca.pem"))
	if err != nil {
		return 0, err
	}
	roots.AppendCertsFromPEM(b)
	return s.each(len(devices), func(i int) error {
		c, err := client.Dial(ctx, client.Options{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.at.MQTTPort)), ClientID: devices[i].name, CleanStart: true,
			TLS: &tls.Config{RootCAs: roots, ServerName: s.at.Endpoint, Certificates: []tls.Certificate{devices[i].cert}}})
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
}

// each does something n times and returns the server's CPU time of one, in µs.
func (s *server) each(n int, do func(i int) error) (float64, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	for i := range n {
		if err := do(i); err != nil {
			return 0, err
		}
	}
	after, err := s.cpu()
	return float64((after - before).Microseconds()) / float64(n), err
}

// timed is each with the median of the times.
func (s *server) timed(n int, do func(i int) error) (c cost, err error) {
	var took []time.Duration
	c.cpu, err = s.each(n, func(i int) error {
		began := time.Now()
		err := do(i)
		took = append(took, time.Since(began))
		return err
	})
	slices.Sort(took)
	c.answer = float64(took[len(took)/2].Microseconds()) / 1000
	return c, err
}

// requests takes the figures of the API, with things that differ from one request to the next.
func (s *server) requests(r *result, n int, devices []device) (err error) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func() int { return random.IntN(max(n, 1)) }
	name := func() string {
		if n == 0 {
			return devices[0].name
		}
		return thingName(some())
	}
	if r.describe, err = s.timed(describes, func(int) error {
		_, err := s.call("GET", "/things/"+name(), nil)
		return err
	}); err != nil {
		return err
	}
	token := ""
	if r.list, err = s.timed(pages, func(int) error {
		var page struct{ NextToken string }
		b, err := s.call("GET", "/things?maxResults=250&nextToken="+url.QueryEscape(token), nil)
		if err == nil {
			err = json.Unmarshal(b, &page)
		}
		token = page.NextToken
		return err
	}); err != nil {
		return err
	}
	search := func(query func() string) (cost, error) {
		return s.timed(searches, func(int) error {
			_, err := s.call("POST", "/indices/search", map[string]any{"queryString": query(), "maxResults": 100})
			return err
		})
	}
	if r.find, err = search(func() string { return "thingName:" + name() }); err != nil {
		return err
	}
	r.filter, err = search(func() string { return fmt.Sprintf("attributes.site:site-%d", some()%1000) })
	return err
}
