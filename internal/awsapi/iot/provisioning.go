package iot

import (
	"context"
	"strconv"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/provisioning"
)

type provisioningHook struct {
	PayloadVersion string `json:"payloadVersion,omitempty"`
	TargetARN      string `json:"targetArn"`
}

func (h *provisioningHook) domain() *provisioning.Hook {
	if h == nil {
		return nil
	}
	return &provisioning.Hook{PayloadVersion: h.PayloadVersion, TargetARN: h.TargetARN}
}

func (p *plane) createProvisioningTemplate(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Name        *string           `json:"templateName"`
		Description string            `json:"description"`
		Body        *string           `json:"templateBody"`
		Enabled     bool              `json:"enabled"`
		Role        string            `json:"provisioningRoleArn"`
		Hook        *provisioningHook `json:"preProvisioningHook"`
		Type        string            `json:"type"`
		Tags        tags              `json:"tags"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Name == nil {
		return nil, awsapi.Missing("templateName")
	}
	if in.Body == nil {
		return nil, awsapi.Missing("templateBody")
	}
	t, err := p.provisioning.CreateTemplate(ctx, provisioning.TemplateInfo{Name: *in.Name, Type: in.Type, Description: in.Description,
		Role: in.Role, Enabled: in.Enabled, Hook: in.Hook.domain(), Body: *in.Body, Tags: in.Tags.domain()})
	if err != nil {
		return nil, err
	}
	return struct {
		ARN     string `json:"templateArn"`
		Name    string `json:"templateName"`
		Version int64  `json:"defaultVersionId"`
	}{t.ARN, t.Name, t.DefaultVersion}, nil
}

func (p *plane) describeProvisioningTemplate(ctx context.Context, req *awsapi.Request) (any, error) {
	t, err := p.provisioning.DescribeTemplate(ctx, req.Path("templateName"))
	if err != nil {
		return nil, err
	}
	out := struct {
		ARN          string            `json:"templateArn"`
		Name         string            `json:"templateName"`
		Description  string            `json:"description,omitempty"`
		Created      awsapi.Time       `json:"creationDate"`
		LastModified awsapi.Time       `json:"lastModifiedDate"`
		Version      int64             `json:"defaultVersionId"`
		Body         string            `json:"templateBody"`
		Enabled      bool              `json:"enabled"`
		Role         string            `json:"provisioningRoleArn,omitempty"`
		Hook         *provisioningHook `json:"preProvisioningHook,omitempty"`
		Type         string            `json:"type"`
	}{t.ARN, t.Name, t.Description, awsapi.Time(t.Created), awsapi.Time(t.Modified), t.DefaultVersion, t.Body, t.Enabled, t.Role, nil, t.Type}
	if t.Hook != nil {
		out.Hook = &provisioningHook{t.Hook.PayloadVersion, t.Hook.TargetARN}
	}
	return out, nil
}

func (p *plane) updateProvisioningTemplate(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Description *string           `json:"description"`
		Enabled     *bool             `json:"enabled"`
		Version     *int64            `json:"defaultVersionId"`
		Role        *string           `json:"provisioningRoleArn"`
		Hook        *provisioningHook `json:"preProvisioningHook"`
		RemoveHook  bool              `json:"removePreProvisioningHook"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.provisioning.UpdateTemplate(ctx, req.Path("templateName"), provisioning.TemplateUpdate{Description: in.Description,
		Role: in.Role, Enabled: in.Enabled, DefaultVersion: in.Version, Hook: in.Hook.domain(), RemoveHook: in.RemoveHook})
}

func (p *plane) deleteProvisioningTemplate(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.provisioning.DeleteTemplate(ctx, req.Path("templateName"))
}

func (p *plane) listProvisioningTemplates(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	list, next, err := p.provisioning.ListTemplates(ctx, page)
	if err != nil {
		return nil, err
	}
	type summary struct {
		ARN          string      `json:"templateArn"`
		Name         string      `json:"templateName"`
		Description  string      `json:"description,omitempty"`
		Created      awsapi.Time `json:"creationDate"`
		LastModified awsapi.Time `json:"lastModifiedDate"`
		Enabled      bool        `json:"enabled"`
		Type         string      `json:"type"`
	}
	out := struct {
		Templates []summary `json:"templates"`
		NextToken string    `json:"nextToken,omitempty"`
	}{make([]summary, len(list)), next}
	for i, t := range list {
		out.Templates[i] = summary{t.ARN, t.Name, t.Description, awsapi.Time(t.Created), awsapi.Time(t.Modified), t.Enabled, t.Type}
	}
	return out, nil
}

