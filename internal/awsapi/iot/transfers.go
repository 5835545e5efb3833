package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
)

func (p *plane) transferCertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Message string `json:"transferMessage"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	account := req.Query("targetAwsAccount")
	if account == "" {
		return nil, awsapi.Missing("targetAwsAccount")
	}
	arn, err := p.registry.TransferCertificate(ctx, req.Path("certificateId"), account, in.Message)
	return struct {
		ARN string `json:"transferredCertificateArn"`
	}{arn}, err
}

func (p *plane) acceptCertificateTransfer(ctx context.Context, req *awsapi.Request) (any, error) {
	active, err := req.Bool("setAsActive", false)
	if err != nil {
		return nil, err
	}
	return nil, p.registry.AcceptCertificateTransfer(ctx, req.Path("certificateId"), active)
}

func (p *plane) rejectCertificateTransfer(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Reason string `json:"rejectReason"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return nil, p.registry.RejectCertificateTransfer(ctx, req.Path("certificateId"), in.Reason)
}

func (p *plane) cancelCertificateTransfer(ctx context.Context, req *awsapi.Request) (any, error) {
	return nil, p.registry.CancelCertificateTransfer(ctx, req.Path("certificateId"))
}

func (p *plane) listOutgoingCertificates(ctx context.Context, req *awsapi.Request) (any, error) {
	ascending, page, err := byTime(req)
	if err != nil {
		return nil, err
	}
	certs, next, err := p.registry.ListOutgoingCertificates(ctx, ascending, page)
	if err != nil {
		return nil, err
	}
	type outgoing struct {
		ARN             string      `json:"certificateArn"`
		ID              string      `json:"certificateId"`
		TransferredTo   string      `json:"transferredTo"`
		TransferDate    awsapi.Time `json:"transferDate"`
		TransferMessage string      `json:"transferMessage,omitempty"`
		CreationDate    awsapi.Time `json:"creationDate"`
	}
	out := struct {
		Certificates []outgoing `json:"outgoingCertificates"`
		NextMarker   string     `json:"nextMarker,omitempty"`
	}{make([]outgoing, len(certs)), next}
	for i, c := range certs {
		out.Certificates[i] = outgoing{c.ARN, c.ID, c.Transfer.To, awsapi.Time(c.Transfer.Date), c.Transfer.Message, awsapi.Time(c.Created)}
	}
	return out, nil
}
