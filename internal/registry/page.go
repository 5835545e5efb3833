package registry

import (
	"encoding/base64"
	"strings"

	"github.com/berth-iot/berth/internal/store"
)

// MaxPage is the largest number of results in one page, and the number when none is asked for.
const MaxPage = 250

// Page asks for a part of a listing: at most Limit results (1 to [MaxPage]; 0 for MaxPage) after
// the place that Token, from the page before, stands for. A token names the last key that was
// seen, so pages stay right while rows come and go, and cost the same wherever they are.
type Page struct {
	Limit int
	Token string
}

func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return MaxPage, nil
	case p.Limit < 0 || p.Limit > MaxPage:
		return 0, refuse(ErrInvalid, "page size %d is not between 1 and %d", p.Limit, MaxPage)
	}
	return p.Limit, nil
}

// after returns the key parts that the token holds, or those given for the first page.
func (p Page) after(first ...string) ([]string, error) {
	if p.Token == "" {
		return first, nil
	}
	key, err := base64.StdEncoding.DecodeString(p.Token)
	if err != nil {
		return nil, refuse(ErrInvalid, "the pagination token is not valid")
	}
	parts := strings.Split(string(key), "\x00")
	if len(parts) != len(first) {
		return nil, refuse(ErrInvalid, "the pagination token is not valid")
	}
	return parts, nil
}

func token(parts ...string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Join(parts, "\x00")))
}

// pageOf runs a query that ends in LIMIT ? and returns one page of its rows and the next page's
// token. scan returns a row's value and its key parts.
func pageOf[T any](rd reader, limit int, query string, args []any, scan func(row store.Row) (T, []string, error)) ([]T, string, error) {
	out := []T{}
	var last []string
	more := false
	err := rd.Query(query, append(args, limit+1), func(row store.Row) error {
		if len(out) == limit {
			more = true
			return nil
		}
		v, key, err := scan(row)
		if err != nil {
			return err
		}
		out, last = append(out, v), key
		return nil
	})
	if err != nil || !more {
		return out, "", err
	}
	return out, token(last...), nil
}

// listNames is pageOf for a query that returns one column, which is both value and key.
func listNames(rd reader, limit int, query string, args ...any) ([]string, string, error) {
	return pageOf(rd, limit, query, args, func(row store.Row) (string, []string, error) {
		var name string
		err := row.Scan(&name)
		return name, []string{name}, err
	})
}

// from is where a listing of the names that begin with prefix goes on after a name, or begins: one
// lower bound, so that an index can seek to it. Names hold no control characters.
func from(after, prefix string) string {
	if after == "" || after < prefix {
		return prefix
	}
	return after + "\x01"
}

// above is the end of the range of strings that begin with prefix. Names are ASCII.
func above(prefix string) string { return prefix + "\U0010FFFF" }
