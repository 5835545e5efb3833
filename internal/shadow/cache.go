package shadow

// cache holds the documents used last, up to a number of bytes. It is used by one goroutine.
type cache struct {
	limit, bytes int
	entries      map[ID]*entry
	head         entry // of a ring: next is the newest, prev the oldest
}

type entry struct {
	id         ID
	doc        *Document
	bytes      int
	prev, next *entry
}

// entryBytes is what an entry costs beside its text.
const entryBytes = 256

func newCache(limit int) *cache {
	c := &cache{limit: limit, entries: make(map[ID]*entry)}
	c.head.prev, c.head.next = &c.head, &c.head
	return c
}

func (c *cache) get(id ID) *Document {
	e := c.entries[id]
	if e == nil {
		return nil
	}
	c.detach(e)
	c.attach(e)
	return e.doc
}

func (c *cache) put(id ID, doc *Document) {
	e := c.entries[id]
	if e == nil {
		e = &entry{id: id}
		c.entries[id] = e
	} else {
		c.detach(e)
		c.bytes -= e.bytes
	}
	e.doc = doc
	e.bytes = entryBytes + len(id.Thing) + len(id.Shadow) + len(doc.State) + len(doc.stamps)
	c.bytes += e.bytes
	c.attach(e)
	for c.bytes > c.limit {
		c.drop(c.head.prev.id)
	}
}

func (c *cache) drop(id ID) {
	if e := c.entries[id]; e != nil {
		c.detach(e)
		c.bytes -= e.bytes
		delete(c.entries, id)
	}
}

func (c *cache) attach(e *entry) {
	e.prev, e.next = &c.head, c.head.next
	e.prev.next, e.next.prev = e, e
}

func (c *cache) detach(e *entry) { e.prev.next, e.next.prev = e.next, e.prev }
