package iotsql

import "errors"

// maxItem is the largest item that get_dynamodb takes, in bytes of JSON.
const maxItem = 8 << 10

// answer makes a value of the JSON that a function outside returned.
func (f *frame) answer(name string, out []byte, err error) value {
	s := trimSpace(string(out))
	if err == nil && !checkJSON(s) {
		err = errors.New("the answer is not JSON")
	}
	if err != nil {
		f.fail(&FunctionError{name, err})
		return undefined
	}
	return fromJSON(s, f.asInt)
}

// strs returns the arguments if all are strings.
func strs(args []value) ([]string, bool) {
	l := make([]string, len(args))
	for i, a := range args {
		if a.kind != String {
			return nil, false
		}
		l[i] = a.str
	}
	return l, true
}

func awsLambda(f *frame, args []value) value {
	const name = "aws_lambda"
	if args[0].kind != String || args[1].kind == Undefined {
		return undefined
	}
	if f.ctx.Lambda == nil {
		f.fail(&FunctionError{name, ErrUnavailable})
		return undefined
	}
	out, err := f.ctx.Lambda(args[0].str, args[1].appendJSON(nil, false, f.asInt))
	return f.answer(name, out, err)
}

// getDynamoDB takes table, partition key and value, perhaps sort key and value, and a role.
func getDynamoDB(f *frame, args []value) value {
	const name = "get_dynamodb"
	last := len(args) - 1
	if len(args) == 5 || args[0].kind != String || args[last].kind != String {
		return undefined
	}
	var keys []Key
	for i := 1; i < last; i += 2 {
		if v := args[i+1]; args[i].kind != String || v.kind != String && !v.isNumber() {
			return undefined
		}
		keys = append(keys, Key{args[i].str, args[i+1].appendJSON(nil, true, f.asInt)})
	}
	if f.ctx.DynamoDB == nil {
		f.fail(&FunctionError{name, ErrUnavailable})
		return undefined
	}
	out, err := f.ctx.DynamoDB(args[0].str, keys, args[last].str)
	if err == nil && len(out) > maxItem {
		err = errors.New("the item has more than 8 KB")
	}
	return f.answer(name, out, err)
}

// getSecret takes identifier, SecretString or SecretBinary, perhaps a key, and a role.
func getSecret(f *frame, args []value) value {
	const name = "get_secret"
	a, ok := strs(args)
	if !ok || a[1] != "SecretString" && a[1] != "SecretBinary" {
		return undefined
	}
	fail := func(err error) value {
		f.fail(&FunctionError{name, err})
		return undefined
	}
	if f.ctx.Secret == nil {
		return fail(ErrUnavailable)
	}
	if len(a) == 4 && a[1] == "SecretBinary" {
		return fail(errors.New("a SecretBinary has no keys"))
	}
	s, err := f.ctx.Secret(a[0], a[1], a[len(a)-1])
	if err != nil {
		return fail(err)
	}
	if a[1] == "SecretBinary" {
		return text(s)
	}
	isObject := checkJSON(s) && trimSpace(s)[0] == '{'
	switch {
	case len(a) == 3 && isObject:
		return fromJSON(trimSpace(s), f.asInt)
	case len(a) == 3:
		return text(s)
	case !isObject:
		return fail(errors.New("the secret is not a JSON object and has no keys"))
	}
	v := fromJSON(trimSpace(s), f.asInt).get(a[2], f.asInt)
	if v.kind == Undefined {
		return fail(errors.New("the secret has no key " + quoted(a[2])))
	}
	return v
}

// getThingShadow takes a thing, perhaps the name of a shadow, and a role.
func getThingShadow(f *frame, args []value) value {
	const name = "get_thing_shadow"
	a, ok := strs(args)
	if !ok {
		return undefined
	}
	if f.ctx.ThingShadow == nil {
		f.fail(&FunctionError{name, ErrUnavailable})
		return undefined
	}
	shadow := ""
	if len(a) == 3 {
		shadow = a[1]
	}
	out, err := f.ctx.ThingShadow(a[0], shadow, a[len(a)-1])
	return f.answer(name, out, err)
}

// getRegistryData takes DescribeThing or ListThingGroupsForThing, a thing and a role.
func getRegistryData(f *frame, args []value) value {
	const name = "get_registry_data"
	a, ok := strs(args)
	if !ok || a[0] != "DescribeThing" && a[0] != "ListThingGroupsForThing" {
		return undefined
	}
	if f.ctx.RegistryData == nil {
		f.fail(&FunctionError{name, ErrUnavailable})
		return undefined
	}
	out, err := f.ctx.RegistryData(a[0], a[1], a[2])
	return f.answer(name, out, err)
}
