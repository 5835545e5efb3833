// Package iotota is the REST face of streams and OTA updates: their operations on the control plane
// `iot`, as the AWS IoT API reference describes them. Handlers translate between JSON and packages
// stream and ota.
package iotota

import (
	"errors"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/codesign"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/ota"
	"github.com/berth-iot/berth/internal/stream"
)

// Config is what the operations work on.
type Config struct {
	Streams *stream.Service
	Updates *ota.Service
}

type plane struct{ Config }

// Operations returns the handlers.
func Operations(cfg Config) awsapi.Set {
	p := &plane{cfg}
	handlers := map[string]awsapi.Handler{
		"CreateStream":    p.createStream,
		"UpdateStream":    p.updateStream,
		"DescribeStream":  p.describeStream,
		"DeleteStream":    p.deleteStream,
		"ListStreams":     p.listStreams,
		"CreateOTAUpdate": p.createUpdate,
		"GetOTAUpdate":    p.getUpdate,
		"ListOTAUpdates":  p.listUpdates,
		"DeleteOTAUpdate": p.deleteUpdate,
	}
	return awsapi.Set{Service: awsapi.IoT, Handlers: handlers}.Exceptions(exception)
}

// exception turns refusals of the domain packages into AWS exceptions.
func exception(err error) error {
	for _, x := range []struct {
		kind   error
		name   string
		status int
	}{
		{stream.ErrUnauthorized, "UnauthorizedException", 401},
		{stream.ErrNotFound, "ResourceNotFoundException", 404},
		{ota.ErrNotFound, "ResourceNotFoundException", 404},
		{codesign.ErrNotFound, "ResourceNotFoundException", 404},
		{stream.ErrExists, "ResourceAlreadyExistsException", 409},
		{ota.ErrExists, "ResourceAlreadyExistsException", 409},
		{stream.ErrLimit, "LimitExceededException", 410},
		{stream.ErrInvalid, "InvalidRequestException", 400},
		{ota.ErrInvalid, "InvalidRequestException", 400},
		{jobs.ErrInvalid, "InvalidRequestException", 400},
	} {
		if !errors.Is(err, x.kind) {
			continue
		}
		e := &awsapi.Error{Type: x.name, Status: x.status, Message: err.Error()}
		if refusal := (*stream.Error)(nil); errors.As(err, &refusal) {
			e.ResourceID, e.ResourceARN = refusal.ID, refusal.ARN
		}
		if refusal := (*ota.Error)(nil); errors.As(err, &refusal) {
			e.ResourceID, e.ResourceARN = refusal.ID, refusal.ARN
		}
		return e
	}
	return err
}

type empty struct{}
