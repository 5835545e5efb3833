package iot_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

const claimTemplate = `{"Parameters":{"Serial":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
	"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"Serial"}}},
	"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}}}`

func (a *api) template(t *testing.T, name string, kind types.TemplateType) {
	t.Helper()
	must[*sdk.CreateProvisioningTemplateOutput](t)(a.CreateProvisioningTemplate(context.Background(), &sdk.CreateProvisioningTemplateInput{
		TemplateName: &name, TemplateBody: aws.String(claimTemplate), ProvisioningRoleArn: aws.String("arn:aws:iam::000000000000:role/r"), Type: kind, Enabled: aws.Bool(true)}))
}

func TestProvisioningTemplates(t *testing.T) {
	t.Parallel()
	ctx, a := context.Background(), newAPI(t)
	role := aws.String("arn:aws:iam::000000000000:role/r")
	made := must[*sdk.CreateProvisioningTemplateOutput](t)(a.CreateProvisioningTemplate(ctx, &sdk.CreateProvisioningTemplateInput{
		TemplateName: aws.String("fleet"), TemplateBody: aws.String(claimTemplate), ProvisioningRoleArn: role, Description: aws.String("d"),
		PreProvisioningHook: &types.ProvisioningHook{TargetArn: aws.String("arn:aws:lambda:us-east-1:000000000000:function:f")}}))
	if *made.DefaultVersionId != 1 || *made.TemplateArn != "arn:aws:iot:us-east-1:000000000000:provisioningtemplate/fleet" {
		t.Errorf("created %+v", made)
	}
	for name, in := range map[string]sdk.CreateProvisioningTemplateInput{
		"ResourceAlreadyExistsException 409": {TemplateName: aws.String("fleet"), TemplateBody: aws.String(claimTemplate)},
		"InvalidRequestException 400":        {TemplateName: aws.String(strings.Repeat("a", 37)), TemplateBody: aws.String(claimTemplate)},
		"InvalidRequestException 400 ":       {TemplateName: aws.String("b"), TemplateBody: aws.String(`{}`)},
		"InvalidRequestException 400  ":      {TemplateName: aws.String("b"), TemplateBody: aws.String(claimTemplate), PreProvisioningHook: &types.ProvisioningHook{TargetArn: aws.String("exec:/bin/true")}},
	} {
		in.ProvisioningRoleArn = role
		_, err := a.CreateProvisioningTemplate(ctx, &in)
		var code string
		var status int
		fmt.Sscan(name, &code, &status)
		wantError(t, err, code, status)
	}
	got := must[*sdk.DescribeProvisioningTemplateOutput](t)(a.DescribeProvisioningTemplate(ctx, &sdk.DescribeProvisioningTemplateInput{TemplateName: aws.String("fleet")}))
	if got.Type != types.TemplateTypeFleetProvisioning || *got.Enabled || *got.TemplateBody != claimTemplate || *got.PreProvisioningHook.PayloadVersion != "2020-04-01" || *got.Description != "d" {
		t.Errorf("described %+v", got)
	}
	for want := int32(2); want <= 5; want++ {
		v := must[*sdk.CreateProvisioningTemplateVersionOutput](t)(a.CreateProvisioningTemplateVersion(ctx, &sdk.CreateProvisioningTemplateVersionInput{TemplateName: aws.String("fleet"), TemplateBody: aws.String(claimTemplate), SetAsDefault: want == 3}))
		if *v.VersionId != want || v.IsDefaultVersion != (want == 3) {
			t.Errorf("version %+v", v)
		}
	}
	_, err := a.CreateProvisioningTemplateVersion(ctx, &sdk.CreateProvisioningTemplateVersionInput{TemplateName: aws.String("fleet"), TemplateBody: aws.String(claimTemplate)})
	wantError(t, err, "VersionsLimitExceededException", 409)
	_, err = a.DeleteProvisioningTemplateVersion(ctx, &sdk.DeleteProvisioningTemplateVersionInput{TemplateName: aws.String("fleet"), VersionId: aws.Int32(3)})
	wantError(t, err, "DeleteConflictException", 409)
	must[*sdk.DeleteProvisioningTemplateVersionOutput](t)(a.DeleteProvisioningTemplateVersion(ctx, &sdk.DeleteProvisioningTemplateVersionInput{TemplateName: aws.String("fleet"), VersionId: aws.Int32(1)}))
	_, err = a.DescribeProvisioningTemplateVersion(ctx, &sdk.DescribeProvisioningTemplateVersionInput{TemplateName: aws.String("fleet"), VersionId: aws.Int32(1)})
	wantError(t, err, "ResourceNotFoundException", 404)
	var versions []int32
	for token := (*string)(nil); ; {
		page := must[*sdk.ListProvisioningTemplateVersionsOutput](t)(a.ListProvisioningTemplateVersions(ctx, &sdk.ListProvisioningTemplateVersionsInput{TemplateName: aws.String("fleet"), MaxResults: aws.Int32(3), NextToken: token}))
		for _, v := range page.Versions {
			versions = append(versions, *v.VersionId)
		}
		if token = page.NextToken; token == nil {
			break
		}
	}
	if fmt.Sprint(versions) != "[2 3 4 5]" {
		t.Errorf("versions %v", versions)
	}
	must[*sdk.UpdateProvisioningTemplateOutput](t)(a.UpdateProvisioningTemplate(ctx, &sdk.UpdateProvisioningTemplateInput{TemplateName: aws.String("fleet"), Enabled: aws.Bool(true), DefaultVersionId: aws.Int32(4), RemovePreProvisioningHook: aws.Bool(true)}))
	got = must[*sdk.DescribeProvisioningTemplateOutput](t)(a.DescribeProvisioningTemplate(ctx, &sdk.DescribeProvisioningTemplateInput{TemplateName: aws.String("fleet")}))
	if !*got.Enabled || *got.DefaultVersionId != 4 || got.PreProvisioningHook != nil {
		t.Errorf("updated to %+v", got)
	}
	a.template(t, "jitp", types.TemplateTypeJitp)
	if list := must[*sdk.ListProvisioningTemplatesOutput](t)(a.ListProvisioningTemplates(ctx, &sdk.ListProvisioningTemplatesInput{})); len(list.Templates) != 2 || *list.Templates[0].TemplateName != "fleet" || list.Templates[1].Type != types.TemplateTypeJitp {
		t.Errorf("listed %+v", list.Templates)
	}
	must[*sdk.DeleteProvisioningTemplateOutput](t)(a.DeleteProvisioningTemplate(ctx, &sdk.DeleteProvisioningTemplateInput{TemplateName: aws.String("fleet")}))
	_, err = a.DescribeProvisioningTemplate(ctx, &sdk.DescribeProvisioningTemplateInput{TemplateName: aws.String("fleet")})
	wantError(t, err, "ResourceNotFoundException", 404)
}

