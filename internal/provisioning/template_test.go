package provisioning

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-iot/berth/internal/registry"
)

const fleetTemplate = `{
	"Parameters": {
		"SerialNumber": {"Type": "String"},
		"Model": {"Type": "String", "Default": "m1"},
		"AWS::IoT::Certificate::Id": {"Type": "String"}},
	"Mappings": {"Where": {"m1": {"url": "https://one.example.com", "tags": ["a", "b"]}}},
	"Resources": {
		"thing": {"Type": "AWS::IoT::Thing",
			"OverrideSettings": {"ATTRIBUTE_PAYLOAD": "REPLACE", "ThingTypeName": "FAIL", "thing_groups": "MERGE"},
			"Properties": {
				"ThingName": {"Fn::Join": ["-", ["dev", {"Ref": "SerialNumber"}]]},
				"AttributePayload": {"first": {"Fn::Select": ["0", {"Fn::Split": ["-", {"Ref": "SerialNumber"}]}]}, "n": 7},
				"ThingTypeName": "sensor", "BillingGroup": "b",
				"ThingGroups": ["g", {"Fn::FindInMap": ["Where", {"Ref": "Model"}, "tags"]}]}},
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
		"named": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": {"Fn::Sub": ["${Model}-${x}", {"x": "policy"}]}}},
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": {"Version": "2012-10-17", "Statement": [
			{"Effect": "Allow", "Action": "iot:Publish", "Resource": {"Fn::Sub": "arn:${SerialNumber}/${iot:ClientId}/${!Model}"}}]}}}},
	"DeviceConfiguration": {"url": {"Fn::FindInMap": ["Where", {"Ref": "Model"}, "url"]}, "level": 3, "on": true}}`

func TestExpand(t *testing.T) {
	t.Parallel()
	tmpl, err := ParseTemplate([]byte(fleetTemplate))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("a", 64)
	got, err := tmpl.Expand(map[string]string{"SerialNumber": "x-1", CertificateIDParameter: id, "unknown": "left aside"})
	if err != nil {
		t.Fatal(err)
	}
	document := `{"Statement":[{"Action":"iot:Publish","Effect":"Allow","Resource":"arn:x-1/${iot:ClientId}/${Model}"}],"Version":"2012-10-17"}`
	sum := sha256.Sum256([]byte(document))
	want := &Plan{
		Provisioning: registry.Provisioning{
			Thing: &registry.ProvisionThing{Name: "dev-x-1", Type: "sensor", BillingGroup: "b", Attributes: map[string]string{"first": "x", "n": "7"},
				Groups: []string{"g", "a", "b"}, OverrideAttributes: Replace, OverrideType: Fail, OverrideGroups: Merge, OverrideBillingGroup: DoNothing},
			Certificate: &registry.ProvisionCertificate{ID: id, Status: registry.Active, OverrideStatus: Replace},
			Policies: []registry.ProvisionPolicy{{Name: "m1-policy"},
				{Name: hex.EncodeToString(sum[:]), Document: []byte(document)}},
		},
		DeviceConfiguration: map[string]string{"url": "https://one.example.com", "level": "3", "on": "true"},
		ThingResource:       "thing", CertificateResource: "certificate", PolicyResources: []string{"named", "policy"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if err := tmpl.ForNewDevices(); err != nil {
		t.Error(err)
	}
}

// thingTemplate has a thing of this name, a JSON value.
func thingTemplate(name string) string {
	return `{"Parameters":{"A":{"Type":"String"},"B":{"Type":"String","Default":"b"}},"Mappings":{"M":{"x":{"y":"z","l":["p","q"]}}},
		"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":` + name + `}}}}`
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, want, failure string }{
		{`"plain"`, "plain", ""},
		{`{"Ref":"A"}`, "1-2-3", ""},
		{`{"Ref":"B"}`, "b", ""},
		{`{"Fn::Join":["",["a",{"Ref":"A"}]]}`, "a1-2-3", ""},
		{`{"Fn::Join":[":",{"Fn::Split":["-",{"Ref":"A"}]}]}`, "1:2:3", ""},
		{`{"Fn::Join":["+",{"Fn::FindInMap":["M","x","l"]}]}`, "p+q", ""},
		{`{"Fn::Select":[1,["a","b"]]}`, "b", ""},
		{`{"Fn::Select":["2",{"Fn::Split":["-",{"Ref":"A"}]}]}`, "3", ""},
		{`{"Fn::FindInMap":["M","x","y"]}`, "z", ""},
		{`{"Fn::Sub":"a${B}${!B}"}`, "ab${B}", ""},
		{`{"Fn::Sub":["${v}",{"v":{"Ref":"B"}}]}`, "b", ""},
		{`{"Fn::Sub":"${iot:ClientId}"}`, "${iot:ClientId}", ""},
		{`{"Fn::Select":["3",{"Fn::Split":["-",{"Ref":"A"}]}]}`, "", `Fn::Select: index "3" is not in a list of 3`},
		{`{"Fn::Select":["-1",["a"]]}`, "", "is not in a list"},
		{`{"Fn::FindInMap":["M","x","none"]}`, "", `mapping "M" has no "x" "none"`},
		{`{"Fn::FindInMap":["M","x","l"]}`, "", "a list stands where a text is needed"},
		{`{"Fn::Split":["","a"]}`, "", "the delimiter is empty"},
		{`{"Fn::Join":["-","a"]}`, "", "a text stands where a list is needed"},
	} {
		tmpl, err := ParseTemplate([]byte(thingTemplate(tc.name)))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		plan, err := tmpl.Expand(map[string]string{"A": "1-2-3"})
		switch {
		case tc.failure != "":
			if err == nil || !errors.Is(err, ErrParameters) || !strings.Contains(err.Error(), tc.failure) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.failure)
			}
		case err != nil || plan.Thing.Name != tc.want:
			t.Errorf("%s: %v %v, want %q", tc.name, plan, err, tc.want)
		}
	}
}

