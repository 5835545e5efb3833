package iot_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/awsapi/iot"
	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/provisioning"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

const readOnlyKey = "AKIAREADONLY00000000"

// api is a control plane with the SDK's client for it.
type api struct {
	*sdk.Client
	url   string
	clock *atomic.Int64 // nanoseconds added to the clock
	files string        // folder of bulk registrations
}

func (a *api) advance(d time.Duration) { a.clock.Add(int64(d)) }

func (a *api) clientFor(key string) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(a.url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
	})
}

func newAPI(t testing.TB) *api {
	t.Helper()
	ctx := context.Background()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	a := &api{clock: new(atomic.Int64)}
	start := time.Now()
	now := func() time.Time { return start.Add(time.Duration(a.clock.Add(int64(time.Millisecond)))) }
	reg, err := registry.Open(ctx, db, registry.Config{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ca.Open(t.TempDir(), ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := router.New(ctx, topic.Rules{}, db)
	if err != nil {
		t.Fatal(err)
	}
	a.files = t.TempDir()
	devices, err := provisioning.Open(ctx, provisioning.Config{Store: db, Registry: reg, Authority: authority, Router: routes, Now: now, TaskFiles: a.files})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(devices.Close)
	handler, err := awsapi.New(awsapi.Config{Authenticate: authenticate}, iot.Operations(iot.Config{Registry: reg, Authority: authority, Provisioning: devices, Endpoint: "things.example.com"}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	a.url = server.URL
	a.Client = a.clientFor("AKIAADMIN00000000000")
	return a
}

// authenticate believes the credential scope; signatures are another package's business.
func authenticate(r *http.Request, _ []byte) (awsapi.Caller, error) {
	_, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope := strings.Split(strings.SplitN(rest, ",", 2)[0], "/")
	if !ok || len(scope) != 5 {
		return awsapi.Caller{}, &awsapi.Error{Type: "MissingAuthenticationTokenException", Status: 403, Message: "Missing Authentication Token"}
	}
	caller := awsapi.Caller{AccessKeyID: scope[0], Service: scope[3], Role: awsapi.RoleAdmin}
	if scope[0] == readOnlyKey {
		caller.Role = awsapi.RoleReadOnly
	}
	return caller, nil
}

// must returns v and fails the test on an error.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantError checks an answer's exception and HTTP status.
func wantError(t *testing.T, err error, code string, status int) {
	t.Helper()
	var apiErr smithy.APIError
	var httpErr interface{ HTTPStatusCode() int }
	if !errors.As(err, &apiErr) || !errors.As(err, &httpErr) {
		t.Fatalf("got %v, want %s", err, code)
	}
	if apiErr.ErrorCode() != code || httpErr.HTTPStatusCode() != status {
		t.Fatalf("got %s %d (%s), want %s %d", apiErr.ErrorCode(), httpErr.HTTPStatusCode(), apiErr.ErrorMessage(), code, status)
	}
	if apiErr.ErrorMessage() == "" {
		t.Errorf("%s has no message", code)
	}
}

var ctx = context.Background()

func TestDescribeEndpoint(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, kind := range []string{"", "iot:Data", "iot:Data-ATS", "iot:CredentialProvider", "iot:Jobs"} {
		in := &sdk.DescribeEndpointInput{}
		if kind != "" {
			in.EndpointType = &kind
		}
		out := must[*sdk.DescribeEndpointOutput](t)(a.DescribeEndpoint(ctx, in))
		if *out.EndpointAddress != "things.example.com" {
			t.Errorf("%s: %s", kind, *out.EndpointAddress)
		}
	}
	_, err := a.DescribeEndpoint(ctx, &sdk.DescribeEndpointInput{EndpointType: aws.String("iot:Moon")})
	wantError(t, err, "InvalidRequestException", 400)
}

func TestThings(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	attributes := &types.AttributePayload{Attributes: map[string]string{"room": "kitchen", "floor": "1"}}
	in := &sdk.CreateThingInput{ThingName: aws.String("lamp:1"), AttributePayload: attributes}
	made := must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, in))
	if *made.ThingArn != "arn:aws:iot:us-east-1:000000000000:thing/lamp:1" {
		t.Error(*made.ThingArn)
	}
	again := must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, in))
	if *again.ThingId != *made.ThingId {
		t.Error("the same thing was made twice")
	}
	_, err := a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("lamp:1")})
	wantError(t, err, "ResourceAlreadyExistsException", 409)
	var exists *types.ResourceAlreadyExistsException
	if !errors.As(err, &exists) || aws.ToString(exists.ResourceArn) != *made.ThingArn || aws.ToString(exists.ResourceId) != *made.ThingId {
		t.Errorf("resource %v %v", exists.ResourceId, exists.ResourceArn)
	}
	_, err = a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("a b")})
	wantError(t, err, "InvalidRequestException", 400)
	if !strings.Contains(err.Error(), "1 validation error detected: Value 'a b' at 'thingName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+") {
		t.Error(err)
	}
	for _, name := range []string{"../x", "a/b", "x';DROP TABLE thing;--", strings.Repeat("n", 129), "ü"} {
		_, err = a.DescribeThing(ctx, &sdk.DescribeThingInput{ThingName: &name})
		wantError(t, err, "InvalidRequestException", 400)
	}
	_, err = a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("x"), ThingTypeName: aws.String("nosuch")})
	wantError(t, err, "ResourceNotFoundException", 404)
	_, err = a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("x"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"a": "has space"}}})
	wantError(t, err, "InvalidRequestException", 400)
	_, err = a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("x"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"a": "1", "b": "1", "c": "1", "d": "1"}}})
	wantError(t, err, "InvalidRequestException", 400)

	_, err = a.UpdateThing(ctx, &sdk.UpdateThingInput{ThingName: aws.String("lamp:1"), ExpectedVersion: aws.Int64(7)})
	wantError(t, err, "VersionConflictException", 409)
	must[*sdk.UpdateThingOutput](t)(a.UpdateThing(ctx, &sdk.UpdateThingInput{ThingName: aws.String("lamp:1"), ExpectedVersion: aws.Int64(1),
		AttributePayload: &types.AttributePayload{Merge: true, Attributes: map[string]string{"floor": "", "color": "red"}}}))
	got := must[*sdk.DescribeThingOutput](t)(a.DescribeThing(ctx, &sdk.DescribeThingInput{ThingName: aws.String("lamp:1")}))
	if got.Version != 2 || *got.DefaultClientId != "lamp:1" || len(got.Attributes) != 2 || got.Attributes["room"] != "kitchen" || got.Attributes["color"] != "red" {
		t.Errorf("%+v", got)
	}
	list := must[*sdk.ListThingsOutput](t)(a.ListThings(ctx, &sdk.ListThingsInput{AttributeName: aws.String("color"), AttributeValue: aws.String("red")}))
	if len(list.Things) != 1 || *list.Things[0].ThingName != "lamp:1" {
		t.Errorf("%+v", list.Things)
	}
	list = must[*sdk.ListThingsOutput](t)(a.ListThings(ctx, &sdk.ListThingsInput{AttributeName: aws.String("room"), AttributeValue: aws.String("ki"), UsePrefixAttributeValue: true}))
	if len(list.Things) != 1 {
		t.Errorf("%+v", list.Things)
	}
	_, err = a.ListThings(ctx, &sdk.ListThingsInput{MaxResults: aws.Int32(251)})
	wantError(t, err, "InvalidRequestException", 400)
	_, err = a.ListThings(ctx, &sdk.ListThingsInput{NextToken: aws.String("!")})
	wantError(t, err, "InvalidRequestException", 400)

	for range 2 { // a thing that is gone counts as deleted
		must[*sdk.DeleteThingOutput](t)(a.DeleteThing(ctx, &sdk.DeleteThingInput{ThingName: aws.String("lamp:1")}))
	}
	_, err = a.DescribeThing(ctx, &sdk.DescribeThingInput{ThingName: aws.String("lamp:1")})
	wantError(t, err, "ResourceNotFoundException", 404)
}

