package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// plain is a kind of resource with one path, and the members of its properties as body.
type plain struct {
	named  string // the property that is its name
	path   string // of the resource, without its name
	arn    string // what stands between account and name, without the slash
	make   string // method of creation
	change string // of an update; "" if AWS has none
	under  string // member of the answer that holds it; "" is the answer itself
	body   string // the property that is the whole body; "" is all but the name
	keep   []string
}

// plains are the kinds without peculiarities.
var plains = map[string]plain{
	"ThingType":           {named: "ThingTypeName", path: "/thing-types/", arn: "thingtype", make: "POST", change: "PATCH", keep: []string{"SearchableAttributes"}},
	"BillingGroup":        {named: "BillingGroupName", path: "/billing-groups/", arn: "billinggroup", make: "POST", change: "PATCH"},
	"TopicRule":           {named: "RuleName", path: "/rules/", arn: "rule", make: "POST", change: "PATCH", under: "rule", body: "TopicRulePayload", keep: []string{"ClientProperties"}},
	"RoleAlias":           {named: "RoleAlias", path: "/role-aliases/", arn: "rolealias", make: "POST", change: "PUT", under: "roleAliasDescription"},
	"Authorizer":          {named: "AuthorizerName", path: "/authorizer/", arn: "authorizer", make: "POST", change: "PUT", under: "authorizerDescription", keep: []string{"TokenSigningPublicKeys"}},
	"DomainConfiguration": {named: "DomainConfigurationName", path: "/domainConfigurations/", arn: "domainconfiguration", make: "POST", change: "PUT"},
	"JobTemplate":         {named: "JobTemplateId", path: "/job-templates/", arn: "jobtemplate", make: "PUT"},
	"FleetMetric":         {named: "MetricName", path: "/fleet-metric/", arn: "fleetmetric", make: "PUT", change: "PATCH"},
	"SecurityProfile":     {named: "SecurityProfileName", path: "/security-profiles/", arn: "securityprofile", make: "POST", change: "PATCH", keep: []string{"AlertTargets"}},
	"Dimension":           {named: "Name", path: "/dimensions/", arn: "dimension", make: "POST", change: "PATCH"},
	"CustomMetric":        {named: "MetricName", path: "/custom-metric/", arn: "custommetric", make: "POST", change: "PATCH"},
	"ScheduledAudit":      {named: "ScheduledAuditName", path: "/audit/scheduledaudits/", arn: "scheduledaudit", make: "POST", change: "PATCH"},
	"MitigationAction":    {named: "ActionName", path: "/mitigationactions/actions/", arn: "mitigationaction", make: "POST", change: "PATCH"},
	"Command":             {named: "CommandId", path: "/commands/", arn: "command", make: "PUT", change: "PATCH"},
	"SoftwarePackage":     {named: "PackageName", path: "/packages/", arn: "package", make: "PUT", change: "PATCH"},
	"Thing":               {named: "ThingName", path: "/things/", arn: "thing", make: "POST", change: "PATCH", keep: []string{"Attributes"}},
}

