package session

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/store"
)

// yield gives up sessions that other nodes have asked for, in case NATS did not carry the request.
func (a *Sessions) yield() {
	ctx, cancel := context.WithTimeout(context.Background(), cluster.ReadTimeout)
	defer cancel()
	var ids []string
	err := a.db.Query(ctx, `SELECT client_id FROM cluster_session WHERE owner = ? AND wanted <> '' AND wanted <> owner`, []any{a.node.Instance()},
		func(row store.Row) error {
			var id string
			err := row.Scan(&id)
			ids = append(ids, id)
			return err
		})
	if err != nil {
		a.log.Debug("read which sessions are wanted", "error", err)
	}
	for _, id := range ids {
		go a.release(id)
	}
}

// disconnection is DeleteConnection for another node.
type disconnection struct {
	ClientID    string `json:"clientId"`
	Clean       bool   `json:"clean"`
	PreventWill bool   `json:"preventWill"`
}

var (
	found   = []byte("found")
	missing = []byte("missing")
)

func (a *Sessions) disconnectFor(data []byte) []byte {
	var d disconnection
	if json.Unmarshal(data, &d) == nil && a.deleteHere(d.ClientID, d.Clean, d.PreventWill) {
		return found
	}
	return missing
}

// deleteElsewhere is DeleteConnection for a client that is not connected to this node.
func (a *Sessions) deleteElsewhere(d disconnection) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	owner := ""
	exists := false
	err := a.db.WriteLoose(ctx, func(tx *store.Tx) error {
		err := tx.QueryRow(`SELECT owner FROM cluster_session WHERE client_id = ? FOR UPDATE`, []any{d.ClientID}, &owner)
		exists = err == nil
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		if err != nil || owner != "" || !d.Clean {
			return err
		}
		// A will that waits comes with the end of the session, unless it is not wanted.
		due := `due = CASE WHEN due = 0 THEN 0 ELSE ` + store.Now + ` END`
		if d.PreventWill {
			due = `due = 0, will = ''`
		}
		if _, err := tx.Exec(`UPDATE cluster_session SET `+due+` WHERE client_id = ?`, d.ClientID); err != nil {
			return err
		}
		return a.forget(tx, d.ClientID)
	})
	if err != nil {
		a.log.Error("delete connection", "client_id", d.ClientID, "error", err)
		return false
	}
	if owner == "" {
		if exists && d.Clean {
			a.refresh([]string{d.ClientID})
		}
		return exists
	}
	request, err := json.Marshal(d)
	if err != nil {
		return false
	}
	answer, err := a.node.Bus().Request(ctx, "node."+owner+".disconnect", request)
	if err != nil {
		a.log.Error("delete connection", "client_id", d.ClientID, "error", err)
	}
	return err == nil && string(answer) == string(found)
}

// absorbAll takes over what nodes of a cluster have left for sessions, when a server has the database for
// itself again.
func (a *Sessions) absorbAll(ctx context.Context) error {
	if there, err := a.db.Exists(ctx, "cluster_inbox"); err != nil || !there {
		return err
	}
	return a.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`WITH gone AS (DELETE FROM cluster_inbox RETURNING *)
			INSERT INTO session_queue (client_id, seq, topic, payload, qos, retain, properties, identifiers, expires_at)
			SELECT g.client_id, (SELECT coalesce(max(q.seq), 0) FROM session_queue q WHERE q.client_id = g.client_id)
				+ row_number() OVER (PARTITION BY g.client_id ORDER BY g.id), g.topic, g.payload, g.qos, g.retain, g.properties, g.identifiers, g.expires_at
			FROM gone g WHERE EXISTS (SELECT FROM session s WHERE s.client_id = g.client_id)`); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM cluster_session`)
		return err
	})
}
