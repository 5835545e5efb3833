package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
)

// describeEndpoint answers one host for every kind of endpoint: all planes share it.
func (p *plane) describeEndpoint(_ context.Context, req *awsapi.Request) (any, error) {
	switch kind := req.Query("endpointType"); kind {
	case "", "iot:Data", "iot:Data-ATS", "iot:Data-Beta", "iot:CredentialProvider", "iot:Jobs":
		return struct {
			EndpointAddress string `json:"endpointAddress"`
		}{p.endpoint}, nil
	default:
		return nil, awsapi.Invalid("Endpoint type %s is not one of iot:Data, iot:Data-ATS, iot:CredentialProvider, iot:Jobs", kind)
	}
}
