package router

// LimitRetained bounds the number of retained messages and the bytes of their topics and payloads; 0 is no
// bound. What is there already stays. It does not wait for what is still being read, see Loaded.
func (r *Router) LimitRetained(messages int, bytes int64) {
	r.retained.maxMessages.Store(int64(messages))
	r.retained.maxBytes.Store(bytes)
}

// MayRetain reports whether there is room for a retained message of so many bytes of payload. There always
// is for one that replaces another of its topic and is no larger, and for none, which removes it. A
// refusal is counted: the caller publishes the message without retaining it, or not at all. Publishers that
// ask at the same moment may together go past the bounds by a message each.
func (r *Router) MayRetain(name string, payload int) bool {
	if payload == 0 || r.retained.room(name, payload) {
		return true
	}
	r.retained.refused.Add(1)
	return false
}

func (r *retained) room(name string, payload int) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	more := int64(len(name) + payload)
	messages, bytes := r.maxMessages.Load(), r.maxBytes.Load()
	full := messages > 0 && int64(r.tree.Len()) >= messages
	if !full && (bytes == 0 || r.bytes+more <= bytes) {
		return true
	}
	old, ok := r.tree.Get(name)
	if !ok {
		return false
	}
	more -= sizeOf(old)
	return more <= 0 || bytes == 0 || r.bytes+more <= bytes
}

// RetainedBytes are those of the topics and payloads of the retained messages.
func (r *Router) RetainedBytes() int64 {
	r.retained.mu.RLock()
	defer r.retained.mu.RUnlock()
	return r.retained.bytes
}

// RetainedRefused is how often MayRetain has said no.
func (r *Router) RetainedRefused() uint64 { return r.retained.refused.Load() }
