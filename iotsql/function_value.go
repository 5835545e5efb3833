package iotsql

func isNull(_ *frame, v value) value      { return boolean(v.kind == Null) }
func isUndefined(_ *frame, v value) value { return boolean(v.kind == Undefined) }

// get reads an element of an array, a character of a string or a member of an object.
func get(f *frame, coll, key value) value {
	switch coll.kind {
	case Object:
		if key.kind == String {
			return coll.get(key.str, f.asInt)
		}
	case Array, String:
		n, ok := key.toInt(halfAway)
		if !ok {
			break
		}
		if coll.kind == Array {
			return coll.at(n.int64(), f.asInt)
		}
		if c, ok := characterAt(coll.str, n.int64()); ok {
			return text(c)
		}
	}
	return undefined
}

// getOrDefault returns its second argument when the first is Null, Undefined or fails.
func getOrDefault(args []arg) (fn, string) {
	in := args[0].do
	return func(f *frame) value {
		before := f.err
		v := in(f)
		failed := before == nil && f.err != nil
		if failed {
			f.err = nil
		}
		if !failed && v.kind != Null && v.kind != Undefined {
			return v
		}
		if len(args) == 1 {
			return undefined
		}
		return args[1].do(f)
	}, ""
}

// maxTransform is the largest array that transform returns, in bytes of JSON.
const maxTransform = 128 << 10

// transform gives each object of an array the attributes of another object.
func transform(f *frame, args []value) value {
	mode, with, array := args[0], args[1], args[2]
	if mode.kind != String || mode.str != "enrichArray" || with.kind != Object || array.kind != Array {
		return undefined
	}
	extra := with.members(f.asInt)
	l := []value{}
	ok := true
	size := 2
	array.each(f.asInt, func(e value) {
		if !ok {
			return
		}
		if size += e.size() + with.size(); e.kind != Object || size > maxTransform+len(extra) {
			ok = false
			return
		}
		l = append(l, object(merge(e.members(f.asInt), extra)))
	})
	if !ok {
		return undefined
	}
	return list(l)
}