func TestPagination(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, name := range []string{"e", "a", "c", "b", "d"} {
		must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: &name}))
	}
	var names string
	pages := sdk.NewListThingsPaginator(a, &sdk.ListThingsInput{MaxResults: aws.Int32(2)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		for _, thing := range must[*sdk.ListThingsOutput](t)(pages.NextPage(ctx)).Things {
			names += *thing.ThingName
		}
	}
	if names != "abcde" || n != 3 {
		t.Errorf("%s in %d pages", names, n)
	}
}

func TestThingTypes(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	name := aws.String("sensor")
	in := &sdk.CreateThingTypeInput{ThingTypeName: name, ThingTypeProperties: &types.ThingTypeProperties{
		ThingTypeDescription: aws.String("measures"), SearchableAttributes: []string{"room"},
		Mqtt5Configuration: &types.Mqtt5Configuration{PropagatingAttributes: []types.PropagatingAttribute{{UserPropertyKey: aws.String("where"), ThingAttribute: aws.String("room")}}},
	}, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("one")}}}
	made := must[*sdk.CreateThingTypeOutput](t)(a.CreateThingType(ctx, in))
	must[*sdk.CreateThingTypeOutput](t)(a.CreateThingType(ctx, in))
	_, err := a.CreateThingType(ctx, &sdk.CreateThingTypeInput{ThingTypeName: name})
	wantError(t, err, "ResourceAlreadyExistsException", 409)
	must[*sdk.UpdateThingTypeOutput](t)(a.UpdateThingType(ctx, &sdk.UpdateThingTypeInput{ThingTypeName: name, ThingTypeProperties: &types.ThingTypeProperties{SearchableAttributes: []string{"floor"}}}))
	got := must[*sdk.DescribeThingTypeOutput](t)(a.DescribeThingType(ctx, &sdk.DescribeThingTypeInput{ThingTypeName: name}))
	p := got.ThingTypeProperties
	if *got.ThingTypeArn != *made.ThingTypeArn || *p.ThingTypeDescription != "measures" || p.SearchableAttributes[0] != "floor" || *p.Mqtt5Configuration.PropagatingAttributes[0].ThingAttribute != "room" {
		t.Errorf("%+v", p)
	}
	if d := time.Since(*got.ThingTypeMetadata.CreationDate); d > time.Hour || d < -time.Hour {
		t.Errorf("created %v", got.ThingTypeMetadata.CreationDate)
	}
	must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("s1"), ThingTypeName: name}))
	if list := must[*sdk.ListThingTypesOutput](t)(a.ListThingTypes(ctx, &sdk.ListThingTypesInput{})); len(list.ThingTypes) != 1 {
		t.Errorf("%+v", list)
	}

	remove := func() error {
		_, err := a.DeleteThingType(ctx, &sdk.DeleteThingTypeInput{ThingTypeName: name})
		return err
	}
	wantError(t, remove(), "InvalidRequestException", 400) // not deprecated
	must[*sdk.DeprecateThingTypeOutput](t)(a.DeprecateThingType(ctx, &sdk.DeprecateThingTypeInput{ThingTypeName: name}))
	_, err = a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("s2"), ThingTypeName: name})
	wantError(t, err, "InvalidRequestException", 400)
	wantError(t, remove(), "InvalidRequestException", 400) // too early
	a.advance(registry.TypeDeletionDelay)
	wantError(t, remove(), "InvalidRequestException", 400) // in use
	must[*sdk.UpdateThingOutput](t)(a.UpdateThing(ctx, &sdk.UpdateThingInput{ThingName: aws.String("s1"), RemoveThingType: true}))
	must[*sdk.DeprecateThingTypeOutput](t)(a.DeprecateThingType(ctx, &sdk.DeprecateThingTypeInput{ThingTypeName: name, UndoDeprecate: true}))
	wantError(t, remove(), "InvalidRequestException", 400)
	must[*sdk.DeprecateThingTypeOutput](t)(a.DeprecateThingType(ctx, &sdk.DeprecateThingTypeInput{ThingTypeName: name}))
	a.advance(registry.TypeDeletionDelay)
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	wantError(t, remove(), "ResourceNotFoundException", 404)
}