func TestProvisioningClaim(t *testing.T) {
	t.Parallel()
	ctx, a := context.Background(), newAPI(t)
	a.template(t, "fleet", types.TemplateTypeFleetProvisioning)
	claim := must[*sdk.CreateProvisioningClaimOutput](t)(a.CreateProvisioningClaim(ctx, &sdk.CreateProvisioningClaimInput{TemplateName: aws.String("fleet")}))
	if _, err := tls.X509KeyPair([]byte(*claim.CertificatePem), []byte(*claim.KeyPair.PrivateKey)); err != nil {
		t.Error(err)
	}
	if life := time.Until(*claim.Expiration); life < 4*time.Minute || life > 5*time.Minute+time.Second {
		t.Errorf("life %v", life)
	}
	if list := must[*sdk.ListCertificatesOutput](t)(a.ListCertificates(ctx, &sdk.ListCertificatesInput{})); len(list.Certificates) != 0 {
		t.Errorf("listed %v", list.Certificates)
	}
	_, err := a.CreateProvisioningClaim(ctx, &sdk.CreateProvisioningClaimInput{TemplateName: aws.String("none")})
	wantError(t, err, "ResourceNotFoundException", 404)
}

const bulkTemplate = `{"Parameters":{"Name":{"Type":"String"},"CSR":{"Type":"String"}},"Resources":{
	"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"Name"},"AttributePayload":{"a":"1"}},"OverrideSettings":{"AttributePayload":"FAIL"}},
	"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateSigningRequest":{"Ref":"CSR"},"Status":"INACTIVE"}},
	"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}}}}}`

