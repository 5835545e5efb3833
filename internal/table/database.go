package table

import "context"

// database is where the rows and the catalogue lie: [FileName], or PostgreSQL. One goroutine writes;
// any number read. What a database knows as data is its own encoding of values by number.
type database interface {
	// load calls for every table, then for every measure by number, then for every thing.
	load(ctx context.Context, table func(row tableRow), measure func(id int64, name string), thing func(row thingRow) error) error
	// write runs fn in a transaction and returns when that is on disk. With an error that matches
	// ErrUnavailable nobody knows whether it is.
	write(ctx context.Context, fn func(tx transaction) error) error
	// read calls yield with the rows of a span in its order. Their data is valid only during the call.
	read(ctx context.Context, s span, yield func(thing int64, r stored) error) error
	// values calls yield with the values in a row's data, ascending by number. names are the measures
	// by number; keep says whose texts are wanted, nil for all.
	values(data []byte, names *names, keep func(number uint32) bool, yield func(v numbered)) error
	// encode makes data of values, which it sorts; of two with one number the later counts.
	encode(names *names, values []numbered) ([]byte, error)
	// overhead is what a row takes beside its data, in bytes.
	overhead() int64
	// size is that of all of it on disk, in bytes, as far as it is known.
	size() int64
	close() error
}

// transaction is what one commit does.
type transaction interface {
	// read is the database's, seeing what the transaction wrote. It is for one thing.
	read(s span, yield func(thing int64, r stored) error) error
	// insert writes rows that are sorted by thing and time, sets their seq if it is not fixed, and
	// written unless the row was there.
	insert(rows []insertion) error
	// remove deletes the rows of a thing from a time on to a position, included.
	remove(thing, from, time, seq int64) error

	addTable(row tableRow) error
	setTable(row tableRow) error // by id
	removeTable(id int64) error
	addMeasure(table int64, number int, name string) error
	putThings(rows []thingRow) error // by id
	removeThing(id int64) error
}

type tableRow struct {
	id                  int64
	name                string
	created             int64
	retention, maxBytes int64
	dropped             bool
}

type thingRow struct {
	id, table int64
	name      string
	state     []byte
}

// span is some rows of one thing by time and seq, or for thing 0 of all things of all tables by time,
// thing and seq; or the other way round.
type span struct {
	thing      int64
	from, to   int64 // from included, to not
	after      *key  // leaves out rows that are not after it, in the order of the span
	descending bool
	limit      int
}

type key struct{ time, thing, seq int64 }

// stored is a row as it lies in the database.
type stored struct {
	time, seq int64
	data      []byte
}

// insertion is a row to be written.
type insertion struct {
	thing   int64
	time    int64
	seq     int64
	fixed   bool // seq is made of an ID
	later   bool // than every row that its thing had before
	data    []byte
	written bool
}

// names are the measures of a table by number, and the numbers by name.
type names struct {
	list    []string
	numbers map[string]uint32
}

func newNames(list []string) *names {
	n := &names{list: list, numbers: make(map[string]uint32, len(list))}
	for i, name := range list {
		n.numbers[name] = uint32(i)
	}
	return n
}
