package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

type keyPair struct {
	PublicKey  string `json:"PublicKey"`
	PrivateKey string `json:"PrivateKey"`
}

type issuedCertificate struct {
	ARN  string   `json:"certificateArn"`
	ID   string   `json:"certificateId"`
	PEM  string   `json:"certificatePem,omitempty"`
	Keys *keyPair `json:"keyPair,omitempty"`
}

func setAsActive(req *awsapi.Request) (status string, err error) {
	active, err := req.Bool("setAsActive", false)
	if active {
		return registry.Active, err
	}
	return registry.Inactive, err
}

func (p *plane) createKeysAndCertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	status, err := setAsActive(req)
	if err != nil {
		return nil, err
	}
	issued, err := p.authority.IssueWithNewKey()
	if err != nil {
		return nil, err
	}
	c, err := p.registry.AddCertificate(ctx, registry.NewCertificate{PEM: issued.CertificatePEM, Status: status})
	if err != nil {
		return nil, err
	}
	return issuedCertificate{c.ARN, c.ID, c.PEM, &keyPair{issued.PublicKeyPEM, issued.PrivateKeyPEM}}, nil
}

func (p *plane) createCertificateFromCSR(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		CSR string `json:"certificateSigningRequest"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	status, err := setAsActive(req)
	if err != nil {
		return nil, err
	}
	if in.CSR == "" {
		return nil, awsapi.Missing("certificateSigningRequest")
	}
	issued, err := p.authority.IssueFromCSR(in.CSR)
	if err != nil {
		return nil, err
	}
	c, err := p.registry.AddCertificate(ctx, registry.NewCertificate{PEM: issued, Status: status})
	if err != nil {
		return nil, err
	}
	return issuedCertificate{c.ARN, c.ID, c.PEM, nil}, nil
}

func (p *plane) registerCertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		CertificatePEM   string `json:"certificatePem"`
		CACertificatePEM string `json:"caCertificatePem"`
		Status           string `json:"status"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	status, err := setAsActive(req)
	if err != nil {
		return nil, err
	}
	if in.CertificatePEM == "" {
		return nil, awsapi.Missing("certificatePem")
	}
	if in.Status != "" {
		status = in.Status
	}
	c, err := p.registry.RegisterCertificate(ctx, in.CertificatePEM, in.CACertificatePEM, status)
	if err != nil {
		return nil, err
	}
	return issuedCertificate{ARN: c.ARN, ID: c.ID}, nil
}

func (p *plane) registerCertificateWithoutCA(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		CertificatePEM string `json:"certificatePem"`
		Status         string `json:"status"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.CertificatePEM == "" {
		return nil, awsapi.Missing("certificatePem")
	}
	c, err := p.registry.RegisterCertificateWithoutCA(ctx, in.CertificatePEM, in.Status)
	if err != nil {
		return nil, err
	}
	return issuedCertificate{ARN: c.ARN, ID: c.ID}, nil
}

type validity struct {
	NotBefore awsapi.Time `json:"notBefore"`
	NotAfter  awsapi.Time `json:"notAfter"`
}

type transferData struct {
	Message      string      `json:"transferMessage,omitempty"`
	RejectReason string      `json:"rejectReason,omitempty"`
	Date         awsapi.Time `json:"transferDate,omitzero"`
	AcceptDate   awsapi.Time `json:"acceptDate,omitzero"`
	RejectDate   awsapi.Time `json:"rejectDate,omitzero"`
}

type certificateDescription struct {
	ARN              string       `json:"certificateArn"`
	ID               string       `json:"certificateId"`
	CACertificateID  string       `json:"caCertificateId,omitempty"`
	Status           string       `json:"status"`
	PEM              string       `json:"certificatePem"`
	OwnedBy          string       `json:"ownedBy"`
	PreviousOwnedBy  string       `json:"previousOwnedBy,omitempty"`
	CreationDate     awsapi.Time  `json:"creationDate"`
	LastModifiedDate awsapi.Time  `json:"lastModifiedDate"`
	CustomerVersion  int64        `json:"customerVersion"`
	TransferData     transferData `json:"transferData,omitzero"`
	GenerationID     string       `json:"generationId"`
	Validity         validity     `json:"validity"`
	Mode             string       `json:"certificateMode"`
}

func (p *plane) describeCertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	c, err := p.registry.DescribeCertificate(ctx, req.Path("certificateId"))
	if err != nil {
		return nil, err
	}
	return struct {
		Description certificateDescription `json:"certificateDescription"`
	}{certificateDescription{
		ARN: c.ARN, ID: c.ID, CACertificateID: c.CACertificateID, Status: c.Status, PEM: c.PEM, OwnedBy: c.OwnedBy, PreviousOwnedBy: c.PreviousOwnedBy,
		CreationDate: awsapi.Time(c.Created), LastModifiedDate: awsapi.Time(c.Modified), CustomerVersion: c.CustomerVersion, GenerationID: c.GenerationID,
		TransferData: transferData{
			Message: c.Transfer.Message, RejectReason: c.Transfer.RejectReason, Date: awsapi.Time(c.Transfer.Date),
			AcceptDate: awsapi.Time(c.Transfer.Accepted), RejectDate: awsapi.Time(c.Transfer.Rejected),
		},
		Validity: validity{awsapi.Time(c.NotBefore), awsapi.Time(c.NotAfter)}, Mode: c.Mode,
	}}, nil
}

// byTime reads the parameters of a listing by creation time.
func byTime(req *awsapi.Request) (ascending bool, page registry.Page, err error) {
	if page, err = req.Page("pageSize", "marker"); err != nil {
		return false, page, err
	}
	ascending, err = req.Bool("isAscendingOrder", false)
	return ascending, page, err
}

type certificateSummary struct {
	ARN          string      `json:"certificateArn"`
	ID           string      `json:"certificateId"`
	Status       string      `json:"status"`
	Mode         string      `json:"certificateMode,omitempty"`
	CreationDate awsapi.Time `json:"creationDate"`
}

type certificateList struct {
	Certificates []certificateSummary `json:"certificates"`
	NextMarker   string               `json:"nextMarker,omitempty"`
}

func (p *plane) listCertificates(ctx context.Context, req *awsapi.Request) (any, error) {
	return p.certificatesOf(ctx, req, "")
}

func (p *plane) listCertificatesByCA(ctx context.Context, req *awsapi.Request) (any, error) {
	return p.certificatesOf(ctx, req, req.Path("caCertificateId"))
}

func (p *plane) certificatesOf(ctx context.Context, req *awsapi.Request, ca string) (any, error) {
	ascending, page, err := byTime(req)
	if err != nil {
		return nil, err
	}
	certs, next, err := p.registry.ListCertificates(ctx, ca, ascending, page)
	if err != nil {
		return nil, err
	}
	out := certificateList{make([]certificateSummary, len(certs)), next}
	for i, c := range certs {
		out.Certificates[i] = certificateSummary{c.ARN, c.ID, c.Status, c.Mode, awsapi.Time(c.Created)}
	}
	return out, nil
}

func (p *plane) updateCertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	status := req.Query("newStatus")
	if status == "" {
		return nil, awsapi.Missing("newStatus")
	}
	return nil, p.registry.UpdateCertificate(ctx, req.Path("certificateId"), status)
}

func (p *plane) deleteCertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	force, err := req.Bool("forceDelete", false)
	if err != nil {
		return nil, err
	}
	return nil, p.registry.DeleteCertificate(ctx, req.Path("certificateId"), force)
}
