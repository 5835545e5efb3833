package iotsql

import "strings"

// function is a function of the language. build is given as many arguments as min and max allow;
// it may return a warning about them.
type function struct {
	min, max  int // max -1: any number
	since2016 bool
	build     func(args []arg) (do fn, warning string)
}

// functions are those of the guide's page "Functions", by their names in small letters.
var functions = map[string]function{
	// mathematics
	"abs": one(absolute), "acos": real1(acos), "asin": real1(asin), "atan": real1(atan), "atan2": two(atan2),
	"ceil": one(roundBy(up)), "cos": real1(cos), "cosh": real1(cosh), "exp": real1(exp), "floor": one(roundBy(down)),
	"ln": real1(ln), "log": real1(log10), "mod": two(modulo), "power": two(power), "rand": call0(random),
	"remainder": two(modulo), "round": one(roundBy(halfAway)), "sign": one(sign), "sin": real1(sin), "sinh": real1(sinh),
	"sqrt": real1(sqrt), "tan": real1(tan), "tanh": real1(tanh), "trunc": two(truncate),
	"bitand": two(bitwise(bitAnd)), "bitor": two(bitwise(bitOr)), "bitxor": two(bitwise(bitXor)), "bitnot": one(bitNot),
	"nanvl": two(nanvl),

	// strings
	"chr": one(chr), "concat": many(0, -1, concat), "endswith": two(endsWith), "startswith": two(startsWith),
	"indexof": v2016(two(indexOf)), "length": v2016(one(length)), "numbytes": v2016(one(numBytes)),
	"lower": text1(strings.ToLower), "upper": text1(upper),
	"ltrim": text1(trimLeft), "rtrim": text1(trimRight), "trim": text1(trimBoth),
	"lpad": two(pad(true)), "rpad": two(pad(false)), "replace": many(3, 3, replace), "substring": many(2, 3, substring),
	"regexp_matches": {2, 2, false, regexpMatches}, "regexp_replace": {3, 3, false, regexpReplace}, "regexp_substr": {2, 2, false, regexpSubstr},
	"md2": text1(md2Hex), "md5": text1(md5Hex), "sha1": text1(sha1Hex), "sha224": text1(sha224Hex), "sha256": text1(sha256Hex),
	"sha384": text1(sha384Hex), "sha512": text1(sha512Hex),

	// values and collections
	"get": two(get), "get_or_default": v2016(function{1, 2, false, getOrDefault}),
	"isnull": one(isNull), "isundefined": v2016(one(isUndefined)), "transform": v2016(many(3, 3, transform)),

	// time
	"timestamp": call0(timestamp), "parse_time": v2016(function{2, 3, false, parseTime}), "time_to_epoch": v2016(function{2, 2, false, timeToEpoch}),

	// the message
	"accountid": call0(accountID), "clientid": call0(clientID), "newuuid": call0(newUUID), "principal": call0(principal),
	"sourceip": call0(sourceIP), "sql_version": call0(sqlVersion), "topic": {0, 1, false, topicFunction}, "traceid": call0(traceID),
	"get_mqtt_property": one(mqttProperty), "get_user_properties": many(0, 1, userProperties),

	// encodings
	"encode": v2016(function{2, 2, false, encode}), "decode": v2016(function{2, 6, false, decode}),

	// asking something outside
	"aws_lambda": many(2, 2, awsLambda), "get_dynamodb": v2016(many(4, 6, getDynamoDB)), "get_secret": v2016(many(3, 4, getSecret)),
	"get_thing_shadow": v2016(many(2, 3, getThingShadow)), "get_registry_data": v2016(many(3, 3, getRegistryData)),
}

func v2016(f function) function {
	f.since2016 = true
	return f
}

func call0(do fn) function {
	return function{0, 0, false, func([]arg) (fn, string) { return do, "" }}
}

func one(do func(f *frame, v value) value) function {
	return function{1, 1, false, func(a []arg) (fn, string) {
		in := a[0].do
		return func(f *frame) value { return do(f, in(f)) }, ""
	}}
}

func two(do func(f *frame, a, b value) value) function {
	return function{2, 2, false, func(a []arg) (fn, string) {
		l, r := a[0].do, a[1].do
		return func(f *frame) value { return do(f, l(f), r(f)) }, ""
	}}
}

func many(min, max int, do func(f *frame, a []value) value) function {
	return function{min, max, false, func(args []arg) (fn, string) {
		return func(f *frame) value {
			var some [6]value
			a := some[:0]
			for i := range args {
				a = append(a, args[i].do(f))
			}
			return do(f, a)
		}, ""
	}}
}

// text1 is a function of one string.
func text1(do func(s string) string) function {
	return one(func(_ *frame, v value) value {
		s, ok := v.toText()
		if !ok {
			return undefined
		}
		return text(do(s))
	})
}

// nearest returns the function whose name is at most two typing mistakes away.
func nearest(name string) string {
	best, least := "", 3
	for known := range functions {
		if d := distance(name, known, 3); d < least || d == least && best != "" && known < best {
			best, least = known, d
		}
	}
	return best
}

// distance is the number of characters to insert, delete or change, or limit if it is at least
// that.
func distance(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= limit || len(a) > 64 {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return min(row[len(b)], limit)
}
