package registry

import (
	"context"
	"strings"

	"github.com/berth-iot/berth/internal/store"
)

// Tag is a label on a resource.
type Tag struct{ Key, Value string }

// maxTags is the number of tags on one resource. AWS tagging limits.
const maxTags = 50

// Taggable says that resources of a kind, as their ARNs name it, carry tags: those for which a query
// with the name, the rest of the ARN, counts one. Other packages keep the tags of their resources
// here; SetTags and DropTags go into the transactions that make and delete them.
func (r *Registry) Taggable(kind, query string) { r.taggables.Store(kind, query) }

// SetTags gives a new resource, such as "job/J", its tags and no others. ErrInvalid, ErrLimit.
func (r *Registry) SetTags(tx *store.Tx, resource string, tags []Tag) error {
	if err := dropTags(tx, resource); err != nil {
		return err
	}
	return setTags(tx, resource, tags)
}

// DropTags forgets the tags of a resource that is being deleted.
func (r *Registry) DropTags(tx *store.Tx, resource string) error { return dropTags(tx, resource) }

// taggable returns the resource part of the ARN of something that exists and may carry tags.
// Things and device certificates may not, as in AWS.
func (r *Registry) taggable(rd reader, arn string) (string, error) {
	resource, ok := r.resourceOf(arn)
	kind, name, found := strings.Cut(resource, "/")
	if !ok || !found || name == "" {
		return "", refuse(ErrInvalid, "%s is not the ARN of a resource of this account and region", arn)
	}
	query, ok := r.taggables.Load(kind)
	if !ok {
		return "", refuse(ErrInvalid, "resource type %s cannot be tagged", kind)
	}
	there, err := has(rd, query.(string), name)
	if err != nil {
		return "", err
	}
	if !there {
		return "", refuse(ErrNotFound, "resource %s not found", arn)
	}
	return resource, nil
}

// ReplaceTags is SetTags in a transaction of its own.
func (r *Registry) ReplaceTags(ctx context.Context, resource string, tags []Tag) error {
	return r.write(ctx, func(tx *store.Tx, _ *changes) error { return r.SetTags(tx, resource, tags) })
}

// CheckTags refuses tags that no resource may have. ErrInvalid, ErrLimit.
func CheckTags(tags []Tag) error {
	for _, t := range tags {
		if err := tagKey.check(t.Key); err != nil {
			return err
		}
		if err := tagValue.check(t.Value); err != nil {
			return err
		}
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return refuse(ErrInvalid, "tag key %s: the prefix aws: is reserved", t.Key)
		}
	}
	if n := len(tags); n > maxTags {
		return refuse(ErrLimit, "%d tags are more than the %d that a resource may have", n, maxTags)
	}
	return nil
}

// setTags adds tags to a resource of the caller's transaction, replacing those of the same key.
func setTags(tx *store.Tx, resource string, tags []Tag) error {
	if err := CheckTags(tags); err != nil {
		return err
	}
	for _, t := range tags {
		if _, err := tx.Exec(`INSERT INTO tag (resource, name, value) VALUES (?, ?, ?)
			ON CONFLICT (resource, name) DO UPDATE SET value = excluded.value`, resource, t.Key, t.Value); err != nil {
			return err
		}
	}
	if len(tags) == 0 {
		return nil
	}
	var n int
	if err := tx.QueryRow(`SELECT count(*) FROM tag WHERE resource = ?`, []any{resource}, &n); err != nil {
		return err
	}
	if n > maxTags {
		return refuse(ErrLimit, "%d tags are more than the %d that a resource may have", n, maxTags)
	}
	return nil
}

func dropTags(tx *store.Tx, resource string) error {
	_, err := tx.Exec(`DELETE FROM tag WHERE resource = ?`, resource)
	return err
}

// TagResource adds tags. ErrNotFound, ErrInvalid for resources that take none, ErrLimit over 50.
func (r *Registry) TagResource(ctx context.Context, arn string, tags []Tag) error {
	return r.write(ctx, func(tx *store.Tx, _ *changes) error {
		resource, err := r.taggable(tx, arn)
		if err != nil {
			return err
		}
		return setTags(tx, resource, tags)
	})
}

// UntagResource removes tags by key; keys that are not there are no error.
func (r *Registry) UntagResource(ctx context.Context, arn string, keys []string) error {
	return r.write(ctx, func(tx *store.Tx, _ *changes) error {
		resource, err := r.taggable(tx, arn)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if _, err := tx.Exec(`DELETE FROM tag WHERE resource = ? AND name = ?`, resource, key); err != nil {
				return err
			}
		}
		return nil
	})
}

// ListTagsForResource lists a resource's tags by key.
func (r *Registry) ListTagsForResource(ctx context.Context, arn string, page Page) ([]Tag, string, error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := page.after("")
	if err != nil {
		return nil, "", err
	}
	rd := r.reader(ctx)
	resource, err := r.taggable(rd, arn)
	if err != nil {
		return nil, "", err
	}
	return pageOf(rd, limit, `SELECT name, value FROM tag WHERE resource = ? AND name > ? ORDER BY name LIMIT ?`, []any{resource, after[0]},
		func(row store.Row) (Tag, []string, error) {
			var t Tag
			err := row.Scan(&t.Key, &t.Value)
			return t, []string{t.Key}, err
		})
}
