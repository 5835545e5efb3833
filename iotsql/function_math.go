package iotsql

import (
	"math"
	"math/big"
)

func absolute(_ *frame, v value) value {
	n, ok := v.toNumber()
	if !ok {
		return undefined
	}
	if n.num().sign() >= 0 {
		return n
	}
	return number(n.kind, n.num().neg(), true)
}

// real1 is a function of one real number, computed in double precision; NaN and infinity, which
// stand for imaginary and undefined results, become Undefined.
func real1(do func(x float64) float64) function {
	return one(func(_ *frame, v value) value {
		n, ok := v.toNumber()
		if !ok {
			return undefined
		}
		return double(do(n.num().float()))
	})
}

func acos(x float64) float64  { return math.Acos(x) }
func asin(x float64) float64  { return math.Asin(x) }
func atan(x float64) float64  { return math.Atan(x) }
func cos(x float64) float64   { return math.Cos(x) }
func cosh(x float64) float64  { return math.Cosh(x) }
func exp(x float64) float64   { return math.Exp(x) }
func ln(x float64) float64    { return math.Log(x) }
func log10(x float64) float64 { return math.Log10(x) }
func sin(x float64) float64   { return math.Sin(x) }
func sinh(x float64) float64  { return math.Sinh(x) }
func sqrt(x float64) float64  { return math.Sqrt(x) }
func tan(x float64) float64   { return math.Tan(x) }
func tanh(x float64) float64  { return math.Tanh(x) }

func real2(a, b value, do func(x, y float64) float64) value {
	x, ok1 := a.toNumber()
	y, ok2 := b.toNumber()
	if !ok1 || !ok2 {
		return undefined
	}
	return double(do(x.num().float(), y.num().float()))
}

func atan2(_ *frame, a, b value) value { return real2(a, b, math.Atan2) }
func power(_ *frame, a, b value) value { return real2(a, b, math.Pow) }

func modulo(_ *frame, a, b value) value { return calculate(a, b, remainder, nil) }

func roundBy(mode rounding) func(*frame, value) value {
	return func(_ *frame, v value) value {
		n, ok := v.toNumber()
		if !ok {
			return undefined
		}
		i, ok := n.num().integer(mode)
		return number(Int, i, ok)
	}
}

func sign(_ *frame, v value) value {
	n, ok := v.toNumber()
	if !ok {
		return undefined
	}
	return integer(int64(n.num().sign()))
}

func truncate(_ *frame, a, b value) value {
	n, ok1 := a.toNumber()
	d, ok2 := b.toInt(down)
	if !ok1 || !ok2 {
		return undefined
	}
	if n.kind == Int {
		return n
	}
	t, _ := n.num().places(int(min(max(d.int64(), 0), maxDigits)), towardsZero)
	return number(Decimal, t.stripped(0), true)
}

func bitAnd(a, b *big.Int) *big.Int { return new(big.Int).And(a, b) }
func bitOr(a, b *big.Int) *big.Int  { return new(big.Int).Or(a, b) }
func bitXor(a, b *big.Int) *big.Int { return new(big.Int).Xor(a, b) }

// bitwise works on the two's complement, without a width.
func bitwise(do func(a, b *big.Int) *big.Int) func(f *frame, a, b value) value {
	return func(_ *frame, a, b value) value {
		x, ok1 := a.toInt(down)
		y, ok2 := b.toInt(down)
		if !ok1 || !ok2 {
			return undefined
		}
		return number(Int, small(num{big: do(x.bigCoef(), y.bigCoef())}), true)
	}
}

func bitNot(_ *frame, v value) value {
	n, ok := v.toInt(down)
	if !ok {
		return undefined
	}
	return number(Int, small(num{big: new(big.Int).Not(n.bigCoef())}), true)
}

// nanvl returns b for what is not a number; JSON and the functions here never give NaN.
func nanvl(_ *frame, a, b value) value {
	if a.kind == Undefined || a.kind == Null {
		return b
	}
	return a
}

func random(f *frame) value {
	if f.ctx.Random == nil {
		f.fail(&FunctionError{"rand", ErrUnavailable})
		return undefined
	}
	return double(f.ctx.Random())
}
