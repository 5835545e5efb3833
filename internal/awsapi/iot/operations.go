// Package iot is the control plane `iot`: things, types, groups, certificates, policies and what
// is attached to what, as the AWS IoT API reference describes them. Handlers translate between
// JSON and package registry; rules and limits live there.
package iot

import (
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/provisioning"
	"github.com/berth-iot/berth/internal/registry"
)

// Config is what the control plane works on.
type Config struct {
	Registry  *registry.Registry
	Authority *ca.Authority
	// Provisioning has the templates and what is done with them.
	Provisioning *provisioning.Service
	Endpoint     string // host that DescribeEndpoint answers, without scheme and port; default localhost
}

type plane struct {
	registry     *registry.Registry
	authority    *ca.Authority
	provisioning *provisioning.Service
	endpoint     string
}

// Operations returns the handlers of the control plane.
func Operations(cfg Config) awsapi.Set {
	if cfg.Endpoint == "" {
		cfg.Endpoint = "localhost"
	}
	p := &plane{cfg.Registry, cfg.Authority, cfg.Provisioning, cfg.Endpoint}
	return awsapi.Set{Service: awsapi.IoT, Handlers: map[string]awsapi.Handler{
		"DescribeEndpoint": p.describeEndpoint,

		"CreateThing":   p.createThing,
		"DescribeThing": p.describeThing,
		"UpdateThing":   p.updateThing,
		"DeleteThing":   p.deleteThing,
		"ListThings":    p.listThings,

		"CreateThingType":    p.createThingType,
		"DescribeThingType":  p.describeThingType,
		"UpdateThingType":    p.updateThingType,
		"DeprecateThingType": p.deprecateThingType,
		"DeleteThingType":    p.deleteThingType,
		"ListThingTypes":     p.listThingTypes,

		"CreateThingGroup":          p.createThingGroup,
		"DescribeThingGroup":        p.describeThingGroup,
		"UpdateThingGroup":          p.updateThingGroup,
		"DeleteThingGroup":          p.deleteThingGroup,
		"ListThingGroups":           p.listThingGroups,
		"AddThingToThingGroup":      p.addThingToThingGroup,
		"RemoveThingFromThingGroup": p.removeThingFromThingGroup,
		"UpdateThingGroupsForThing": p.updateThingGroupsForThing,
		"ListThingGroupsForThing":   p.listThingGroupsForThing,
		"ListThingsInThingGroup":    p.listThingsInThingGroup,

		"CreateBillingGroup":          p.createBillingGroup,
		"DescribeBillingGroup":        p.describeBillingGroup,
		"UpdateBillingGroup":          p.updateBillingGroup,
		"DeleteBillingGroup":          p.deleteBillingGroup,
		"ListBillingGroups":           p.listBillingGroups,
		"AddThingToBillingGroup":      p.addThingToBillingGroup,
		"RemoveThingFromBillingGroup": p.removeThingFromBillingGroup,
		"ListThingsInBillingGroup":    p.listThingsInBillingGroup,

		"CreateKeysAndCertificate":     p.createKeysAndCertificate,
		"CreateCertificateFromCsr":     p.createCertificateFromCSR,
		"RegisterCertificate":          p.registerCertificate,
		"RegisterCertificateWithoutCA": p.registerCertificateWithoutCA,
		"DescribeCertificate":          p.describeCertificate,
		"ListCertificates":             p.listCertificates,
		"ListCertificatesByCA":         p.listCertificatesByCA,
		"UpdateCertificate":            p.updateCertificate,
		"DeleteCertificate":            p.deleteCertificate,

		"TransferCertificate":       p.transferCertificate,
		"AcceptCertificateTransfer": p.acceptCertificateTransfer,
		"RejectCertificateTransfer": p.rejectCertificateTransfer,
		"CancelCertificateTransfer": p.cancelCertificateTransfer,
		"ListOutgoingCertificates":  p.listOutgoingCertificates,

		"RegisterCACertificate":  p.registerCACertificate,
		"DescribeCACertificate":  p.describeCACertificate,
		"ListCACertificates":     p.listCACertificates,
		"UpdateCACertificate":    p.updateCACertificate,
		"DeleteCACertificate":    p.deleteCACertificate,
		"GetRegistrationCode":    p.getRegistrationCode,
		"DeleteRegistrationCode": p.deleteRegistrationCode,

		"CreateProvisioningTemplate":          p.createProvisioningTemplate,
		"DescribeProvisioningTemplate":        p.describeProvisioningTemplate,
		"UpdateProvisioningTemplate":          p.updateProvisioningTemplate,
		"DeleteProvisioningTemplate":          p.deleteProvisioningTemplate,
		"ListProvisioningTemplates":           p.listProvisioningTemplates,
		"CreateProvisioningTemplateVersion":   p.createProvisioningTemplateVersion,
		"DescribeProvisioningTemplateVersion": p.describeProvisioningTemplateVersion,
		"DeleteProvisioningTemplateVersion":   p.deleteProvisioningTemplateVersion,
		"ListProvisioningTemplateVersions":    p.listProvisioningTemplateVersions,
		"CreateProvisioningClaim":             p.createProvisioningClaim,
		"RegisterThing":                       p.registerThing,
		"StartThingRegistrationTask":          p.startThingRegistrationTask,
		"DescribeThingRegistrationTask":       p.describeThingRegistrationTask,
		"StopThingRegistrationTask":           p.stopThingRegistrationTask,
		"ListThingRegistrationTasks":          p.listThingRegistrationTasks,
		"ListThingRegistrationTaskReports":    p.listThingRegistrationTaskReports,

		"CreatePolicy":            p.createPolicy,
		"GetPolicy":               p.getPolicy,
		"DeletePolicy":            p.deletePolicy,
		"ListPolicies":            p.listPolicies,
		"CreatePolicyVersion":     p.createPolicyVersion,
		"GetPolicyVersion":        p.getPolicyVersion,
		"DeletePolicyVersion":     p.deletePolicyVersion,
		"ListPolicyVersions":      p.listPolicyVersions,
		"SetDefaultPolicyVersion": p.setDefaultPolicyVersion,

		"AttachPolicy":          p.attachPolicy,
		"DetachPolicy":          p.detachPolicy,
		"ListAttachedPolicies":  p.listAttachedPolicies,
		"ListTargetsForPolicy":  p.listTargetsForPolicy,
		"AttachPrincipalPolicy": p.attachPrincipalPolicy,
		"DetachPrincipalPolicy": p.detachPrincipalPolicy,
		"ListPrincipalPolicies": p.listPrincipalPolicies,
		"ListPolicyPrincipals":  p.listPolicyPrincipals,
		"GetEffectivePolicies":  p.getEffectivePolicies,
		"TestAuthorization":     p.testAuthorization,

		"AttachThingPrincipal":  p.attachThingPrincipal,
		"DetachThingPrincipal":  p.detachThingPrincipal,
		"ListThingPrincipals":   p.listThingPrincipals,
		"ListThingPrincipalsV2": p.listThingPrincipalsV2,
		"ListPrincipalThings":   p.listPrincipalThings,
		"ListPrincipalThingsV2": p.listPrincipalThingsV2,

		"TagResource":         p.tagResource,
		"UntagResource":       p.untagResource,
		"ListTagsForResource": p.listTagsForResource,
	}}
}