// native makes the kind of a resource of AWS::IoT.
func (s *scope) native(r *resource, p map[string]any) (kind, error) {
	short := strings.TrimPrefix(r.kind, "AWS::IoT::")
	named := func(property string) (string, error) {
		name := r.name // CloudFormation would add random letters: here the same template is the same name
		if v, ok := p[property]; ok {
			text, ok := v.(string)
			if !ok || text == "" {
				return "", bad(r.name, "%s is no name", property)
			}
			name = text
		}
		delete(p, property)
		return name, nil
	}
	tell := func(arn, name string) {
		s.refs[r.name] = name
		s.arns[r.name] = fmt.Sprintf("arn:%s:iot:%s:%s:%s/%s", s.Partition, s.Region, s.Account, arn, name)
	}
	delete(p, "Tags")
	if c, ok := plains[short]; ok {
		name, err := named(c.named)
		if err != nil {
			return nil, err
		}
		tell(c.arn, name)
		body := p
		if c.body != "" {
			if body, ok = p[c.body].(map[string]any); !ok {
				return nil, bad(r.name, "it has no %s", c.body)
			}
		}
		members, _ := lower(body, c.keep).(map[string]any)
		return &plainKind{plain: c, called: name, members: members}, nil
	}
	switch short {
	case "Policy":
		name, err := named("PolicyName")
		if err != nil {
			return nil, err
		}
		tell("policy", name)
		return &policyKind{called: name, document: document(p["PolicyDocument"])}, nil
	case "ThingGroup":
		name, err := named("ThingGroupName")
		if err != nil {
			return nil, err
		}
		tell("thinggroup", name)
		return newGroup(name, p), nil
	case "ProvisioningTemplate":
		name, err := named("TemplateName")
		if err != nil {
			return nil, err
		}
		tell("provisioningtemplate", name)
		return &templateKind{called: name, members: lower(p, nil).(map[string]any)}, nil
	case "CACertificate":
		text, _ := p["CACertificatePem"].(string)
		id, err := fingerprint(r.name, text)
		if err != nil {
			return nil, err
		}
		tell("cacert", id)
		return newCA(id, p), nil
	case "Certificate":
		text, _ := p["CertificatePem"].(string)
		if text == "" {
			return nil, bad(r.name, "a certificate needs CertificatePem here: one from a signing request would be another one at each run")
		}
		id, err := fingerprint(r.name, text)
		if err != nil {
			return nil, err
		}
		tell("cert", id)
		return newCertificate(id, p), nil
	case "PolicyPrincipalAttachment", "ThingPrincipalAttachment":
		return newAttachment(r, short, p)
	case "TopicRuleDestination":
		props, _ := p["HttpUrlProperties"].(map[string]any)
		address, _ := props["ConfirmationUrl"].(string)
		if address == "" {
			return nil, bad(r.name, "it has no HttpUrlProperties with a ConfirmationUrl")
		}
		tell("ruledestination", "http/"+address)
		return &destinationKind{url: address}, nil
	}
	return nil, bad(r.name, "%s is not a type that is known here", r.kind)
}

func fingerprint(where, text string) (string, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return "", bad(where, "its certificate is not PEM; !File NAME reads one from a file")
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:]), nil
}

func seg(s string) string { return url.PathEscape(s) }

// plainKind is a resource of a plain kind.
type plainKind struct {
	plain
	called  string
	members map[string]any
	now     map[string]any // what the server has
}

func (k *plainKind) at() string             { return k.path + seg(k.called) }
func (k *plainKind) name() string           { return k.called }
func (k *plainKind) wanted() map[string]any { return k.members }
func (k *plainKind) updates() bool          { return k.change != "" }

func (k *plainKind) read(ctx context.Context, api API) (map[string]any, error) {
	var out map[string]any
	if err := api.Call(ctx, "GET", k.at(), nil, nil, nil, &out); err != nil {
		return nil, err
	}
	if k.under != "" {
		out, _ = out[k.under].(map[string]any)
	}
	if k.path == "/things/" { // read and written with different members
		out["attributePayload"] = map[string]any{"attributes": out["attributes"]}
	}
	k.now = out
	return out, nil
}

func (k *plainKind) create(ctx context.Context, api API) error {
	return api.Call(ctx, k.make, k.at(), nil, nil, k.members, nil)
}

func (k *plainKind) update(ctx context.Context, api API, _ []Change) error {
	return api.Call(ctx, k.change, k.at(), nil, nil, k.members, nil)
}

func (k *plainKind) remove(ctx context.Context, api API) error {
	return api.Call(ctx, "DELETE", k.at(), nil, nil, nil, nil)
}

// settled are the parts of a kind that is never replaced.
type settled struct{}

func (settled) updates() bool                     { return true }
func (settled) remove(context.Context, API) error { return nil }

// policyKind is a policy; a change is a new version.
type policyKind struct {
	settled
	called   string
	document any
}

func (k *policyKind) name() string           { return k.called }
func (k *policyKind) wanted() map[string]any { return map[string]any{"policyDocument": k.document} }

func (k *policyKind) read(ctx context.Context, api API) (map[string]any, error) {
	var out map[string]any
	if err := api.Call(ctx, "GET", "/policies/"+seg(k.called), nil, nil, nil, &out); err != nil {
		return nil, err
	}
	return map[string]any{"policyDocument": document(out["policyDocument"])}, nil
}

