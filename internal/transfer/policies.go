package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// versions are the operations of what has versions.
type versions struct {
	create, setDefault string
	name, body         string // fields
}

// put makes the missing versions and the right one the default. versions of want and have hold bodies,
// oldest first; have also holds their identifiers.
func (v versions) put(ctx context.Context, w *writer, name string, want, have object) error {
	ids := obj(have, "ids") // by canonical body
	known := make(map[string]string, len(ids))
	for body, id := range ids {
		known[body] = fmt.Sprint(id)
	}
	standard := canonical(str(want, "default"))
	for _, body := range strs(want, "versions") {
		c := canonical(body)
		if known[c] != "" {
			continue
		}
		in := args{v.name: name, v.body: body, "?setAsDefault": c == standard}
		out, err := w.call(ctx, v.create, in)
		if err != nil {
			return err
		}
		if known[c] = str(out, "policyVersionId"); known[c] == "" {
			known[c] = fmt.Sprint(out["versionId"])
		}
	}
	if canonical(str(have, "default")) == standard || v.setDefault == "" {
		return nil
	}
	switch v.setDefault {
	case "SetDefaultPolicyVersion":
		_, err := w.call(ctx, v.setDefault, args{v.name: name, "policyVersionId": known[standard]})
		return err
	default:
		_, err := w.call(ctx, v.setDefault, args{v.name: name, "defaultVersionId": number(known[standard])})
		return err
	}
}

// coversVersions: the target may have further versions, of numbers of its own.
func coversVersions(want, have object) bool {
	if canonical(str(want, "default")) != canonical(str(have, "default")) {
		return false
	}
	ids := obj(have, "ids")
	for _, body := range strs(want, "versions") {
		if ids[canonical(body)] == nil {
			return false
		}
	}
	rest := func(o object) object {
		out := make(object)
		for k, v := range o {
			if k != "versions" && k != "ids" && k != "default" {
				out[k] = v
			}
		}
		return out
	}
	return equal(rest(want), rest(have))
}

// number is a text as a JSON number.
func number(text string) json.Number { return json.Number(text) }

var policyVersions = versions{create: "CreatePolicyVersion", setDefault: "SetDefaultPolicyVersion", name: "policyName", body: "policyDocument"}

func readPolicies(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListPolicies", args{"pageSize": 250}, "policies", "policyName")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "ListPolicyVersions", args{"policyName": name})
		if err != nil {
			return nil, err
		}
		o := object{}
		ids := object{}
		var bodies []string
		all := objects(out, "policyVersions")
		byNumber(all, "versionId")
		arn := ""
		for _, v := range all {
			got, err := r.call(ctx, "GetPolicyVersion", args{"policyName": name, "policyVersionId": str(v, "versionId")})
			if err != nil {
				return nil, err
			}
			body := str(got, "policyDocument")
			bodies, arn = append(bodies, body), str(got, "policyArn")
			ids[canonical(body)] = str(v, "versionId")
			if truth(v, "isDefaultVersion") {
				o["default"] = body
			}
		}
		if len(bodies) == 0 {
			return nil, nil // it is being deleted
		}
		o["versions"], o["ids"] = list(bodies), ids
		return r.tagged(ctx, o, arn)
	})
}

func writePolicy(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	if have == nil {
		first := strs(want, "versions")[0]
		out, err := w.call(ctx, "CreatePolicy", args{"policyName": name, "policyDocument": first})
		if err != nil {
			return "", err
		}
		have = object{"default": first, "ids": object{canonical(first): str(out, "policyVersionId")}}
	}
	if err := policyVersions.put(ctx, w, name, want, have); err != nil {
		return "", err
	}
	return "", w.tag(ctx, w.arn("policy/"+name), want, have)
}

// readPolicyTargets reads what policies are attached to, as "POLICY TARGET".
func readPolicyTargets(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListPolicies", args{"pageSize": 250}, "policies", "policyName")
	if err != nil {
		return nil, err
	}
	return r.describeMany(ctx, names, func(ctx context.Context, name string) ([]string, error) {
		targets, err := r.everything(ctx, "ListTargetsForPolicy", args{"policyName": name, "?pageSize": 250}, "targets")
		for i, arn := range targets {
			targets[i] = principal(arn, r.fingerprint)
		}
		return targets, err
	})
}

func writePolicyTarget(ctx context.Context, w *writer, name string, _, _ object) (string, error) {
	policy, target, _ := strings.Cut(name, " ")
	_, err := w.call(ctx, "AttachPolicy", args{"policyName": policy, "target": principal(target, w.identifier)})
	return "", err
}

var templateVersions = versions{create: "CreateProvisioningTemplateVersion", setDefault: "UpdateProvisioningTemplate", name: "templateName", body: "templateBody"}

func readTemplates(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListProvisioningTemplates", args{"maxResults": 250}, "templates", "templateName")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "DescribeProvisioningTemplate", args{"templateName": name})
		if err != nil {
			return nil, err
		}
		o := pick(out, "description", "enabled", "provisioningRoleArn", "preProvisioningHook", "type")
		if str(o, "type") == "" {
			o["type"] = "FLEET_PROVISIONING"
		}
		o["default"] = str(out, "templateBody")
		all, err := r.pages(ctx, "ListProvisioningTemplateVersions", args{"templateName": name}, "versions")
		if err != nil {
			return nil, err
		}
		var found []object
		for _, x := range all {
			if v, ok := x.(object); ok {
				found = append(found, v)
			}
		}
		byNumber(found, "versionId")
		var bodies []string
		ids := object{}
		for _, v := range found {
			got, err := r.call(ctx, "DescribeProvisioningTemplateVersion", args{"templateName": name, "versionId": v["versionId"]})
			if err != nil {
				return nil, err
			}
			bodies = append(bodies, str(got, "templateBody"))
			ids[canonical(str(got, "templateBody"))] = v["versionId"]
		}
		if len(bodies) == 0 {
			return nil, nil
		}
		o["versions"], o["ids"] = list(bodies), ids
		return r.tagged(ctx, o, str(out, "templateArn"))
	})
}

func writeTemplate(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	note := ""
	if strings.Contains(str(obj(want, "preProvisioningHook"), "targetArn"), ":lambda:") {
		note = "its hook stays a Lambda: name an address or a program with UpdateProvisioningTemplate if the target cannot call it"
	}
	fields := pick(want, "description", "provisioningRoleArn", "preProvisioningHook")
	fields["templateName"], fields["enabled"] = name, truth(want, "enabled")
	if have == nil {
		first := strs(want, "versions")[0]
		in := args(fields)
		in["templateBody"], in["type"] = first, want["type"]
		out, err := w.call(ctx, "CreateProvisioningTemplate", in)
		if err != nil {
			return "", err
		}
		have = object{"default": first, "ids": object{canonical(first): out["defaultVersionId"]}}
	} else {
		in := args(fields)
		if obj(want, "preProvisioningHook") == nil && obj(have, "preProvisioningHook") != nil {
			in["removePreProvisioningHook"] = true
		}
		if _, err := w.call(ctx, "UpdateProvisioningTemplate", in); err != nil {
			return "", err
		}
	}
	if err := templateVersions.put(ctx, w, name, want, have); err != nil {
		return "", err
	}
	return note, w.tag(ctx, w.arn("provisioningtemplate/"+name), want, have)
}
