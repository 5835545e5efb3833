package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/topic"
)

func (s *Service) loadRules(ctx context.Context) error {
	loaded, bare := make(map[string]*rule), make(map[string][]byte)
	err := s.cfg.Store.Query(ctx, `SELECT name, document, created_at FROM rule`, nil, func(row store.Row) error {
		var name string
		var b []byte
		var created int64
		if err := row.Scan(&name, &b, &created); err != nil {
			return err
		}
		r, plain, err := s.parse(name, b, created)
		if err != nil {
			return err
		}
		if plain && s.cfg.Seal != nil {
			bare[name] = b
		}
		loaded[name] = r
		return nil
	})
	if err != nil {
		return fmt.Errorf("load rules: %w", err)
	}
	if len(bare) > 0 { // of a version that did not seal them
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			for name, b := range bare {
				if _, err := tx.Exec(`UPDATE rule SET document = ? WHERE name = ?`, s.seal(ruleLabel(name), b), name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("seal rules: %w", err)
		}
	}
	s.use(loaded)
	return nil
}

// parse makes a rule of what is stored; plain says that it was not sealed.
func (s *Service) parse(name string, stored []byte, created int64) (r *rule, plain bool, err error) {
	b, plain, err := s.unseal(ruleLabel(name), stored)
	var p Payload
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil {
		r, err = compile(&p)
	}
	if err != nil {
		return nil, plain, fmt.Errorf("rule %q: %w", name, err)
	}
	s.name(r, name, time.UnixMilli(created))
	return r, plain, nil
}

// stored is a rule as it is in a transaction, nil if there is none.
func (s *Service) stored(tx *store.Tx, name string) (*rule, error) {
	var b []byte
	var created int64
	err := tx.QueryRow(`SELECT document, created_at FROM rule WHERE name = ?`, []any{name}, &b, &created)
	if errors.Is(err, store.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, _, err := s.parse(name, b, created)
	if err != nil { // of a later version, perhaps
		return s.rules.Load().byName[name], nil
	}
	return r, nil
}

// Feed is the kind of change that nodes of a cluster tell each other.
const Feed = "rules"

// Reload reads the rules and destinations again, which another node has changed.
func (s *Service) Reload([]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.loadDestinations(context.Background()); err != nil {
		return err
	}
	return s.loadRules(context.Background())
}

func (s *Service) name(r *rule, name string, created time.Time) {
	r.Name, r.ARN, r.Created = name, s.arn("rule/"+name), created
	r.stats = s.counters(name)
}

// use makes these the rules, and subscribes to their filters: one subscription for each, however many
// rules have it.
func (s *Service) use(byName map[string]*rule) {
	snap := &snapshot{byName: byName, byFilter: make(map[uint32][]*rule)}
	used := make(map[string]bool)
	var fresh []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		r := byName[name]
		if r.Disabled || r.Filter == "" {
			continue
		}
		if s.filters[r.Filter] == 0 {
			s.lastID++
			s.filters[r.Filter] = s.lastID
			fresh = append(fresh, r.Filter)
		}
		used[r.Filter] = true
		id := s.filters[r.Filter]
		snap.byFilter[id] = append(snap.byFilter[id], r)
	}
	s.rules.Store(snap)
	for filter := range s.filters {
		if !used[filter] {
			s.forgetFilter(filter)
		}
	}
	for _, filter := range fresh {
		s.subscribe(filter)
	}
}

// replace makes r, or none, the rule of a name. The others stay as they are: with thousands of rules, going
// through all of them for each change would make thousands take minutes, and every publisher would look for
// its subscribers again as often.
func (s *Service) replace(name string, r *rule) {
	now := s.rules.Load()
	snap := &snapshot{byName: maps.Clone(now.byName), byFilter: maps.Clone(now.byFilter)}
	if snap.byName == nil {
		snap.byName, snap.byFilter = make(map[string]*rule), make(map[uint32][]*rule)
	}
	left := ""
	if old := snap.byName[name]; old != nil {
		delete(snap.byName, name)
		if id := s.filters[old.Filter]; id != 0 {
			rest := slices.DeleteFunc(slices.Clone(snap.byFilter[id]), func(one *rule) bool { return one == old })
			if snap.byFilter[id] = rest; len(rest) == 0 {
				delete(snap.byFilter, id)
				left = old.Filter
			}
		}
	}
	fresh := ""
	if r != nil {
		snap.byName[name] = r
		if !r.Disabled && r.Filter != "" {
			if r.Filter == left {
				left = ""
			}
			if s.filters[r.Filter] == 0 {
				s.lastID++
				s.filters[r.Filter], fresh = s.lastID, r.Filter
			}
			id := s.filters[r.Filter]
			at, _ := slices.BinarySearchFunc(snap.byFilter[id], name, func(one *rule, name string) int { return strings.Compare(one.Name, name) })
			snap.byFilter[id] = slices.Insert(slices.Clone(snap.byFilter[id]), at, r)
		}
	}
	s.rules.Store(snap)
	if left != "" {
		s.forgetFilter(left)
	}
	if fresh != "" {
		s.subscribe(fresh)
	}
}

func (s *Service) subscribe(filter string) {
	s.cfg.Router.Subscribe(matcher{s}, filter, router.Subscription{QoS: 1, ID: s.filters[filter]})
}

func (s *Service) forgetFilter(filter string) {
	s.cfg.Router.Unsubscribe(matcher{s}, filter)
	delete(s.filters, filter)
}

// change carries a change of the rules out: on disk, then in memory. do gets the rule as it is in the transaction:
// another node may have changed it a moment ago. Its error is returned as it is.
func (s *Service) change(ctx context.Context, name string, do func(old *rule) (*rule, error)) error {
	if err := checkName(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var r *rule
	var refused error
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		refused = nil
		old, err := s.stored(tx, name)
		if err != nil {
			return err
		}
		if r, refused = do(old); refused != nil {
			return refused
		}
		tx.Note(Feed, name)
		if r == nil {
			_, err := tx.Exec(`DELETE FROM rule WHERE name = ?`, name)
			if err == nil {
				_, err = tx.Exec(`DELETE FROM rule_stats WHERE rule = ?`, name)
			}
			return err
		}
		document, err := json.Marshal(r.Payload)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO rule (name, document, created_at) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET document = excluded.document, created_at = excluded.created_at`, name, s.seal(ruleLabel(name), document), r.Created.UnixMilli())
		return err
	})
	if refused != nil {
		return refused
	}
	if err != nil {
		return fmt.Errorf("rule %q: %w", name, err)
	}
	if r == nil {
		s.stats.Delete(name)
	}
	s.replace(name, r)
	return nil
}

func (s *Service) notFound(name string) error {
	return &Error{Kind: ErrNotFound, Message: fmt.Sprintf("Access to topic rule '%s' was denied", name)} // AWS's words for it
}

// CreateTopicRule adds a rule. ErrInvalid, ErrExists, ErrLimit; *iotsql.SyntaxError.
func (s *Service) CreateTopicRule(ctx context.Context, name string, p Payload) error {
	return s.change(ctx, name, func(old *rule) (*rule, error) {
		if old != nil {
			return nil, &Error{Kind: ErrExists, Message: fmt.Sprintf("rule %q exists already", name), ARN: old.ARN}
		}
		if len(s.rules.Load().byName) >= s.cfg.MaxRules {
			return nil, &Error{Kind: ErrLimit, Message: fmt.Sprintf("there are %d rules already", s.cfg.MaxRules)}
		}
		r, err := compile(&p)
		if err == nil {
			s.name(r, name, s.now().Truncate(time.Millisecond))
		}
		return r, err
	})
}

// ReplaceTopicRule replaces all of a rule but its time of creation. ErrInvalid, ErrNotFound;
// *iotsql.SyntaxError.
func (s *Service) ReplaceTopicRule(ctx context.Context, name string, p Payload) error {
	return s.change(ctx, name, func(old *rule) (*rule, error) {
		if old == nil {
			return nil, s.notFound(name)
		}
		r, err := compile(&p)
		if err == nil {
			s.name(r, name, old.Created)
		}
		return r, err
	})
}

// EnableTopicRule enables or disables a rule. ErrNotFound.
func (s *Service) EnableTopicRule(ctx context.Context, name string, enabled bool) error {
	return s.change(ctx, name, func(old *rule) (*rule, error) {
		if old == nil {
			return nil, s.notFound(name)
		}
		r := *old
		r.Disabled = !enabled
		return &r, nil
	})
}

// DeleteTopicRule removes a rule; what it has still to deliver is delivered. A rule that does not exist
// is no error, as with AWS.
func (s *Service) DeleteTopicRule(ctx context.Context, name string) error {
	return s.change(ctx, name, func(*rule) (*rule, error) { return nil, nil })
}

// GetTopicRule returns a rule. ErrNotFound.
func (s *Service) GetTopicRule(name string) (Rule, error) {
	if err := checkName(name); err != nil {
		return Rule{}, err
	}
	r := s.rules.Load().byName[name]
	if r == nil {
		return Rule{}, s.notFound(name)
	}
	return r.Rule, nil
}

// RuleFilter chooses rules.
type RuleFilter struct {
	Topic    string // a topic name that FROM matches; empty for all
	Disabled *bool
}

// ListTopicRules returns up to n rules by name, after one of them.
func (s *Service) ListTopicRules(f RuleFilter, after string, n int) (list []Rule, more bool) {
	rules := s.rules.Load().byName
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		r := rules[name]
		if name <= after || f.Disabled != nil && *f.Disabled != r.Disabled || f.Topic != "" && (r.Filter == "" || !topic.AWS.Match(r.Filter, f.Topic) && r.Filter != f.Topic) {
			continue
		}
		if len(list) == n {
			return list, true
		}
		list = append(list, r.Rule)
	}
	return list, false
}
