package factory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/berth-iot/berth/internal/store"
)

// thingPattern is what AWS takes for the name of a thing.
var thingPattern = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

// identify brings a record to StepAttached: the key is on disk, the certificate issued, everything
// attached. It goes on from any step.
func (s *Station) identify(ctx context.Context, r *Record, say func(string)) error {
	to := func(step Step) error {
		r.Step = step
		return s.cfg.Journal.Put(ctx, r)
	}
	if r.Step == StepNew {
		if err := s.register(ctx, r, say); err != nil {
			return err
		}
		if err := to(StepIssuing); err != nil {
			return err
		}
		if err := s.issue(ctx, r, false, say); err != nil {
			return err
		}
		if err := to(StepIssued); err != nil {
			return err
		}
	}
	if r.Step == StepIssuing {
		if err := s.issue(ctx, r, true, say); err != nil {
			return err
		}
		if err := to(StepIssued); err != nil {
			return err
		}
	}
	if r.Step == StepIssued {
		if s.ownCA == nil {
			say("attaching policies and thing")
			if err := s.cfg.Cloud.Attach(ctx, &Certificate{r.CertificateID, r.ARN, r.PEM}, r.Thing, s.cfg.Recipe.Policies); err != nil {
				return err
			}
		}
		return to(StepAttached)
	}
	return nil
}