func TestThingGroups(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	create := func(name, parent string) error {
		in := &sdk.CreateThingGroupInput{ThingGroupName: &name, ThingGroupProperties: &types.ThingGroupProperties{ThingGroupDescription: aws.String("d"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"k": "v"}}}}
		if parent != "" {
			in.ParentGroupName = &parent
		}
		_, err := a.CreateThingGroup(ctx, in)
		return err
	}
	for _, g := range [][2]string{{"house", ""}, {"floor1", "house"}, {"kitchen", "floor1"}, {"garden", ""}, {"floor1", "house"}} {
		if err := create(g[0], g[1]); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, create("floor1", "garden"), "ResourceAlreadyExistsException", 409)
	wantError(t, create("x", "nosuch"), "InvalidRequestException", 400)
	got := must[*sdk.DescribeThingGroupOutput](t)(a.DescribeThingGroup(ctx, &sdk.DescribeThingGroupInput{ThingGroupName: aws.String("kitchen")}))
	if m := got.ThingGroupMetadata; *m.ParentGroupName != "floor1" || len(m.RootToParentThingGroups) != 2 || *m.RootToParentThingGroups[0].GroupName != "house" || *m.RootToParentThingGroups[1].GroupArn != "arn:aws:iot:us-east-1:000000000000:thinggroup/floor1" {
		t.Errorf("%+v", got.ThingGroupMetadata)
	}
	up := must[*sdk.UpdateThingGroupOutput](t)(a.UpdateThingGroup(ctx, &sdk.UpdateThingGroupInput{ThingGroupName: aws.String("garden"), ExpectedVersion: aws.Int64(1), ThingGroupProperties: &types.ThingGroupProperties{ThingGroupDescription: aws.String("e")}}))
	if up.Version != 2 {
		t.Error(up.Version)
	}
	_, err := a.UpdateThingGroup(ctx, &sdk.UpdateThingGroupInput{ThingGroupName: aws.String("garden"), ExpectedVersion: aws.Int64(1), ThingGroupProperties: &types.ThingGroupProperties{}})
	wantError(t, err, "VersionConflictException", 409)

	count := func(in *sdk.ListThingGroupsInput) int {
		t.Helper()
		return len(must[*sdk.ListThingGroupsOutput](t)(a.ListThingGroups(ctx, in)).ThingGroups)
	}
	if n := count(&sdk.ListThingGroupsInput{}); n != 4 {
		t.Error(n)
	}
	if n := count(&sdk.ListThingGroupsInput{Recursive: aws.Bool(false)}); n != 2 {
		t.Error(n)
	}
	if n := count(&sdk.ListThingGroupsInput{ParentGroup: aws.String("house")}); n != 2 {
		t.Error(n)
	}
	if n := count(&sdk.ListThingGroupsInput{ParentGroup: aws.String("house"), Recursive: aws.Bool(false)}); n != 1 {
		t.Error(n)
	}
	if n := count(&sdk.ListThingGroupsInput{NamePrefixFilter: aws.String("g")}); n != 1 {
		t.Error(n)
	}

	must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("oven")}))
	must[*sdk.AddThingToThingGroupOutput](t)(a.AddThingToThingGroup(ctx, &sdk.AddThingToThingGroupInput{ThingGroupArn: aws.String("arn:aws:iot:us-east-1:000000000000:thinggroup/kitchen"), ThingName: aws.String("oven")}))
	_, err = a.AddThingToThingGroup(ctx, &sdk.AddThingToThingGroupInput{ThingGroupName: aws.String("house"), ThingName: aws.String("oven")})
	wantError(t, err, "InvalidRequestException", 400) // same hierarchy
	_, err = a.AddThingToThingGroup(ctx, &sdk.AddThingToThingGroupInput{ThingGroupName: aws.String("house"), ThingName: aws.String("nosuch")})
	wantError(t, err, "ResourceNotFoundException", 404)
	must[*sdk.UpdateThingGroupsForThingOutput](t)(a.UpdateThingGroupsForThing(ctx, &sdk.UpdateThingGroupsForThingInput{ThingName: aws.String("oven"), ThingGroupsToAdd: []string{"floor1", "garden"}, ThingGroupsToRemove: []string{"kitchen"}}))
	if groups := must[*sdk.ListThingGroupsForThingOutput](t)(a.ListThingGroupsForThing(ctx, &sdk.ListThingGroupsForThingInput{ThingName: aws.String("oven")})); len(groups.ThingGroups) != 2 {
		t.Errorf("%+v", groups.ThingGroups)
	}
	for recursive, want := range map[bool]int{false: 0, true: 1} {
		out := must[*sdk.ListThingsInThingGroupOutput](t)(a.ListThingsInThingGroup(ctx, &sdk.ListThingsInThingGroupInput{ThingGroupName: aws.String("house"), Recursive: recursive}))
		if len(out.Things) != want {
			t.Errorf("recursive %v: %v", recursive, out.Things)
		}
	}
	must[*sdk.RemoveThingFromThingGroupOutput](t)(a.RemoveThingFromThingGroup(ctx, &sdk.RemoveThingFromThingGroupInput{ThingGroupName: aws.String("garden"), ThingName: aws.String("oven")}))

	_, err = a.DeleteThingGroup(ctx, &sdk.DeleteThingGroupInput{ThingGroupName: aws.String("house")})
	wantError(t, err, "InvalidRequestException", 400)
	if !strings.Contains(err.Error(), "Cannot delete thing group : house when there are still child groups attached to it.") {
		t.Error(err)
	}
	for _, name := range []string{"kitchen", "floor1", "house", "house"} {
		must[*sdk.DeleteThingGroupOutput](t)(a.DeleteThingGroup(ctx, &sdk.DeleteThingGroupInput{ThingGroupName: &name}))
	}
	parent := "garden"
	for depth := 2; depth <= 7; depth++ {
		name := "g" + strings.Repeat("x", depth)
		if err := create(name, parent); err != nil {
			t.Fatal(err)
		}
		parent = name
	}
	wantError(t, create("tooDeep", parent), "InvalidRequestException", 400)
}

