package factory

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go"
)

// Thing is a device in the registry.
type Thing struct {
	Name, Type string
	Groups     []string
	Attributes map[string]string
}

// Certificate is one that was issued.
type Certificate struct{ ID, ARN, PEM string }

// Cloud is the registry that boards are known to. Its methods may be called concurrently, and again
// after a crash: what is there already is no error.
type Cloud interface {
	// Endpoint returns the host that devices connect to.
	Endpoint(ctx context.Context) (string, error)
	// CA returns the certificate that devices must trust, in PEM.
	CA() []byte
	// CheckPolicies fails if a policy does not exist.
	CheckPolicies(ctx context.Context, names []string) error
	// CreateThing makes a thing, or finds it.
	CreateThing(ctx context.Context, t Thing) error
	// Issue has an ACTIVE certificate made for a signing request in PEM.
	Issue(ctx context.Context, csr string) (*Certificate, error)
	// IssueWithKey has an INACTIVE certificate made with its key, in PEM.
	IssueWithKey(ctx context.Context) (c *Certificate, key string, err error)
	// Register makes a certificate of one's own CA, which the cloud knows, known too, ACTIVE.
	Register(ctx context.Context, cert, ca string) (*Certificate, error)
	// Find returns the certificate of a public key that was issued since a time, or nil.
	Find(ctx context.Context, public crypto.PublicKey, since time.Time) (*Certificate, error)
	// Attach attaches policies and the thing to a certificate and makes it ACTIVE.
	Attach(ctx context.Context, c *Certificate, thing string, policies []string) error
	// Principals returns the ARNs of the certificates that are attached to a thing.
	Principals(ctx context.Context, thing string) ([]string, error)
	// Revoke detaches a certificate from everything and makes it REVOKED.
	Revoke(ctx context.Context, arn string) error
}

// AWS is the cloud of AWS, or a berth: both have the same interface.
type AWS struct {
	API *iot.Client
	// Host is the endpoint if it is known.
	Host string
	// Root is the certificate that devices must trust, in PEM.
	Root []byte
}

// Endpoint implements Cloud.
func (a *AWS) Endpoint(ctx context.Context) (string, error) {
	if a.Host != "" {
		return a.Host, nil
	}
	out, err := a.API.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil {
		return "", cloudError("the endpoint cannot be asked for", err)
	}
	return aws.ToString(out.EndpointAddress), nil
}

// CA implements Cloud.
func (a *AWS) CA() []byte { return a.Root }

// CheckPolicies implements Cloud.
func (a *AWS) CheckPolicies(ctx context.Context, names []string) error {
	for _, name := range names {
		if _, err := a.API.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &name}); err != nil {
			var missing *types.ResourceNotFoundException
			if errors.As(err, &missing) {
				return fail(ErrRecipe, "make it first: berth policy create "+name, "policy %s does not exist", name)
			}
			return cloudError("policy "+name+" cannot be looked up", err)
		}
	}
	return nil
}

// CreateThing implements Cloud.
func (a *AWS) CreateThing(ctx context.Context, t Thing) error {
	in := &iot.CreateThingInput{ThingName: &t.Name}
	if t.Type != "" {
		in.ThingTypeName = &t.Type
	}
	if len(t.Attributes) > 0 {
		in.AttributePayload = &types.AttributePayload{Attributes: t.Attributes}
	}
	_, err := a.API.CreateThing(ctx, in)
	var exists *types.ResourceAlreadyExistsException
	if err != nil && !errors.As(err, &exists) {
		return cloudError("thing "+t.Name+" cannot be made", err)
	}
	for _, group := range t.Groups {
		if _, err := a.API.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: &t.Name, ThingGroupName: &group}); err != nil {
			return cloudError("thing "+t.Name+" cannot be put into group "+group, err)
		}
	}
	return nil
}

// Issue implements Cloud.
func (a *AWS) Issue(ctx context.Context, csr string) (*Certificate, error) {
	out, err := a.API.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr, SetAsActive: true})
	if err != nil {
		return nil, cloudError("the certificate cannot be issued", err)
	}
	return &Certificate{aws.ToString(out.CertificateId), aws.ToString(out.CertificateArn), aws.ToString(out.CertificatePem)}, nil
}

// IssueWithKey implements Cloud.
func (a *AWS) IssueWithKey(ctx context.Context) (*Certificate, string, error) {
	out, err := a.API.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{})
	if err != nil {
		return nil, "", cloudError("the certificate cannot be issued", err)
	}
	return &Certificate{aws.ToString(out.CertificateId), aws.ToString(out.CertificateArn), aws.ToString(out.CertificatePem)},
		aws.ToString(out.KeyPair.PrivateKey), nil
}

