package iotsql

import (
	"math"
	"math/big"
	"math/bits"
	"strconv"
)

// Bounds of numbers (developer guide, "Data types").
const (
	maxDigits   = 34
	maxExponent = 999
)

// num is coef × 10^exp, or big × 10^exp when big is not nil. The exponent is part of the value as
// in Java's BigDecimal: 2.50 and 2.5 are equal but print differently.
type num struct {
	coef int64
	exp  int32
	big  *big.Int
}

var pow10 = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

func bigPow10(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// parseNum reads a number in JSON's notation; leading zeros are allowed. plain is true when it has
// neither fraction nor exponent; ok is false when it is none or lies out of range.
func parseNum(s string) (n num, plain, ok bool) {
	i, neg := 0, false
	if i < len(s) && s[i] == '-' {
		neg = true
		i++
	}
	start := i
	digits, point := 0, -1
	var coef int64
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' && point < 0 {
			point = i
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if digits > 0 || c != '0' {
			digits++
		}
		if digits <= 18 {
			coef = coef*10 + int64(c-'0')
		}
	}
	end := i
	if end == start || point == start || point == end-1 {
		return num{}, false, false
	}
	plain = point < 0
	exp := 0
	if i < len(s) {
		if s[i] != 'e' && s[i] != 'E' {
			return num{}, false, false
		}
		plain = false
		i++
		eneg := false
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			eneg = s[i] == '-'
			i++
		}
		if i == len(s) {
			return num{}, false, false
		}
		for ; i < len(s); i++ {
			if s[i] < '0' || s[i] > '9' {
				return num{}, false, false
			}
			if exp < 1e6 {
				exp = exp*10 + int(s[i]-'0')
			}
		}
		if eneg {
			exp = -exp
		}
	}
	if point >= 0 {
		exp -= end - point - 1
	}
	if digits == 0 {
		return num{exp: int32(max(min(exp, 0), -maxDigits))}, plain, true
	}
	if adjusted := exp + digits - 1; adjusted > maxExponent || adjusted < -maxExponent {
		return num{}, plain, false
	}
	if digits <= 18 {
		if neg {
			coef = -coef
		}
		return num{coef: coef, exp: int32(exp)}, plain, true
	}
	text := make([]byte, 0, end-start)
	for j := start; j < end; j++ {
		if s[j] != '.' {
			text = append(text, s[j])
		}
	}
	// Digits far behind the precision cannot matter to a result of 34; reading a hundred thousand
	// of them would take long.
	if over := digits - 100; over > 0 {
		text = text[:len(text)-over]
		exp += over
	}
	b, _ := new(big.Int).SetString(string(text), 10)
	if neg {
		b.Neg(b)
	}
	n, ok = rounded(b, exp)
	return n, plain, ok
}

// rounded brings b × 10^exp to at most 34 digits, half to even, and checks the range. Too small
// becomes zero; too large is not ok.
func rounded(b *big.Int, exp int) (num, bool) {
	if b.IsInt64() {
		v := b.Int64()
		if v != math.MinInt64 {
			return checked(num{coef: v, exp: int32(exp)}, exp)
		}
	}
	if over := digitsOf(b) - maxDigits; over > 0 {
		b = divHalfEven(b, bigPow10(over))
		exp += over
		if digitsOf(b) > maxDigits { // 9.99… became 10.0…
			b = divHalfEven(b, big.NewInt(10))
			exp++
		}
	}
	return checked(small(num{exp: int32(exp), big: b}), exp)
}

func checked(n num, exp int) (num, bool) {
	if n.sign() == 0 {
		return num{exp: int32(max(min(exp, 0), -maxDigits))}, true
	}
	switch adjusted := exp + n.digits() - 1; {
	case adjusted > maxExponent:
		return num{}, false
	case adjusted < -maxExponent:
		return num{}, true
	}
	return n, true
}

func divHalfEven(b, d *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(b, d, new(big.Int))
	r.Abs(r).Lsh(r, 1)
	if c := r.CmpAbs(d); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(int64(b.Sign())))
	}
	return q
}

// small drops the big form where int64 is enough.
func small(n num) num {
	if n.big != nil && n.big.IsInt64() && n.big.Int64() != math.MinInt64 {
		return num{coef: n.big.Int64(), exp: n.exp}
	}
	return n
}

func digitsOf(b *big.Int) int {
	if b.Sign() == 0 {
		return 1
	}
	n := int(float64(b.BitLen()-1)*math.Log10(2)) + 1
	if b.CmpAbs(bigPow10(n)) >= 0 {
		n++
	}
	return n
}

func (n num) digits() int {
	if n.big != nil {
		return digitsOf(n.big)
	}
	c := n.coef
	if c < 0 {
		c = -c
	}
	d := 1
	for d < len(pow10) && c >= pow10[d] {
		d++
	}
	return d
}

func (n num) sign() int {
	if n.big != nil {
		return n.big.Sign()
	}
	switch {
	case n.coef < 0:
		return -1
	case n.coef > 0:
		return 1
	}
	return 0
}

