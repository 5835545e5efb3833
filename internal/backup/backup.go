// Package backup saves all that a berth has in one file while it runs, checks that file by restoring
// it, and restores it.
//
// A backup is a gzipped tar archive, in an age file (https://age-encryption.org/v1, scrypt and
// ChaCha20-Poly1305 in chunks of 64 KiB) if a passphrase is given. Its entries are, in this order:
//
//	backup.json         Header: version of the format, time, version of berth
//	data/berth.db       the state as a SQLite database, wherever it lay
//	data/readings.db    tables of readings, unless they are in PostgreSQL
//	data/...            the other files of the data folder
//	manifest.json       Manifest: name, size and SHA-256 of each file, number of rows of each table
//
// So `age -d FILE | tar xz` opens it without berth. The state is that of one moment; readings and
// files are those of moments shortly after, and have all that the state names.
//
// Left out are what belongs to the running server (endpoint.json, ticket-keys) and databases in
// PostgreSQL other than the state.
package backup