// register makes the thing and the key.
func (s *Station) register(ctx context.Context, r *Record, say func(string)) error {
	if s.cfg.Recipe.Issue != IssueServerKey {
		if _, err := s.cfg.Journal.key(r.MAC); errors.Is(err, os.ErrNotExist) {
			key, err := s.takeKey()
			if err != nil {
				return err
			}
			if err := s.cfg.Journal.keepKey(r.MAC, key); err != nil {
				return fmt.Errorf("keep the key of board %s: %w", r.MAC, err)
			}
		} else if err != nil {
			return err
		}
	}
	if s.ownCA != nil {
		return nil
	}
	say("registering")
	if err := s.cfg.Cloud.CreateThing(ctx, s.cfg.Recipe.thing(r)); err != nil {
		return err
	}
	there, err := s.cfg.Cloud.Principals(ctx, r.Thing)
	if err != nil {
		return err
	}
	var strange []string
	for _, arn := range there {
		if !contains(r.retire, arn) {
			strange = append(strange, arn)
		}
	}
	if len(strange) > 0 && !s.cfg.Reissue {
		return fail(ErrDone, "revoke them and issue a new one with --reissue", "thing %s already has %d certificates that this journal does not know", r.Thing, len(strange))
	}
	r.retire = append(r.retire, strange...)
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// issue gets the certificate. After a crash it looks first whether it was issued already.
func (s *Station) issue(ctx context.Context, r *Record, again bool, say func(string)) error {
	if s.cfg.Recipe.Issue == IssueServerKey {
		say("having key and certificate made")
		c, key, err := s.cfg.Cloud.IssueWithKey(ctx)
		if err != nil {
			return err
		}
		if err := s.cfg.Journal.keepKey(r.MAC, []byte(key)); err != nil {
			return errors.Join(err, s.cfg.Cloud.Revoke(ctx, c.ARN)) // nobody has its key
		}
		r.CertificateID, r.ARN, r.PEM = c.ID, c.ARN, c.PEM
		return nil
	}
	text, err := s.cfg.Journal.key(r.MAC)
	if err != nil {
		return fmt.Errorf("the key of board %s: %w", r.MAC, err)
	}
	key, _, err := parseKey(text)
	if err != nil {
		return fmt.Errorf("the key of board %s: %w", r.MAC, err)
	}
	var c *Certificate
	switch {
	case s.ownCA != nil:
		say("signing the certificate")
		c, err = s.ownCA.issue(key.Public(), r.Thing)
	case again:
		say("looking for the certificate that was asked for")
		if c, err = s.cfg.Cloud.Find(ctx, key.Public(), r.Updated); err != nil || c != nil {
			break
		}
		fallthrough
	default:
		say("having the certificate made")
		csr, e := request(key, r.Thing)
		if e != nil {
			return e
		}
		c, err = s.cfg.Cloud.Issue(ctx, csr)
	}
	if err != nil {
		return err
	}
	r.CertificateID, r.ARN, r.PEM = c.ID, c.ARN, c.PEM
	return nil
}

// Register makes the boards of the journal whose certificates one's own CA has signed known to a cloud:
// thing, certificate, policies. Boards that it knows already are passed over, so that it can be run
// after each shift. tell is called for each board.
func Register(ctx context.Context, r *Recipe, j *Journal, cloud Cloud, tell func(*Record, error)) error {
	if r.Issue != IssueOwnCA {
		return fail(ErrRecipe, "", "the recipe issues by %s: its boards are registered when they are prepared", r.Issue)
	}
	if err := cloud.CheckPolicies(ctx, r.Policies); err != nil {
		return err
	}
	ca, err := os.ReadFile(r.path(r.OwnCA.Certificate))
	if err != nil {
		return &Error{Kind: ErrRecipe, Reason: "the certificate of the CA cannot be read", Cause: err}
	}
	var boards []*Record
	if err := j.Each(ctx, func(rec *Record) error {
		if rec.Step == StepDone && rec.ARN == "" {
			boards = append(boards, rec)
		}
		return nil
	}); err != nil {
		return err
	}
	failed := 0
	for _, rec := range boards {
		err := registerOne(ctx, r, rec, string(ca), cloud)
		if err == nil {
			err = j.Put(ctx, rec)
		} else {
			failed++
		}
		tell(rec, err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if failed > 0 {
		return fail(ErrCloud, "run it again: those that are registered are passed over", "%d of %d boards were not registered", failed, len(boards))
	}
	return nil
}

func registerOne(ctx context.Context, r *Recipe, rec *Record, ca string, cloud Cloud) error {
	if err := cloud.CreateThing(ctx, r.thing(rec)); err != nil {
		return err
	}
	c, err := cloud.Register(ctx, rec.PEM, ca)
	if err != nil {
		return err
	}
	rec.ARN = c.ARN
	return cloud.Attach(ctx, c, rec.Thing, r.Policies)
}

// thing is what a board is registered as.
func (r *Recipe) thing(rec *Record) Thing {
	b := r.describe(rec)
	t := Thing{Name: rec.Thing, Type: b.fill(r.Type), Attributes: make(map[string]string)}
	for name, value := range r.Attributes {
		t.Attributes[name] = b.fill(value)
	}
	for _, group := range r.Groups {
		t.Groups = append(t.Groups, b.fill(group))
	}
	return t
}

// aheadPrefix begins the MAC of a record that waits for its board.
const aheadPrefix = "ahead-"

// Ahead does the cloud's part for up to n boards of the list of serial numbers before they are
// plugged in, and returns for how many it did. Recipes whose names need the board do nothing ahead.
func (s *Station) Ahead(ctx context.Context, n int) (int, error) {
	r := s.cfg.Recipe
	texts := []string{r.Thing, r.Type}
	for _, value := range r.Attributes {
		texts = append(texts, value)
	}
	if !strings.Contains(r.Thing, "{serial}") {
		return 0, nil
	}
	for _, text := range texts {
		for _, p := range placeholder.FindAllString(text, -1) {
			if p != "{serial}" {
				return 0, nil
			}
		}
	}
	for i := range n {
		serial, err := s.nextSerial()
		if err != nil {
			return i, nil
		}
		rec := &Record{MAC: aheadPrefix + serial, Serial: serial, Step: StepNew, Started: s.cfg.Now()}
		if rec.Thing, err = s.thingName(rec); err != nil {
			return i, err
		}
		if err := s.cfg.Journal.Put(ctx, rec); err != nil {
			return i, err
		}
		if err := s.identify(ctx, rec, func(string) {}); err != nil {
			return i, err
		}
	}
	return n, nil
}

// adopt gives a board the next record that was prepared ahead, nil if there is none.
func (s *Station) adopt(ctx context.Context, b Board) (*Record, error) {
	if !s.cfg.Recipe.usesSerial() {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ahead *Record
	j := s.cfg.Journal
	err := j.db.Query(ctx, `SELECT `+columns+` FROM board WHERE mac >= ? AND mac < ? ORDER BY started, mac LIMIT 1`, []any{aheadPrefix, aheadPrefix + "~"}, func(row store.Row) (err error) {
		ahead, err = scan(row)
		return err
	})
	if err != nil || ahead == nil {
		return nil, err
	}
	old := ahead.MAC
	// The key goes first: a crash in between leaves it under both names' reach.
	if err := os.Rename(j.keyFile(old), j.keyFile(b.MAC())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	err = j.db.Write(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE board SET mac = ?, chip = ? WHERE mac = ?`, b.MAC(), b.Chip(), old)
		return err
	})
	ahead.MAC, ahead.Chip = b.MAC(), b.Chip()
	return ahead, err
}
