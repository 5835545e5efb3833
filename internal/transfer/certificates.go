package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"strings"
)

// number is a text as a JSON number.
func number(text string) json.Number { return json.Number(text) }

func readCAs(ctx context.Context, r *reader) (map[string]object, error) {
	all, err := r.pages(ctx, "ListCACertificates", args{"pageSize": 250}, "certificates")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, x := range all {
		if o, ok := x.(object); ok {
			ids = append(ids, str(o, "certificateId"))
		}
	}
	return r.describe(ctx, ids, func(ctx context.Context, id string) (object, error) {
		out, err := r.call(ctx, "DescribeCACertificate", args{"caCertificateId": id})
		if err != nil {
			return nil, err
		}
		d := obj(out, "certificateDescription")
		o := pick(d, "certificatePem", "status", "autoRegistrationStatus", "certificateMode")
		if c := obj(out, "registrationConfig"); !empty(c) {
			o["registrationConfig"] = c
		}
		return r.tagged(ctx, o, str(d, "certificateArn"))
	})
}

// sameCA does not compare modes: see writeCA.
func sameCA(want, have object) bool {
	fields := func(o object) object {
		return pick(o, "status", "autoRegistrationStatus", "registrationConfig", "tags")
	}
	return equal(fields(want), fields(have))
}

// refuseCA finds what cannot be registered at all.
func refuseCA(_ *writer, _ string, want object) string {
	if str(want, "certificatePem") == "" {
		return "the source does not hand out its PEM: register it by hand, with berth ca register"
	}
	return ""
}

// writeCA registers an authority in mode SNI_ONLY, which wants no proof that one has its key. The mode
// DEFAULT would: a certificate that only the owner of the key can make.
func writeCA(ctx context.Context, w *writer, id string, want, have object) (string, error) {
	auto := "DISABLE"
	if str(want, "autoRegistrationStatus") == "ENABLE" {
		auto = "ENABLE"
	}
	config := obj(want, "registrationConfig")
	note := ""
	if have == nil {
		in := args{"caCertificate": str(want, "certificatePem"), "certificateMode": "SNI_ONLY",
			"?setAsActive": str(want, "status") == "ACTIVE", "?allowAutoRegistration": auto == "ENABLE"}
		if config != nil {
			in["registrationConfig"] = config
		}
		if _, err := w.call(ctx, "RegisterCACertificate", in); err != nil {
			return "", err
		}
		if str(want, "certificateMode") != "SNI_ONLY" {
			note = "registered in mode SNI_ONLY, whose devices must send the server's name in the handshake: for mode DEFAULT, " +
				"whoever has its key deletes it in the target and runs berth ca register CA.pem --key CA.key"
		}
	} else {
		in := args{"caCertificateId": id, "?newStatus": str(want, "status"), "?newAutoRegistrationStatus": auto}
		if config != nil {
			in["registrationConfig"] = config
		}
		if _, err := w.call(ctx, "UpdateCACertificate", in); err != nil {
			return "", err
		}
	}
	return note, w.tag(ctx, w.arn("cacert/"+id), want, have)
}

func readCertificates(ctx context.Context, r *reader) (map[string]object, error) {
	all, err := r.pages(ctx, "ListCertificates", args{"pageSize": 250}, "certificates")
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool)
	if r.opts.Prefix != "" {
		attached, err := r.allPrincipals(ctx)
		if err != nil {
			return nil, err
		}
		for name := range attached {
			if _, id, ok := strings.Cut(name, ":cert/"); ok {
				used[id] = true
			}
		}
	}
	var ids []string
	for _, x := range all {
		if o, ok := x.(object); ok && (r.opts.Prefix == "" || used[str(o, "certificateId")]) {
			ids = append(ids, str(o, "certificateId"))
		}
	}
	found, err := r.describe(ctx, ids, func(ctx context.Context, id string) (object, error) {
		out, err := r.call(ctx, "DescribeCertificate", args{"certificateId": id})
		if err != nil {
			return nil, err
		}
		o := pick(obj(out, "certificateDescription"), "certificatePem", "status", "caCertificateId", "certificateMode")
		r.alias(id, str(o, "certificatePem"))
		return o, nil
	})
	named := make(map[string]object, len(found))
	for id, o := range found {
		named[r.fingerprint(id)] = o
	}
	return named, err
}

