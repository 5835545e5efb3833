package iot_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (s signer) pem() *string { return certPEM(s.cert.Raw) }

func certPEM(der []byte) *string {
	return aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// sign makes a certificate; a nil parent makes a root.
func sign(t *testing.T, parent *signer, commonName string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: commonName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
	by, signKey := template, crypto.Signer(key)
	if parent == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		by, signKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, signKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signer{cert, key}
}

func (a *api) status(t *testing.T, id *string) types.CertificateStatus {
	t.Helper()
	return must[*sdk.DescribeCertificateOutput](t)(a.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateId: id})).CertificateDescription.Status
}

func TestCreateKeysAndCertificate(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	made := must[*sdk.CreateKeysAndCertificateOutput](t)(a.CreateKeysAndCertificate(ctx, &sdk.CreateKeysAndCertificateInput{SetAsActive: true}))
	block, _ := pem.Decode([]byte(*made.KeyPair.PrivateKey))
	if block == nil || block.Type != "RSA PRIVATE KEY" {
		t.Fatal("the private key is not PKCS#1")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil || key.N.BitLen() != 2048 {
		t.Fatal(err)
	}
	public, _ := pem.Decode([]byte(*made.KeyPair.PublicKey))
	if public == nil || public.Type != "PUBLIC KEY" {
		t.Error("the public key is not PKIX")
	}
	block, _ = pem.Decode([]byte(*made.CertificatePem))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !cert.PublicKey.(*rsa.PublicKey).Equal(&key.PublicKey) || cert.Subject.CommonName != "AWS IoT Certificate" || !cert.NotAfter.Equal(time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)) {
		t.Errorf("%v %v", cert.Subject, cert.NotAfter)
	}
	got := must[*sdk.DescribeCertificateOutput](t)(a.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateId: made.CertificateId})).CertificateDescription
	if got.Status != types.CertificateStatusActive || *got.CertificatePem != *made.CertificatePem || *got.OwnedBy != "000000000000" || !got.Validity.NotAfter.Equal(cert.NotAfter) || got.CertificateMode != types.CertificateModeDefault {
		t.Errorf("%+v", got)
	}
}

func TestCertificateLife(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "sensor 1"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
	made := must[*sdk.CreateCertificateFromCsrOutput](t)(a.CreateCertificateFromCsr(ctx, &sdk.CreateCertificateFromCsrInput{CertificateSigningRequest: csr}))
	if s := a.status(t, made.CertificateId); s != types.CertificateStatusInactive {
		t.Error(s)
	}
	_, err = a.CreateCertificateFromCsr(ctx, &sdk.CreateCertificateFromCsrInput{CertificateSigningRequest: aws.String("junk")})
	wantError(t, err, "InvalidRequestException", 400)

	update := func(status types.CertificateStatus) error {
		_, err := a.UpdateCertificate(ctx, &sdk.UpdateCertificateInput{CertificateId: made.CertificateId, NewStatus: status})
		return err
	}
	for range 2 {
		if err := update(types.CertificateStatusActive); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, update(types.CertificateStatusPendingTransfer), "InvalidRequestException", 400)
	remove := func(force bool) error {
		_, err := a.DeleteCertificate(ctx, &sdk.DeleteCertificateInput{CertificateId: made.CertificateId, ForceDelete: force})
		return err
	}
	wantError(t, remove(true), "CertificateStateException", 406)

	must[*sdk.CreatePolicyOutput](t)(a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(allowAll)}))
	must[*sdk.AttachPolicyOutput](t)(a.AttachPolicy(ctx, &sdk.AttachPolicyInput{PolicyName: aws.String("p"), Target: made.CertificateArn}))
	must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("t")}))
	must[*sdk.AttachThingPrincipalOutput](t)(a.AttachThingPrincipal(ctx, &sdk.AttachThingPrincipalInput{ThingName: aws.String("t"), Principal: made.CertificateArn}))
	if err := update(types.CertificateStatusRevoked); err != nil {
		t.Fatal(err)
	}
	wantError(t, update(types.CertificateStatusActive), "CertificateStateException", 406)
	wantError(t, remove(true), "DeleteConflictException", 409)
	_, err = a.DeleteThing(ctx, &sdk.DeleteThingInput{ThingName: aws.String("t")})
	wantError(t, err, "InvalidRequestException", 400)
	must[*sdk.DetachThingPrincipalOutput](t)(a.DetachThingPrincipal(ctx, &sdk.DetachThingPrincipalInput{ThingName: aws.String("t"), Principal: made.CertificateArn}))
	wantError(t, remove(false), "DeleteConflictException", 409)
	if err := remove(true); err != nil {
		t.Fatal(err)
	}
	wantError(t, remove(true), "ResourceNotFoundException", 404)
	_, err = a.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateId: aws.String("abc")})
	wantError(t, err, "InvalidRequestException", 400)
}

