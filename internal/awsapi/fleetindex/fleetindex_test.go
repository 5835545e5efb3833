package fleetindex_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/awsapi/fleetindex"
	index "github.com/berth-iot/berth/internal/fleetindex"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// newAPI is the operations over a database of their own, called without signatures.
func newAPI(t testing.TB) http.Handler {
	t.Helper()
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	db := storetest.Open(t, t.TempDir())
	reg, err := registry.Open(ctx, db, registry.Config{})
	check(err)
	routes, err := router.New(ctx, topic.AWS, db)
	check(err)
	shadows, err := shadow.Open(ctx, shadow.Config{Store: db, Router: routes})
	check(err)
	s, err := index.Open(ctx, index.Config{Store: db, Registry: reg, Shadows: shadows})
	check(err)
	s.Start()
	t.Cleanup(func() {
		s.Close()
		shadows.Close()
		db.Close()
	})
	_, err = reg.CreateThing(ctx, registry.NewThing{Name: "t", Attributes: map[string]string{"n": "5"}})
	check(err)
	_, err = reg.CreateThingGroup(ctx, registry.NewThingGroup{Name: "static"})
	check(err)
	api, err := awsapi.New(awsapi.Config{Authenticate: func(*http.Request, []byte) (awsapi.Caller, error) {
		return awsapi.Caller{AccessKeyID: "K", Role: awsapi.RoleAdmin, Service: "iot"}, nil
	}}, fleetindex.Operations(fleetindex.Config{Index: s, Registry: reg}))
	check(err)
	return api
}

