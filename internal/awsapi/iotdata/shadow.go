package iotdata

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/policy"
)

// shadowID reads which shadow a request is for and asks whether the caller may.
func (p *plane) shadowID(ctx context.Context, req *awsapi.Request, action policy.Action) (shadow.ID, error) {
	id := shadow.ID{Thing: req.Path("thingName"), Shadow: req.Query("name")}
	if !id.Valid() {
		return id, awsapi.Invalid("thing %q cannot have a shadow named %q", id.Thing, id.Shadow)
	}
	resource := id.Thing
	if id.Shadow != "" {
		resource += "/" + id.Shadow
	}
	return id, p.allow(ctx, req, action, policy.KindThing, resource)
}

// document is an answer that is a shadow document; a refusal becomes the exception that the service
// model names for it.
func document(payload []byte, err error) (any, error) {
	var refusal *shadow.Error
	switch {
	case errors.As(err, &refusal):
		return nil, shadowException(refusal)
	case err != nil:
		return nil, err
	}
	return &awsapi.Response{Body: payload}, nil
}

func shadowException(e *shadow.Error) *awsapi.Error {
	name := "InternalFailureException"
	switch e.Code {
	case 400:
		name = "InvalidRequestException"
	case 401:
		name = "UnauthorizedException"
	case 403:
		name = "ForbiddenException"
	case 404:
		name = "ResourceNotFoundException"
	case 409:
		name = "ConflictException"
	case 413:
		name = "RequestEntityTooLargeException"
	case 415:
		name = "UnsupportedDocumentEncodingException"
	case 429:
		name = "ThrottlingException"
	case 503:
		name = "ServiceUnavailableException"
	}
	return &awsapi.Error{Type: name, Status: e.Code, Message: e.Message}
}

func (p *plane) getThingShadow(ctx context.Context, req *awsapi.Request) (any, error) {
	id, err := p.shadowID(ctx, req, policy.GetThingShadow)
	if err != nil {
		return nil, err
	}
	return document(p.Shadows.Get(ctx, id))
}

func (p *plane) updateThingShadow(ctx context.Context, req *awsapi.Request) (any, error) {
	id, err := p.shadowID(ctx, req, policy.UpdateThingShadow)
	if err != nil {
		return nil, err
	}
	return document(p.Shadows.Update(ctx, id, req.Body))
}

func (p *plane) deleteThingShadow(ctx context.Context, req *awsapi.Request) (any, error) {
	id, err := p.shadowID(ctx, req, policy.DeleteThingShadow)
	if err != nil {
		return nil, err
	}
	return document(p.Shadows.Delete(ctx, id))
}

// maxShadowNames is the largest page of ListNamedShadowsForThing.
const maxShadowNames = 100

func (p *plane) listNamedShadowsForThing(ctx context.Context, req *awsapi.Request) (any, error) {
	id := shadow.ID{Thing: req.Path("thingName")}
	if !id.Valid() {
		return nil, awsapi.Invalid("%q cannot be the name of a thing", id.Thing)
	}
	if err := p.allow(ctx, req, policy.ListNamedShadowsForThing, policy.KindThing, id.Thing); err != nil {
		return nil, err
	}
	size, err := req.Int("pageSize")
	if err != nil {
		return nil, err
	}
	limit := 25
	if size != nil {
		if *size < 1 || *size > maxShadowNames {
			return nil, awsapi.Invalid("pageSize is %d, not from 1 to %d", *size, maxShadowNames)
		}
		limit = int(*size)
	}
	after, err := base64.RawURLEncoding.DecodeString(req.Query("nextToken"))
	if err != nil {
		return nil, awsapi.Invalid("nextToken is not one that this operation gave")
	}
	names, err := p.Shadows.List(ctx, id.Thing, string(after), limit+1)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	out := struct {
		Results   []string `json:"results"`
		NextToken string   `json:"nextToken,omitempty"`
		Timestamp int64    `json:"timestamp"`
	}{Results: []string{}, Timestamp: time.Now().Unix()}
	if len(names) > limit {
		names = names[:limit]
		out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(names[limit-1]))
	}
	out.Results = append(out.Results, names...)
	return out, nil
}