func TestListCertificates(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	var ids []string
	for range 5 {
		c := sign(t, nil, "x")
		out := must[*sdk.RegisterCertificateWithoutCAOutput](t)(a.RegisterCertificateWithoutCA(ctx, &sdk.RegisterCertificateWithoutCAInput{CertificatePem: c.pem(), Status: types.CertificateStatusActive}))
		ids = append(ids, *out.CertificateId)
		_, err := a.RegisterCertificateWithoutCA(ctx, &sdk.RegisterCertificateWithoutCAInput{CertificatePem: c.pem()})
		wantError(t, err, "ResourceAlreadyExistsException", 409)
	}
	for _, ascending := range []bool{true, false} {
		pages := sdk.NewListCertificatesPaginator(a, &sdk.ListCertificatesInput{PageSize: aws.Int32(2), AscendingOrder: ascending})
		var got []string
		for pages.HasMorePages() {
			for _, c := range must[*sdk.ListCertificatesOutput](t)(pages.NextPage(ctx)).Certificates {
				got = append(got, *c.CertificateId)
				if c.CertificateMode != types.CertificateModeSniOnly {
					t.Error(c.CertificateMode)
				}
			}
		}
		for i := range ids {
			want := ids[i]
			if !ascending {
				want = ids[len(ids)-1-i]
			}
			if len(got) != len(ids) || got[i] != want {
				t.Fatalf("ascending %v: %v", ascending, got)
			}
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	id := must[*sdk.RegisterCertificateWithoutCAOutput](t)(a.RegisterCertificateWithoutCA(ctx, &sdk.RegisterCertificateWithoutCAInput{CertificatePem: sign(t, nil, "x").pem()})).CertificateId
	offer := func() (*sdk.TransferCertificateOutput, error) {
		return a.TransferCertificate(ctx, &sdk.TransferCertificateInput{CertificateId: id, TargetAwsAccount: aws.String("111122223333"), TransferMessage: aws.String("yours")})
	}
	out := must[*sdk.TransferCertificateOutput](t)(offer())
	if *out.TransferredCertificateArn != "arn:aws:iot:us-east-1:111122223333:cert/"+*id {
		t.Error(*out.TransferredCertificateArn)
	}
	_, err := offer()
	wantError(t, err, "CertificateStateException", 406)
	outgoing := must[*sdk.ListOutgoingCertificatesOutput](t)(a.ListOutgoingCertificates(ctx, &sdk.ListOutgoingCertificatesInput{}))
	if len(outgoing.OutgoingCertificates) != 1 || *outgoing.OutgoingCertificates[0].TransferMessage != "yours" {
		t.Errorf("%+v", outgoing)
	}
	must[*sdk.CancelCertificateTransferOutput](t)(a.CancelCertificateTransfer(ctx, &sdk.CancelCertificateTransferInput{CertificateId: id}))
	_, err = a.CancelCertificateTransfer(ctx, &sdk.CancelCertificateTransferInput{CertificateId: id})
	wantError(t, err, "TransferAlreadyCompletedException", 410)
	must[*sdk.TransferCertificateOutput](t)(offer())
	must[*sdk.RejectCertificateTransferOutput](t)(a.RejectCertificateTransfer(ctx, &sdk.RejectCertificateTransferInput{CertificateId: id, RejectReason: aws.String("no")}))
	got := must[*sdk.DescribeCertificateOutput](t)(a.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateId: id})).CertificateDescription
	if got.Status != types.CertificateStatusInactive || *got.TransferData.RejectReason != "no" || got.TransferData.RejectDate == nil {
		t.Errorf("%+v", got)
	}
	must[*sdk.TransferCertificateOutput](t)(offer())
	must[*sdk.AcceptCertificateTransferOutput](t)(a.AcceptCertificateTransfer(ctx, &sdk.AcceptCertificateTransferInput{CertificateId: id, SetAsActive: true}))
	got = must[*sdk.DescribeCertificateOutput](t)(a.DescribeCertificate(ctx, &sdk.DescribeCertificateInput{CertificateId: id})).CertificateDescription
	if got.Status != types.CertificateStatusActive || *got.OwnedBy != "111122223333" || *got.PreviousOwnedBy != "000000000000" {
		t.Errorf("%+v", got)
	}
	_, err = offer()
	wantError(t, err, "CertificateStateException", 406)

	attached := must[*sdk.RegisterCertificateWithoutCAOutput](t)(a.RegisterCertificateWithoutCA(ctx, &sdk.RegisterCertificateWithoutCAInput{CertificatePem: sign(t, nil, "y").pem()}))
	must[*sdk.CreatePolicyOutput](t)(a.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String(allowAll)}))
	must[*sdk.AttachPolicyOutput](t)(a.AttachPolicy(ctx, &sdk.AttachPolicyInput{PolicyName: aws.String("p"), Target: attached.CertificateArn}))
	_, err = a.TransferCertificate(ctx, &sdk.TransferCertificateInput{CertificateId: attached.CertificateId, TargetAwsAccount: aws.String("111122223333")})
	wantError(t, err, "TransferConflictException", 409)
}

