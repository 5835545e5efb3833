package iotdefender

import (
	"context"
	"encoding/json"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/defender"
)

type profileIn struct {
	Description     *string             `json:"securityProfileDescription"`
	Behaviors       []defender.Behavior `json:"behaviors"`
	Alerts          json.RawMessage     `json:"alertTargets"`
	Retain          json.RawMessage     `json:"additionalMetricsToRetain"`
	RetainV2        json.RawMessage     `json:"additionalMetricsToRetainV2"`
	Export          json.RawMessage     `json:"metricsExportConfig"`
	DeleteBehaviors bool                `json:"deleteBehaviors"`
	DeleteAlerts    bool                `json:"deleteAlertTargets"`
	DeleteRetain    bool                `json:"deleteAdditionalMetricsToRetain"`
	DeleteExport    bool                `json:"deleteMetricsExportConfig"`
}

func (p *plane) createProfile(ctx context.Context, req *awsapi.Request) (any, error) {
	var in profileIn
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	v := defender.Profile{Name: req.Path("securityProfileName"), Behaviors: in.Behaviors, Alerts: in.Alerts, Retain: in.Retain, RetainV2: in.RetainV2, Export: in.Export}
	if in.Description != nil {
		v.Description = *in.Description
	}
	if err := p.defender.CreateSecurityProfile(ctx, v); err != nil {
		return nil, err
	}
	return struct {
		Name string `json:"securityProfileName"`
		ARN  string `json:"securityProfileArn"`
	}{v.Name, p.defender.ProfileARN(v.Name)}, nil
}

func (p *plane) describeProfile(ctx context.Context, req *awsapi.Request) (any, error) {
	v, err := p.defender.DescribeSecurityProfile(ctx, req.Path("securityProfileName"))
	if err != nil {
		return nil, err
	}
	return struct {
		Name     string          `json:"securityProfileName"`
		ARN      string          `json:"securityProfileArn"`
		Version  int64           `json:"version"`
		Created  defender.Moment `json:"creationDate"`
		Modified defender.Moment `json:"lastModifiedDate"`
		*defender.Profile
	}{v.Name, p.defender.ProfileARN(v.Name), v.Meta.Version, v.Meta.Created, v.Meta.Modified, &v}, nil
}

func (p *plane) updateProfile(ctx context.Context, req *awsapi.Request) (any, error) {
	var in profileIn
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	expected, err := req.Int("expectedVersion")
	if err != nil {
		return nil, err
	}
	u := defender.ProfileUpdate{Description: in.Description, Behaviors: in.Behaviors, Alerts: in.Alerts, Retain: in.Retain, RetainV2: in.RetainV2, Export: in.Export,
		DeleteBehaviors: in.DeleteBehaviors, DeleteAlerts: in.DeleteAlerts, DeleteRetain: in.DeleteRetain, DropExports: in.DeleteExport, Expected: expected}
	if err := p.defender.UpdateSecurityProfile(ctx, req.Path("securityProfileName"), u); err != nil {
		return nil, err
	}
	return p.describeProfile(ctx, req)
}

func (p *plane) deleteProfile(ctx context.Context, req *awsapi.Request) (any, error) {
	expected, err := req.Int("expectedVersion")
	if err != nil {
		return nil, err
	}
	return empty{}, p.defender.DeleteSecurityProfile(ctx, req.Path("securityProfileName"), expected)
}

type identifier struct {
	Name string `json:"name"`
	ARN  string `json:"arn"`
}

func (p *plane) listProfiles(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	names, next, err := p.defender.ListSecurityProfiles(ctx, req.Query("metricName"), req.Query("dimensionName"), page)
	out := struct {
		Profiles []identifier `json:"securityProfileIdentifiers"`
		Next     string       `json:"nextToken,omitempty"`
	}{[]identifier{}, next}
	for _, name := range names {
		out.Profiles = append(out.Profiles, identifier{name, p.defender.ProfileARN(name)})
	}
	return out, err
}

func (p *plane) attach(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.defender.AttachSecurityProfile(ctx, req.Path("securityProfileName"), req.Query("securityProfileTargetArn"))
}

func (p *plane) detach(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.defender.DetachSecurityProfile(ctx, req.Path("securityProfileName"), req.Query("securityProfileTargetArn"))
}

type target struct {
	ARN string `json:"arn"`
}

func (p *plane) listTargets(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListTargetsForSecurityProfile(ctx, req.Path("securityProfileName"), page)
	out := struct {
		Targets []target `json:"securityProfileTargets"`
		Next    string   `json:"nextToken,omitempty"`
	}{[]target{}, next}
	for _, arn := range list {
		out.Targets = append(out.Targets, target{arn})
	}
	return out, err
}

func (p *plane) listForTarget(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	recursive, err := req.Bool("recursive", false)
	if err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListSecurityProfilesForTarget(ctx, req.Query("securityProfileTargetArn"), recursive, page)
	type mapping struct {
		Profile identifier `json:"securityProfileIdentifier"`
		Target  target     `json:"target"`
	}
	out := struct {
		Mappings []mapping `json:"securityProfileTargetMappings"`
		Next     string    `json:"nextToken,omitempty"`
	}{[]mapping{}, next}
	for _, m := range list {
		out.Mappings = append(out.Mappings, mapping{identifier{m.Profile, p.defender.ProfileARN(m.Profile)}, target{m.Target}})
	}
	return out, err
}

func (p *plane) validate(_ context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Behaviors []defender.Behavior `json:"behaviors"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	type problem struct {
		Message string `json:"errorMessage"`
	}
	problems := []problem{}
	for _, err := range defender.CheckBehaviors(in.Behaviors) {
		problems = append(problems, problem{err.Error()})
	}
	return struct {
		Valid  bool      `json:"valid"`
		Errors []problem `json:"validationErrors"`
	}{len(problems) == 0, problems}, nil
}

func filter(req *awsapi.Request) (defender.ViolationFilter, error) {
	suppressed, err := req.Bool("listSuppressedAlerts", false)
	return defender.ViolationFilter{Thing: req.Query("thingName"), Profile: req.Query("securityProfileName"), Kind: req.Query("behaviorCriteriaType"),
		State: req.Query("verificationState"), Suppressed: suppressed}, err
}

func (p *plane) listActive(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	f, err := filter(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListActiveViolations(ctx, f, page)
	return struct {
		List []*defender.Violation `json:"activeViolations"`
		Next string                `json:"nextToken,omitempty"`
	}{append([]*defender.Violation{}, list...), next}, err
}

func (p *plane) listEvents(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	f, err := filter(req)
	if err != nil {
		return nil, err
	}
	if f.Start, f.End, err = span(req); err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListViolationEvents(ctx, f, page)
	return struct {
		List []*defender.ViolationEvent `json:"violationEvents"`
		Next string                     `json:"nextToken,omitempty"`
	}{append([]*defender.ViolationEvent{}, list...), next}, err
}

func (p *plane) listValues(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	start, end, err := span(req)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"thingName", "metricName"} {
		if req.Query(name) == "" {
			return nil, awsapi.Missing(name)
		}
	}
	list, next, err := p.defender.ListMetricValues(ctx, req.Query("thingName"), req.Query("metricName"), start, end, page)
	return struct {
		List []defender.Datum `json:"metricDatumList"`
		Next string           `json:"nextToken,omitempty"`
	}{append([]defender.Datum{}, list...), next}, err
}

func (p *plane) verify(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		State       string `json:"verificationState"`
		Description string `json:"verificationStateDescription"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.defender.PutVerificationState(ctx, req.Path("violationId"), in.State, in.Description)
}
