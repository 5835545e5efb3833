package router

// Handler takes the messages published to one reserved topic, after its subscribers had them. It
// runs on the publisher's goroutine: it must not block and must not keep p. Of a will message,
// Publication.Will is set and there is nobody to answer to.
type Handler func(p *Publication)

// Own lets a service handle messages of reserved topics, those that begin with $. find returns the
// handler of a topic name, or nil for one that is not the service's; the first service to have one
// gets the messages. A publisher asks once for each topic and remembers the answer, so that
// ordinary topics pay nothing.
func (r *Router) Own(find func(name string) Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners = append(r.owners, find)
	r.generation.Add(1)
}

func (r *Router) owner(name string) Handler {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, find := range r.owners {
		if h := find(name); h != nil {
			return h
		}
	}
	return nil
}