func TestBillingGroups(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	name := aws.String("north")
	must[*sdk.CreateBillingGroupOutput](t)(a.CreateBillingGroup(ctx, &sdk.CreateBillingGroupInput{BillingGroupName: name, BillingGroupProperties: &types.BillingGroupProperties{BillingGroupDescription: aws.String("d")}}))
	_, err := a.CreateBillingGroup(ctx, &sdk.CreateBillingGroupInput{BillingGroupName: name})
	wantError(t, err, "ResourceAlreadyExistsException", 409)
	up := must[*sdk.UpdateBillingGroupOutput](t)(a.UpdateBillingGroup(ctx, &sdk.UpdateBillingGroupInput{BillingGroupName: name, BillingGroupProperties: &types.BillingGroupProperties{BillingGroupDescription: aws.String("e")}}))
	got := must[*sdk.DescribeBillingGroupOutput](t)(a.DescribeBillingGroup(ctx, &sdk.DescribeBillingGroupInput{BillingGroupName: name}))
	if up.Version != 2 || got.Version != 2 || *got.BillingGroupProperties.BillingGroupDescription != "e" {
		t.Errorf("%+v", got)
	}
	must[*sdk.CreateThingOutput](t)(a.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("t"), BillingGroupName: name}))
	must[*sdk.RemoveThingFromBillingGroupOutput](t)(a.RemoveThingFromBillingGroup(ctx, &sdk.RemoveThingFromBillingGroupInput{BillingGroupName: name, ThingName: aws.String("t")}))
	must[*sdk.AddThingToBillingGroupOutput](t)(a.AddThingToBillingGroup(ctx, &sdk.AddThingToBillingGroupInput{BillingGroupName: name, ThingName: aws.String("t")}))
	if things := must[*sdk.ListThingsInBillingGroupOutput](t)(a.ListThingsInBillingGroup(ctx, &sdk.ListThingsInBillingGroupInput{BillingGroupName: name})); len(things.Things) != 1 {
		t.Errorf("%+v", things.Things)
	}
	if groups := must[*sdk.ListBillingGroupsOutput](t)(a.ListBillingGroups(ctx, &sdk.ListBillingGroupsInput{NamePrefixFilter: aws.String("no")})); len(groups.BillingGroups) != 1 {
		t.Errorf("%+v", groups.BillingGroups)
	}
	_, err = a.DeleteBillingGroup(ctx, &sdk.DeleteBillingGroupInput{BillingGroupName: name})
	wantError(t, err, "InvalidRequestException", 400)
	must[*sdk.DeleteThingOutput](t)(a.DeleteThing(ctx, &sdk.DeleteThingInput{ThingName: aws.String("t")}))
	must[*sdk.DeleteBillingGroupOutput](t)(a.DeleteBillingGroup(ctx, &sdk.DeleteBillingGroupInput{BillingGroupName: name}))
	_, err = a.DescribeBillingGroup(ctx, &sdk.DescribeBillingGroupInput{BillingGroupName: name})
	wantError(t, err, "ResourceNotFoundException", 404)
}