func (n num) bigCoef() *big.Int {
	if n.big != nil {
		return n.big
	}
	return big.NewInt(n.coef)
}

func (n num) neg() num {
	if n.big != nil {
		return num{exp: n.exp, big: new(big.Int).Neg(n.big)}
	}
	return num{coef: -n.coef, exp: n.exp}
}

// scaled returns the coefficient at a smaller or equal exponent, as int64 if it fits.
func (n num) scaled(exp int32) (int64, bool) {
	d := int(n.exp) - int(exp)
	if n.big != nil || d < 0 {
		return 0, false
	}
	if n.coef == 0 {
		return 0, true
	}
	if d >= len(pow10) {
		return 0, false
	}
	return mul64(n.coef, pow10[d])
}

func mul64(a, b int64) (int64, bool) {
	ua, ub := uint64(a), uint64(b)
	if a < 0 {
		ua = -ua
	}
	if b < 0 {
		ub = -ub
	}
	hi, lo := bits.Mul64(ua, ub)
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	if (a < 0) != (b < 0) {
		return -int64(lo), true
	}
	return int64(lo), true
}

func (n num) scaledBig(exp int32) *big.Int {
	b := n.bigCoef()
	if d := int(n.exp) - int(exp); d > 0 && b.Sign() != 0 {
		return new(big.Int).Mul(b, bigPow10(d))
	}
	return b
}

func compare(a, b num) int {
	exp := min(a.exp, b.exp)
	x, ok1 := a.scaled(exp)
	y, ok2 := b.scaled(exp)
	if ok1 && ok2 {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	if s, t := a.sign(), b.sign(); s != t {
		return max(min(s-t, 1), -1)
	}
	return a.scaledBig(exp).Cmp(b.scaledBig(exp))
}

func add(a, b num) (num, bool) {
	exp := min(a.exp, b.exp)
	x, ok1 := a.scaled(exp)
	y, ok2 := b.scaled(exp)
	if ok1 && ok2 {
		if s := x + y; (s > x) == (y > 0) && s != math.MinInt64 {
			return checked(num{coef: s, exp: exp}, int(exp))
		}
	}
	return rounded(new(big.Int).Add(a.scaledBig(exp), b.scaledBig(exp)), int(exp))
}

func multiply(a, b num) (num, bool) {
	exp := int(a.exp) + int(b.exp)
	if a.big == nil && b.big == nil {
		if c, ok := mul64(a.coef, b.coef); ok {
			return checked(num{coef: c, exp: int32(exp)}, exp)
		}
	}
	return rounded(new(big.Int).Mul(a.bigCoef(), b.bigCoef()), exp)
}

// divide returns the quotient of Decimals to 34 digits, with no more decimals than it needs.
func divide(a, b num) (num, bool) {
	if b.sign() == 0 {
		return num{}, false
	}
	preferred := int(a.exp) - int(b.exp)
	if a.sign() == 0 {
		return checked(num{}, preferred)
	}
	if a.big == nil && b.big == nil {
		for k := range 7 { // most quotients end after a few decimals
			c, ok := mul64(a.coef, pow10[k])
			if !ok {
				break
			}
			if c%b.coef == 0 {
				return checked(num{coef: c / b.coef, exp: int32(preferred - k)}, preferred-k)
			}
		}
	}
	shift := max(maxDigits+2-a.digits()+b.digits(), 0)
	q, r := new(big.Int).QuoRem(new(big.Int).Mul(a.bigCoef(), bigPow10(shift)), b.bigCoef(), new(big.Int))
	exp := preferred - shift
	if r.Sign() != 0 { // a last digit that is neither zero nor half
		q.Mul(q, big.NewInt(10))
		q.Add(q, big.NewInt(int64(a.sign()*b.sign())))
		return rounded(q, exp-1)
	}
	n, ok := rounded(q, exp)
	return n.stripped(int32(preferred)), ok
}

// remainder has the sign of a.
func remainder(a, b num) (num, bool) {
	if b.sign() == 0 {
		return num{}, false
	}
	exp := min(a.exp, b.exp)
	x, ok1 := a.scaled(exp)
	y, ok2 := b.scaled(exp)
	if ok1 && ok2 {
		return num{coef: x % y, exp: exp}, true
	}
	return rounded(new(big.Int).Rem(a.scaledBig(exp), b.scaledBig(exp)), int(exp))
}

// quotient is the integer part of a / b, towards zero.
func quotient(a, b num) (num, bool) {
	if b.sign() == 0 {
		return num{}, false
	}
	exp := min(a.exp, b.exp)
	x, ok1 := a.scaled(exp)
	y, ok2 := b.scaled(exp)
	if ok1 && ok2 {
		return num{coef: x / y}, true
	}
	return rounded(new(big.Int).Quo(a.scaledBig(exp), b.scaledBig(exp)), 0)
}

// stripped removes trailing zeros as long as the exponent stays at most limit.
func (n num) stripped(limit int32) num {
	if n.big != nil {
		b, ten, r := new(big.Int).Set(n.big), big.NewInt(10), new(big.Int)
		q := new(big.Int)
		for n.exp < limit {
			if q.QuoRem(b, ten, r); r.Sign() != 0 {
				break
			}
			b, q = q, b
			n.exp++
		}
		n.big = b
		return small(n)
	}
	for n.exp < limit && n.coef%10 == 0 {
		n.coef /= 10
		n.exp++
	}
	return n
}

// isWhole reports whether the number has no fraction.
func (n num) isWhole() bool {
	if n.exp >= 0 {
		return true
	}
	if n.big == nil {
		d := int(-n.exp)
		if d >= len(pow10) {
			return n.coef == 0
		}
		return n.coef%pow10[d] == 0
	}
	return new(big.Int).Rem(n.big, bigPow10(int(-n.exp))).Sign() == 0
}

// The ways of making an integer of a decimal.
type rounding uint8

const (
	towardsZero rounding = iota
	down
	up
	halfAway
)

// integer rounds to an integer with exponent 0; ok is false when that has more than 34 digits.
func (n num) integer(mode rounding) (num, bool) {
	if n.exp == 0 {
		return n, true
	}
	if n.sign() == 0 {
		return num{}, true
	}
	if n.exp > 0 {
		if int(n.exp)+n.digits() > maxDigits {
			return num{}, false
		}
		if c, ok := n.scaled(0); ok {
			return num{coef: c}, true
		}
		return small(num{big: n.scaledBig(0)}), true
	}
	return n.places(0, mode)
}

// places rounds to at most d decimals.
func (n num) places(d int, mode rounding) (num, bool) {
	drop := -int(n.exp) - d
	if drop <= 0 {
		return n, true
	}
	unit := bigPow10(drop)
	q, r := new(big.Int).QuoRem(n.bigCoef(), unit, new(big.Int))
	step := false
	switch mode {
	case down:
		step = r.Sign() < 0
	case up:
		step = r.Sign() > 0
	case halfAway:
		step = new(big.Int).Lsh(r, 1).CmpAbs(unit) >= 0
	}
	if step {
		q.Add(q, big.NewInt(int64(r.Sign())))
	}
	return small(num{exp: int32(-d), big: q}), true
}

// int64 returns an integer that fits; the number must have been rounded before. What does not fit
// becomes the nearest bound.
func (n num) int64() int64 {
	if n.exp == 0 && n.big == nil {
		return n.coef
	}
	if v, ok := n.scaled(0); ok {
		return v
	}
	if n.sign() < 0 {
		return math.MinInt64
	}
	return math.MaxInt64
}

func (n num) float() float64 {
	if n.big == nil && n.exp == 0 {
		return float64(n.coef)
	}
	var buf [64]byte
	f, _ := strconv.ParseFloat(string(n.append(buf[:0])), 64)
	return f
}

// fromFloat gives a double the digits and the exponent that Java prints for it: 2.0, 1.0E+21.
func fromFloat(f float64) (num, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return num{}, false
	}
	if f == 0 {
		return num{exp: -1}, true
	}
	var buf [32]byte
	n, _, ok := parseNum(string(strconv.AppendFloat(buf[:0], f, 'e', -1, 64)))
	if !ok {
		return num{}, false
	}
	if d := n.digits(); d == 1 && (int(n.exp) >= 7 || n.exp < -3) || n.exp >= 0 && int(n.exp)+d <= 7 {
		// Doubles always have a decimal.
		want := int32(-1)
		if int(n.exp) >= 7 || n.exp < -3 {
			want = n.exp - 1
		}
		if c, ok := n.scaled(want); ok {
			return num{coef: c, exp: want}, true
		}
	}
	return n, true
}