// Register implements Cloud.
func (a *AWS) Register(ctx context.Context, cert, ca string) (*Certificate, error) {
	out, err := a.API.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: &cert, CaCertificatePem: &ca, Status: types.CertificateStatusActive})
	var exists *types.ResourceAlreadyExistsException
	if errors.As(err, &exists) {
		return &Certificate{aws.ToString(exists.ResourceId), aws.ToString(exists.ResourceArn), cert}, nil
	}
	if err != nil {
		return nil, cloudError("the certificate cannot be registered", err)
	}
	return &Certificate{aws.ToString(out.CertificateId), aws.ToString(out.CertificateArn), cert}, nil
}

// clockSkew is how far the clocks of the station and the cloud may be apart.
const clockSkew = 15 * time.Minute

// Find implements Cloud. It looks at the newest certificates first and stops at those that are older.
func (a *AWS) Find(ctx context.Context, public crypto.PublicKey, since time.Time) (*Certificate, error) {
	pages := iot.NewListCertificatesPaginator(a.API, &iot.ListCertificatesInput{AscendingOrder: false, PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloudError("certificates cannot be listed", err)
		}
		for _, c := range page.Certificates {
			if aws.ToTime(c.CreationDate).Before(since.Add(-clockSkew)) {
				return nil, nil
			}
			out, err := a.API.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: c.CertificateId})
			if err != nil {
				return nil, cloudError("a certificate cannot be looked at", err)
			}
			text := aws.ToString(out.CertificateDescription.CertificatePem)
			if sameKey(text, public) {
				return &Certificate{aws.ToString(c.CertificateId), aws.ToString(c.CertificateArn), text}, nil
			}
		}
	}
	return nil, nil
}

func sameKey(certPEM string, public crypto.PublicKey) bool {
	block, _ := pem.Decode([]byte(certPEM))
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	key, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(public)
}

// Attach implements Cloud.
func (a *AWS) Attach(ctx context.Context, c *Certificate, thing string, policies []string) error {
	for _, policy := range policies {
		if _, err := a.API.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &policy, Target: &c.ARN}); err != nil {
			return cloudError("policy "+policy+" cannot be attached", err)
		}
	}
	if _, err := a.API.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: &c.ARN}); err != nil {
		return cloudError("the certificate cannot be attached to thing "+thing, err)
	}
	if _, err := a.API.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &c.ID, NewStatus: types.CertificateStatusActive}); err != nil {
		return cloudError("the certificate cannot be made ACTIVE", err)
	}
	return nil
}

// Principals implements Cloud.
func (a *AWS) Principals(ctx context.Context, thing string) ([]string, error) {
	var all []string
	pages := iot.NewListThingPrincipalsPaginator(a.API, &iot.ListThingPrincipalsInput{ThingName: &thing})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		var missing *types.ResourceNotFoundException
		if errors.As(err, &missing) {
			return nil, nil
		}
		if err != nil {
			return nil, cloudError("the certificates of thing "+thing+" cannot be listed", err)
		}
		all = append(all, page.Principals...)
	}
	return all, nil
}

// Revoke implements Cloud.
func (a *AWS) Revoke(ctx context.Context, arn string) error {
	_, id, _ := cutLast(arn, "/")
	var missing *types.ResourceNotFoundException
	if _, err := a.API.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: types.CertificateStatusRevoked}); errors.As(err, &missing) {
		return nil
	} else if err != nil {
		return cloudError("certificate "+id+" cannot be revoked", err)
	}
	things, err := a.API.ListPrincipalThings(ctx, &iot.ListPrincipalThingsInput{Principal: &arn})
	if err != nil {
		return cloudError("the things of certificate "+id+" cannot be listed", err)
	}
	for _, thing := range things.Things {
		if _, err := a.API.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &thing, Principal: &arn}); err != nil {
			return cloudError("certificate "+id+" cannot be detached", err)
		}
	}
	policies, err := a.API.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: &arn})
	if err != nil {
		return cloudError("the policies of certificate "+id+" cannot be listed", err)
	}
	for _, p := range policies.Policies {
		if _, err := a.API.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: p.PolicyName, Target: &arn}); err != nil {
			return cloudError("policy "+aws.ToString(p.PolicyName)+" cannot be detached", err)
		}
	}
	return nil
}

func cloudError(what string, err error) error {
	e := &Error{Kind: ErrCloud, Reason: what, Cause: err, Fix: "check the network and try again: the board goes on where it stopped"}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Cause = errors.New(api.ErrorCode() + ": " + api.ErrorMessage())
		switch api.ErrorCode() {
		case "ThrottlingException", "TooManyRequestsException":
			e.Fix = "wait a moment and try again, or run fewer boards at once: the cloud limits the rate"
		case "AccessDeniedException", "UnauthorizedException", "UnrecognizedClientException", "InvalidSignatureException":
			e.Fix = "check the access key and its permissions"
		default:
			e.Fix = ""
		}
	}
	return e
}
