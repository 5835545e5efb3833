package provisioning

// schema is the list of migrations; it only ever grows. A token is kept as its SHA-256 alone. boot
// names the run of the server that used it: see Service.replay.
var schema = []string{`
CREATE TABLE provisioning_template (
	name TEXT PRIMARY KEY, type TEXT NOT NULL, description TEXT NOT NULL, role TEXT NOT NULL, enabled BIGINT NOT NULL,
	hook TEXT NOT NULL, hook_version TEXT NOT NULL, default_version BIGINT NOT NULL, last_version BIGINT NOT NULL,
	created BIGINT NOT NULL, modified BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE TABLE provisioning_template_version (
	template TEXT NOT NULL, version BIGINT NOT NULL, body TEXT NOT NULL, created BIGINT NOT NULL, PRIMARY KEY (template, version)
);
CREATE TABLE provisioning_token (
	hash TEXT PRIMARY KEY, certificate TEXT NOT NULL, expires BIGINT NOT NULL, used BIGINT NOT NULL,
	boot TEXT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL, delivered BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX provisioning_token_expires ON provisioning_token (expires);
CREATE TABLE provisioning_claim (
	certificate TEXT PRIMARY KEY, template TEXT NOT NULL, pem TEXT NOT NULL, expires BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX provisioning_claim_expires ON provisioning_claim (expires);
CREATE TABLE provisioning_activation (ca TEXT PRIMARY KEY, rule TEXT NOT NULL) /*sqlite WITHOUT ROWID*/;
CREATE TABLE registration_task (
	id TEXT PRIMARY KEY, template TEXT NOT NULL, bucket TEXT NOT NULL, input TEXT NOT NULL, role TEXT NOT NULL, status TEXT NOT NULL,
	message TEXT NOT NULL, total BIGINT NOT NULL, next BIGINT NOT NULL, succeeded BIGINT NOT NULL, failed BIGINT NOT NULL,
	created BIGINT NOT NULL, modified BIGINT NOT NULL
) /*sqlite WITHOUT ROWID*/;
CREATE TABLE registration_line (
	task TEXT NOT NULL, line BIGINT NOT NULL, parameters TEXT NOT NULL, state BIGINT NOT NULL, result TEXT NOT NULL, PRIMARY KEY (task, line)
)`}
