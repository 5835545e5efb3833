package registry

import (
	"context"
	"errors"
	"slices"

	"github.com/berth-iot/berth/internal/store"
)

// What becomes of a property of something that exists already (AWS IoT developer guide,
// "Provisioning templates", OverrideSettings).
const (
	DoNothing = "DO_NOTHING"
	Replace   = "REPLACE"
	Fail      = "FAIL"  // ErrAlreadyExists
	Merge     = "MERGE" // of attributes and groups
)

// Provisioning is what a template asks for; nil parts are not wanted.
type Provisioning struct {
	Thing       *ProvisionThing
	Certificate *ProvisionCertificate
	Policies    []ProvisionPolicy // attached to the certificate
}

// ProvisionThing is a thing to be made, or changed as the overrides say.
type ProvisionThing struct {
	Name, Type, BillingGroup string
	Attributes               map[string]string
	Groups                   []string

	OverrideAttributes, OverrideGroups, OverrideType, OverrideBillingGroup string
}

// ProvisionCertificate is a certificate that is registered already (ID) or is to be (PEM).
type ProvisionCertificate struct {
	ID     string
	PEM    string
	CAPEM  string // of the registered CA that signed PEM; "" with Issued, or to look for it
	Issued bool   // PEM was issued by berth itself
	Status string // Active or Inactive

	OverrideStatus string // DoNothing, Replace or Fail; a pending certificate always gets Status
	AttachAs       string // ExclusiveThing, NonExclusiveThing or ""
}

// ProvisionPolicy is a policy that exists, or is made when it has a document. One that exists is
// taken as it is, since it may have got new versions.
type ProvisionPolicy struct {
	Name     string
	Document []byte
}

// Provisioned is what came of it.
type Provisioned struct {
	Thing       *Thing // nil without a thing
	Certificate *Certificate
}

// Provision makes and attaches what a template asks for, in one transaction with also, which may be
// nil: all of it happens or nothing. Doing it again changes nothing but what the overrides say.
// Errors are those of the single operations.
func (r *Registry) Provision(ctx context.Context, in Provisioning, also func(tx *store.Tx, out *Provisioned) error) (*Provisioned, error) {
	var out *Provisioned
	err := r.write(ctx, func(tx *store.Tx, ch *changes) (err error) {
		out = &Provisioned{}
		if in.Thing != nil {
			if out.Thing, err = r.provisionThing(tx, ch, in.Thing); err != nil {
				return err
			}
		}
		if in.Certificate != nil {
			if out.Certificate, err = r.provisionCertificate(tx, ch, in.Certificate); err != nil {
				return err
			}
			if out.Thing != nil {
				if err := r.attachThing(tx, ch, out.Thing.Name, out.Certificate.ARN, in.Certificate.AttachAs); err != nil {
					return err
				}
			}
		}
		for _, p := range in.Policies {
			if err := r.provisionPolicy(tx, ch, p); err != nil {
				return err
			}
			if out.Certificate != nil {
				if err := r.attachPolicy(tx, ch, p.Name, out.Certificate.ARN); err != nil {
					return err
				}
			}
		}
		if also != nil {
			return also(tx, out)
		}
		return nil
	})
	return out, err
}