func TestTags(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	g := must[*sdk.CreateThingGroupOutput](t)(a.CreateThingGroup(ctx, &sdk.CreateThingGroupInput{ThingGroupName: aws.String("g"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}}))
	must[*sdk.TagResourceOutput](t)(a.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: g.ThingGroupArn, Tags: []types.Tag{{Key: aws.String("b c"), Value: aws.String("2")}}}))
	must[*sdk.UntagResourceOutput](t)(a.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: g.ThingGroupArn, TagKeys: []string{"a"}}))
	got := must[*sdk.ListTagsForResourceOutput](t)(a.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: g.ThingGroupArn}))
	if len(got.Tags) != 1 || *got.Tags[0].Key != "b c" || *got.Tags[0].Value != "2" {
		t.Errorf("%+v", got.Tags)
	}
	_, err := a.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: aws.String("arn:aws:iot:us-east-1:000000000000:thinggroup/none"), Tags: []types.Tag{{Key: aws.String("b")}}})
	wantError(t, err, "ResourceNotFoundException", 404)
	_, err = a.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: aws.String("arn:aws:iot:us-east-1:000000000000:thing/t"), Tags: []types.Tag{{Key: aws.String("b")}}})
	wantError(t, err, "InvalidRequestException", 400)
	many := make([]types.Tag, 51)
	for i := range many {
		many[i] = types.Tag{Key: aws.String(strings.Repeat("k", i+1)), Value: aws.String("")}
	}
	_, err = a.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: g.ThingGroupArn, Tags: many})
	wantError(t, err, "LimitExceededException", 410)
}

func TestRolesAndGaps(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	reader := a.clientFor(readOnlyKey)
	must[*sdk.ListThingsOutput](t)(reader.ListThings(ctx, &sdk.ListThingsInput{}))
	_, err := reader.CreateThing(ctx, &sdk.CreateThingInput{ThingName: aws.String("t")})
	wantError(t, err, "AccessDeniedException", 403)
	_, err = a.ListStreams(ctx, &sdk.ListStreamsInput{})
	if err == nil || !strings.Contains(err.Error(), "ListStreams") {
		t.Error(err)
	}
	wantError(t, err, "NotImplementedException", 501)
}
