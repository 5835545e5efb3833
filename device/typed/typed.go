// Package typed lets handlers of the device library work with the application's own structs instead of
// JSON. It uses encoding/json, so it is not of the core.
package typed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/awsiot"
)

// Delta makes a handler of device.Handlers.Delta from one that gets what is desired as a T, with those
// fields set that differ, and returns what holds now. Its result is reported; fields that it leaves out
// with omitempty are not. A delta that is no T is an error, and is not applied: members that T does not
// have are passed over, and stay in the delta.
func Delta[T any](apply func(T) (reported T, err error)) func(device.Delta) ([]byte, error) {
	return func(d device.Delta) ([]byte, error) {
		var desired T
		if err := json.Unmarshal(d.State, &desired); err != nil {
			return nil, fmt.Errorf("shadow delta: %w", err)
		}
		reported, err := apply(desired)
		if err != nil {
			return nil, err
		}
		return json.Marshal(reported)
	}
}

// Reported makes a handler of device.Handlers.Reported from one that returns a T.
func Reported[T any](state func() T) func() []byte {
	return func() []byte {
		b, err := json.Marshal(state())
		if err != nil {
			return nil
		}
		return b
	}
}

// Job makes a handler of device.Handlers.Job from one that gets the job's document as a T. A document
// that is no T, or has members that T does not have, is rejected: the job is for another device.
func Job[T any](work func(ctx context.Context, j *device.Job, document T) error) func(context.Context, *device.Job) error {
	return func(ctx context.Context, j *device.Job) error {
		var document T
		dec := json.NewDecoder(bytes.NewReader(j.Document))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&document); err != nil {
			return fmt.Errorf("%w: %w", awsiot.ErrRejected, err)
		}
		return work(ctx, j, document)
	}
}