func (r *Registry) provisionThing(tx *store.Tx, ch *changes, in *ProvisionThing) (*Thing, error) {
	if err := thingName.check(in.Name); err != nil {
		return nil, err
	}
	old, err := r.thing(tx, in.Name)
	if errors.Is(err, ErrNotFound) {
		t, err := r.createThing(tx, ch, NewThing{Name: in.Name, Type: in.Type, BillingGroup: in.BillingGroup, Attributes: in.Attributes})
		if err != nil {
			return nil, err
		}
		for _, group := range in.Groups {
			if err := r.join(tx, ch, group, t, false); err != nil {
				return nil, err
			}
		}
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	for _, given := range []struct {
		property, override string
		there              bool
	}{
		{"AttributePayload", in.OverrideAttributes, in.Attributes != nil},
		{"ThingTypeName", in.OverrideType, in.Type != ""},
		{"ThingGroups", in.OverrideGroups, in.Groups != nil},
		{"BillingGroup", in.OverrideBillingGroup, in.BillingGroup != ""},
	} {
		if given.override == Fail && given.there {
			return nil, exists(old.ID, old.ARN, "thing %s already exists and the template's override setting of %s is FAIL", in.Name, given.property)
		}
	}
	var up ThingUpdate
	if in.Attributes != nil && (in.OverrideAttributes == Replace || in.OverrideAttributes == Merge) {
		up.Attributes, up.Merge = in.Attributes, in.OverrideAttributes == Merge
	}
	if in.OverrideType == Replace {
		up.Type = in.Type
	}
	if up.changes(old) {
		if err := r.updateThing(tx, ch, in.Name, up); err != nil {
			return nil, err
		}
	}
	if in.BillingGroup != "" && in.OverrideBillingGroup == Replace {
		if err := r.addToBillingGroup(tx, ch, in.BillingGroup, in.Name); err != nil {
			return nil, err
		}
	}
	if in.Groups != nil && (in.OverrideGroups == Replace || in.OverrideGroups == Merge) {
		if in.OverrideGroups == Replace {
			groups, _, err := listNames(tx, MaxPage, `SELECT m.grp FROM group_member m JOIN thing_group g ON g.name = m.grp
				WHERE m.thing = ? AND g.query = '' ORDER BY m.grp LIMIT ?`, in.Name)
			if err != nil {
				return nil, err
			}
			for _, group := range groups {
				if slices.Contains(in.Groups, group) {
					continue
				}
				if err := r.leave(tx, ch, group, old); err != nil {
					return nil, err
				}
			}
		}
		for _, group := range in.Groups {
			if err := r.join(tx, ch, group, old, false); err != nil {
				return nil, err
			}
		}
		if err := ch.thing(tx, in.Name); err != nil {
			return nil, err
		}
	}
	return r.thing(tx, in.Name)
}

// changes reports whether the update would alter the thing beyond its version.
func (up *ThingUpdate) changes(t *Thing) bool {
	if up.Type != "" && up.Type != t.Type {
		return true
	}
	if up.Attributes == nil {
		return false
	}
	after := updateAttributes(t.Attributes, up.Attributes, up.Merge)
	if len(after) != len(t.Attributes) {
		return true
	}
	for name, v := range after {
		if old, ok := t.Attributes[name]; !ok || old != v {
			return true
		}
	}
	return false
}

func (r *Registry) provisionCertificate(tx *store.Tx, ch *changes, in *ProvisionCertificate) (*Certificate, error) {
	id := in.ID
	if in.PEM != "" {
		cert, err := ParseCertificate(in.PEM)
		if err != nil {
			return nil, err
		}
		id = CertificateID(cert.Raw)
		if _, err := r.certificate(tx, id); errors.Is(err, ErrNotFound) {
			add := NewCertificate{PEM: in.PEM, Status: in.Status}
			if !in.Issued {
				only := ""
				if in.CAPEM != "" {
					ca, err := ParseCertificate(in.CAPEM)
					if err != nil {
						return nil, err
					}
					only = CertificateID(ca.Raw)
				}
				ca, err := r.signerOf(tx, cert, only)
				if err != nil {
					return nil, err
				}
				if ca.Status != Active {
					return nil, refuse(ErrCertificateState, "CA certificate %s is not active", ca.ID)
				}
				add.Mode, add.CACertificateID = ca.Mode, ca.ID
			}
			return r.addCertificate(tx, ch, add)
		}
	}
	if err := certificateID.check(id); err != nil {
		return nil, err
	}
	c, err := r.certificate(tx, id)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Status == in.Status:
		return c, nil
	case c.Status == PendingActivation:
	case c.Status == Revoked || c.Status == PendingTransfer:
		return nil, refuse(ErrCertificateState, "certificate %s is %s", id, c.Status)
	case in.OverrideStatus == Fail:
		return nil, exists(c.ID, c.ARN, "certificate %s already exists and the template's override setting of Status is FAIL", id)
	case in.OverrideStatus != Replace:
		return c, nil
	}
	if err := r.setStatus(tx, ch, id, in.Status); err != nil {
		return nil, err
	}
	return r.certificate(tx, id)
}

func (r *Registry) provisionPolicy(tx *store.Tx, ch *changes, in ProvisionPolicy) error {
	if err := policyName.check(in.Name); err != nil {
		return err
	}
	if _, err := r.policy(tx, in.Name); !errors.Is(err, ErrNotFound) || in.Document == nil {
		return err
	}
	if err := checkDocument(in.Document); err != nil {
		return err
	}
	_, err := r.createPolicy(tx, ch, in.Name, in.Document, nil)
	return err
}

// AddCertificateWith is AddCertificate in one transaction with also.
func (r *Registry) AddCertificateWith(ctx context.Context, in NewCertificate, also func(tx *store.Tx, c *Certificate) error) (*Certificate, error) {
	var c *Certificate
	err := r.write(ctx, func(tx *store.Tx, ch *changes) (err error) {
		if c, err = r.addCertificate(tx, ch, in); err != nil {
			return err
		}
		return also(tx, c)
	})
	return c, err
}

// DropPendingTx deletes a certificate that is still PENDING_ACTIVATION and attached to nothing;
// others stay. No connection can have been made with it, so nobody is told.
func (r *Registry) DropPendingTx(tx *store.Tx, id string) error {
	_, err := tx.Exec(`DELETE FROM certificate WHERE id = ? AND status = ?
		AND NOT EXISTS (SELECT 1 FROM thing_principal WHERE principal = ?) AND NOT EXISTS (SELECT 1 FROM policy_attachment WHERE target = ?)`,
		id, PendingActivation, certPrefix+id, certPrefix+id)
	return err
}

// CheckTemplateName refuses what cannot be the name of a provisioning template.
func CheckTemplateName(name string) error { return templateName.check(name) }

// CheckDescription refuses a description that is too long or not printable.
func CheckDescription(field, value string) error { return checkDescription(field, value) }