func (k *policyKind) body() map[string]any {
	b, _ := json.Marshal(k.document)
	return map[string]any{"policyDocument": string(b)}
}

func (k *policyKind) create(ctx context.Context, api API) error {
	return api.Call(ctx, "POST", "/policies/"+seg(k.called), nil, nil, k.body(), nil)
}

// maxVersions is how many versions a policy has (AWS IoT Core quotas).
const maxVersions = 5

func (k *policyKind) update(ctx context.Context, api API, _ []Change) error {
	var out struct {
		Versions []struct {
			ID      string `json:"versionId"`
			Default bool   `json:"isDefaultVersion"`
		} `json:"policyVersions"`
	}
	at := "/policies/" + seg(k.called) + "/version"
	if err := api.Call(ctx, "GET", at, nil, nil, nil, &out); err != nil {
		return err
	}
	if len(out.Versions) >= maxVersions {
		oldest := ""
		for _, v := range out.Versions {
			a, _ := strconv.Atoi(v.ID)
			b, _ := strconv.Atoi(oldest)
			if !v.Default && (oldest == "" || a < b) {
				oldest = v.ID
			}
		}
		if err := api.Call(ctx, "DELETE", at+"/"+seg(oldest), nil, nil, nil, nil); err != nil {
			return err
		}
	}
	return api.Call(ctx, "POST", at, url.Values{"setAsDefault": {"true"}}, nil, k.body(), nil)
}

// groupKind is a thing group, static or dynamic.
type groupKind struct {
	settled
	called  string
	dynamic bool
	members map[string]any
}

func newGroup(name string, p map[string]any) *groupKind {
	m, _ := lower(p, []string{"Attributes"}).(map[string]any)
	_, dynamic := m["queryString"]
	return &groupKind{called: name, dynamic: dynamic, members: m}
}

func (k *groupKind) name() string           { return k.called }
func (k *groupKind) wanted() map[string]any { return k.members }

func (k *groupKind) read(ctx context.Context, api API) (map[string]any, error) {
	var out map[string]any
	if err := api.Call(ctx, "GET", "/thing-groups/"+seg(k.called), nil, nil, nil, &out); err != nil {
		return nil, err
	}
	meta, _ := out["thingGroupMetadata"].(map[string]any)
	out["parentGroupName"] = meta["parentGroupName"]
	return out, nil
}

func (k *groupKind) at() string {
	if k.dynamic {
		return "/dynamic-thing-groups/" + seg(k.called)
	}
	return "/thing-groups/" + seg(k.called)
}

func (k *groupKind) create(ctx context.Context, api API) error {
	return api.Call(ctx, "POST", k.at(), nil, nil, k.members, nil)
}

func (k *groupKind) update(ctx context.Context, api API, changes []Change) error {
	for _, c := range changes {
		if c.Path == "parentGroupName" {
			return fmt.Errorf("a thing group keeps its parent: delete the group %s, or give another name", k.called)
		}
	}
	body := map[string]any{"thingGroupProperties": k.members["thingGroupProperties"]}
	if body["thingGroupProperties"] == nil {
		body["thingGroupProperties"] = map[string]any{}
	}
	if k.dynamic {
		body["queryString"] = k.members["queryString"]
	}
	return api.Call(ctx, "PATCH", k.at(), nil, nil, body, nil)
}

// templateKind is a provisioning template; another body is a new version.
type templateKind struct {
	settled
	called  string
	members map[string]any
}

func (k *templateKind) name() string { return k.called }

func (k *templateKind) wanted() map[string]any {
	out := make(map[string]any, len(k.members))
	for key, v := range k.members {
		if key == "templateType" {
			key = "type"
		}
		out[key] = v
	}
	out["templateBody"] = document(k.members["templateBody"])
	return out
}

func (k *templateKind) read(ctx context.Context, api API) (map[string]any, error) {
	var out map[string]any
	if err := api.Call(ctx, "GET", "/provisioning-templates/"+seg(k.called), nil, nil, nil, &out); err != nil {
		return nil, err
	}
	out["templateBody"] = document(out["templateBody"])
	return out, nil
}

func (k *templateKind) body() string {
	if s, ok := k.members["templateBody"].(string); ok {
		return s
	}
	b, _ := json.Marshal(k.members["templateBody"])
	return string(b)
}