func (p *plane) createProvisioningTemplateVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Body *string `json:"templateBody"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Body == nil {
		return nil, awsapi.Missing("templateBody")
	}
	setAsDefault, err := req.Bool("setAsDefault", false)
	if err != nil {
		return nil, err
	}
	name := req.Path("templateName")
	v, err := p.provisioning.CreateVersion(ctx, name, *in.Body, setAsDefault)
	if err != nil {
		return nil, err
	}
	return struct {
		ARN     string `json:"templateArn"`
		Name    string `json:"templateName"`
		Version int64  `json:"versionId"`
		Default bool   `json:"isDefaultVersion"`
	}{p.registry.ARN("provisioningtemplate/" + name), name, v.Version, v.Default}, nil
}

func templateVersion(req *awsapi.Request) (int64, error) {
	v, err := strconv.ParseInt(req.Path("versionId"), 10, 64)
	if err != nil {
		return 0, awsapi.Invalid("1 validation error detected: Value '%s' at 'versionId' failed to satisfy constraint: Member must be a whole number", req.Path("versionId"))
	}
	return v, nil
}

type templateVersionSummary struct {
	Version int64       `json:"versionId"`
	Created awsapi.Time `json:"creationDate"`
	Body    string      `json:"templateBody,omitempty"`
	Default bool        `json:"isDefaultVersion"`
}

func (p *plane) describeProvisioningTemplateVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	number, err := templateVersion(req)
	if err != nil {
		return nil, err
	}
	v, err := p.provisioning.DescribeVersion(ctx, req.Path("templateName"), number)
	if err != nil {
		return nil, err
	}
	return templateVersionSummary{v.Version, awsapi.Time(v.Created), v.Body, v.Default}, nil
}

func (p *plane) deleteProvisioningTemplateVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	number, err := templateVersion(req)
	if err != nil {
		return nil, err
	}
	return empty{}, p.provisioning.DeleteVersion(ctx, req.Path("templateName"), number)
}

func (p *plane) listProvisioningTemplateVersions(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	list, next, err := p.provisioning.ListVersions(ctx, req.Path("templateName"), page)
	if err != nil {
		return nil, err
	}
	out := struct {
		Versions  []templateVersionSummary `json:"versions"`
		NextToken string                   `json:"nextToken,omitempty"`
	}{make([]templateVersionSummary, len(list)), next}
	for i, v := range list {
		out.Versions[i] = templateVersionSummary{v.Version, awsapi.Time(v.Created), "", v.Default}
	}
	return out, nil
}

func (p *plane) createProvisioningClaim(ctx context.Context, req *awsapi.Request) (any, error) {
	c, err := p.provisioning.CreateClaim(ctx, req.Path("templateName"))
	if err != nil {
		return nil, err
	}
	return struct {
		ID         string      `json:"certificateId"`
		PEM        string      `json:"certificatePem"`
		Keys       keyPair     `json:"keyPair"`
		Expiration awsapi.Time `json:"expiration"`
	}{c.CertificateID, c.CertificatePEM, keyPair{c.PublicKeyPEM, c.PrivateKeyPEM}, awsapi.Time(c.Expires)}, nil
}

// checkRegistration refuses a registration configuration whose template could not run.
func (p *plane) checkRegistration(ctx context.Context, c registrationConfig) error {
	if c.TemplateBody != "" && c.TemplateName != "" {
		return awsapi.Invalid("registrationConfig: give templateBody or templateName, not both")
	}
	if c.TemplateBody != "" {
		t, err := provisioning.ParseTemplate([]byte(c.TemplateBody))
		if err != nil {
			return err
		}
		return t.ForNewDevices()
	}
	if c.TemplateName == "" {
		return nil
	}
	t, err := p.provisioning.DescribeTemplate(ctx, c.TemplateName)
	if err == nil && t.Type != provisioning.JustInTime {
		err = awsapi.Invalid("registrationConfig: provisioning template %s is of type %s, not JITP", t.Name, t.Type)
	}
	return err
}

func (p *plane) registerThing(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Body       *string                 `json:"templateBody"`
		Parameters provisioning.Parameters `json:"parameters"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Body == nil {
		return nil, awsapi.Missing("templateBody")
	}
	out, err := p.provisioning.RegisterThing(ctx, []byte(*in.Body), in.Parameters)
	if err != nil {
		return nil, registrationFailure(err)
	}
	return struct {
		PEM  string            `json:"certificatePem,omitempty"`
		ARNs map[string]string `json:"resourceArns"`
	}{out.CertificatePEM, out.ResourceARNs}, nil
}

