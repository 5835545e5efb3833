//lint:file-ignore SA1019 old programs call these operations, so they are served

package iot_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iot"
)

// TestDeprecatedAttachments checks that the deprecated family speaks of the same attachments.
func TestDeprecatedAttachments(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	cert, name := a.certificate(t), aws.String("p")
	must[*sdk.CreatePolicyOutput](t)(a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(allowAll)}))
	must[*sdk.CreateThingGroupOutput](t)(a.CreateThingGroup(ctx, &sdk.CreateThingGroupInput{ThingGroupName: aws.String("g")}))
	must[*sdk.AttachPolicyOutput](t)(a.AttachPolicy(ctx, &sdk.AttachPolicyInput{PolicyName: name, Target: aws.String(arn + "thinggroup/g")}))
	must[*sdk.AttachPrincipalPolicyOutput](t)(a.AttachPrincipalPolicy(ctx, &sdk.AttachPrincipalPolicyInput{PolicyName: name, Principal: cert}))
	if got := must[*sdk.ListPrincipalPoliciesOutput](t)(a.ListPrincipalPolicies(ctx, &sdk.ListPrincipalPoliciesInput{Principal: cert})); len(got.Policies) != 1 || *got.Policies[0].PolicyName != "p" {
		t.Errorf("%+v", got.Policies)
	}
	if got := must[*sdk.ListPolicyPrincipalsOutput](t)(a.ListPolicyPrincipals(ctx, &sdk.ListPolicyPrincipalsInput{PolicyName: name})); len(got.Principals) != 1 || got.Principals[0] != *cert {
		t.Error(got.Principals)
	}
	must[*sdk.DetachPrincipalPolicyOutput](t)(a.DetachPrincipalPolicy(ctx, &sdk.DetachPrincipalPolicyInput{PolicyName: name, Principal: cert}))
	if got := must[*sdk.ListAttachedPoliciesOutput](t)(a.ListAttachedPolicies(ctx, &sdk.ListAttachedPoliciesInput{Target: cert})); len(got.Policies) != 0 {
		t.Errorf("%+v", got.Policies)
	}
	_, err := a.DetachPrincipalPolicy(ctx, &sdk.DetachPrincipalPolicyInput{PolicyName: aws.String("nosuch"), Principal: cert})
	wantError(t, err, "ResourceNotFoundException", 404)
}
