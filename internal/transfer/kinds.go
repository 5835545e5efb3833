package transfer

import (
	"context"
	"strings"
)

// kinds are all kinds in the order of writing: what others refer to comes first.
func kinds() []kind {
	return []kind{
		{name: "indexing", read: readIndexing, write: writeIndexing},
		{name: "billing-groups", read: readBillingGroups, write: writeBillingGroup},
		{name: "thing-types", read: readThingTypes, write: writeThingType},
		{name: "thing-groups", read: readStaticGroups, write: writeStaticGroup, rank: depth, covers: sameGroup},
		{name: "templates", read: readTemplates, write: writeTemplate, covers: coversVersions},
		{name: "ca-certificates", read: readCAs, write: writeCA, covers: sameCA, refuse: refuseCA},
		{name: "certificates", read: readCertificates, write: writeCertificate, covers: sameCertificate, refuse: refuseCertificate, remark: remarkCertificate, live: true},
		{name: "policies", read: readPolicies, write: writePolicy, covers: coversVersions},
		{name: "role-aliases", read: readRoleAliases, write: writeRoleAlias},
		{name: "authorizers", read: readAuthorizers, write: writeAuthorizer},
		{name: "default-authorizer", read: readDefaultAuthorizer, write: writeDefaultAuthorizer},
		{name: "things", read: readThings, write: writeThing},
		{name: "deprecations", read: readDeprecations, write: writeDeprecation},
		{name: "thing-principals", read: readPrincipals, write: writePrincipal},
		{name: "group-members", read: readMembers, write: writeMember},
		{name: "dynamic-groups", read: readDynamicGroups, write: writeDynamicGroup, covers: sameGroup},
		{name: "policy-targets", read: readPolicyTargets, write: writePolicyTarget},
		{name: "destinations", read: readDestinations, write: writeDestination, covers: sameDestination, refuse: refuseDestination},
		{name: "rules", read: readRules, write: writeRule, refuse: refuseRule},
		{name: "job-templates", read: readJobTemplates, write: writeJobTemplate, covers: sameJob},
		{name: "jobs", read: readJobs, write: writeJob, covers: sameJob, refuse: refuseJob, remark: remarkJob},
		{name: "shadows", read: readShadows, write: writeShadow, covers: exactly, live: true},
		{name: "events", read: readEvents, write: writeEvents, covers: sameEvents},
		{name: "logging", read: readLogging, write: writeLogging},
	}
}

// the is the name of what an account has one of.
const the = "account"

func readIndexing(ctx context.Context, r *reader) (map[string]object, error) {
	out, err := r.call(ctx, "GetIndexingConfiguration", nil)
	if err != nil {
		return nil, err
	}
	o := pick(out, "thingIndexingConfiguration", "thingGroupIndexingConfiguration")
	off := true
	for name, mode := range map[string]string{"thingIndexingConfiguration": "thingIndexingMode", "thingGroupIndexingConfiguration": "thingGroupIndexingMode"} {
		if c := obj(o, name); c != nil {
			delete(c, "managedFields") // they are always there
			for k, v := range c {
				if v == "OFF" && k != mode {
					delete(c, k)
				}
			}
			off = off && (str(c, mode) == "OFF" || str(c, mode) == "")
		}
	}
	if off {
		return nil, nil
	}
	return map[string]object{the: o}, nil
}

func writeIndexing(ctx context.Context, w *writer, _ string, want, _ object) (string, error) {
	_, err := w.call(ctx, "UpdateIndexingConfiguration", args(want))
	return "", err
}

func readEvents(ctx context.Context, r *reader) (map[string]object, error) {
	out, err := r.call(ctx, "DescribeEventConfigurations", nil)
	if err != nil {
		return nil, err
	}
	enabled := make(object)
	for name, v := range obj(out, "eventConfigurations") {
		if o, ok := v.(object); ok && truth(o, "Enabled") {
			enabled[name] = o
		}
	}
	if len(enabled) == 0 {
		return nil, nil
	}
	return map[string]object{the: {"eventConfigurations": enabled}}, nil
}

