package authorizer

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxCached is the number of answers kept.
const maxCached = 4096

// cache keeps answers for requests that follow on one HTTP connection and bring the same
// credentials (AWS IoT developer guide, "Defining your Lambda function").
type cache struct {
	mu      sync.Mutex
	entries map[cacheKey]cached
}

type cacheKey [sha256.Size]byte

type cached struct {
	decision *Decision
	until    time.Time
}

// cacheKeyOf covers everything that the authorizer is told, but for headers that say nothing about
// the caller.
func cacheKeyOf(a *Authorizer, r *Request) cacheKey {
	h := sha256.New()
	fmt.Fprintf(h, "%q %d %q %q %q\n", a.Name, a.Modified.UnixMilli(), r.Connection, r.ServerName, r.HTTP.Query)
	for _, header := range slices.Sorted(maps.Keys(r.HTTP.Headers)) {
		switch header {
		case "content-length", "content-type", "date":
			continue
		}
		fmt.Fprintf(h, "%q %q\n", header, r.HTTP.Headers[header])
	}
	return cacheKey(h.Sum(nil))
}

func (c *cache) get(key cacheKey, now time.Time) *Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return nil
	}
	if now.After(e.until) {
		delete(c.entries, key)
		return nil
	}
	return e.decision
}

func (c *cache) put(key cacheKey, d *Decision, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.entries { // any one makes room: the next request asks again
		if len(c.entries) < maxCached {
			break
		}
		delete(c.entries, old)
	}
	c.entries[key] = cached{d, until}
}

// clear forgets every answer.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
}
