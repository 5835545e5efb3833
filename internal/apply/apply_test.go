package apply

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var place = Place{"aws", "eu-west-1", "123456789012"}

// evaluate evaluates a value in YAML within a template that has a few of everything.
func evaluate(t *testing.T, text string) (any, error) {
	t.Helper()
	template, err := Parse([]byte(`
Parameters:
  Stage: {Type: String, Default: test}
  List: {Type: CommaDelimitedList, Default: "a, b"}
  Open: {Type: String}
Mappings:
  Names: {test: {short: t}}
Conditions:
  IsTest: !Equals [!Ref Stage, test]
  IsNot: !Not [!Condition IsTest]
  Any: !Or [!Condition IsNot, !Condition IsTest]
  All: !And [!Condition IsNot, !Condition IsTest]
  Round: !Not [{Condition: Round}]
Resources:
  Fleet: {Type: AWS::IoT::Policy, Properties: {PolicyName: fleet}}
  Role: {Type: AWS::IAM::Role}
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: q}}
  Out:
    Type: AWS::IoT::Thing
    Properties:
      V: `+text+"\n"), "testdata")
	if err != nil {
		return nil, err
	}
	s := &scope{Template: template, Place: place, refs: map[string]string{}, arns: map[string]string{}, deciding: map[string]bool{}}
	for _, name := range template.order {
		if name == "Out" {
			continue
		}
		if _, err := s.prepare(template.resources[name]); err != nil {
			return nil, err
		}
	}
	v, err := s.eval("V", template.resources["Out"].properties["V"])
	return v, err
}

// TestFunctions: intrinsic functions as the CloudFormation user guide describes them.
func TestFunctions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		`!Ref Stage`:                  "test",
		`!Ref List`:                   []any{"a", "b"},
		`!Ref Fleet`:                  "fleet",
		`!Ref Queue`:                  "https://sqs.eu-west-1.amazonaws.com/123456789012/q",
		`!Ref "AWS::AccountId"`:       "123456789012",
		`{Ref: "AWS::Region"}`:        "eu-west-1",
		`!GetAtt Fleet.Arn`:           "arn:aws:iot:eu-west-1:123456789012:policy/fleet",
		`{"Fn::GetAtt": [Role, Arn]}`: "arn:aws:iam::123456789012:role/Role",
		`!Sub "${Stage}/${!iot:ClientId}/${topic(2)}/${iot:Connection.Thing.ThingName}/${Fleet.Arn}"`: "test/${iot:ClientId}/${topic(2)}/${iot:Connection.Thing.ThingName}/arn:aws:iot:eu-west-1:123456789012:policy/fleet",
		`!Sub ["${A}-${Stage}", {A: !Ref Fleet}]`:                                                     "fleet-test",
		`!Join ["-", [a, !Ref Stage, 3]]`:                                                             "a-test-3",
		`!Split [",", "a,b"]`:                                                                         []any{"a", "b"},
		`!Select [1, [a, b]]`:                                                                         "b",
		`!Base64 hi`:                                                                                  "aGk=",
		`!FindInMap [Names, !Ref Stage, short]`:                                                       "t",
		`!If [IsTest, 1, 2]`:                                                                          1,
		`!If [IsNot, 1, 2]`:                                                                           2,
		`!If [Any, 1, 2]`:                                                                             1,
		`!If [All, 1, 2]`:                                                                             2,
		`{a: !If [IsTest, !Ref "AWS::NoValue", x], b: 2012-10-17, c: true}`: map[string]any{"b": "2012-10-17", "c": true},
		`!File hello.txt`: "hello\n",
	} {
		got, err := evaluate(t, text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		`!Ref Nobody`:              "no resource or parameter Nobody",
		`!Ref Open`:                "give --parameter Open",
		`!GetAtt Nobody.Arn`:       "no resource Nobody",
		`!GetAtt Fleet.Colour`:     "attribute Colour",
		`!ImportValue x`:           "Fn::ImportValue is not known here",
		`!Select [5, [a]]`:         "does not take these arguments",
		`!If [Nobody, 1, 2]`:       "no condition Nobody",
		`!If [Round, 1, 2]`:        "needs itself",
		`!FindInMap [Names, x, y]`: "has no x, y",
		`!File nothing.txt`:        "nothing.txt",
		`!Ref Out`:                 "", // itself
	} {
		_, err := evaluate(t, text)
		if !errors.Is(err, ErrTemplate) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestTemplate: what is no template is refused with the place.
func TestTemplate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                   "empty",
		"- a":                "no mapping",
		"Resources: {}":      "there are none",
		"Resources: {A: {}}": "A: it has no Type",
		"Resources: {A: {Type: AWS::IoT::Thing, DependsOn: B}}":                                                      "no resource B",
		"Resources: {A: {Type: AWS::IoT::Thing, DependsOn: B}, B: {Type: AWS::IoT::Thing, DependsOn: [A]}}":          "needs itself",
		"Resources: {A: {Type: AWS::IoT::Thing, Properties: {X: !Ref B}}, B: {Type: AWS::IoT::Thing, DependsOn: A}}": "needs itself",
		"Resources: {A: {Type: AWS::IoT::Thing}, A: {Type: AWS::IoT::Thing}}":                                        "twice",
		"Resources: &a {A: *a}": "alias",
		"a: [":                  "template",
	} {
		if _, err := Parse([]byte(text), "."); !errors.Is(err, ErrTemplate) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	unknown, err := Parse([]byte("Resources: {A: {Type: AWS::IoT::Kettle}}"), ".")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), nothing{}, unknown, place, Options{}); err == nil || !strings.Contains(err.Error(), "AWS::IoT::Kettle") {
		t.Error(err)
	}
	if _, err := Run(t.Context(), nothing{}, unknown, place, Options{Parameters: map[string]string{"Stage": "x"}}); err == nil || !strings.Contains(err.Error(), "no parameter Stage") {
		t.Error(err)
	}
}

// nothing is a server without resources that takes none.
type nothing struct{}

func (nothing) Call(_ context.Context, method, _ string, _ url.Values, _ map[string]string, _, _ any) error {
	if method == "GET" {
		return ErrNotFound
	}
	return errors.New("read-only")
}

// FuzzParse: no template breaks the parser or the functions.
func FuzzParse(f *testing.F) {
	f.Add("Resources: {A: {Type: AWS::IoT::Policy, Properties: {PolicyName: !Sub \"${AWS::Region}-${B.Arn}\", PolicyDocument: {}}}, B: {Type: AWS::IoT::ThingGroup}}")
	f.Add(`{"Parameters":{"P":{"Default":"x"}},"Conditions":{"C":{"Fn::Equals":["a",{"Ref":"P"}]}},"Resources":{"R":{"Type":"AWS::IoT::TopicRule","Condition":"C","Properties":{"TopicRulePayload":{"Sql":"s"}}}}}`)
	f.Add("Resources: {A: {Type: AWS::IoT::CACertificate, Properties: {CACertificatePem: x}}}")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "File") {
			return // reads files
		}
		template, err := Parse([]byte(text), ".")
		if err != nil {
			return
		}
		_, _ = Run(t.Context(), nothing{}, template, place, Options{DryRun: true})
	})
}
