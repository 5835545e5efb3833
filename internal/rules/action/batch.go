package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
)

// same is the outcome of a batch all of whose messages fared alike.
func same(n int, err error) []error {
	if err == nil {
		return nil
	}
	list := make([]error, n)
	for i := range list {
		list[i] = err
	}
	return list
}

// single carries a batch of one out.
func single(ctx context.Context, s *Services, a Batcher, m *Message) error {
	if errs := a.DoBatch(ctx, s, []Delivery{{a, m}}); len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// elements splits a result that is a JSON array, which actions with batchMode take as many messages.
func elements(kind string, m *Message, most int) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if m.Binary || json.Unmarshal(m.Payload, &list) != nil || !bytes.HasPrefix(bytes.TrimSpace(m.Payload), []byte("[")) {
		return nil, refuse("%s: batchMode wants a result that is a JSON array", kind)
	}
	if len(list) > most {
		return nil, refuse("%s: the result has %d elements, more than %d", kind, len(list), most)
	}
	return list, nil
}

// parcel is a record of one message of a batch.
type parcel[T any] struct {
	record T
	bytes  int
	of     int // index of the message
}

// parcels sends records in calls of at most most records and limit bytes. A message has failed when one
// of its records has; errs are the messages' outcomes, where those that failed before stay.
func parcels[T any](list []parcel[T], most, limit int, errs []error, call func(records []T) []error) []error {
	for len(list) > 0 {
		n, bytes := 0, 0
		for n < len(list) && n < most && (n == 0 || bytes+list[n].bytes <= limit) {
			bytes += list[n].bytes
			n++
		}
		records := make([]T, n)
		for i := range records {
			records[i] = list[i].record
		}
		for i, err := range call(records) {
			if of := list[i].of; err != nil && (errs[of] == nil || IsPermanent(errs[of])) {
				errs[of] = err
			}
		}
		list = list[n:]
	}
	return errs
}

// refused is the error of one record that a service did not take while it took others.
func refused(kind, code, message string, permanent bool) error {
	err := errors.New(kind + ": " + code + ": " + message)
	if permanent {
		return Permanent(err)
	}
	return err
}
