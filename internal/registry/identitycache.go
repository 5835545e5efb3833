package registry

import (
	"container/list"
	"hash/maphash"
	"sync"
)

const (
	cacheShards   = 64
	cachePerShard = 1024 // entries; 65,536 in all
)

// anyClient is kept for a certificate's state alone, before a client identifier is known. No client has it.
const anyClient = "\x00"

// identityCache keeps the identities that were asked for last. Every change forgets those it
// concerns after its commit and before its answer, so a caller that saw a change never gets the
// state before it.
type identityCache struct {
	seed   maphash.Seed
	shards [cacheShards]identityShard
}

type identityShard struct {
	mu      sync.Mutex
	changes uint64 // rises with every forget: a read that began before one is not kept
	entries map[identityKey]*list.Element
	byCert  map[string]int // number of entries per certificate
	recent  list.List      // of cachedIdentity, the latest in front
}

type identityKey struct{ certificate, client string }

type cachedIdentity struct {
	key identityKey
	id  *Identity
}

func (c *identityCache) init() {
	c.seed = maphash.MakeSeed()
	for i := range c.shards {
		c.shards[i].clear()
	}
}

func (c *identityCache) shard(certificateID string) *identityShard {
	return &c.shards[maphash.String(c.seed, certificateID)%cacheShards]
}

// forget drops the identities of the given certificates, or all when the slice is nil.
func (c *identityCache) forget(ids []string) {
	if ids == nil {
		for i := range c.shards {
			s := &c.shards[i]
			s.mu.Lock()
			s.clear()
			s.mu.Unlock()
		}
		return
	}
	for _, id := range ids {
		s := c.shard(id)
		s.mu.Lock()
		s.changes++
		if s.byCert[id] > 0 {
			for key, e := range s.entries {
				if key.certificate == id {
					s.remove(e)
				}
			}
		}
		s.mu.Unlock()
	}
}

func (s *identityShard) clear() {
	s.changes++
	s.entries = make(map[identityKey]*list.Element)
	s.byCert = make(map[string]int)
	s.recent.Init()
}

func (s *identityShard) remove(e *list.Element) {
	key := s.recent.Remove(e).(cachedIdentity).key
	delete(s.entries, key)
	if s.byCert[key.certificate]--; s.byCert[key.certificate] == 0 {
		delete(s.byCert, key.certificate)
	}
}

func (s *identityShard) get(certificate, client string) (id *Identity, seen uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[identityKey{certificate, client}]; e != nil {
		s.recent.MoveToFront(e)
		return e.Value.(cachedIdentity).id, 0
	}
	return nil, s.changes
}

func (s *identityShard) put(certificate, client string, id *Identity, seen uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := identityKey{certificate, client}
	if s.changes != seen || s.entries[key] != nil {
		return
	}
	s.entries[key] = s.recent.PushFront(cachedIdentity{key, id})
	s.byCert[certificate]++
	if s.recent.Len() > cachePerShard {
		s.remove(s.recent.Back())
	}
}
