package fleetindex

import (
	"context"
	"errors"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
)

// run is the indexing goroutine: it reads the fleet, then brings what changes into the index.
func (s *Service) run(ctx context.Context) {
	s.writer.dictionary = s.things.dictionary
	for ctx.Err() == nil {
		err := s.load(ctx)
		if err == nil {
			s.loaded.Store(true)
			break
		}
		if ctx.Err() == nil {
			s.cfg.Log.Error("build fleet index", "error", err)
		}
		pause(ctx, time.Second)
	}
	for {
		p, round, ok := s.feed.take()
		if !ok {
			return
		}
		if ctx.Err() != nil {
			s.connect(p.connections, make(map[*row]struct{})) // the rest is read at the next start
			continue
		}
		s.apply(ctx, p)
		s.feed.finish(round)
		s.feed.rest()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// load reads the whole fleet.
func (s *Service) load(ctx context.Context) error {
	t := s.things
	err := s.cfg.Registry.EachMember(ctx, func(m *registry.Member) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		r := t.row(m.Name)
		r.parts[partRegistry] = s.writer.thing(m.Thing, m.Static)
		r.parts[partDynamic] = s.writer.dynamicGroups(m.Dynamic)
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.loadShadows(ctx, ""); err != nil {
		return err
	}
	for name := range s.view.Load().named {
		if err := s.loadShadows(ctx, name); err != nil {
			return err
		}
	}
	if err := s.loadConnections(ctx); err != nil {
		return err
	}
	if err := s.loadGroups(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	t.settle()
	t.mu.Unlock()
	s.feed.add(func(p *pending) { p.definitions = true })
	return nil
}

func (s *Service) loadShadows(ctx context.Context, name string) error {
	return s.cfg.Shadows.EachDocument(ctx, name, "", func(thing string, d *shadow.Document) error {
		s.things.mu.Lock()
		defer s.things.mu.Unlock()
		if r := s.things.rows[thing]; r != nil {
			s.setShadow(r, name, d)
		}
		return nil
	})
}

// setShadow brings a shadow into a row. The table is locked.
func (s *Service) setShadow(r *row, name string, d *shadow.Document) {
	f, err := s.writer.shadow(&s.reader, name, d)
	if err != nil {
		s.cfg.Log.Error("index shadow", "thing", r.name, "shadow", name, "error", err)
		return
	}
	if name == "" {
		r.parts[partShadow] = f
	} else {
		r.setNamed(name, f)
	}
}

func (s *Service) loadGroups(ctx context.Context) error {
	for page := (registry.Page{}); ; {
		refs, next, err := s.cfg.Registry.ListThingGroups(ctx, registry.GroupFilter{Recursive: true}, page)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if err := s.readGroup(ctx, ref.Name); err != nil {
				return err
			}
		}
		if page.Token = next; next == "" {
			return nil
		}
	}
}

func (s *Service) readGroup(ctx context.Context, name string) error {
	g, err := s.cfg.Registry.DescribeThingGroup(ctx, name)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return err
	}
	s.groups.mu.Lock()
	defer s.groups.mu.Unlock()
	if err != nil {
		s.groups.remove(name)
		return nil
	}
	w := writer{dictionary: s.groups.dictionary}
	s.groups.row(name).parts[partRegistry] = w.group(g)
	s.groups.sweep()
	return nil
}

// apply brings changes into the index and lets dynamic groups follow. What could not be read is
// tried again.
func (s *Service) apply(ctx context.Context, p *pending) {
	touched := make(map[*row]struct{})
	var failure error
	again := newPending()
	for name := range p.things {
		if err := s.readThing(ctx, name, touched); err != nil {
			failure = err
			again.things[name] = struct{}{}
		}
	}
	s.applyShadows(p.shadows, touched)
	s.connect(p.connections, touched)
	s.applyViolations(p.violations, touched)
	for name := range p.groups {
		if err := s.readGroup(ctx, name); err != nil {
			failure = err
			again.groups[name] = struct{}{}
		}
	}
	if p.rebuild {
		if err := s.rebuild(ctx); err != nil {
			failure, again.rebuild = err, true
		}
	}
	s.things.mu.Lock()
	s.things.sweep()
	s.things.mu.Unlock()
	if err := s.follow(ctx, touched, p.definitions || p.rebuild); err != nil {
		failure, again.definitions = err, true
	}
	if failure == nil || ctx.Err() != nil {
		return
	}
	s.cfg.Log.Error("index changes", "error", failure)
	pause(ctx, time.Second)
	s.feed.add(func(p *pending) {
		for name := range again.things {
			p.things[name] = struct{}{}
		}
		for name := range again.groups {
			p.groups[name] = struct{}{}
		}
		p.rebuild = p.rebuild || again.rebuild
		p.definitions = p.definitions || again.definitions
	})
}

// forget takes a thing out of the index. If it is connected, that is remembered for one of its name.
func (s *Service) forget(name string) {
	s.things.mu.Lock()
	if r := s.things.rows[name]; r != nil && r.connection.connected {
		s.strangers[name] = r.connection
	}
	s.things.remove(name)
	s.things.mu.Unlock()
	s.cfg.Store.Delete(connectionTable, [][]any{{name}}, nil)
}

// readThing brings a thing into the index as the registry has it now.
func (s *Service) readThing(ctx context.Context, name string, touched map[*row]struct{}) error {
	t := s.things
	m, err := s.cfg.Registry.DescribeMember(ctx, name)
	if errors.Is(err, registry.ErrNotFound) {
		s.forget(name)
		return nil
	}
	if err != nil {
		return err
	}
	if r := t.rows[name]; r != nil && r.thingID() != m.ID {
		s.forget(name) // deleted, and made again
	}
	t.mu.Lock()
	fresh := t.rows[name] == nil
	r := t.row(name)
	r.parts[partRegistry] = s.writer.thing(m.Thing, m.Static)
	r.parts[partDynamic] = s.writer.dynamicGroups(m.Dynamic)
	r.asked = ""
	stranger, online := s.strangers[name]
	if fresh && online {
		delete(s.strangers, name)
		r.connection = stranger
		r.parts[partLive] = s.writer.connection(stranger)
	}
	t.mu.Unlock()
	touched[r] = struct{}{}
	if !fresh {
		return nil
	}
	if online {
		s.keep(map[string]connection{name: stranger})
	}
	for _, shadowName := range append(s.configuration.Load().Things.names(), "") {
		err := s.cfg.Shadows.EachDocument(ctx, shadowName, name, func(_ string, d *shadow.Document) error {
			t.mu.Lock()
			defer t.mu.Unlock()
			s.setShadow(r, shadowName, d)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) applyShadows(changed map[shadow.ID]*shadow.Document, touched map[*row]struct{}) {
	named := s.view.Load().named
	for id, d := range changed {
		if id.Shadow != "" && !named[id.Shadow] {
			continue
		}
		s.things.mu.Lock()
		if r := s.things.rows[id.Thing]; r != nil {
			s.setShadow(r, id.Shadow, d)
			touched[r] = struct{}{}
		}
		s.things.mu.Unlock()
	}
}

func (s *Service) applyViolations(changed map[string]int, touched map[*row]struct{}) {
	s.things.mu.Lock()
	defer s.things.mu.Unlock()
	for thing, n := range changed {
		r := s.things.rows[thing]
		if r == nil {
			continue
		}
		r.parts[partDefender] = ""
		if n >= 0 {
			r.parts[partDefender] = s.writer.violations(n)
		}
		touched[r] = struct{}{}
	}
}

// rebuild reads the named shadows that are indexed now and lets go of others.
func (s *Service) rebuild(ctx context.Context) error {
	named := s.view.Load().named
	s.things.mu.Lock()
	for _, r := range s.things.rows {
		for _, n := range append([]namedShadow(nil), r.named...) {
			if !named[n.name] {
				r.setNamed(n.name, "")
			}
		}
	}
	s.things.mu.Unlock()
	for name := range named {
		if err := s.loadShadows(ctx, name); err != nil {
			return err
		}
	}
	s.rebuilding.Store(false)
	return nil
}
