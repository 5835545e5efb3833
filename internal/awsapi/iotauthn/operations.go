// Package iotauthn is the part of the control plane `iot` that is about further ways to prove who
// one is: custom authorizers, domain configurations and role aliases, as the AWS IoT API reference
// describes them; and the credentials endpoint, where devices get temporary credentials.
package iotauthn

import (
	"github.com/berth-iot/berth/internal/authorizer"
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/rolealias"
)

// Config is what the operations work on.
type Config struct {
	Authorizers *authorizer.Service
	Domains     *domain.Domains
	Aliases     *rolealias.Aliases
	Account     string // owner of role aliases
}

type plane struct{ Config }

type empty struct{}

// Operations returns the handlers.
func Operations(cfg Config) awsapi.Set {
	p := &plane{cfg}
	return awsapi.Set{Service: awsapi.IoT, Handlers: map[string]awsapi.Handler{
		"CreateAuthorizer":          p.createAuthorizer,
		"DescribeAuthorizer":        p.describeAuthorizer,
		"UpdateAuthorizer":          p.updateAuthorizer,
		"DeleteAuthorizer":          p.deleteAuthorizer,
		"ListAuthorizers":           p.listAuthorizers,
		"SetDefaultAuthorizer":      p.setDefaultAuthorizer,
		"DescribeDefaultAuthorizer": p.describeDefaultAuthorizer,
		"ClearDefaultAuthorizer":    p.clearDefaultAuthorizer,
		"TestInvokeAuthorizer":      p.testInvokeAuthorizer,

		"CreateDomainConfiguration":   p.createDomainConfiguration,
		"DescribeDomainConfiguration": p.describeDomainConfiguration,
		"UpdateDomainConfiguration":   p.updateDomainConfiguration,
		"DeleteDomainConfiguration":   p.deleteDomainConfiguration,
		"ListDomainConfigurations":    p.listDomainConfigurations,

		"CreateRoleAlias":   p.createRoleAlias,
		"DescribeRoleAlias": p.describeRoleAlias,
		"UpdateRoleAlias":   p.updateRoleAlias,
		"DeleteRoleAlias":   p.deleteRoleAlias,
		"ListRoleAliases":   p.listRoleAliases,
	}}
}
