package rules

import (
	"context"

	"github.com/berth-iot/berth/internal/store"
)

// adoptBatch is the number of deliveries adopted in one transaction.
const adoptBatch = 200

// Adopt takes over the deliveries of nodes of the cluster that are gone, by giving them identifiers of this
// node. What a dead node has delivered and not noted is delivered again.
func (s *Service) Adopt(ctx context.Context) error {
	for {
		n, err := s.queue.adopt(ctx)
		if err != nil || n < adoptBatch {
			return err
		}
	}
}

func (q *queue) adopt(ctx context.Context) (int, error) {
	type orphan struct {
		id   int64
		lane string
	}
	var list []orphan
	q.order.Lock()
	defer q.order.Unlock()
	err := q.s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		list = list[:0]
		err := tx.Query(`SELECT d.id, d.lane FROM rule_delivery d WHERE d.dead_at = 0
			AND NOT EXISTS (SELECT 1 FROM cluster_node n WHERE d.id >= n.joined * ? AND d.id < (n.joined + 1) * ?) ORDER BY d.id LIMIT ?`,
			[]any{store.RangeSize, store.RangeSize, adoptBatch}, func(row store.Row) error {
				var o orphan
				err := row.Scan(&o.id, &o.lane)
				list = append(list, o)
				return err
			})
		if err != nil {
			return err
		}
		q.mu.Lock()
		next := q.lastID
		q.lastID += int64(len(list))
		q.mu.Unlock()
		for i, o := range list {
			if _, err := tx.Exec(`UPDATE rule_delivery SET id = ? WHERE id = ?`, next+int64(i)+1, o.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range list {
		l := q.lane(o.lane)
		l.spilled, l.more = true, true
		q.work(l)
	}
	return len(list), nil
}
