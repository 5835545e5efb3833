package iot

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/registry"
)

type registrationConfig struct {
	TemplateBody string `json:"templateBody,omitempty"`
	RoleARN      string `json:"roleArn,omitempty"`
	TemplateName string `json:"templateName,omitempty"`
}

func (p *plane) registerCACertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		CACertificate           string             `json:"caCertificate"`
		VerificationCertificate string             `json:"verificationCertificate"`
		RegistrationConfig      registrationConfig `json:"registrationConfig"`
		Mode                    string             `json:"certificateMode"`
		Tags                    tags               `json:"tags"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.CACertificate == "" {
		return nil, awsapi.Missing("caCertificate")
	}
	active, err := req.Bool("setAsActive", false)
	if err != nil {
		return nil, err
	}
	auto, err := req.Bool("allowAutoRegistration", false)
	if err != nil {
		return nil, err
	}
	if err := p.checkRegistration(ctx, in.RegistrationConfig); err != nil {
		return nil, err
	}
	c, err := p.registry.RegisterCACertificate(ctx, registry.NewCACertificate{
		PEM: in.CACertificate, VerificationPEM: in.VerificationCertificate, Mode: in.Mode, Active: active, AutoRegistration: auto,
		Registration: registry.RegistrationConfig(in.RegistrationConfig), Tags: in.Tags.domain(),
	})
	if err != nil {
		return nil, err
	}
	return issuedCertificate{ARN: c.ARN, ID: c.ID}, nil
}

func (p *plane) describeCACertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	c, err := p.registry.DescribeCACertificate(ctx, req.Path("caCertificateId"))
	if err != nil {
		return nil, err
	}
	type description struct {
		ARN              string      `json:"certificateArn"`
		ID               string      `json:"certificateId"`
		Status           string      `json:"status"`
		PEM              string      `json:"certificatePem"`
		OwnedBy          string      `json:"ownedBy"`
		CreationDate     awsapi.Time `json:"creationDate"`
		AutoRegistration string      `json:"autoRegistrationStatus"`
		LastModifiedDate awsapi.Time `json:"lastModifiedDate"`
		CustomerVersion  int64       `json:"customerVersion"`
		GenerationID     string      `json:"generationId"`
		Validity         validity    `json:"validity"`
		Mode             string      `json:"certificateMode"`
	}
	auto := "DISABLE"
	if c.AutoRegistration {
		auto = "ENABLE"
	}
	return struct {
		Description  description        `json:"certificateDescription"`
		Registration registrationConfig `json:"registrationConfig,omitzero"`
	}{description{
		c.ARN, c.ID, c.Status, c.PEM, p.registry.Account(), awsapi.Time(c.Created), auto, awsapi.Time(c.Modified), c.CustomerVersion, c.GenerationID,
		validity{awsapi.Time(c.NotBefore), awsapi.Time(c.NotAfter)}, c.Mode,
	}, registrationConfig(c.Registration)}, nil
}

func (p *plane) listCACertificates(ctx context.Context, req *awsapi.Request) (any, error) {
	ascending, page, err := byTime(req)
	if err != nil {
		return nil, err
	}
	cas, next, err := p.registry.ListCACertificates(ctx, req.Query("templateName"), ascending, page)
	if err != nil {
		return nil, err
	}
	out := certificateList{make([]certificateSummary, len(cas)), next}
	for i, c := range cas {
		out.Certificates[i] = certificateSummary{ARN: c.ARN, ID: c.ID, Status: c.Status, CreationDate: awsapi.Time(c.Created)}
	}
	return out, nil
}

func (p *plane) updateCACertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		RegistrationConfig     *registrationConfig `json:"registrationConfig"`
		RemoveAutoRegistration bool                `json:"removeAutoRegistration"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	up := registry.CACertificateUpdate{Status: req.Query("newStatus"), RemoveRegistration: in.RemoveAutoRegistration}
	if in.RegistrationConfig != nil {
		if err := p.checkRegistration(ctx, *in.RegistrationConfig); err != nil {
			return nil, err
		}
		config := registry.RegistrationConfig(*in.RegistrationConfig)
		up.Registration = &config
	}
	switch auto := req.Query("newAutoRegistrationStatus"); auto {
	case "":
	case "ENABLE", "DISABLE":
		enable := auto == "ENABLE"
		up.AutoRegistration = &enable
	default:
		return nil, awsapi.Invalid("1 validation error detected: Value '%s' at 'newAutoRegistrationStatus' failed to satisfy constraint: Member must satisfy enum value set: [ENABLE, DISABLE]", auto)
	}
	return nil, p.registry.UpdateCACertificate(ctx, req.Path("caCertificateId"), up)
}

func (p *plane) deleteCACertificate(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.registry.DeleteCACertificate(ctx, req.Path("caCertificateId"))
}

func (p *plane) getRegistrationCode(ctx context.Context, _ *awsapi.Request) (any, error) {
	code, err := p.registry.GetRegistrationCode(ctx)
	return struct {
		Code string `json:"registrationCode"`
	}{code}, err
}

func (p *plane) deleteRegistrationCode(ctx context.Context, _ *awsapi.Request) (any, error) {
	return empty{}, p.registry.DeleteRegistrationCode(ctx)
}
