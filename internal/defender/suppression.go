package defender

import (
	"context"
	"time"
)

// Suppression says that a finding is known.
type Suppression struct {
	Check        string   `json:"checkName"`
	Resource     Resource `json:"resourceIdentifier"`
	Expires      Moment   `json:"expirationDate,omitzero"`
	Indefinitely bool     `json:"suppressIndefinitely"`
	Description  string   `json:"description,omitempty"`
	Meta
}

func (x *Suppression) name() string { return x.Check + "/" + x.Resource.key() }

func (x *Suppression) check(now time.Time) error {
	if _, ok := findCheck(x.Check); !ok {
		return invalid("there is no check %q", x.Check)
	}
	if x.Resource.empty() {
		return invalid("resourceIdentifier is empty")
	}
	switch {
	case x.Indefinitely == !x.Expires.IsZero():
		return invalid("give either expirationDate or suppressIndefinitely")
	case !x.Indefinitely && !x.Expires.After(now):
		return invalid("expirationDate has passed")
	case len(x.Description) > maxDescription:
		return invalid("description has more than %d characters", maxDescription)
	}
	return nil
}

// holds reports whether the suppression is in force at a time.
func (x *Suppression) holds(now time.Time) bool { return x.Indefinitely || x.Expires.After(now) }

// CreateAuditSuppression adds a suppression. ErrAlreadyExists, ErrInvalid.
func (s *Service) CreateAuditSuppression(ctx context.Context, x Suppression) error {
	if err := x.check(s.now()); err != nil {
		return err
	}
	return s.createObject(ctx, kindSuppression, x.name(), x)
}

// DescribeAuditSuppression returns the suppression of a resource in a check. ErrNotFound.
func (s *Service) DescribeAuditSuppression(ctx context.Context, check string, r Resource) (x Suppression, err error) {
	x.Check, x.Resource = check, r
	x.Meta, err = readObject(s.reader(ctx), kindSuppression, x.name(), &x)
	return x, err
}

// SuppressionUpdate is a change of a suppression; nil leaves a member as it is.
type SuppressionUpdate struct {
	Expires      *Moment
	Indefinitely *bool
	Description  *string
}

// UpdateAuditSuppression changes a suppression. ErrNotFound, ErrInvalid.
func (s *Service) UpdateAuditSuppression(ctx context.Context, check string, r Resource, u SuppressionUpdate) error {
	return updateObject(s, ctx, kindSuppression, (&Suppression{Check: check, Resource: r}).name(), func(x *Suppression, _ Meta) error {
		if u.Expires != nil {
			x.Expires, x.Indefinitely = *u.Expires, false
		}
		if u.Indefinitely != nil {
			x.Indefinitely = *u.Indefinitely
			if x.Indefinitely {
				x.Expires = Moment{}
			}
		}
		if u.Description != nil {
			x.Description = *u.Description
		}
		return x.check(s.now())
	})
}

// DeleteAuditSuppression removes a suppression; one that is not there is no error.
func (s *Service) DeleteAuditSuppression(ctx context.Context, check string, r Resource) error {
	_, err := s.deleteObject(ctx, kindSuppression, (&Suppression{Check: check, Resource: r}).name())
	return err
}

// ListAuditSuppressions lists suppressions, all or those of a check or resource.
func (s *Service) ListAuditSuppressions(ctx context.Context, check string, r Resource, page Page) ([]Suppression, string, error) {
	list, _, err := listObjects[Suppression](s.reader(ctx), kindSuppression)
	if err != nil {
		return nil, "", err
	}
	var out []Suppression
	for _, x := range list {
		if (check == "" || x.Check == check) && (r.empty() || x.Resource.key() == r.key()) {
			out = append(out, x)
		}
	}
	return cut(out, page)
}