// sameEvents: more may be enabled in the target.
func sameEvents(want, have object) bool {
	there := obj(have, "eventConfigurations")
	for name := range obj(want, "eventConfigurations") {
		if there[name] == nil {
			return false
		}
	}
	return true
}

func writeEvents(ctx context.Context, w *writer, _ string, want, _ object) (string, error) {
	_, err := w.call(ctx, "UpdateEventConfigurations", args(want))
	return "", err
}

func readLogging(ctx context.Context, r *reader) (map[string]object, error) {
	out, err := r.call(ctx, "GetV2LoggingOptions", nil)
	if is(err, "NotConfiguredException") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o := pick(out, "roleArn", "defaultLogLevel", "disableAllLogs")
	if len(o) == 0 {
		return nil, nil
	}
	return map[string]object{the: o}, nil
}

func writeLogging(ctx context.Context, w *writer, _ string, want, _ object) (string, error) {
	_, err := w.call(ctx, "SetV2LoggingOptions", args(want))
	return "", err
}

func readRoleAliases(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListRoleAliases", nil, "roleAliases", "")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "DescribeRoleAlias", args{"roleAlias": name})
		if err != nil {
			return nil, err
		}
		d := obj(out, "roleAliasDescription")
		return r.tagged(ctx, pick(d, "roleArn", "credentialDurationSeconds"), str(d, "roleAliasArn"))
	})
}

func writeRoleAlias(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	op := "CreateRoleAlias"
	if have != nil {
		op = "UpdateRoleAlias"
	}
	if _, err := w.call(ctx, op, args{"roleAlias": name, "roleArn": want["roleArn"], "credentialDurationSeconds": want["credentialDurationSeconds"]}); err != nil {
		return "", err
	}
	note := "the role's rights are not in AWS IoT: give the role's name a policy in berth, or a role in IAM"
	return note, w.tag(ctx, w.arn("rolealias/"+name), want, have)
}

func readAuthorizers(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListAuthorizers", nil, "authorizers", "authorizerName")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "DescribeAuthorizer", args{"authorizerName": name})
		if err != nil {
			return nil, err
		}
		d := obj(out, "authorizerDescription")
		return r.tagged(ctx, pick(d, "authorizerFunctionArn", "tokenKeyName", "tokenSigningPublicKeys", "status", "signingDisabled", "enableCachingForHttp"), str(d, "authorizerArn"))
	})
}

func writeAuthorizer(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	in := args{"authorizerName": name}
	op := "CreateAuthorizer"
	if have != nil {
		op = "UpdateAuthorizer"
	}
	for k, v := range want {
		if k != "tags" && (have == nil || k != "signingDisabled") {
			in[k] = v
		}
	}
	if have != nil {
		in["enableCachingForHttp"] = truth(want, "enableCachingForHttp")
	}
	if _, err := w.call(ctx, op, in); err != nil {
		return "", err
	}
	note := ""
	if strings.Contains(str(want, "authorizerFunctionArn"), ":lambda:") {
		note = "its function stays a Lambda: name an address or a program with UpdateAuthorizer if the target cannot call it"
	}
	return note, w.tag(ctx, w.arn("authorizer/"+name), want, have)
}

func readDefaultAuthorizer(ctx context.Context, r *reader) (map[string]object, error) {
	out, err := r.call(ctx, "DescribeDefaultAuthorizer", nil)
	if is(err, "ResourceNotFoundException") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	name := str(obj(out, "authorizerDescription"), "authorizerName")
	if name == "" || !r.keeps(name) {
		return nil, nil
	}
	return map[string]object{the: {"authorizerName": name}}, nil
}

func writeDefaultAuthorizer(ctx context.Context, w *writer, _ string, want, have object) (string, error) {
	if have != nil {
		if _, err := w.call(ctx, "ClearDefaultAuthorizer", nil); err != nil {
			return "", err
		}
	}
	_, err := w.call(ctx, "SetDefaultAuthorizer", args(want))
	return "", err
}
