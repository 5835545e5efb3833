package iotauthn

import (
	"context"
	"encoding/json"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/domain"
)

type authorizerConfig struct {
	Default  string `json:"defaultAuthorizerName,omitempty"`
	Override bool   `json:"allowAuthorizerOverride"`
}

type tlsConfig struct {
	SecurityPolicy string `json:"securityPolicy,omitempty"`
}

// domainSettings are the members that creating and changing have in common.
type domainSettings struct {
	Authorizer        *authorizerConfig `json:"authorizerConfig"`
	TLS               *tlsConfig        `json:"tlsConfig"`
	ServerCertificate json.RawMessage   `json:"serverCertificateConfig"`
	Authentication    string            `json:"authenticationType"`
	Protocol          string            `json:"applicationProtocol"`
	ClientCertificate *struct {
		Callback string `json:"clientCertificateCallbackArn"`
	} `json:"clientCertificateConfig"`
}

func (s *domainSettings) domain() (domain.Settings, error) {
	if s.ClientCertificate != nil && s.ClientCertificate.Callback != "" {
		return domain.Settings{}, awsapi.Invalid("clientCertificateCallbackArn is not supported here, and leaving it out silently would let clients in that it refuses")
	}
	out := domain.Settings{Authentication: s.Authentication, Protocol: s.Protocol}
	if string(s.ServerCertificate) != "null" {
		out.ServerCertificateIs = s.ServerCertificate
	}
	if s.Authorizer != nil {
		out.Authorizer = &domain.Authorizer{Default: s.Authorizer.Default, Override: s.Authorizer.Override}
	}
	if s.TLS != nil {
		out.SecurityPolicy = s.TLS.SecurityPolicy
	}
	return out, nil
}

type domainNameAndARN struct {
	Name string `json:"domainConfigurationName"`
	ARN  string `json:"domainConfigurationArn"`
}

func (p *plane) createDomainConfiguration(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		domainSettings
		DomainName   string   `json:"domainName"`
		Certificates []string `json:"serverCertificateArns"`
		Validation   string   `json:"validationCertificateArn"`
		Service      string   `json:"serviceType"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Service != "" && in.Service != "DATA" {
		return nil, awsapi.Invalid("serviceType %s is not supported: it is DATA", in.Service)
	}
	if len(in.Certificates) > 1 {
		return nil, awsapi.Invalid("serverCertificateArns has %d members, the limit is 1", len(in.Certificates))
	}
	settings, err := in.domain()
	if err != nil {
		return nil, err
	}
	c := domain.Configuration{Name: req.Path("domainConfigurationName"), DomainName: in.DomainName, ValidationCertificate: in.Validation, Settings: settings}
	if len(in.Certificates) == 1 {
		c.ServerCertificate = in.Certificates[0]
	}
	made, err := p.Domains.Create(ctx, c)
	if err != nil {
		return nil, err
	}
	return domainNameAndARN{made.Name, made.ARN}, nil
}

func (p *plane) updateDomainConfiguration(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		domainSettings
		Status           string `json:"domainConfigurationStatus"`
		RemoveAuthorizer bool   `json:"removeAuthorizerConfig"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	settings, err := in.domain()
	if err != nil {
		return nil, err
	}
	settings.Status = in.Status
	c, err := p.Domains.Update(ctx, req.Path("domainConfigurationName"), domain.Update{Settings: settings, RemoveAuthorizer: in.RemoveAuthorizer})
	if err != nil {
		return nil, err
	}
	return domainNameAndARN{c.Name, c.ARN}, nil
}

func (p *plane) deleteDomainConfiguration(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.Domains.Delete(ctx, req.Path("domainConfigurationName"))
}

func (p *plane) describeDomainConfiguration(_ context.Context, req *awsapi.Request) (any, error) {
	c, err := p.Domains.Describe(req.Path("domainConfigurationName"))
	if err != nil {
		return nil, err
	}
	type certificate struct {
		ARN    string `json:"serverCertificateArn"`
		Status string `json:"serverCertificateStatus"`
	}
	out := struct {
		domainNameAndARN
		DomainName        string            `json:"domainName"`
		Certificates      []certificate     `json:"serverCertificates"`
		Authorizer        *authorizerConfig `json:"authorizerConfig,omitempty"`
		Status            string            `json:"domainConfigurationStatus"`
		Service           string            `json:"serviceType"`
		Type              string            `json:"domainType"`
		StatusChanged     awsapi.Time       `json:"lastStatusChangeDate,omitzero"`
		TLS               *tlsConfig        `json:"tlsConfig,omitempty"`
		ServerCertificate json.RawMessage   `json:"serverCertificateConfig,omitempty"`
		Authentication    string            `json:"authenticationType"`
		Protocol          string            `json:"applicationProtocol"`
	}{domainNameAndARN: domainNameAndARN{c.Name, c.ARN}, DomainName: c.DomainName, Certificates: []certificate{}, Status: c.Status, Service: "DATA", Type: c.Type,
		StatusChanged: awsapi.Time(c.StatusChanged), ServerCertificate: c.ServerCertificateIs, Authentication: c.Authentication, Protocol: c.Protocol}
	if c.ServerCertificate != "" {
		out.Certificates = append(out.Certificates, certificate{c.ServerCertificate, "VALID"})
	}
	if a := c.Authorizer; a != nil {
		out.Authorizer = &authorizerConfig{a.Default, a.Override}
	}
	if c.SecurityPolicy != "" {
		out.TLS = &tlsConfig{c.SecurityPolicy}
	}
	return out, nil
}

func (p *plane) listDomainConfigurations(_ context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("pageSize", "marker")
	if err != nil {
		return nil, err
	}
	type summary struct {
		domainNameAndARN
		Service string `json:"serviceType"`
	}
	out := struct {
		Configurations []summary `json:"domainConfigurations"`
		NextMarker     string    `json:"nextMarker,omitempty"`
	}{Configurations: []summary{}}
	switch service := req.Query("serviceType"); service {
	case "", "DATA":
	case "CREDENTIAL_PROVIDER", "JOBS":
		return out, nil
	default:
		return nil, awsapi.Invalid("1 validation error detected: Value '%s' at 'serviceType' failed to satisfy constraint: Member must satisfy enum value set: [CREDENTIAL_PROVIDER, DATA, JOBS]", service)
	}
	list, next, err := p.Domains.List(page)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		out.Configurations = append(out.Configurations, summary{domainNameAndARN{c.Name, c.ARN}, "DATA"})
	}
	out.NextMarker = next
	return out, nil
}
