package session

// fifo holds the deliveries that wait for the window. It uses its memory again and again, and gives
// it up when it is empty and was large.
type fifo struct {
	items []delivery
	head  int // items before it are gone
	bytes int // of payloads, and of packets

	packets *packets // of the deliveries that have a size; may be nil while there are none
}

// fifoOf holds these deliveries.
func fifoOf(items []delivery) fifo {
	q := fifo{items: items}
	for i := range items {
		q.bytes += items[i].length()
	}
	return q
}

// length is what a delivery counts for in a queue.
func (d *delivery) length() int {
	if d.size > 0 {
		return int(d.size)
	}
	return len(d.message.Payload)
}

func (q *fifo) len() int { return len(q.items) - q.head }

// push appends a delivery.
func (q *fifo) push(d delivery) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, d)
	q.bytes += d.length()
}

// pop takes the first delivery; there must be one.
func (q *fifo) pop() delivery {
	d := q.items[q.head]
	q.items[q.head] = delivery{}
	q.bytes -= d.length()
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return d
}

// all are the deliveries in order, in place.
func (q *fifo) all() []delivery { return q.items[q.head:] }

// release gives up the memory of an empty queue.
func (q *fifo) release() {
	if q.len() == 0 {
		*q = fifo{}
	}
}