// call returns the status and the exception of an answer, or its body.
func call(api http.Handler, method, path, body string) string {
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	if w.Code != 200 {
		return fmt.Sprint(w.Code, " ", w.Header().Get("x-amzn-ErrorType"))
	}
	return w.Body.String()
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	const on = `{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY","customFields":[{"name":"attributes.n","type":"Number"}]},"thingGroupIndexingConfiguration":{"thingGroupIndexingMode":"ON"}}`
	const metric = `{"queryString":"*","aggregationField":"attributes.n","period":60,"aggregationType":{"name":"Statistics","values":["sum"]}}`
	for deadline := time.Now().Add(10 * time.Second); call(api, "POST", "/indexing/config", on) != "{}" || !strings.Contains(call(api, "GET", "/indices/AWS_Things", ""), "ACTIVE"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the index is not ready")
		}
	}
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/indices", "", `{"indexNames":["AWS_ThingGroups","AWS_Things"]}`},
		{"GET", "/indices?maxResults=501", "", "400 InvalidRequestException"},
		{"GET", "/indices/none", "", "404 ResourceNotFoundException"},
		{"POST", "/indices/search", `{"queryString":"t","maxResults":1}`, `"thingName":"t"`},
		{"POST", "/indices/search", `{"indexName":"AWS_ThingGroups","queryString":"*"}`, `"thingGroupName":"static"`},
		{"POST", "/indices/search", `{}`, "400 InvalidRequestException"},
		{"POST", "/indices/search", `{"queryString":"*","queryVersion":"2016-01-01"}`, "400 InvalidRequestException"},
		{"POST", "/indices/search", `{"queryString":"*","maxResults":0}`, "400 InvalidRequestException"},
		{"POST", "/indices/search", `{"queryString":"*","maxResults":501}`, "400 InvalidRequestException"},
		{"POST", "/indices/search", `{"queryString":"*","nextToken":"?"}`, "400 InvalidRequestException"},
		{"POST", "/indices/search", `{"queryString":"(*"}`, "400 InvalidQueryException"},
		{"POST", "/indices/search", `{"queryString":"*","indexName":"none"}`, "404 ResourceNotFoundException"},
		{"POST", "/indices/statistics", `{"queryString":"*","aggregationField":"attributes.n"}`, `{"statistics":{"count":1,"average":5,"sum":5,"minimum":5,"maximum":5,"sumOfSquares":25,"variance":0,"stdDeviation":0}}`},
		{"POST", "/indices/statistics", `{"queryString":"*","aggregationField":"attributes.m"}`, "400 InvalidAggregationException"},
		{"POST", "/indices/cardinality", `{"queryString":"*","aggregationField":"thingName"}`, `{"cardinality":1}`},
		{"POST", "/indices/percentiles", `{"queryString":"*","aggregationField":"attributes.n","percents":[50]}`, `{"percentiles":[{"percent":50,"value":5}]}`},
		{"POST", "/indices/buckets", `{"queryString":"*","aggregationField":"attributes.n","bucketsAggregationType":{"termsAggregation":{"maxBuckets":1}}}`, `{"totalCount":1,"buckets":[{"keyValue":"5","count":1}]}`},
		{"POST", "/indices/buckets", `{"queryString":"*","aggregationField":"attributes.n"}`, "400 InvalidRequestException"},
		{"POST", "/indices/buckets", `{"queryString":"*","aggregationField":"attributes.n","bucketsAggregationType":{"termsAggregation":{"maxBuckets":0}}}`, "400 InvalidRequestException"},
		{"POST", "/things/t/connectivity-data", "", "400 IndexNotReadyException"},
		{"POST", "/indexing/config", `{"thingIndexingConfiguration":{}}`, "400 InvalidRequestException"},
		{"POST", "/indexing/config", `{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY","filter":{"geoLocations":[{"name":"x"}]}}}`, "400 InvalidRequestException"},
		{"GET", "/indexing/config", "", `"customFields":[{"name":"attributes.n","type":"Number"}]`},

		{"POST", "/dynamic-thing-groups/d", `{"queryString":"attributes.n>3"}`, `"queryVersion":"2017-09-30"`},
		{"POST", "/dynamic-thing-groups/d", `{}`, "400 InvalidRequestException"},
		{"POST", "/dynamic-thing-groups/e", `{"queryString":"a:"}`, "400 InvalidQueryException"},
		{"POST", "/dynamic-thing-groups/e", `{"queryString":"a","indexName":"none"}`, "404 ResourceNotFoundException"},
		{"POST", "/dynamic-thing-groups/static", `{"queryString":"a"}`, "409 ResourceAlreadyExistsException"},
		{"PATCH", "/dynamic-thing-groups/d", `{"thingGroupProperties":{},"expectedVersion":9}`, "409 VersionConflictException"},
		{"PATCH", "/dynamic-thing-groups/d", `{"thingGroupProperties":{},"queryString":"attributes.n>9"}`, `{"version":2}`},
		{"PATCH", "/dynamic-thing-groups/d", `{"queryString":"*"}`, "400 InvalidRequestException"},
		{"PATCH", "/dynamic-thing-groups/none", `{"thingGroupProperties":{}}`, "404 ResourceNotFoundException"},
		{"POST", "/indexing/config", `{"thingIndexingConfiguration":{"thingIndexingMode":"OFF"}}`, "400 InvalidRequestException"},
		{"DELETE", "/dynamic-thing-groups/d?expectedVersion=1", "", "409 VersionConflictException"},
		{"DELETE", "/dynamic-thing-groups/d", "", "{}"},

		{"PUT", "/fleet-metric/m", metric, `"metricArn":"arn:aws:iot:us-east-1:000000000000:fleetmetric/m"`},
		{"PUT", "/fleet-metric/m", metric, "409 ResourceAlreadyExistsException"},
		{"PUT", "/fleet-metric/a%20b", metric, "400 InvalidRequestException"},
		{"PUT", "/fleet-metric/n", `{}`, "400 InvalidRequestException"},
		{"PATCH", "/fleet-metric/m", `{"indexName":"AWS_Things","period":120}`, "{}"},
		{"PATCH", "/fleet-metric/m", `{"period":120}`, "400 InvalidRequestException"},
		{"PATCH", "/fleet-metric/none", `{"indexName":"AWS_Things"}`, "404 ResourceNotFoundException"},
		{"GET", "/fleet-metric/m", "", `"version":2`},
		{"PUT", "/fleet-metric/n", metric, `"metricName":"n"`},
		{"GET", "/fleet-metrics?maxResults=1", "", `"nextToken":"\"m\""`},
		{"GET", "/fleet-metrics?maxResults=1&nextToken=%22m%22", "", `{"fleetMetrics":[{"metricName":"n"`},
		{"GET", "/fleet-metrics?nextToken=m", "", "400 InvalidRequestException"},
		{"POST", "/indexing/config", `{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY"}}`, "400 InvalidRequestException"},
		{"DELETE", "/fleet-metric/m?expectedVersion=1", "", "409 VersionConflictException"},
		{"DELETE", "/fleet-metric/m", "", "{}"},
		{"GET", "/fleet-metric/m", "", "404 ResourceNotFoundException"},
	} {
		if got := call(api, c.method, c.path, c.body); !strings.Contains(got, c.want) {
			t.Errorf("%s %s %s: %s, want %s", c.method, c.path, c.body, got, c.want)
		}
	}
}

func FuzzBodies(f *testing.F) {
	f.Add(uint8(0), `{"queryString":"attributes.n:[1 TO 5]","maxResults":3,"nextToken":"dA=="}`)
	f.Add(uint8(1), `{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY_AND_SHADOW","namedShadowIndexingMode":"ON","filter":{"namedShadowNames":["a"]}}}`)
	f.Add(uint8(2), `{"queryString":"*","aggregationField":"registry.version","percents":[1,1e300,-0]}`)
	f.Add(uint8(3), `{"queryString":"*","aggregationField":"thingName","bucketsAggregationType":{"termsAggregation":{"maxBuckets":10000}}}`)
	f.Add(uint8(4), `{"queryString":"thingName:a*","thingGroupProperties":{"attributePayload":{}},"tags":[{"Key":"a"}]}`)
	f.Add(uint8(5), `{"queryString":"*","aggregationField":"registry.version","period":60,"aggregationType":{"name":"Percentiles","values":["p99"]}}`)
	api := newAPI(f)
	paths := []string{"POST /indices/search", "POST /indexing/config", "POST /indices/percentiles", "POST /indices/buckets", "POST /dynamic-thing-groups/g", "PUT /fleet-metric/m"}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		method, path, _ := strings.Cut(paths[int(which)%len(paths)], " ")
		if got := call(api, method, path, body); strings.HasPrefix(got, "5") {
			t.Fatalf("%s %s %q: %s", method, path, body, got)
		}
	})
}