func TestCACertificates(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.template(t, "tmpl", types.TemplateTypeJitp)
	authority := sign(t, nil, "factory")
	code := must[*sdk.GetRegistrationCodeOutput](t)(a.GetRegistrationCode(ctx, &sdk.GetRegistrationCodeInput{})).RegistrationCode
	if len(*code) != 64 {
		t.Error(*code)
	}
	proof, wrong := sign(t, &authority, *code), sign(t, &authority, "other")
	register := func(verification *string) (*sdk.RegisterCACertificateOutput, error) {
		return a.RegisterCACertificate(ctx, &sdk.RegisterCACertificateInput{
			CaCertificate: authority.pem(), VerificationCertificate: verification, SetAsActive: true, AllowAutoRegistration: true,
			RegistrationConfig: &types.RegistrationConfig{TemplateName: aws.String("tmpl")}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
		})
	}
	_, err := register(wrong.pem())
	wantError(t, err, "RegistrationCodeValidationException", 400)
	_, err = register(nil)
	wantError(t, err, "InvalidRequestException", 400)
	made := must[*sdk.RegisterCACertificateOutput](t)(register(proof.pem()))
	_, err = register(proof.pem())
	wantError(t, err, "ResourceAlreadyExistsException", 409)
	leaf := sign(t, &authority, "leaf")
	_, err = a.RegisterCACertificate(ctx, &sdk.RegisterCACertificateInput{CaCertificate: leaf.pem(), CertificateMode: types.CertificateModeSniOnly})
	wantError(t, err, "CertificateValidationException", 400)

	got := must[*sdk.DescribeCACertificateOutput](t)(a.DescribeCACertificate(ctx, &sdk.DescribeCACertificateInput{CertificateId: made.CertificateId}))
	if d := got.CertificateDescription; d.Status != types.CACertificateStatusActive || d.AutoRegistrationStatus != types.AutoRegistrationStatusEnable || *got.RegistrationConfig.TemplateName != "tmpl" || *d.CertificatePem != *authority.pem() {
		t.Errorf("%+v", d)
	}
	device := must[*sdk.RegisterCertificateOutput](t)(a.RegisterCertificate(ctx, &sdk.RegisterCertificateInput{CertificatePem: leaf.pem(), Status: types.CertificateStatusActive}))
	byCA := must[*sdk.ListCertificatesByCAOutput](t)(a.ListCertificatesByCA(ctx, &sdk.ListCertificatesByCAInput{CaCertificateId: made.CertificateId}))
	if len(byCA.Certificates) != 1 || *byCA.Certificates[0].CertificateId != *device.CertificateId {
		t.Errorf("%+v", byCA.Certificates)
	}
	stranger := sign(t, nil, "stranger")
	_, err = a.RegisterCertificate(ctx, &sdk.RegisterCertificateInput{CertificatePem: sign(t, &stranger, "x").pem()})
	wantError(t, err, "CertificateValidationException", 400)

	_, err = a.DeleteCACertificate(ctx, &sdk.DeleteCACertificateInput{CertificateId: made.CertificateId})
	wantError(t, err, "CertificateStateException", 406)
	must[*sdk.UpdateCACertificateOutput](t)(a.UpdateCACertificate(ctx, &sdk.UpdateCACertificateInput{CertificateId: made.CertificateId, NewStatus: types.CACertificateStatusInactive, NewAutoRegistrationStatus: types.AutoRegistrationStatusDisable, RemoveAutoRegistration: true}))
	_, err = a.RegisterCertificate(ctx, &sdk.RegisterCertificateInput{CertificatePem: sign(t, &authority, "late").pem()})
	wantError(t, err, "CertificateStateException", 406)
	if list := must[*sdk.ListCACertificatesOutput](t)(a.ListCACertificates(ctx, &sdk.ListCACertificatesInput{})); len(list.Certificates) != 1 || list.Certificates[0].Status != types.CACertificateStatusInactive {
		t.Errorf("%+v", list.Certificates)
	}
	if list := must[*sdk.ListCACertificatesOutput](t)(a.ListCACertificates(ctx, &sdk.ListCACertificatesInput{TemplateName: aws.String("tmpl")})); len(list.Certificates) != 0 {
		t.Errorf("%+v", list.Certificates)
	}
	must[*sdk.DeleteCACertificateOutput](t)(a.DeleteCACertificate(ctx, &sdk.DeleteCACertificateInput{CertificateId: made.CertificateId}))
	_, err = a.DescribeCACertificate(ctx, &sdk.DescribeCACertificateInput{CertificateId: made.CertificateId})
	wantError(t, err, "ResourceNotFoundException", 404)

	must[*sdk.DeleteRegistrationCodeOutput](t)(a.DeleteRegistrationCode(ctx, &sdk.DeleteRegistrationCodeInput{}))
	_, err = a.DeleteRegistrationCode(ctx, &sdk.DeleteRegistrationCodeInput{})
	wantError(t, err, "ResourceNotFoundException", 404)
	if next := must[*sdk.GetRegistrationCodeOutput](t)(a.GetRegistrationCode(ctx, &sdk.GetRegistrationCodeInput{})); *next.RegistrationCode == *code {
		t.Error("a deleted registration code came back")
	}
}

func TestSameSubjectAndKey(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	first := sign(t, nil, "twin")
	template := *first.cert
	template.SerialNumber = big.NewInt(99)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, first.key.Public(), first.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, ca := range []*string{first.pem(), certPEM(der)} {
		must[*sdk.RegisterCACertificateOutput](t)(a.RegisterCACertificate(ctx, &sdk.RegisterCACertificateInput{CaCertificate: ca, CertificateMode: types.CertificateModeSniOnly, SetAsActive: true}))
	}
	leaf := sign(t, &first, "leaf")
	_, err = a.RegisterCertificate(ctx, &sdk.RegisterCertificateInput{CertificatePem: leaf.pem()})
	wantError(t, err, "CertificateConflictException", 409)
	must[*sdk.RegisterCertificateOutput](t)(a.RegisterCertificate(ctx, &sdk.RegisterCertificateInput{CertificatePem: leaf.pem(), CaCertificatePem: certPEM(der)}))
	_, err = a.RegisterCertificate(ctx, &sdk.RegisterCertificateInput{CertificatePem: aws.String(strings.Repeat("x", 100))})
	wantError(t, err, "CertificateValidationException", 400)
}
