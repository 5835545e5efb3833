package cli

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/berth-iot/berth/internal/admin"
	"github.com/berth-iot/berth/internal/doctor"
	"github.com/berth-iot/berth/internal/presence"
)

// registryView is the doctor.Cloud of a site.
type registryView struct{ s *site }

func (v registryView) arn(ctx context.Context, id string) (string, error) {
	out, err := v.s.iot().DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if err != nil {
		return "", err
	}
	return text(out.CertificateDescription.CertificateArn), nil
}

// Certificate implements doctor.Cloud.
func (v registryView) Certificate(ctx context.Context, id string) (string, error) {
	out, err := v.s.iot().DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	var missing *types.ResourceNotFoundException
	if errors.As(err, &missing) {
		return "", doctor.ErrUnknownCertificate
	}
	if err != nil {
		return "", err
	}
	return string(out.CertificateDescription.Status), nil
}

// Things implements doctor.Cloud.
func (v registryView) Things(ctx context.Context, id string) ([]string, error) {
	arn, err := v.arn(ctx, id)
	if err != nil {
		return nil, err
	}
	out, err := v.s.iot().ListPrincipalThings(ctx, &iot.ListPrincipalThingsInput{Principal: &arn})
	if err != nil {
		return nil, err
	}
	return out.Things, nil
}

// Policies implements doctor.Cloud. Policies of the groups of its things count.
func (v registryView) Policies(ctx context.Context, id string) ([]string, error) {
	arn, err := v.arn(ctx, id)
	if err != nil {
		return nil, err
	}
	out, err := v.s.iot().GetEffectivePolicies(ctx, &iot.GetEffectivePoliciesInput{Principal: &arn})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range out.EffectivePolicies {
		names = append(names, text(p.PolicyName))
	}
	return names, nil
}

// May implements doctor.Cloud.
func (v registryView) May(ctx context.Context, id, clientID, action, resource string) (bool, string, []string, error) {
	if v.s.base != "" {
		var a admin.Answer
		err := v.s.own(ctx, "POST", "/berth/explain", admin.Question{CertificateID: id, ClientID: clientID, Action: action, Resource: resource}, &a)
		return a.Allowed, a.Reason, nil, err // the reason names what comes close
	}
	arn, err := v.arn(ctx, id)
	if err != nil {
		return false, "", nil, err
	}
	prefix, _, _ := strings.Cut(arn, ":cert/")
	kind := map[string]string{"Connect": ":client/", "Publish": ":topic/", "Subscribe": ":topicfilter/"}[action]
	out, err := v.s.iot().TestAuthorization(ctx, &iot.TestAuthorizationInput{Principal: &arn, ClientId: &clientID, AuthInfos: []types.AuthInfo{
		{ActionType: types.ActionType(strings.ToUpper(action)), Resources: []string{prefix + kind + resource}}}})
	if err != nil {
		return false, "", nil, err
	}
	if len(out.AuthResults) == 0 {
		return false, "", nil, errors.New("no answer")
	}
	r := out.AuthResults[0]
	if r.AuthDecision == types.AuthDecisionAllowed {
		return true, "policy " + policyNames(r.Allowed.Policies) + " allows it", nil, nil
	}
	why := "no policy allows it"
	if r.Denied != nil && r.Denied.ExplicitDeny != nil && len(r.Denied.ExplicitDeny.Policies) > 0 {
		why = "policy " + policyNames(r.Denied.ExplicitDeny.Policies) + " denies it"
	}
	if len(r.MissingContextValues) > 0 {
		why += "; without a value: " + strings.Join(r.MissingContextValues, ", ")
	}
	return false, why, nil, nil
}

func policyNames(list []types.Policy) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = text(p.PolicyName)
	}
	return strings.Join(names, ", ")
}

// History implements doctor.Cloud.
func (v registryView) History(ctx context.Context, clientID string) ([]doctor.Event, error) {
	if v.s.base == "" {
		return nil, nil
	}
	var out struct {
		Events []presence.Event `json:"events"`
	}
	if err := v.s.own(ctx, "GET", "/berth/connections?"+url.Values{"name": {clientID}, "max": {"200"}}.Encode(), nil, &out); err != nil {
		return nil, err
	}
	var list []doctor.Event
	for _, e := range out.Events {
		if e.ClientID == clientID {
			list = append(list, doctor.Event{Time: time.UnixMilli(e.Time), Kind: e.Kind, SourceIP: e.SourceIP, Reason: e.Reason})
		}
	}
	return list, nil
}

// command is a command of berth for this site.
func (v registryView) command(words string) string {
	if v.s.base == "" {
		return "berth " + words + " --aws"
	}
	return "berth " + words
}

// Register implements doctor.Cloud.
func (registryView) Register(file string) string {
	return "register it: aws iot register-certificate-without-ca --status ACTIVE --certificate-pem file://" + file
}

// Activate implements doctor.Cloud.
func (v registryView) Activate(id string) string {
	return "activate it: " + v.command("cert activate "+id)
}

// AttachThing implements doctor.Cloud.
func (v registryView) AttachThing(id, thing string) string {
	if thing == "" {
		thing = "THING"
	}
	return "attach it: " + v.command("thing attach "+thing+" "+id)
}

// AttachPolicy implements doctor.Cloud.
func (v registryView) AttachPolicy(id string) string {
	return "attach one: " + v.command("policy attach POLICY "+id)
}