// alias remembers an identifier that is not the certificate's fingerprint.
func (a *Account) alias(id, certPEM string) {
	block, _ := pem.Decode([]byte(certPEM))
	if block == nil {
		return
	}
	sum := sha256.Sum256(block.Bytes)
	if print := hex.EncodeToString(sum[:]); print != id {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.fingerprints[id], a.identifiers[print] = print, id
	}
}

// fingerprint is what a certificate is called here that the account calls id.
func (a *Account) fingerprint(id string) string { return a.known(a.fingerprints, id) }

// identifier is what the account calls the certificate with a fingerprint.
func (a *Account) identifier(print string) string { return a.known(a.identifiers, print) }

func (a *Account) known(names map[string]string, id string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if other := names[id]; other != "" {
		return other
	}
	return id
}

// principal translates the certificate in an ARN of a principal.
func principal(arn string, translate func(id string) string) string {
	if start, id, ok := strings.Cut(arn, ":cert/"); ok {
		return start + ":cert/" + translate(id)
	}
	return arn
}

// registered is the status in which a certificate can be registered that has this one in the source.
func registered(status string) string {
	switch status {
	case "ACTIVE", "INACTIVE", "REVOKED", "PENDING_ACTIVATION":
		return status
	}
	return "INACTIVE"
}

func sameCertificate(want, have object) bool {
	return registered(str(want, "status")) == str(have, "status")
}

func refuseCertificate(_ *writer, _ string, want object) string {
	if str(want, "certificatePem") == "" {
		return "the source does not hand out its PEM: register it by hand with RegisterCertificateWithoutCA"
	}
	return ""
}

func remarkCertificate(want object) string {
	if s := str(want, "status"); registered(s) != s {
		return "it is " + s + " in the source and becomes INACTIVE: finish the transfer there first, or activate it here"
	}
	return ""
}

func writeCertificate(ctx context.Context, w *writer, id string, want, have object) (string, error) {
	status, text := registered(str(want, "status")), str(want, "certificatePem")
	note := remarkCertificate(want)
	if have != nil {
		_, err := w.call(ctx, "UpdateCertificate", args{"certificateId": w.identifier(id), "?newStatus": status})
		return note, err
	}
	first := status
	if status == "REVOKED" || status == "PENDING_ACTIVATION" {
		first = "INACTIVE" // not every implementation registers in these
	}
	// A certificate of a registered authority is registered with it, where the target knows it.
	done := false
	if ca := str(want, "caCertificateId"); ca != "" {
		out, err := w.call(ctx, "DescribeCACertificate", args{"caCertificateId": ca})
		if err == nil {
			out, err = w.call(ctx, "RegisterCertificate", args{"certificatePem": text, "status": first,
				"caCertificatePem": str(obj(out, "certificateDescription"), "certificatePem")})
			if done = err == nil; done {
				w.alias(str(out, "certificateId"), text)
			}
		}
	}
	if !done {
		out, err := w.call(ctx, "RegisterCertificateWithoutCA", args{"certificatePem": text, "status": first})
		if err != nil {
			return note, err
		}
		w.alias(str(out, "certificateId"), text)
	}
	if first == status {
		return note, nil
	}
	_, err := w.call(ctx, "UpdateCertificate", args{"certificateId": w.identifier(id), "?newStatus": status})
	if err != nil && status == "PENDING_ACTIVATION" {
		return "it is PENDING_ACTIVATION in the source and INACTIVE in the target, where nobody can set that by hand", nil
	}
	return note, err
}

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