func (k *templateKind) create(ctx context.Context, api API) error {
	body := map[string]any{"templateName": k.called}
	for key, v := range k.wanted() {
		body[key] = v
	}
	body["templateBody"] = k.body()
	return api.Call(ctx, "POST", "/provisioning-templates", nil, nil, body, nil)
}

func (k *templateKind) update(ctx context.Context, api API, changes []Change) error {
	at := "/provisioning-templates/" + seg(k.called)
	rest := make(map[string]any)
	another := false
	for _, c := range changes {
		member, _, _ := strings.Cut(c.Path, ".")
		switch member {
		case "templateBody":
			another = true
		case "type":
			return fmt.Errorf("a template keeps its type: give another name")
		default:
			rest[member] = k.members[member]
		}
	}
	if another {
		if err := api.Call(ctx, "POST", at+"/versions", url.Values{"setAsDefault": {"true"}}, nil, map[string]any{"templateBody": k.body()}, nil); err != nil {
			return err
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return api.Call(ctx, "PATCH", at, nil, nil, rest, nil)
}

// certificateKind is a device's certificate or that of an authority.
type certificateKind struct {
	settled
	id      string
	members map[string]any // as they are read
	make    func(ctx context.Context, api API) error
	under   string
	at      string
}

func (k *certificateKind) name() string                              { return k.id[:12] }
func (k *certificateKind) wanted() map[string]any                    { return k.members }
func (k *certificateKind) create(ctx context.Context, api API) error { return k.make(ctx, api) }

func (k *certificateKind) read(ctx context.Context, api API) (map[string]any, error) {
	var out map[string]any
	if err := api.Call(ctx, "GET", k.at, nil, nil, nil, &out); err != nil {
		return nil, err
	}
	inner, _ := out[k.under].(map[string]any)
	if registration, ok := out["registrationConfig"]; ok && inner != nil {
		inner["registrationConfig"] = registration
	}
	return inner, nil
}

func (k *certificateKind) update(ctx context.Context, api API, changes []Change) error {
	q, body := url.Values{}, map[string]any{}
	for _, c := range changes {
		member, _, _ := strings.Cut(c.Path, ".")
		switch member {
		case "status":
			q.Set("newStatus", fmt.Sprint(k.members["status"]))
		case "autoRegistrationStatus":
			q.Set("newAutoRegistrationStatus", fmt.Sprint(k.members["autoRegistrationStatus"]))
		case "registrationConfig":
			body["registrationConfig"] = k.members["registrationConfig"]
		default:
			return fmt.Errorf("%s of a certificate cannot be changed: delete it first", member)
		}
	}
	return api.Call(ctx, "PUT", k.at, q, nil, body, nil)
}

func newCA(id string, p map[string]any) *certificateKind {
	m := make(map[string]any)
	for property, member := range map[string]string{"Status": "status", "AutoRegistrationStatus": "autoRegistrationStatus", "CertificateMode": "certificateMode"} {
		if v, ok := p[property]; ok {
			m[member] = v
		}
	}
	if v, ok := p["RegistrationConfig"]; ok {
		m["registrationConfig"] = lower(v, nil)
	}
	k := &certificateKind{id: id, members: m, under: "certificateDescription", at: "/cacertificate/" + id}
	k.make = func(ctx context.Context, api API) error {
		body := map[string]any{"caCertificate": p["CACertificatePem"]}
		for property, member := range map[string]string{"VerificationCertificatePem": "verificationCertificate", "CertificateMode": "certificateMode"} {
			if v, ok := p[property]; ok {
				body[member] = v
			}
		}
		if v, ok := m["registrationConfig"]; ok {
			body["registrationConfig"] = v
		}
		q := url.Values{"setAsActive": {strconv.FormatBool(m["status"] == "ACTIVE")}, "allowAutoRegistration": {strconv.FormatBool(m["autoRegistrationStatus"] == "ENABLE")}}
		return api.Call(ctx, "POST", "/cacertificate", q, nil, body, nil)
	}
	return k
}

func newCertificate(id string, p map[string]any) *certificateKind {
	m := make(map[string]any)
	if v, ok := p["Status"]; ok {
		m["status"] = v
	}
	k := &certificateKind{id: id, members: m, under: "certificateDescription", at: "/certificates/" + id}
	k.make = func(ctx context.Context, api API) error {
		body := map[string]any{"certificatePem": p["CertificatePem"]}
		if v, ok := p["Status"]; ok {
			body["status"] = v
		}
		path := "/certificate/register-no-ca"
		if ca, ok := p["CACertificatePem"]; ok {
			path, body["caCertificatePem"] = "/certificate/register", ca
		}
		return api.Call(ctx, "POST", path, nil, nil, body, nil)
	}
	return k
}

// attachmentKind ties a policy or a thing to a principal.
type attachmentKind struct {
	settled
	what, to string
	thing    bool
}

func newAttachment(r *resource, short string, p map[string]any) (kind, error) {
	property := strings.TrimSuffix(short, "PrincipalAttachment") + "Name"
	what, _ := p[property].(string)
	to, _ := p["Principal"].(string)
	if what == "" || to == "" {
		return nil, bad(r.name, "it needs %s and Principal", property)
	}
	return &attachmentKind{what: what, to: to, thing: property == "ThingName"}, nil
}

func (k *attachmentKind) name() string {
	return k.what + " – " + k.to[strings.LastIndex(k.to, ":")+1:]
}
func (k *attachmentKind) wanted() map[string]any                      { return map[string]any{} }
func (k *attachmentKind) update(context.Context, API, []Change) error { return nil }

func (k *attachmentKind) read(ctx context.Context, api API) (map[string]any, error) {
	var out struct {
		Principals []string `json:"principals"`
		Policies   []struct {
			Name string `json:"policyName"`
		} `json:"policies"`
		Next   string `json:"nextToken"`
		Marker string `json:"nextMarker"`
	}
	for q := (url.Values{}); ; {
		out.Principals, out.Policies, out.Next, out.Marker = nil, nil, "", ""
		var err error
		if k.thing {
			err = api.Call(ctx, "GET", "/things/"+seg(k.what)+"/principals", q, nil, nil, &out)
		} else {
			err = api.Call(ctx, "POST", "/attached-policies/"+seg(k.to), q, nil, nil, &out)
		}
		if err != nil {
			return nil, err
		}
		if slices.Contains(out.Principals, k.to) {
			return map[string]any{}, nil
		}
		for _, p := range out.Policies {
			if p.Name == k.what {
				return map[string]any{}, nil
			}
		}
		switch {
		case out.Next != "":
			q.Set("nextToken", out.Next)
		case out.Marker != "":
			q.Set("marker", out.Marker)
		default:
			return nil, ErrNotFound
		}
	}
}

func (k *attachmentKind) create(ctx context.Context, api API) error {
	if k.thing {
		return api.Call(ctx, "PUT", "/things/"+seg(k.what)+"/principals", nil, map[string]string{"X-Amzn-Principal": k.to}, nil, nil)
	}
	return api.Call(ctx, "PUT", "/target-policies/"+seg(k.what), nil, nil, map[string]any{"target": k.to}, nil)
}

// destinationKind is a URL that rules send to.
type destinationKind struct {
	settled
	url string
}

func (k *destinationKind) name() string                                { return k.url }
func (k *destinationKind) wanted() map[string]any                      { return map[string]any{} }
func (k *destinationKind) update(context.Context, API, []Change) error { return nil }

func (k *destinationKind) read(ctx context.Context, api API) (map[string]any, error) {
	var out struct {
		List []struct {
			HTTP struct {
				URL string `json:"confirmationUrl"`
			} `json:"httpUrlSummary"`
		} `json:"destinationSummaries"`
	}
	if err := api.Call(ctx, "GET", "/destinations", nil, nil, nil, &out); err != nil {
		return nil, err
	}
	for _, d := range out.List {
		if d.HTTP.URL == k.url {
			return map[string]any{}, nil
		}
	}
	return nil, ErrNotFound
}

func (k *destinationKind) create(ctx context.Context, api API) error {
	return api.Call(ctx, http.MethodPost, "/destinations", nil, nil, map[string]any{"destinationConfiguration": map[string]any{"httpUrlConfiguration": map[string]any{"confirmationUrl": k.url}}}, nil)
}
