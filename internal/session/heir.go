package session

import (
	"context"
	"encoding/json"

	"github.com/berth-iot/berth/internal/store"
)

// giveUp undoes a connect that took a session and did not get any further. s.changing is held.
func (a *Sessions) giveUp(s *Session) {
	s.mu.Lock()
	here, persistent := s.place.here, s.persistent
	s.mu.Unlock()
	if here {
		a.leave(s, nil, nil, 0, nil)
	}
	if !persistent {
		a.remove(s)
	} else {
		go a.refresh([]string{s.id}) // what was changed meanwhile was left to the connect
	}
}

// bequeath frees the sessions of a node that is declared dead: what is to be told and published of them,
// the leader finds by about and due.
func (a *Sessions) bequeath(tx *store.Tx, instance string) error {
	if _, err := tx.Exec(`UPDATE session SET offline_since = `+store.Now+` WHERE offline_since = 0
		AND client_id IN (SELECT client_id FROM cluster_session WHERE owner = ?)`, instance); err != nil {
		return err
	}
	err := tx.Query(`UPDATE cluster_session SET owner = '', wanted = '', due = CASE WHEN length(will) = 0 THEN 0 ELSE `+store.Now+` + will_delay END
		WHERE owner = ? RETURNING client_id`, []any{instance}, func(row store.Row) error {
		var id string
		err := row.Scan(&id)
		tx.Note(feedLeft, id)
		return err
	})
	return err
}

// feedLeft is the kind of change of sessions whose owner is gone or that have expired: whoever does that has
// to hear of it too.
const feedLeft = "session.left"

// mournBatch is the number of connections told of in one transaction.
const mournBatch = 500

// mourn tells what became of the clients of dead nodes and publishes wills that are due. What is told is
// noted first: if this node dies too before it has told, nobody tells; nothing is told twice.
func (a *Sessions) mourn(ctx context.Context) error {
	for {
		var abouts []string
		err := a.db.WriteLoose(ctx, func(tx *store.Tx) error {
			abouts = abouts[:0]
			return tx.Query(`UPDATE cluster_session c SET about = '' FROM (SELECT client_id, about FROM cluster_session
				WHERE owner = '' AND about <> '' ORDER BY client_id LIMIT ? FOR UPDATE SKIP LOCKED) o
				WHERE c.client_id = o.client_id RETURNING o.about`, []any{mournBatch}, func(row store.Row) error {
				var about string
				err := row.Scan(&about)
				abouts = append(abouts, about)
				return err
			})
		})
		if err != nil {
			return err
		}
		for _, about := range abouts {
			var c Client
			if json.Unmarshal([]byte(about), &c) == nil {
				a.lifecycle.Disconnected(c, ServerError)
			}
		}
		var wills [][]byte
		err = a.db.WriteLoose(ctx, func(tx *store.Tx) error {
			wills = wills[:0]
			return tx.Query(`UPDATE cluster_session c SET will = '', due = 0 FROM (SELECT client_id, will FROM cluster_session
				WHERE owner = '' AND due <> 0 AND due <= `+store.Now+` ORDER BY client_id LIMIT ? FOR UPDATE SKIP LOCKED) o
				WHERE c.client_id = o.client_id RETURNING o.will`, []any{mournBatch}, func(row store.Row) error {
				var will []byte
				err := row.Scan(&will)
				wills = append(wills, will)
				return err
			})
		})
		if err != nil {
			return err
		}
		for _, b := range wills {
			if will, from, err := decodeWill(b); err != nil {
				a.log.Error("publish a will", "error", err)
			} else {
				a.publishWill(will, from)
			}
		}
		if len(abouts) < mournBatch && len(wills) < mournBatch {
			return nil
		}
	}
}

// expire ends the sessions whose clients have been away for too long. A will that was to come later comes now [MQTT-3.1.3-9].
func (a *Sessions) expire(ctx context.Context) error {
	return a.db.WriteLoose(ctx, func(tx *store.Tx) error {
		var ids []string
		err := tx.Query(`SELECT s.client_id FROM session s JOIN cluster_session c ON c.client_id = s.client_id
			WHERE c.owner = '' AND s.offline_since > 0 AND s.expiry <> ? AND s.offline_since + s.expiry * 1000 <= `+store.Now+`
			LIMIT ? FOR UPDATE OF c SKIP LOCKED`, []any{uint32(never), mournBatch}, func(row store.Row) error {
			var id string
			err := row.Scan(&id)
			ids = append(ids, id)
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := a.forget(tx, id); err != nil {
				return err
			}
			tx.Note(feedLeft, id)
			if _, err := tx.Exec(`UPDATE cluster_session SET due = `+store.Now+` WHERE client_id = ? AND due <> 0`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// tidy forgets the places of sessions that ended, and messages that nodes have left for them before they
// heard of that.
func (a *Sessions) tidy(ctx context.Context) error {
	return a.db.WriteLoose(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM cluster_session c WHERE c.owner = '' AND c.about = '' AND c.due = 0
			AND NOT EXISTS (SELECT FROM session s WHERE s.client_id = c.client_id)`)
		if err == nil {
			_, err = tx.Exec(`DELETE FROM cluster_inbox i WHERE NOT EXISTS (SELECT FROM session s WHERE s.client_id = i.client_id)`)
		}
		return err
	})
}
