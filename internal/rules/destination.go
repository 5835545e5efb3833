package rules

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/rules/action"
	"github.com/berth-iot/berth/internal/store"
)

// Statuses of a destination.
const (
	Enabled    = "ENABLED"
	Disabled   = "DISABLED"
	InProgress = "IN_PROGRESS"
	Failed     = "ERROR"
)

// Destination is where the http action may post to, once it has been confirmed (developer guide,
// "Working with topic rule destinations").
type Destination struct {
	ID        string    `json:"id"`
	URL       string    `json:"url"`
	Status    string    `json:"status"`
	Reason    string    `json:"reason,omitempty"`
	Token     string    `json:"token,omitempty"` // of the confirmation under way
	Confirmed bool      `json:"confirmed,omitempty"`
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"`
	ARN       string    `json:"-"`
}

func (s *Service) loadDestinations(ctx context.Context) error {
	list := []Destination{}
	err := s.cfg.Store.Query(ctx, `SELECT document FROM rule_destination ORDER BY id`, nil, func(row store.Row) error {
		var b []byte
		var d Destination
		if err := row.Scan(&b); err != nil {
			return err
		}
		if err := json.Unmarshal(b, &d); err != nil {
			return err
		}
		d.ARN = s.arn("ruledestination/http/" + d.ID)
		list = append(list, d)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load rule destinations: %w", err)
	}
	s.goals.Store(&list)
	return nil
}

// confirmed reports whether an enabled destination covers a URL: has one that it begins with, goes to the
// same host, and does not lead out of its path again, as what a device puts into a template might.
func (s *Service) confirmed(to string) bool {
	u, err := url.Parse(to)
	if err != nil || strings.Contains(to, "#") {
		return false
	}
	for part := range strings.FieldsFuncSeq(u.Path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == "." || part == ".." { // u.Path is unescaped
			return false
		}
	}
	return slices.ContainsFunc(*s.goals.Load(), func(d Destination) bool {
		c, err := url.Parse(d.URL)
		return err == nil && d.Status == Enabled && strings.HasPrefix(to, d.URL) && c.Host == u.Host
	})
}

// keep stores a destination, or removes it. The lock is held.
func (s *Service) keep(ctx context.Context, d Destination, remove bool) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		tx.Note(Feed, "")
		query, args := `INSERT INTO rule_destination (id, document) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document`, []any{d.ID, b}
		if remove {
			query, args = `DELETE FROM rule_destination WHERE id = ?`, []any{d.ID}
		}
		_, err := tx.Exec(query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("rule destination %q: %w", d.ID, err)
	}
	list := slices.DeleteFunc(slices.Clone(*s.goals.Load()), func(old Destination) bool { return old.ID == d.ID })
	if !remove {
		list = append(list, d)
		slices.SortFunc(list, func(a, b Destination) int { return strings.Compare(a.ID, b.ID) })
	}
	s.goals.Store(&list)
	return nil
}