// append writes the number as BigDecimal.toString does: with an exponent only when there are zeros
// to save.
func (n num) append(dst []byte) []byte {
	if n.exp == 0 && n.big == nil {
		return strconv.AppendInt(dst, n.coef, 10)
	}
	start := len(dst)
	if n.big != nil {
		dst = n.big.Append(dst, 10)
	} else {
		dst = strconv.AppendInt(dst, n.coef, 10)
	}
	if n.exp == 0 {
		return dst
	}
	if dst[start] == '-' {
		start++
	}
	digits := len(dst) - start
	adjusted := int(n.exp) + digits - 1
	if n.exp < 0 && adjusted >= -6 {
		if zeros := -int(n.exp) - digits + 1; zeros > 0 {
			dst = append(dst, "00000000"[:zeros]...)
			copy(dst[start+zeros:], dst[start:])
			copy(dst[start:], "00000000"[:zeros])
		}
		point := len(dst) + int(n.exp)
		dst = append(dst, 0)
		copy(dst[point+1:], dst[point:])
		dst[point] = '.'
		return dst
	}
	if digits > 1 {
		dst = append(dst, 0)
		copy(dst[start+2:], dst[start+1:])
		dst[start+1] = '.'
	}
	dst = append(dst, 'E')
	if adjusted > 0 {
		dst = append(dst, '+')
	}
	return strconv.AppendInt(dst, int64(adjusted), 10)
}
