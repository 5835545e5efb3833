package iotsql

func (c *compiler) binary(x *infix) fn {
	l, r := c.expr(x.l), c.expr(x.r)
	switch x.op {
	case "AND", "OR":
		and := x.op == "AND"
		return func(f *frame) value {
			a, ok1 := l(f).toBool()
			b, ok2 := r(f).toBool()
			if !ok1 || !ok2 {
				return undefined
			}
			return boolean(a && b || !and && (a || b))
		}
	case "=", "<>":
		same := x.op == "="
		return func(f *frame) value {
			a, b := l(f), r(f)
			if a.kind == Undefined || b.kind == Undefined {
				return undefined
			}
			return boolean(equal(a, b) == same)
		}
	case "<":
		return order(l, r, func(c int) bool { return c < 0 })
	case "<=":
		return order(l, r, func(c int) bool { return c <= 0 })
	case ">":
		return order(l, r, func(c int) bool { return c > 0 })
	case ">=":
		return order(l, r, func(c int) bool { return c >= 0 })
	case "IN":
		return func(f *frame) value {
			a, b := l(f), r(f)
			if a.kind == Undefined || b.kind != Array {
				return undefined
			}
			found := false
			b.each(f.asInt, func(e value) { found = found || equal(a, e) })
			return boolean(found)
		}
	case "+":
		return func(f *frame) value { return plus(l(f), r(f)) }
	case "-":
		return arithmetic(l, r, func(a, b num) (num, bool) { return add(a, b.neg()) }, nil)
	case "*":
		return arithmetic(l, r, multiply, nil)
	case "/":
		return arithmetic(l, r, divide, quotient)
	}
	return arithmetic(l, r, remainder, nil)
}

func order(l, r fn, holds func(c int) bool) fn {
	return func(f *frame) value {
		a, ok1 := l(f).toNumber()
		b, ok2 := r(f).toNumber()
		if !ok1 || !ok2 {
			return undefined
		}
		return boolean(holds(compare(a.num(), b.num())))
	}
}

// arithmetic computes with numbers and strings that look like one. Two Ints give an Int, by a
// different computation if ints is not nil; a string makes the result a Decimal.
func arithmetic(l, r fn, do, ints func(a, b num) (num, bool)) fn {
	return func(f *frame) value { return calculate(l(f), r(f), do, ints) }
}

func calculate(x, y value, do, ints func(a, b num) (num, bool)) value {
	a, ok1 := x.toNumber()
	b, ok2 := y.toNumber()
	if !ok1 || !ok2 {
		return undefined
	}
	if a.kind == Int && b.kind == Int {
		if ints != nil {
			do = ints
		}
		n, ok := do(a.num(), b.num())
		return number(Int, n, ok)
	}
	n, ok := do(a.num(), b.num())
	return number(Decimal, n, ok)
}

// plus concatenates if one side is a string and adds otherwise.
func plus(a, b value) value {
	if a.kind == String || b.kind == String {
		x, ok1 := a.toText()
		y, ok2 := b.toText()
		if !ok1 || !ok2 {
			return undefined
		}
		return text(x + y)
	}
	return calculate(a, b, add, nil)
}

// castType reads the type of a cast; Undefined means there is none of that name.
func castType(name string) (kind Kind, only2016 bool) {
	switch name {
	case "string", "nvarchar", "text", "ntext", "varchar":
		return String, false
	case "int", "integer":
		return Int, false
	case "double":
		return Decimal, false
	case "decimal":
		return Decimal, true
	case "bool", "boolean":
		return Boolean, true
	}
	return Undefined, false
}

// convert is cast: the usual conversions, and those between Boolean and numbers. Decimals become
// Int by rounding down; Null becomes Undefined. Not exact means through a double.
func convert(v value, to Kind, exact, asInt bool) value {
	switch to {
	case String:
		if s, ok := v.toText(); ok {
			return text(s)
		}
	case Boolean:
		if v.isNumber() {
			return boolean(v.far || v.num().sign() != 0)
		}
		if b, ok := v.toBool(); ok {
			return boolean(b)
		}
	case Int:
		if v.kind == Boolean {
			return integer(v.coef)
		}
		n, ok := v.toInt(down)
		return number(Int, n, ok)
	case Decimal:
		if v.kind == Boolean {
			v = number(Decimal, num{coef: v.coef * 10, exp: -1}, true)
		}
		d, ok := v.toNumber()
		if !ok {
			break
		}
		if !exact && (d.kind != Int || d.num().digits() > 15) { // a small Int keeps having no point
			d = double(d.num().float())
		}
		n := d.num()
		if asInt && n.isWhole() {
			if i, ok := n.integer(towardsZero); ok {
				return number(Int, i, true)
			}
		}
		if v.str != "" && exact && v.kind != String {
			return value{kind: Decimal, str: v.str, coef: d.coef, exp: d.exp, ref: d.ref}
		}
		return number(Decimal, n, true)
	}
	return undefined
}
