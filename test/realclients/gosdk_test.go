package realclients

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// TestGoSDK drives the control plane with the AWS SDK for Go, whose types name each exception.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := ctx(t, 2*time.Minute)

	endpoint, err := s.iot.DescribeEndpoint(c, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil || *endpoint.EndpointAddress != "localhost" {
		t.Fatalf("endpoint %v, %v", endpoint, err)
	}

	t.Run("things", func(t *testing.T) {
		for i := range 25 {
			if _, err := s.iot.CreateThing(c, &iot.CreateThingInput{ThingName: aws.String(fmt.Sprintf("lamp-%02d", i)),
				AttributePayload: &types.AttributePayload{Attributes: map[string]string{"floor": fmt.Sprint(i % 2)}}}); err != nil {
				t.Fatal(err)
			}
		}
		var names []string
		pages := iot.NewListThingsPaginator(s.iot, &iot.ListThingsInput{MaxResults: aws.Int32(4), AttributeName: aws.String("floor"), AttributeValue: aws.String("1")})
		for pages.HasMorePages() {
			page, err := pages.NextPage(c)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Things) > 4 {
				t.Fatalf("a page of %d", len(page.Things))
			}
			for _, thing := range page.Things {
				names = append(names, *thing.ThingName)
			}
		}
		if slices.Sort(names); len(names) != 12 || names[0] != "lamp-01" || names[11] != "lamp-23" {
			t.Errorf("things on floor 1: %v", names)
		}

		_, err := s.iot.CreateThing(c, &iot.CreateThingInput{ThingName: aws.String("lamp-01")})
		var exists *types.ResourceAlreadyExistsException
		if !errors.As(err, &exists) || aws.ToString(exists.ResourceId) == "" || aws.ToString(exists.ResourceArn) != "arn:aws:iot:"+region+":"+account+":thing/lamp-01" {
			t.Errorf("same name, other attributes: %v %+v", err, exists)
		}
		_, err = s.iot.UpdateThing(c, &iot.UpdateThingInput{ThingName: aws.String("lamp-01"), ExpectedVersion: aws.Int64(7),
			AttributePayload: &types.AttributePayload{Attributes: map[string]string{"a": "b"}}})
		wantError[*types.VersionConflictException](t, err)
		_, err = s.iot.DescribeThing(c, &iot.DescribeThingInput{ThingName: aws.String("none")})
		wantError[*types.ResourceNotFoundException](t, err)
		_, err = s.iot.CreateThing(c, &iot.CreateThingInput{ThingName: aws.String("no spaces'; DROP TABLE thing;--")})
		wantError[*types.InvalidRequestException](t, err)
	})

	t.Run("certificates and policies", func(t *testing.T) {
		d := s.device(t, "kettle", allowAll)
		found, err := s.iot.DescribeCertificate(c, &iot.DescribeCertificateInput{CertificateId: &d.id})
		if err != nil {
			t.Fatal(err)
		}
		if desc := found.CertificateDescription; desc.Status != types.CertificateStatusActive || desc.Validity.NotAfter.Year() != 2049 || *desc.OwnedBy != account {
			t.Errorf("certificate %+v until %v", desc, desc.Validity.NotAfter)
		}
		_, err = s.iot.DeleteCertificate(c, &iot.DeleteCertificateInput{CertificateId: &d.id})
		wantError[*types.CertificateStateException](t, err)
		_, err = s.iot.DeletePolicy(c, &iot.DeletePolicyInput{PolicyName: aws.String("kettle")})
		wantError[*types.DeleteConflictException](t, err)
		_, err = s.iot.CreatePolicy(c, &iot.CreatePolicyInput{PolicyName: aws.String("broken"), PolicyDocument: aws.String(`{"Statement":1}`)})
		wantError[*types.MalformedPolicyException](t, err)
		for range 4 {
			if _, err := s.iot.CreatePolicyVersion(c, &iot.CreatePolicyVersionInput{PolicyName: aws.String("kettle"), PolicyDocument: aws.String(allowAll)}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = s.iot.CreatePolicyVersion(c, &iot.CreatePolicyVersionInput{PolicyName: aws.String("kettle"), PolicyDocument: aws.String(allowAll)})
		wantError[*types.VersionsLimitExceededException](t, err)

		for i := range 9 {
			name := fmt.Sprintf("more-%d", i)
			s.policy(t, name, allowAll)
			if _, err := s.iot.AttachPolicy(c, &iot.AttachPolicyInput{PolicyName: &name, Target: &d.arn}); err != nil {
				t.Fatal(err)
			}
		}
		s.policy(t, "eleventh", allowAll)
		_, err = s.iot.AttachPolicy(c, &iot.AttachPolicyInput{PolicyName: aws.String("eleventh"), Target: &d.arn})
		wantError[*types.LimitExceededException](t, err)

		verdict, err := s.iot.TestAuthorization(c, &iot.TestAuthorizationInput{Principal: &d.arn, ClientId: aws.String("kettle"),
			AuthInfos: []types.AuthInfo{{ActionType: types.ActionTypePublish, Resources: []string{"arn:aws:iot:" + region + ":" + account + ":topic/a"}}}})
		if err != nil || len(verdict.AuthResults) != 1 || verdict.AuthResults[0].AuthDecision != types.AuthDecisionAllowed {
			t.Errorf("TestAuthorization: %+v, %v", verdict, err)
		}
	})

	t.Run("principals", func(t *testing.T) {
		d := s.device(t, "pump", allowAll)
		if _, err := s.iot.CreateThing(c, &iot.CreateThingInput{ThingName: aws.String("valve")}); err != nil {
			t.Fatal(err)
		}
		_, err := s.iot.AttachThingPrincipal(c, &iot.AttachThingPrincipalInput{ThingName: aws.String("valve"), Principal: &d.arn,
			ThingPrincipalType: types.ThingPrincipalTypeExclusiveThing})
		if err == nil {
			t.Error("a certificate that has a thing was attached exclusively to another")
		}
		list, err := s.iot.ListThingPrincipalsV2(c, &iot.ListThingPrincipalsV2Input{ThingName: aws.String("pump")})
		if err != nil || len(list.ThingPrincipalObjects) != 1 || *list.ThingPrincipalObjects[0].Principal != d.arn ||
			list.ThingPrincipalObjects[0].ThingPrincipalType != types.ThingPrincipalTypeNonExclusiveThing {
			t.Errorf("ListThingPrincipalsV2: %+v, %v", list, err)
		}
	})

	t.Run("an operation that is not there yet", func(t *testing.T) {
		_, err := s.iot.ListMitigationActions(c, &iot.ListMitigationActionsInput{})
		if err == nil || !contains(err.Error(), "NotImplementedException", "ListMitigationActions") {
			t.Error(err)
		}
	})
}

// wantError expects an exception of one type.
func wantError[E error](t *testing.T, err error) {
	t.Helper()
	var want E
	if !errors.As(err, &want) {
		t.Errorf("error %v, want %T", err, want)
	}
}
