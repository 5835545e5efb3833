package registry

import "slices"

// PageOf returns one page of a list that is held in memory, sorted by key, or by key backwards if
// descending, and the token of the next page. ErrInvalid.
func PageOf[T any](all []T, p Page, descending bool, key func(T) string) ([]T, string, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := p.after("")
	if err != nil {
		return nil, "", err
	}
	if p.Token != "" {
		start := slices.IndexFunc(all, func(v T) bool { return !descending && key(v) > after[0] || descending && key(v) < after[0] })
		if start < 0 {
			start = len(all)
		}
		all = all[start:]
	}
	if len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], token(key(all[limit-1])), nil
}
