package soak

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
)

// parallel is how many goroutines of a kind write.
const parallel = 2

// things registers, changes and deletes things.
type things struct {
	tally
	mu      sync.Mutex
	next    int
	present map[string]string // acknowledged, with the value of an attribute
	deleted map[string]bool
	recent  []string
}

func newThings() *things {
	return &things{tally: tally{kind: "things: created, changed, deleted"}, present: make(map[string]string), deleted: make(map[string]bool)}
}

func (w *things) prepare(*site) {}

func (w *things) write(ctx context.Context, s *site) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range parallel {
		wg.Go(func() {
			for ctx.Err() == nil {
				w.mu.Lock()
				w.next++
				n := w.next
				w.mu.Unlock()
				if err := w.one(ctx, s, n); err != nil {
					w.answered(err)
					if !isAnswer(err) {
						return
					}
				}
			}
		})
	}
}

// one creates a thing; every second is changed, every third deleted.
func (w *things) one(ctx context.Context, s *site, n int) error {
	name := fmt.Sprintf("thing-%d", n)
	set := func(value string, deleted bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.acked(1)
		if w.recent = append(w.recent, name); deleted {
			delete(w.present, name)
			w.deleted[name] = true
		} else {
			w.present[name] = value
		}
	}
	unsure := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.present, name)
	}
	attributes := func(v string) object { return object{"attributePayload": object{"attributes": object{"v": v}}} }
	if err := s.call(ctx, "POST", "/things/"+name, attributes("1"), nil); err != nil {
		return err
	}
	set("1", false)
	if n%2 == 0 {
		unsure()
		if err := s.call(ctx, "PATCH", "/things/"+name, attributes("2"), nil); err != nil {
			return err
		}
		set("2", false)
	}
	if n%3 == 0 {
		unsure()
		if err := s.call(ctx, "DELETE", "/things/"+name, nil, nil); err != nil {
			return err
		}
		set("", true)
	}
	return nil
}

func isAnswer(err error) bool {
	var r *refused
	return errors.As(err, &r)
}

func isMissing(err error) bool {
	var r *refused
	return errors.As(err, &r) && r.status == 404
}

func (w *things) check(s *site, everything bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !everything {
		for _, name := range w.recent {
			var got struct{ Attributes map[string]string }
			err := s.call(context.Background(), "GET", "/things/"+name, nil, &got)
			if value, ok := w.present[name]; ok && (err != nil || got.Attributes["v"] != value) {
				w.loss("thing %s, attribute %s: %v %v", name, value, got, err)
			} else if w.deleted[name] && !isMissing(err) {
				w.loss("deletion of thing %s: %v", name, err)
			}
		}
		w.recent = nil
		return
	}
	listed := make(map[string]int)
	for token := ""; ; {
		var page struct {
			Things []struct {
				ThingName  string
				Attributes map[string]string
			}
			NextToken string
		}
		s.must("GET", "/things?maxResults=250&nextToken="+url.QueryEscape(token), nil, &page)
		for _, g := range page.Things {
			if listed[g.ThingName]++; listed[g.ThingName] > 1 {
				w.double("thing %s in the list", g.ThingName)
			}
			if value, ok := w.present[g.ThingName]; ok && g.Attributes["v"] != value {
				w.loss("attribute %s of thing %s: %v", value, g.ThingName, g.Attributes)
			}
		}
		if token = page.NextToken; token == "" {
			break
		}
	}
	for name := range w.present {
		if listed[name] == 0 {
			w.loss("thing %s in the list", name)
		}
	}
	for name := range w.deleted {
		if listed[name] != 0 {
			w.loss("deletion of thing %s in the list", name)
		}
	}
}

// certificates registers certificates, policies and what binds them to things.
type certificates struct {
	tally
	csr    string
	mu     sync.Mutex
	next   int
	all    []*identity
	recent []*identity
}

// identity is a certificate and what was acknowledged of its surroundings.
type identity struct {
	number                   int
	id, arn                  string
	policy, attached, thing  bool
	member, inactive, unsure bool
}

func newCertificates() *certificates {
	return &certificates{tally: tally{kind: "certificates, policies, groups, attachments"}, csr: newCSR()}
}

