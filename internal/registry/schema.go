package registry

// schema is the list of migrations; it only ever grows. Attributes and lists are JSON text.
// Resources that others point at are named as in the last part of an ARN: "cert/ID",
// "thinggroup/NAME"; the empty string is "none".
var schema = []string{`
CREATE TABLE thing (
	name TEXT PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, attributes TEXT NOT NULL,
	billing_group TEXT NOT NULL, version BIGINT NOT NULL, created BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX thing_by_type ON thing (type, name);
CREATE INDEX thing_by_billing_group ON thing (billing_group, name);

CREATE TABLE thing_attribute (
	name TEXT NOT NULL, value TEXT NOT NULL, thing TEXT NOT NULL, PRIMARY KEY (name, value, thing)
) /*sqlite WITHOUT ROWID*/;

CREATE TABLE thing_type (
	name TEXT PRIMARY KEY, id TEXT NOT NULL, description TEXT NOT NULL, searchable TEXT NOT NULL,
	propagating TEXT NOT NULL, created BIGINT NOT NULL, deprecated BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;

CREATE TABLE thing_group (
	name TEXT PRIMARY KEY, id TEXT NOT NULL, parent TEXT NOT NULL, description TEXT NOT NULL,
	attributes TEXT NOT NULL, version BIGINT NOT NULL, created BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX thing_group_by_parent ON thing_group (parent, name);

CREATE TABLE group_ancestor (
	ancestor TEXT NOT NULL, grp TEXT NOT NULL, depth BIGINT NOT NULL, PRIMARY KEY (ancestor, grp)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX group_ancestor_by_group ON group_ancestor (grp, depth);

CREATE TABLE group_member (
	grp TEXT NOT NULL, thing TEXT NOT NULL, PRIMARY KEY (grp, thing)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX group_member_by_thing ON group_member (thing, grp);

CREATE TABLE billing_group (
	name TEXT PRIMARY KEY, id TEXT NOT NULL, description TEXT NOT NULL, version BIGINT NOT NULL, created BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;

CREATE TABLE certificate (
	id TEXT PRIMARY KEY, status TEXT NOT NULL, mode TEXT NOT NULL, ca TEXT NOT NULL, pem TEXT NOT NULL,
	owner TEXT NOT NULL, previous_owner TEXT NOT NULL, created BIGINT NOT NULL, modified BIGINT NOT NULL,
	not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, customer_version BIGINT NOT NULL, generation TEXT NOT NULL,
	transfer_to TEXT NOT NULL, transfer_message TEXT NOT NULL, transfer_date BIGINT NOT NULL,
	accept_date BIGINT NOT NULL, reject_date BIGINT NOT NULL, reject_reason TEXT NOT NULL
);
CREATE INDEX certificate_by_time ON certificate (created, id);
CREATE INDEX certificate_by_ca ON certificate (ca, created, id);
CREATE INDEX certificate_by_status ON certificate (status, created, id);

CREATE TABLE ca_certificate (
	id TEXT PRIMARY KEY, subject TEXT NOT NULL, status TEXT NOT NULL, auto_registration BIGINT NOT NULL,
	mode TEXT NOT NULL, pem TEXT NOT NULL, created BIGINT NOT NULL, modified BIGINT NOT NULL,
	not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, customer_version BIGINT NOT NULL, generation TEXT NOT NULL,
	template_body TEXT NOT NULL, role_arn TEXT NOT NULL, template_name TEXT NOT NULL
);
CREATE INDEX ca_certificate_by_subject ON ca_certificate (subject);
CREATE INDEX ca_certificate_by_time ON ca_certificate (created, id);
CREATE INDEX ca_certificate_by_template ON ca_certificate (template_name, created, id);

CREATE TABLE registration_code (account TEXT PRIMARY KEY, code TEXT NOT NULL);

CREATE TABLE policy (
	name TEXT PRIMARY KEY, default_version BIGINT NOT NULL, last_version BIGINT NOT NULL,
	created BIGINT NOT NULL, modified BIGINT NOT NULL, generation TEXT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX policy_by_time ON policy (created, name);

CREATE TABLE policy_version (
	policy TEXT NOT NULL, version BIGINT NOT NULL, document BLOB NOT NULL, created BIGINT NOT NULL,
	PRIMARY KEY (policy, version)
);

CREATE TABLE policy_attachment (
	target TEXT NOT NULL, policy TEXT NOT NULL, PRIMARY KEY (target, policy)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX policy_attachment_by_policy ON policy_attachment (policy, target);

CREATE TABLE thing_principal (
	principal TEXT NOT NULL, thing TEXT NOT NULL, exclusive BIGINT NOT NULL, PRIMARY KEY (principal, thing)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX thing_principal_by_thing ON thing_principal (thing, principal);

CREATE TABLE tag (
	resource TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (resource, name)
) /*sqlite WITHOUT ROWID*/
`, `
CREATE TABLE registry_event (
	id TEXT PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL
) /*sqlite WITHOUT ROWID*/
`, `
ALTER TABLE thing_group ADD COLUMN query TEXT NOT NULL DEFAULT '';
ALTER TABLE thing_group ADD COLUMN query_version TEXT NOT NULL DEFAULT '';
ALTER TABLE thing_group ADD COLUMN index_name TEXT NOT NULL DEFAULT '';
ALTER TABLE thing_group ADD COLUMN status TEXT NOT NULL DEFAULT '';
CREATE INDEX thing_group_dynamic ON thing_group (created, name) WHERE query <> ''
`}
