package defender

import "strings"

// Names of checks.
const (
	checkShared       = "DEVICE_CERTIFICATE_SHARED_CHECK"
	checkExpiring     = "DEVICE_CERTIFICATE_EXPIRING_CHECK"
	checkCAExpiring   = "CA_CERTIFICATE_EXPIRING_CHECK"
	checkPermissive   = "IOT_POLICY_OVERLY_PERMISSIVE_CHECK"
	checkConflicting  = "CONFLICTING_CLIENT_IDS_CHECK"
	checkCARevoked    = "REVOKED_CA_CERTIFICATE_STILL_ACTIVE_CHECK"
	checkRevoked      = "REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE_CHECK"
	checkKeyQuality   = "DEVICE_CERTIFICATE_KEY_QUALITY_CHECK"
	checkCAKeyQuality = "CA_CERTIFICATE_KEY_QUALITY_CHECK"
	checkLogging      = "LOGGING_DISABLED_CHECK"
)

// Severities of findings.
const (
	Critical = "CRITICAL"
	High     = "HIGH"
	Medium   = "MEDIUM"
	Low      = "LOW"
)

// Check is a check that an audit can make.
type Check struct {
	Name, Severity string
	// Here says that berth makes the check; the others fail when they are asked for, since what they are
	// about is not here.
	Here bool
}

// Checks lists the checks of AWS (AWS IoT developer guide, "Audit checks").
func Checks() []Check {
	return []Check{
		{"AUTHENTICATED_COGNITO_ROLE_OVERLY_PERMISSIVE_CHECK", Critical, false},
		{checkCAExpiring, Medium, true},
		{checkCAKeyQuality, Critical, true},
		{checkConflicting, High, true},
		{checkExpiring, Medium, true},
		{checkKeyQuality, Critical, true},
		{checkShared, Critical, true},
		{checkPermissive, Critical, true},
		{"IOT_ROLE_ALIAS_ALLOWS_ACCESS_TO_UNUSED_SERVICES_CHECK", Medium, false},
		{"IOT_ROLE_ALIAS_OVERLY_PERMISSIVE_CHECK", Critical, false},
		{checkLogging, Low, true},
		{checkCARevoked, Critical, true},
		{checkRevoked, Medium, true},
		{"UNAUTHENTICATED_COGNITO_ROLE_OVERLY_PERMISSIVE_CHECK", Critical, false},
	}
}

func findCheck(name string) (Check, bool) {
	for _, c := range Checks() {
		if c.Name == name {
			return c, true
		}
	}
	return Check{}, false
}

// Resource identifies what a finding is about; one member is set.
type Resource struct {
	Certificate     string         `json:"deviceCertificateId,omitempty"`
	CertificateARN  string         `json:"deviceCertificateArn,omitempty"`
	CACertificate   string         `json:"caCertificateId,omitempty"`
	Client          string         `json:"clientId,omitempty"`
	Policy          *PolicyVersion `json:"policyVersionIdentifier,omitempty"`
	Account         string         `json:"account,omitempty"`
	CognitoPool     string         `json:"cognitoIdentityPoolId,omitempty"`
	Role            string         `json:"iamRoleArn,omitempty"`
	RoleAlias       string         `json:"roleAliasArn,omitempty"`
	IssuerCertifier *Issuer        `json:"issuerCertificateIdentifier,omitempty"`
}

// PolicyVersion is a version of a policy.
type PolicyVersion struct {
	Name    string `json:"policyName,omitempty"`
	Version string `json:"policyVersionId,omitempty"`
}

// Issuer is the issuer of a certificate.
type Issuer struct {
	Subject string `json:"issuerCertificateSubject,omitempty"`
	ID      string `json:"issuerId,omitempty"`
	Serial  string `json:"issuerCertificateSerialNumber,omitempty"`
}

// key is the same for the same resource; a certificate's ARN stands for its identifier.
func (r Resource) key() string {
	if r.CertificateARN != "" && r.Certificate == "" {
		r.Certificate = r.CertificateARN[strings.LastIndexByte(r.CertificateARN, '/')+1:]
	}
	r.CertificateARN = ""
	return encode(r)
}

func (r Resource) empty() bool { return r == Resource{} }

// RelatedResource is a resource with what is known of it.
type RelatedResource struct {
	Type     string            `json:"resourceType"`
	Resource Resource          `json:"resourceIdentifier"`
	Info     map[string]string `json:"additionalInfo,omitempty"`
}

// Finding is something that an audit does not like.
type Finding struct {
	ID         string            `json:"findingId"`
	Task       string            `json:"taskId"`
	Check      string            `json:"checkName"`
	TaskStart  Moment            `json:"taskStartTime"`
	At         Moment            `json:"findingTime"`
	Severity   string            `json:"severity"`
	Resource   RelatedResource   `json:"nonCompliantResource"`
	Related    []RelatedResource `json:"relatedResources,omitempty"`
	Reason     string            `json:"reasonForNonCompliance"`
	Code       string            `json:"reasonForNonComplianceCode"`
	Suppressed bool              `json:"isSuppressed"`
}