// CreateTopicRuleDestination adds a destination and asks its URL for confirmation. ErrInvalid, ErrExists.
func (s *Service) CreateTopicRuleDestination(ctx context.Context, confirmationURL string) (Destination, error) {
	if err := action.CheckURL(confirmationURL); err != nil {
		return Destination{}, invalid("confirmationUrl: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range *s.goals.Load() {
		if d.URL == confirmationURL {
			return Destination{}, &Error{Kind: ErrExists, Message: "a destination with this confirmation URL exists already", ARN: d.ARN}
		}
	}
	now := s.now().Truncate(time.Millisecond)
	d := Destination{ID: uuid.NewString(), URL: confirmationURL, Status: InProgress, Token: rand.Text(), Created: now, Updated: now,
		Reason: "Awaiting confirmation."}
	d.ARN = s.arn("ruledestination/http/" + d.ID)
	if err := s.keep(ctx, d, false); err != nil {
		return d, err
	}
	s.challenge(d)
	return d, nil
}

// challenge posts the token to the destination, which proves by it that it wants messages.
func (s *Service) challenge(d Destination) {
	base := s.base.Load()
	if base == nil {
		base = new(string)
	}
	body, err := json.Marshal(map[string]string{"arn": d.ARN, "confirmationToken": d.Token, "messageType": "DestinationConfirmation",
		"enableUrl": *base + "/confirmdestination/" + d.Token})
	if err != nil {
		return
	}
	header := http.Header{"Content-Type": {"application/json"}}
	header["x-amz-rules-engine-message-type"] = []string{"DestinationConfirmation"}
	header["x-amz-rules-engine-destination-arn"] = []string{d.ARN}
	to := d.URL + "?confirmationToken=" + d.Token
	if strings.Contains(d.URL, "?") {
		to = d.URL + "&confirmationToken=" + d.Token
	}
	s.workers.Go(func() {
		err := action.Post(s.run, s.services.HTTP, to, header, body)
		if err == nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if now, ok := s.destination(d.ARN); ok && now.Token == d.Token && now.Status == InProgress {
			now.Status, now.Reason, now.Updated = Failed, err.Error(), s.now()
			if err := s.keep(context.WithoutCancel(s.run), now, false); err != nil {
				s.cfg.Log.Error("rule destination cannot be stored", "arn", d.ARN, "error", err)
			}
		}
	})
}

func (s *Service) destination(arn string) (Destination, bool) {
	for _, d := range *s.goals.Load() {
		if d.ARN == arn {
			return d, true
		}
	}
	return Destination{}, false
}

// GetTopicRuleDestination returns a destination. ErrNotFound.
func (s *Service) GetTopicRuleDestination(arn string) (Destination, error) {
	d, ok := s.destination(arn)
	if !ok {
		return d, &Error{Kind: ErrNotFound, Message: fmt.Sprintf("Access to topic rule destination '%s' was denied", arn)}
	}
	return d, nil
}

// ListTopicRuleDestinations returns up to n destinations by identifier, after one of them.
func (s *Service) ListTopicRuleDestinations(after string, n int) (list []Destination, more bool) {
	for _, d := range *s.goals.Load() {
		if d.ID <= after {
			continue
		}
		if len(list) == n {
			return list, true
		}
		list = append(list, d)
	}
	return list, false
}

// UpdateTopicRuleDestination sets the status: IN_PROGRESS asks for confirmation again, ENABLED wants it
// to have been given, DISABLED stops. ErrInvalid, ErrNotFound.
func (s *Service) UpdateTopicRuleDestination(ctx context.Context, arn, status string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.GetTopicRuleDestination(arn)
	if err != nil {
		return err
	}
	switch status {
	case InProgress:
		d.Token, d.Confirmed, d.Reason = rand.Text(), false, "Awaiting confirmation."
	case Enabled:
		if !d.Confirmed {
			return invalid("the destination has not been confirmed")
		}
		d.Reason = ""
	case Disabled:
		d.Reason = ""
	default:
		return invalid("status is %q, not ENABLED, DISABLED or IN_PROGRESS", status)
	}
	d.Status, d.Updated = status, s.now().Truncate(time.Millisecond)
	if err := s.keep(ctx, d, false); err != nil {
		return err
	}
	if status == InProgress {
		s.challenge(d)
	}
	return nil
}

// DeleteTopicRuleDestination removes a destination. ErrNotFound.
func (s *Service) DeleteTopicRuleDestination(ctx context.Context, arn string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.GetTopicRuleDestination(arn)
	if err != nil {
		return err
	}
	return s.keep(ctx, d, true)
}

// ConfirmTopicRuleDestination enables the destination that a token was sent to. ErrInvalid.
func (s *Service) ConfirmTopicRuleDestination(ctx context.Context, token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range *s.goals.Load() {
		if token == "" || d.Token != token {
			continue
		}
		d.Status, d.Reason, d.Confirmed, d.Token, d.Updated = Enabled, "", true, "", s.now().Truncate(time.Millisecond)
		return s.keep(ctx, d, false)
	}
	return invalid("the confirmation token is unknown or was used already")
}