func TestRegisterThing(t *testing.T) {
	t.Parallel()
	ctx, a := context.Background(), newAPI(t)
	csr := newCSR(t)
	in := &sdk.RegisterThingInput{TemplateBody: aws.String(bulkTemplate), Parameters: map[string]string{"Name": "lamp", "CSR": csr}}
	out := must[*sdk.RegisterThingOutput](t)(a.RegisterThing(ctx, in))
	if out.ResourceArns["thing"] != "arn:aws:iot:us-east-1:000000000000:thing/lamp" || !strings.HasPrefix(*out.CertificatePem, "-----BEGIN") || len(out.ResourceArns) != 3 {
		t.Errorf("registered %+v", out)
	}
	principals := must[*sdk.ListThingPrincipalsOutput](t)(a.ListThingPrincipals(ctx, &sdk.ListThingPrincipalsInput{ThingName: aws.String("lamp")}))
	if len(principals.Principals) != 1 || principals.Principals[0] != out.ResourceArns["certificate"] {
		t.Errorf("principals %v", principals.Principals)
	}
	policies := must[*sdk.ListAttachedPoliciesOutput](t)(a.ListAttachedPolicies(ctx, &sdk.ListAttachedPoliciesInput{Target: aws.String(out.ResourceArns["certificate"])}))
	if len(policies.Policies) != 1 || *policies.Policies[0].PolicyArn != out.ResourceArns["policy"] {
		t.Errorf("policies %v", policies.Policies)
	}
	_, err := a.RegisterThing(ctx, in)
	wantError(t, err, "ConflictingResourceUpdateException", 409)
	// Whatever fails leaves nothing behind.
	_, err = a.RegisterThing(ctx, &sdk.RegisterThingInput{TemplateBody: aws.String(strings.Replace(bulkTemplate, `"AttributePayload":{"a":"1"}`, `"ThingGroups":["none"]`, 1)),
		Parameters: map[string]string{"Name": "other", "CSR": csr}})
	wantError(t, err, "ResourceRegistrationFailureException", 400)
	_, err = a.DescribeThing(ctx, &sdk.DescribeThingInput{ThingName: aws.String("other")})
	wantError(t, err, "ResourceNotFoundException", 404)
	_, err = a.RegisterThing(ctx, &sdk.RegisterThingInput{TemplateBody: aws.String(bulkTemplate), Parameters: map[string]string{"Name": "x"}})
	wantError(t, err, "InvalidRequestException", 400)
}

func TestThingRegistrationTask(t *testing.T) {
	t.Parallel()
	ctx, a := context.Background(), newAPI(t)
	var lines []string
	for i := range 20 {
		lines = append(lines, fmt.Sprintf(`{"Name":"t%d","CSR":%q}`, i, newCSR(t)))
	}
	lines = append(lines, `{"Name":"no csr"}`, `not JSON`)
	if err := os.WriteFile(filepath.Join(a.files, "devices.json"), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	in := &sdk.StartThingRegistrationTaskInput{TemplateBody: aws.String(bulkTemplate), InputFileBucket: aws.String("file"), InputFileKey: aws.String("devices.json"), RoleArn: aws.String("arn:aws:iam::000000000000:role/r")}
	id := must[*sdk.StartThingRegistrationTaskOutput](t)(a.StartThingRegistrationTask(ctx, in)).TaskId
	var task *sdk.DescribeThingRegistrationTaskOutput
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		task = must[*sdk.DescribeThingRegistrationTaskOutput](t)(a.DescribeThingRegistrationTask(ctx, &sdk.DescribeThingRegistrationTaskInput{TaskId: id}))
		if task.Status == types.StatusCompleted || time.Now().After(deadline) {
			break
		}
	}
	if task.Status != types.StatusCompleted || task.SuccessCount != 20 || task.FailureCount != 2 || task.PercentageProgress != 100 {
		t.Errorf("task %+v", task)
	}
	reports := must[*sdk.ListThingRegistrationTaskReportsOutput](t)(a.ListThingRegistrationTaskReports(ctx, &sdk.ListThingRegistrationTaskReportsInput{TaskId: id, ReportType: types.ReportTypeErrors}))
	if len(reports.ResourceLinks) != 1 || !strings.HasSuffix(reports.ResourceLinks[0], "/berth/registration-tasks/"+*id+"/errors") {
		t.Errorf("reports %v", reports.ResourceLinks)
	}
	if list := must[*sdk.ListThingRegistrationTasksOutput](t)(a.ListThingRegistrationTasks(ctx, &sdk.ListThingRegistrationTasksInput{Status: types.StatusCompleted})); len(list.TaskIds) != 1 {
		t.Errorf("tasks %v", list.TaskIds)
	}
	_, err := a.StopThingRegistrationTask(ctx, &sdk.StopThingRegistrationTaskInput{TaskId: id})
	wantError(t, err, "InvalidRequestException", 400)
	in.InputFileKey = aws.String("../secret")
	_, err = a.StartThingRegistrationTask(ctx, in)
	wantError(t, err, "InvalidRequestException", 400)
}

func newCSR(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}