// TestDoublingExpression: a template that doubles the work with every level ends all the same.
func TestDoublingExpression(t *testing.T) {
	t.Parallel()
	name := `""`
	for range 60 {
		name = `{"Fn::Sub":["${v}${v}",{"v":` + name + `}]}`
	}
	tmpl, err := ParseTemplate([]byte(thingTemplate(name)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.Expand(map[string]string{"A": ""}); !errors.Is(err, ErrParameters) {
		t.Errorf("got %v", err)
	}
}

func TestMissingParameter(t *testing.T) {
	t.Parallel()
	tmpl, err := ParseTemplate([]byte(thingTemplate(`"t"`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.Expand(nil); !errors.Is(err, ErrParameters) || err.Error() != `parameter "A" is missing` {
		t.Errorf("got %v", err)
	}
}

func TestRefusedTemplates(t *testing.T) {
	t.Parallel()
	certificate := func(properties string) string {
		return `{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":` + properties + `}}}`
	}
	for _, tc := range []struct{ body, failure string }{
		{``, "not a JSON object"},
		{`[]`, "not a JSON object"},
		{`{}{}`, "more follows"},
		{`{}`, "no section Resources"},
		{`{"Resources":{}}`, "no resources"},
		{`{"Other":{},"Resources":{}}`, `section "Other"`},
		{`{"Resources":{"a":{"Type":"AWS::S3::Bucket"}}}`, "Type"},
		{`{"Parameters":{"a":{"Type":"Number"}},"Resources":{}}`, `Type must be "String"`},
		{`{"Parameters":{"a":{"Type":"String","Default":1}},"Resources":{}}`, "Default"},
		{`{"Mappings":{"a":{"b":{"c":{"Ref":"d"}}}},"Resources":{}}`, "neither a string nor a list"},
		{`{"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{}}}}`, "ThingName is missing"},
		{`{"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"a","Colour":"b"}}}}`, `property "Colour"`},
		{`{"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"a"},"OverrideSettings":{"ThingTypeName":"MERGE"}}}}`, "override setting"},
		{`{"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"a"},"OverrideSettings":{"ThingName":"FAIL"}}}}`, "no key"},
		{`{"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"a"}},"u":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"b"}}}}`, "a template has one"},
		{certificate(`{}`), "exactly one of"},
		{certificate(`{"CertificateId":"a","CertificatePem":"b"}`), "exactly one of"},
		{certificate(`{"CertificateId":"a","CACertificatePem":"b"}`), "goes with CertificatePem"},
		{`{"Resources":{"p":{"Type":"AWS::IoT::Policy","Properties":{}}}}`, "PolicyName or PolicyDocument"},
		{thingTemplate(`{"Ref":"none"}`), `parameter "none" is not declared`},
		{thingTemplate(`{"Fn::Base64":"a"}`), "function Fn::Base64"},
		{thingTemplate(`{"Fn::Join":["a"]}`), "Fn::Join: wants"},
		{thingTemplate(`{"Fn::Sub":"${B"}`), "not closed"},
		{thingTemplate(`{"Fn::Sub":"${none}"}`), "not declared"},
		{thingTemplate(`{"a":"b","c":"d"}`), "must be one function"},
		{thingTemplate(`null`), "null"},
		{`{"Resources":{},"DeviceConfiguration":{"a":{"b":"c"}}}`, "no resources"},
		{`{"Resources":{"p":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"p"}}},"DeviceConfiguration":{"a":{"b":"c"}}}`, "must be one function"},
		{strings.Repeat(" ", MaxTemplate+1), "more than 10240"},
	} {
		if _, err := ParseTemplate([]byte(tc.body)); !errors.Is(err, ErrTemplate) || !strings.Contains(err.Error(), tc.failure) {
			t.Errorf("%.200s: got %v, want %q", tc.body, err, tc.failure)
		}
	}
}

// FuzzTemplate: whatever is parsed can be expanded or refused, within bounds, twice alike.
func FuzzTemplate(f *testing.F) {
	f.Add(fleetTemplate, "1-2")
	f.Add(thingTemplate(`{"Fn::Join":["-",[{"Fn::Sub":"${A}${A}"}]]}`), "a")
	f.Add(thingTemplate(`{"Fn::Select":[1,["a",["b"]]]}`), "")
	f.Fuzz(func(t *testing.T, body, serial string) {
		tmpl, err := ParseTemplate([]byte(body))
		if err != nil {
			if !errors.Is(err, ErrTemplate) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		parameters := map[string]string{"A": serial, "SerialNumber": serial, CertificateIDParameter: strings.Repeat("0", 64)}
		one, err := tmpl.Expand(parameters)
		if err != nil {
			return
		}
		two, err := tmpl.Expand(parameters)
		if err != nil || !cmp.Equal(one, two) {
			t.Fatalf("expanded differently: %v", err)
		}
		if _, err := json.Marshal(one.DeviceConfiguration); err != nil {
			t.Fatal(err)
		}
	})
}

// TestForeignParameter: what a device says goes into a policy document as the text that it is, or not at
// all; elsewhere, and of somebody else, it may be anything.
func TestForeignParameter(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{
		"text":    `{"Fn::Sub": "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"iot:Connect\",\"Resource\":\"arn:aws:iot:*:*:client/${S}\"}}"}`,
		"object":  `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": {"Fn::Join": ["", ["arn:aws:iot:*:*:client/", {"Ref": "S"}]]}}}`,
		"further": `{"Fn::Sub": ["${x}", {"x": {"Ref": "S"}}]}`,
	} {
		tmpl, err := ParseTemplate([]byte(`{"Parameters": {"S": {"Type": "String"}}, "Resources": {
			"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "t", "AttributePayload": {"s": {"Ref": "S"}}}},
			"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": ` + policy + `}}}}`))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, bad := range []string{"*", "a*", "?", "${iot:ClientId}", `a","arn:aws:iot:*:*:client/b`, `a\u0022`, "a\n", "+", "#"} {
			given := map[string]string{"S": bad}
			if _, err := tmpl.ExpandForDevice(given, given); !errors.Is(err, ErrParameters) {
				t.Errorf("%s: %q: %v", name, bad, err)
			}
			if plan, err := tmpl.Expand(given); err != nil || plan.Thing.Attributes["s"] != bad {
				t.Errorf("%s: %q of somebody else: %v", name, bad, err)
			}
		}
		good := map[string]string{"S": "24:6f:28-ab_c.d/é"}
		plan, err := tmpl.ExpandForDevice(good, good)
		if err != nil || !strings.Contains(string(plan.Policies[0].Document), good["S"]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