func newCSR() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func (w *certificates) prepare(s *site) { s.must("POST", "/thing-groups/owners", object{}, nil) }

func (w *certificates) write(ctx context.Context, s *site) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range parallel {
		wg.Go(func() {
			for ctx.Err() == nil {
				w.mu.Lock()
				w.next++
				n := w.next
				w.mu.Unlock()
				if err := w.one(ctx, s, n); err != nil {
					w.answered(err)
					if !isAnswer(err) {
						return
					}
				}
			}
		})
	}
}

func (w *certificates) one(ctx context.Context, s *site, n int) error {
	c := &identity{number: n}
	policy, thing := fmt.Sprintf("policy-%d", n), fmt.Sprintf("owner-%d", n)
	var made struct{ CertificateID, CertificateARN string }
	if err := s.call(ctx, "POST", "/certificates?setAsActive=true", object{"certificateSigningRequest": w.csr}, &made); err != nil {
		return err
	}
	c.id, c.arn = made.CertificateID, made.CertificateARN
	w.acked(1)
	w.mu.Lock()
	w.all, w.recent = append(w.all, c), append(w.recent, c)
	w.mu.Unlock()
	steps := []struct {
		method, path string
		in           any
		done         *bool
	}{
		{"POST", "/policies/" + policy, object{"policyDocument": allowAll}, &c.policy},
		{"PUT", "/target-policies/" + policy, object{"target": c.arn}, &c.attached},
		{"POST", "/things/" + thing, object{}, new(bool)},
		{"PUT", "/things/" + thing + "/principals", http.Header{"X-Amzn-Principal": {c.arn}}, &c.thing},
		{"PUT", "/thing-groups/addThingToThingGroup", object{"thingGroupName": "owners", "thingName": thing}, &c.member},
	}
	for _, step := range steps {
		if err := s.call(ctx, step.method, step.path, step.in, nil); err != nil {
			return err
		}
		w.acked(1)
		w.mu.Lock()
		*step.done = true
		w.mu.Unlock()
	}
	if n%3 != 0 {
		return nil
	}
	set := func(unsure, inactive bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		c.unsure, c.inactive = unsure, inactive
	}
	set(true, false)
	if err := s.call(ctx, "PUT", "/certificates/"+c.id+"?newStatus=INACTIVE", nil, nil); err != nil {
		return err
	}
	w.acked(1)
	set(false, true)
	return nil
}

func (w *certificates) check(s *site, everything bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.recent
	if w.recent = nil; everything {
		list = w.all
	}
	for _, c := range list {
		var got struct{ CertificateDescription struct{ Status string } }
		err := s.call(context.Background(), "GET", "/certificates/"+c.id, nil, &got)
		want := "ACTIVE"
		if c.inactive {
			want = "INACTIVE"
		}
		if err != nil || !c.unsure && got.CertificateDescription.Status != want {
			w.loss("certificate %d %s: %+v %v", c.number, want, got, err)
		}
		if c.policy {
			if err := s.call(context.Background(), "GET", fmt.Sprintf("/policies/policy-%d", c.number), nil, nil); err != nil {
				w.loss("policy: %v", err)
			}
		}
		var policies struct{ Policies []struct{ PolicyName string } }
		if err := s.call(context.Background(), "POST", "/attached-policies/"+url.PathEscape(c.arn), nil, &policies); c.attached && (err != nil || len(policies.Policies) != 1) {
			w.loss("attachment of policy %d: %+v %v", c.number, policies, err)
		}
		if !c.thing {
			continue
		}
		var principals struct{ Principals []string }
		if err := s.call(context.Background(), "GET", fmt.Sprintf("/things/owner-%d/principals", c.number), nil, &principals); err != nil || !slices.Equal(principals.Principals, []string{c.arn}) {
			w.loss("principal of thing %d: %v %v", c.number, principals, err)
		}
		var groups struct{ ThingGroups []struct{ GroupName string } }
		if err := s.call(context.Background(), "GET", fmt.Sprintf("/things/owner-%d/thing-groups", c.number), nil, &groups); c.member && (err != nil || len(groups.ThingGroups) != 1) {
			w.loss("membership of thing %d: %v %v", c.number, groups, err)
		}
	}
}
