package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/berth-iot/berth/internal/store"
)

// Identity is what a connection must know of its certificate. It is shared: do not change it.
type Identity struct {
	CertificateID, CertificateARN, Status, CACertificateID string

	Thing         *Thing           // associated with the connection, or nil
	Exclusive     bool             // Thing is attached as EXCLUSIVE_THING
	ThingAttached bool             // value of iot:Connection.Thing.IsAttached
	Policies      []PolicyDocument // on the certificate, on the thing's groups and their ancestors
}

// PolicyDocument is the default version of a policy and the ARN (or Cognito identity) it is attached
// to, "" when it was asked for by name.
type PolicyDocument struct {
	Name, Version, Target string
	Body                  []byte
}

// Identity returns the certificate's state, the thing associated with a connection of that client
// identifier and the policies in force. The associated thing is the one that the certificate is
// attached to exclusively, or else the attached thing whose name is the client identifier (AWS IoT
// developer guide, "Associating an AWS IoT thing to an MQTT client connection"). ErrNotFound for
// an unknown certificate.
func (r *Registry) Identity(ctx context.Context, certificateID, clientID string) (*Identity, error) {
	shard := r.cache.shard(certificateID)
	id, seen := shard.get(certificateID, clientID)
	if id != nil {
		return id, nil
	}
	id, err := r.readIdentity(r.reader(ctx), certificateID, clientID)
	if err != nil {
		return nil, err
	}
	shard.put(certificateID, clientID, id, seen)
	return id, nil
}

func (r *Registry) readIdentity(rd reader, certificateID, clientID string) (*Identity, error) {
	key := certPrefix + certificateID
	id := &Identity{CertificateID: certificateID, CertificateARN: r.ARN(key)}
	// An exclusive attachment is the certificate's only one, so its first row tells. No step grows
	// with the number of things that share a certificate.
	var name, thingID, thingType, attributes, billingGroup sql.NullString
	var exclusive, version sql.NullInt64
	err := rd.QueryRow(`SELECT c.status, c.ca, a.exclusive, t.name, t.id, t.type, t.attributes, t.billing_group, t.version
		FROM certificate c
		LEFT JOIN thing_principal a ON a.principal = ? AND a.thing = coalesce(
			(SELECT own.thing FROM thing_principal own WHERE own.principal = ? AND own.thing = ?),
			(SELECT sole.thing FROM (SELECT thing, exclusive FROM thing_principal WHERE principal = ? LIMIT 1) AS sole WHERE sole.exclusive = 1))
		LEFT JOIN thing t ON t.name = a.thing
		WHERE c.id = ?`, []any{key, key, clientID, key, certificateID},
		&id.Status, &id.CACertificateID, &exclusive, &name, &thingID, &thingType, &attributes, &billingGroup, &version)
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "certificate %s not found", certificateID)
	}
	if err != nil {
		return nil, err
	}
	if name.Valid {
		id.Thing = &Thing{Name: name.String, ID: thingID.String, ARN: r.ARN("thing/" + name.String), Type: thingType.String, BillingGroup: billingGroup.String, Version: version.Int64}
		id.Exclusive, id.ThingAttached = exclusive.Int64 != 0, true
		if err := json.Unmarshal([]byte(attributes.String), &id.Thing.Attributes); err != nil {
			return nil, err
		}
	}
	id.Policies, err = r.effective(rd, key, name.String)
	return id, err
}
