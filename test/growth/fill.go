package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/store"
)

// The tables that are filled, with the columns that have no default.
var (
	things = &store.Table{Name: "thing", Key: 1,
		Columns: []string{"name", "id", "type", "attributes", "billing_group", "version", "created"}}
	attributes   = &store.Table{Name: "thing_attribute", Key: 3, Columns: []string{"name", "value", "thing"}}
	certificates = &store.Table{Name: "certificate", Key: 1, Columns: []string{"id", "status", "mode", "ca", "pem", "owner", "previous_owner",
		"created", "modified", "not_before", "not_after", "customer_version", "generation", "transfer_to", "transfer_message", "transfer_date",
		"accept_date", "reject_date", "reject_reason"}}
	principals    = &store.Table{Name: "thing_principal", Key: 2, Columns: []string{"principal", "thing", "exclusive"}}
	policies      = &store.Table{Name: "policy_attachment", Key: 2, Columns: []string{"target", "policy"}}
	sessionRows   = &store.Table{Name: "session", Key: 1, Columns: []string{"client_id", "expiry", "offline_since"}}
	subscriptions = &store.Table{Name: "session_subscription", Key: 2,
		Columns: []string{"client_id", "filter", "qos", "no_local", "retain_as_published", "identifier"}}
	retained = &store.Table{Name: "retained_message", Key: 1,
		Columns: []string{"topic", "payload", "qos", "properties", "expires_at", "modified_at"}}
)

// thingName is the name of a thing by its number.
func thingName(i int) string { return fmt.Sprintf("device-%07d", i) }

// fill writes things from those that are there up to n. The server must not run.
func (s *server) fill(ctx context.Context, n int, sessions bool) error {
	log := slog.New(slog.DiscardHandler)
	var db *store.DB
	var err error
	if url := s.database(); url != "" {
		db, err = store.OpenPostgres(ctx, url, log)
	} else {
		db, err = store.Open(ctx, s.data, log)
	}
	if err != nil {
		return err
	}
	defer db.Close()
	var have int
	if err := db.QueryRow(ctx, `SELECT count(*) FROM thing WHERE name LIKE 'device-%'`, nil, &have); err != nil {
		return err
	}
	pem := "-----BEGIN CERTIFICATE-----\n" + strings.Repeat(strings.Repeat("A", 64)+"\n", 13) + "-----END CERTIFICATE-----\n"
	now, end := time.Now().UnixMilli(), time.Now().AddDate(10, 0, 0).UnixMilli()
	for first := have; first < n; first += 1000 {
		rows := make(map[*store.Table][][]any)
		add := func(t *store.Table, row ...any) { rows[t] = append(rows[t], row) }
		for i := first; i < min(first+1000, n); i++ {
			name, site := thingName(i), fmt.Sprint("site-", i%1000)
			sum := sha256.Sum256([]byte(name))
			id := hex.EncodeToString(sum[:])
			add(things, name, id[:36], "", fmt.Sprintf(`{"model":"esp32","serial":"%d","site":%q}`, i, site), "", 1, now)
			add(attributes, "model", "esp32", name)
			add(attributes, "serial", fmt.Sprint(i), name)
			add(attributes, "site", site, name)
			add(certificates, id, "ACTIVE", "DEFAULT", "", pem, "000000000000", "", now, now, now, end, 1, id[:36], "", "", 0, 0, 0, "")
			add(principals, "cert/"+id, name, 0)
			add(policies, "cert/"+id, policy)
			if sessions {
				add(sessionRows, name, 30*86400, now)
				add(subscriptions, name, "device/"+name+"/command", 1, false, false, 0)
				add(retained, "device/"+name+"/state", []byte(`{"on":true,"since":1700000000}`), 1, []byte{}, 0, now)
			}
		}
		for _, t := range []*store.Table{things, attributes, certificates, principals, policies, sessionRows, subscriptions, retained} {
			if len(rows[t]) > 0 {
				db.Put(t, rows[t], nil)
			}
		}
		if first%20_000 == 0 { // or all of them wait in memory
			if err := db.Flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := db.Flush(ctx); err != nil {
		return err
	}
	if s := db.Stats(); s.Failures > 0 {
		return fmt.Errorf("%d transactions failed", s.Failures)
	}
	return nil
}