// registrationFailure gives the refusals of RegisterThing the exceptions that it has.
func registrationFailure(err error) error {
	e := awsapi.ErrorOf(err)
	switch e.Type {
	case "InternalFailureException", "InvalidRequestException":
		return e
	case "ResourceAlreadyExistsException":
		return &awsapi.Error{Type: "ConflictingResourceUpdateException", Status: 409, Message: e.Message}
	}
	return &awsapi.Error{Type: "ResourceRegistrationFailureException", Status: 400, Message: e.Message}
}

func (p *plane) startThingRegistrationTask(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Body   *string `json:"templateBody"`
		Bucket *string `json:"inputFileBucket"`
		Key    *string `json:"inputFileKey"`
		Role   string  `json:"roleArn"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	for field, v := range map[string]*string{"templateBody": in.Body, "inputFileBucket": in.Bucket, "inputFileKey": in.Key} {
		if v == nil {
			return nil, awsapi.Missing(field)
		}
	}
	id, err := p.provisioning.StartTask(ctx, provisioning.NewTask{TemplateBody: *in.Body, InputBucket: *in.Bucket, InputKey: *in.Key, Role: in.Role})
	return struct {
		ID string `json:"taskId"`
	}{id}, err
}

func (p *plane) describeThingRegistrationTask(ctx context.Context, req *awsapi.Request) (any, error) {
	t, err := p.provisioning.DescribeTask(ctx, req.Path("taskId"))
	if err != nil {
		return nil, err
	}
	return struct {
		ID           string      `json:"taskId"`
		Created      awsapi.Time `json:"creationDate"`
		LastModified awsapi.Time `json:"lastModifiedDate"`
		Body         string      `json:"templateBody"`
		Bucket       string      `json:"inputFileBucket"`
		Key          string      `json:"inputFileKey"`
		Role         string      `json:"roleArn,omitempty"`
		Status       string      `json:"status"`
		Message      string      `json:"message,omitempty"`
		Succeeded    int64       `json:"successCount"`
		Failed       int64       `json:"failureCount"`
		Progress     int64       `json:"percentageProgress"`
	}{t.ID, awsapi.Time(t.Created), awsapi.Time(t.Modified), t.TemplateBody, t.InputBucket, t.InputKey, t.Role, t.Status, t.Message,
		t.Succeeded, t.Failed, t.Progress()}, nil
}

func (p *plane) stopThingRegistrationTask(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.provisioning.StopTask(ctx, req.Path("taskId"))
}

func (p *plane) listThingRegistrationTasks(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("maxResults", "nextToken")
	if err != nil {
		return nil, err
	}
	ids, next, err := p.provisioning.ListTasks(ctx, req.Query("status"), page)
	return struct {
		IDs       []string `json:"taskIds"`
		NextToken string   `json:"nextToken,omitempty"`
	}{ids, next}, err
}

// listThingRegistrationTaskReports answers one link, which wants a signature like all requests.
func (p *plane) listThingRegistrationTaskReports(ctx context.Context, req *awsapi.Request) (any, error) {
	t, err := p.provisioning.DescribeTask(ctx, req.Path("taskId"))
	if err != nil {
		return nil, err
	}
	kind, path, n := req.Query("reportType"), "results", t.Succeeded
	switch kind {
	case "RESULTS":
	case "ERRORS":
		path, n = "errors", t.Failed
	default:
		return nil, awsapi.Invalid("1 validation error detected: Value '%s' at 'reportType' failed to satisfy constraint: Member must satisfy enum value set: [ERRORS, RESULTS]", kind)
	}
	links := []string{}
	if n > 0 {
		scheme := "https://"
		if req.HTTP.TLS == nil {
			scheme = "http://"
		}
		links = append(links, scheme+req.HTTP.Host+"/berth/registration-tasks/"+t.ID+"/"+path)
	}
	return struct {
		Links []string `json:"resourceLinks"`
		Type  string   `json:"reportType"`
	}{links, kind}, nil
}
