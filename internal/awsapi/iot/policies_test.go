package iot_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

const (
	allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`
	arn      = "arn:aws:iot:us-east-1:000000000000:"
)

func TestPolicies(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	name := aws.String("read+write=@home")
	made := must[*sdk.CreatePolicyOutput](t)(a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(allowAll), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))
	if *made.PolicyVersionId != "1" || *made.PolicyDocument != allowAll || *made.PolicyArn != arn+"policy/read+write=@home" {
		t.Errorf("%+v", made)
	}
	_, err := a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(allowAll)})
	wantError(t, err, "ResourceAlreadyExistsException", 409)
	for _, document := range []string{``, `{`, `[]`, `{"Version":"2012-10-17"}`, `{"Version":"2012-10-17","Statement":[{"Effect":"Maybe","Action":"iot:*","Resource":"*"}]}`,
		`{"Version":"2012-10-17","Statement":[{"Sid":"` + strings.Repeat("x", 2048) + `","Effect":"Allow","Action":"iot:*","Resource":"*"}]}`} {
		_, err = a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("bad"), PolicyDocument: &document})
		wantError(t, err, "MalformedPolicyException", 400)
	}
	_, err = a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("a b"), PolicyDocument: aws.String(allowAll)})
	wantError(t, err, "InvalidRequestException", 400)

	version := func(setDefault bool) (string, error) {
		out, err := a.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyName: name, PolicyDocument: aws.String(allowAll), SetAsDefault: setDefault})
		if err != nil {
			return "", err
		}
		return *out.PolicyVersionId, nil
	}
	for i := 2; i <= 5; i++ {
		if id := must[string](t)(version(i == 3)); id != fmt.Sprint(i) {
			t.Errorf("version %s, want %d", id, i)
		}
	}
	_, err = version(false)
	wantError(t, err, "VersionsLimitExceededException", 409)
	if got := must[*sdk.GetPolicyOutput](t)(a.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyName: name})); *got.DefaultVersionId != "3" || *got.PolicyDocument != allowAll {
		t.Errorf("%+v", got)
	}
	_, err = a.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("3")})
	wantError(t, err, "DeleteConflictException", 409)
	must[*sdk.SetDefaultPolicyVersionOutput](t)(a.SetDefaultPolicyVersion(ctx, &sdk.SetDefaultPolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("5")}))
	must[*sdk.DeletePolicyVersionOutput](t)(a.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("3")}))
	_, err = a.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("3")})
	wantError(t, err, "ResourceNotFoundException", 404)
	if v := must[*sdk.GetPolicyVersionOutput](t)(a.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("5")})); !v.IsDefaultVersion {
		t.Errorf("%+v", v)
	}
	if id := must[string](t)(version(false)); id != "6" {
		t.Errorf("a version number came back: %s", id)
	}
	versions := must[*sdk.ListPolicyVersionsOutput](t)(a.ListPolicyVersions(ctx, &sdk.ListPolicyVersionsInput{PolicyName: name})).PolicyVersions
	if len(versions) != 5 || !slices.ContainsFunc(versions, func(v types.PolicyVersion) bool { return *v.VersionId == "5" && v.IsDefaultVersion }) {
		t.Errorf("%+v", versions)
	}
	_, err = a.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyName: name})
	wantError(t, err, "DeleteConflictException", 409)
	for _, v := range []string{"1", "2", "4", "6"} {
		must[*sdk.DeletePolicyVersionOutput](t)(a.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: &v}))
	}
	if list := must[*sdk.ListPoliciesOutput](t)(a.ListPolicies(ctx, &sdk.ListPoliciesInput{AscendingOrder: true})); len(list.Policies) != 1 {
		t.Errorf("%+v", list.Policies)
	}
	must[*sdk.DeletePolicyOutput](t)(a.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyName: name}))
	_, err = a.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyName: name})
	wantError(t, err, "ResourceNotFoundException", 404)
}

// certificate registers a certificate and returns its ARN.
func (a *api) certificate(t *testing.T) *string {
	t.Helper()
	return must[*sdk.RegisterCertificateWithoutCAOutput](t)(a.RegisterCertificateWithoutCA(ctx, &sdk.RegisterCertificateWithoutCAInput{CertificatePem: sign(t, nil, "x").pem(), Status: types.CertificateStatusActive})).CertificateArn
}

func TestAttachments(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	cert := a.certificate(t)
	for i := range 11 {
		must[*sdk.CreatePolicyOutput](t)(a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("p%02d", i)), PolicyDocument: aws.String(allowAll)}))
	}
	attach := func(policy string, target *string) error {
		_, err := a.AttachPolicy(ctx, &sdk.AttachPolicyInput{PolicyName: &policy, Target: target})
		return err
	}
	for i := range 10 {
		for range 2 {
			if err := attach(fmt.Sprintf("p%02d", i), cert); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantError(t, attach("p10", cert), "LimitExceededException", 410)
	wantError(t, attach("nosuch", cert), "ResourceNotFoundException", 404)
	wantError(t, attach("p00", aws.String(arn+"cert/"+strings.Repeat("0", 64))), "ResourceNotFoundException", 404)
	wantError(t, attach("p00", aws.String("junk")), "InvalidRequestException", 400)
	if err := attach("p00", aws.String("us-east-1:01234567-89ab-cdef-0123-456789abcdef")); err != nil {
		t.Error(err)
	}

	list := must[*sdk.ListAttachedPoliciesOutput](t)(a.ListAttachedPolicies(ctx, &sdk.ListAttachedPoliciesInput{Target: cert, PageSize: aws.Int32(6)}))
	if len(list.Policies) != 6 || list.NextMarker == nil {
		t.Fatalf("%+v", list)
	}
	list = must[*sdk.ListAttachedPoliciesOutput](t)(a.ListAttachedPolicies(ctx, &sdk.ListAttachedPoliciesInput{Target: cert, Marker: list.NextMarker}))
	if len(list.Policies) != 4 || *list.Policies[3].PolicyName != "p09" || list.NextMarker != nil {
		t.Errorf("%+v", list)
	}
	must[*sdk.CreateThingGroupOutput](t)(a.CreateThingGroup(ctx, &sdk.CreateThingGroupInput{ThingGroupName: aws.String("root")}))
	must[*sdk.CreateThingGroupOutput](t)(a.CreateThingGroup(ctx, &sdk.CreateThingGroupInput{ThingGroupName: aws.String("child"), ParentGroupName: aws.String("root")}))
	for _, p := range []string{"p00", "p01"} {
		if err := attach(p, aws.String(arn+"thinggroup/root")); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, attach("p02", aws.String(arn+"thinggroup/root")), "LimitExceededException", 410)
	if err := attach("p02", aws.String(arn+"thinggroup/child")); err != nil {
		t.Fatal(err)
	}
	for recursive, want := range map[bool]int{false: 1, true: 3} {
		list := must[*sdk.ListAttachedPoliciesOutput](t)(a.ListAttachedPolicies(ctx, &sdk.ListAttachedPoliciesInput{Target: aws.String(arn + "thinggroup/child"), Recursive: recursive}))
		if len(list.Policies) != want {
			t.Errorf("recursive %v: %+v", recursive, list.Policies)
		}
	}
	targets := must[*sdk.ListTargetsForPolicyOutput](t)(a.ListTargetsForPolicy(ctx, &sdk.ListTargetsForPolicyInput{PolicyName: aws.String("p00")})).Targets
	if len(targets) != 3 || !slices.Contains(targets, arn+"thinggroup/root") || !slices.Contains(targets, *cert) {
		t.Error(targets)
	}
	_, err := a.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyName: aws.String("p00")})
	wantError(t, err, "DeleteConflictException", 409)
	for range 2 {
		must[*sdk.DetachPolicyOutput](t)(a.DetachPolicy(ctx, &sdk.DetachPolicyInput{PolicyName: aws.String("p09"), Target: cert}))
	}
}

func TestThingPrincipals(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	shared, own := a.certificate(t), a.certificate(t)
	for _, name := range []string{"t1", "t2"} {
		must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: &name}))
	}
	attach := func(thing string, principal *string, kind types.ThingPrincipalType) error {
		_, err := a.AttachThingPrincipal(ctx, &sdk.AttachThingPrincipalInput{ThingName: &thing, Principal: principal, ThingPrincipalType: kind})
		return err
	}
	for _, err := range []error{attach("t1", shared, ""), attach("t2", shared, ""), attach("t2", shared, types.ThingPrincipalTypeNonExclusiveThing), attach("t1", own, types.ThingPrincipalTypeExclusiveThing)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, attach("t1", shared, types.ThingPrincipalTypeExclusiveThing), "InvalidRequestException", 400)
	wantError(t, attach("t2", own, ""), "InvalidRequestException", 400)
	wantError(t, attach("nosuch", own, ""), "ResourceNotFoundException", 404)
	wantError(t, attach("t1", aws.String(arn+"cert/"+strings.Repeat("0", 64)), ""), "ResourceNotFoundException", 404)
	wantError(t, attach("t1", own, "SOMETIMES"), "InvalidRequestException", 400)

	if got := must[*sdk.ListThingPrincipalsOutput](t)(a.ListThingPrincipals(ctx, &sdk.ListThingPrincipalsInput{ThingName: aws.String("t1")})); len(got.Principals) != 2 || !slices.Contains(got.Principals, *own) {
		t.Error(got.Principals)
	}
	v2 := must[*sdk.ListThingPrincipalsV2Output](t)(a.ListThingPrincipalsV2(ctx, &sdk.ListThingPrincipalsV2Input{ThingName: aws.String("t1"), ThingPrincipalType: types.ThingPrincipalTypeExclusiveThing}))
	if len(v2.ThingPrincipalObjects) != 1 || *v2.ThingPrincipalObjects[0].Principal != *own || v2.ThingPrincipalObjects[0].ThingPrincipalType != types.ThingPrincipalTypeExclusiveThing {
		t.Errorf("%+v", v2.ThingPrincipalObjects)
	}
	if got := must[*sdk.ListPrincipalThingsOutput](t)(a.ListPrincipalThings(ctx, &sdk.ListPrincipalThingsInput{Principal: shared})); !slices.Equal(got.Things, []string{"t1", "t2"}) {
		t.Error(got.Things)
	}
	things := must[*sdk.ListPrincipalThingsV2Output](t)(a.ListPrincipalThingsV2(ctx, &sdk.ListPrincipalThingsV2Input{Principal: shared}))
	if len(things.PrincipalThingObjects) != 2 || things.PrincipalThingObjects[0].ThingPrincipalType != types.ThingPrincipalTypeNonExclusiveThing {
		t.Errorf("%+v", things.PrincipalThingObjects)
	}
	must[*sdk.DetachThingPrincipalOutput](t)(a.DetachThingPrincipal(ctx, &sdk.DetachThingPrincipalInput{ThingName: aws.String("t2"), Principal: shared}))
	if err := attach("t1", shared, types.ThingPrincipalTypeExclusiveThing); err != nil {
		t.Error(err)
	}
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	cert := a.certificate(t)
	policies := map[string]string{
		"own": `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"iot:Connect","Resource":"` + arn + `client/${iot:Connection.Thing.ThingName}"},
			{"Effect":"Allow","Action":"iot:Publish","Resource":"` + arn + `topic/things/${iot:Connection.Thing.ThingName}/*"}]}`,
		"group": `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:Publish","Resource":"` + arn + `topic/*/secret"}}`,
		"extra": allowAll,
	}
	for name, document := range policies {
		must[*sdk.CreatePolicyOutput](t)(a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document}))
	}
	must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("t1")}))
	must[*sdk.CreateThingGroupOutput](t)(a.CreateThingGroup(ctx, &sdk.CreateThingGroupInput{ThingGroupName: aws.String("root")}))
	must[*sdk.CreateThingGroupOutput](t)(a.CreateThingGroup(ctx, &sdk.CreateThingGroupInput{ThingGroupName: aws.String("leaf"), ParentGroupName: aws.String("root")}))
	must[*sdk.AddThingToThingGroupOutput](t)(a.AddThingToThingGroup(ctx, &sdk.AddThingToThingGroupInput{ThingGroupName: aws.String("leaf"), ThingName: aws.String("t1")}))
	must[*sdk.AttachThingPrincipalOutput](t)(a.AttachThingPrincipal(ctx, &sdk.AttachThingPrincipalInput{ThingName: aws.String("t1"), Principal: cert}))
	must[*sdk.AttachPolicyOutput](t)(a.AttachPolicy(ctx, &sdk.AttachPolicyInput{PolicyName: aws.String("own"), Target: cert}))
	must[*sdk.AttachPolicyOutput](t)(a.AttachPolicy(ctx, &sdk.AttachPolicyInput{PolicyName: aws.String("group"), Target: aws.String(arn + "thinggroup/root")}))

	effective := must[*sdk.GetEffectivePoliciesOutput](t)(a.GetEffectivePolicies(ctx, &sdk.GetEffectivePoliciesInput{Principal: cert, ThingName: aws.String("t1")})).EffectivePolicies
	if len(effective) != 2 || *effective[0].PolicyDocument != policies[*effective[0].PolicyName] {
		t.Errorf("%+v", effective)
	}

	tests := []struct {
		client   string
		action   types.ActionType
		resource string
		add      []string
		skip     []string
		want     types.AuthDecision
	}{
		{"t1", types.ActionTypeConnect, "client/t1", nil, nil, types.AuthDecisionAllowed},
		{"t1", types.ActionTypeConnect, "client/t2", nil, nil, types.AuthDecisionImplicitDeny},
		{"t2", types.ActionTypeConnect, "client/t2", nil, nil, types.AuthDecisionImplicitDeny}, // no thing, no name to substitute
		{"t1", types.ActionTypePublish, "topic/things/t1/up", nil, nil, types.AuthDecisionAllowed},
		{"t1", types.ActionTypePublish, "topic/things/t1/secret", nil, nil, types.AuthDecisionExplicitDeny},
		{"t1", types.ActionTypePublish, "topic/things/t1/secret", nil, []string{"group"}, types.AuthDecisionAllowed},
		{"t1", types.ActionTypeSubscribe, "topicfilter/#", nil, nil, types.AuthDecisionImplicitDeny},
		{"t1", types.ActionTypeSubscribe, "topicfilter/#", []string{"extra"}, nil, types.AuthDecisionAllowed},
		{"t1", types.ActionTypeReceive, "topic/x", []string{"extra"}, nil, types.AuthDecisionAllowed},
	}
	for _, test := range tests {
		out := must[*sdk.TestAuthorizationOutput](t)(a.TestAuthorization(ctx, &sdk.TestAuthorizationInput{
			Principal: cert, ClientId: &test.client, PolicyNamesToAdd: test.add, PolicyNamesToSkip: test.skip,
			AuthInfos: []types.AuthInfo{{ActionType: test.action, Resources: []string{arn + test.resource}}},
		}))
		if len(out.AuthResults) != 1 || out.AuthResults[0].AuthDecision != test.want {
			t.Errorf("%s %s %s: %+v", test.client, test.action, test.resource, out.AuthResults)
		}
		if test.want == types.AuthDecisionExplicitDeny && *out.AuthResults[0].Denied.ExplicitDeny.Policies[0].PolicyName != "group" {
			t.Errorf("%+v", out.AuthResults[0].Denied)
		}
	}
	out := must[*sdk.TestAuthorizationOutput](t)(a.TestAuthorization(ctx, &sdk.TestAuthorizationInput{Principal: cert, ClientId: aws.String("t1"), AuthInfos: []types.AuthInfo{
		{ActionType: types.ActionTypePublish, Resources: []string{arn + "topic/things/t1/up", arn + "topic/elsewhere"}},
		{ActionType: types.ActionTypePublish, Resources: []string{arn + "topic/things/t1/up", arn + "topic/things/t1/secret"}},
	}}))
	if len(out.AuthResults) != 2 || out.AuthResults[0].AuthDecision != types.AuthDecisionImplicitDeny || out.AuthResults[1].AuthDecision != types.AuthDecisionExplicitDeny {
		t.Errorf("%+v", out.AuthResults)
	}
	_, err := a.TestAuthorization(ctx, &sdk.TestAuthorizationInput{Principal: cert, AuthInfos: []types.AuthInfo{{ActionType: types.ActionTypePublish, Resources: []string{"topic/x"}}}})
	wantError(t, err, "InvalidRequestException", 400)
	_, err = a.TestAuthorization(ctx, &sdk.TestAuthorizationInput{Principal: aws.String(arn + "cert/" + strings.Repeat("0", 64)), AuthInfos: []types.AuthInfo{{ActionType: types.ActionTypePublish, Resources: []string{arn + "topic/x"}}}})
	wantError(t, err, "ResourceNotFoundException", 404)
}
