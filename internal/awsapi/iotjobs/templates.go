package iotjobs

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/registry"
)

func (p *plane) createTemplate(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		JobARN       string                   `json:"jobArn"`
		Document     string                   `json:"document"`
		Tags         []registry.Tag           `json:"tags"`
		Maintenances []jobs.MaintenanceWindow `json:"maintenanceWindows"`
		jobs.Definition
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	in.Schedule = nil
	if len(in.Maintenances) > 0 {
		in.Schedule = &jobs.Schedule{Maintenances: in.Maintenances}
	}
	t, err := p.Jobs.CreateJobTemplate(ctx, req.Path("jobTemplateId"), in.Definition, in.Document, in.JobARN, in.Tags)
	if err != nil {
		return nil, err
	}
	return struct {
		ARN string `json:"jobTemplateArn"`
		ID  string `json:"jobTemplateId"`
	}{t.ARN, t.ID}, nil
}

func (p *plane) describeTemplate(ctx context.Context, req *awsapi.Request) (any, error) {
	t, err := p.Jobs.DescribeJobTemplate(ctx, req.Path("jobTemplateId"))
	if err != nil {
		return nil, err
	}
	out := struct {
		ARN          string                   `json:"jobTemplateArn"`
		ID           string                   `json:"jobTemplateId"`
		Document     string                   `json:"document,omitempty"`
		Created      awsapi.Time              `json:"createdAt"`
		Maintenances []jobs.MaintenanceWindow `json:"maintenanceWindows,omitempty"`
		jobs.Definition
	}{t.ARN, t.ID, t.Document, awsapi.Time(t.Created), nil, t.Definition}
	if s := t.Definition.Schedule; s != nil {
		out.Maintenances, out.Schedule = s.Maintenances, nil
	}
	return out, nil
}

func (p *plane) deleteTemplate(ctx context.Context, req *awsapi.Request) (any, error) {
	return nil, p.Jobs.DeleteJobTemplate(ctx, req.Path("jobTemplateId"))
}

func (p *plane) listTemplates(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.Jobs.ListJobTemplates(ctx, page)
	if err != nil {
		return nil, err
	}
	type template struct {
		ARN         string      `json:"jobTemplateArn"`
		ID          string      `json:"jobTemplateId"`
		Description string      `json:"description"`
		Created     awsapi.Time `json:"createdAt"`
	}
	out := struct {
		Templates []template `json:"jobTemplates"`
		NextToken string     `json:"nextToken,omitempty"`
	}{[]template{}, next}
	for _, t := range list {
		out.Templates = append(out.Templates, template{t.ARN, t.ID, t.Definition.Description, awsapi.Time(t.Created)})
	}
	return out, nil
}

type managed struct {
	ARN          string   `json:"templateArn"`
	Name         string   `json:"templateName"`
	Description  string   `json:"description"`
	Environments []string `json:"environments"`
	Version      string   `json:"templateVersion"`
}

func (p *plane) managed(m *jobs.ManagedTemplate) managed {
	return managed{m.ARN(p.Region), m.Name, m.Description, m.Environments, m.Version}
}

func (p *plane) listManaged(_ context.Context, req *awsapi.Request) (any, error) {
	out := struct {
		Templates []managed `json:"managedJobTemplates"`
	}{[]managed{}}
	for _, m := range jobs.ManagedTemplates() {
		if name := req.Query("templateName"); name == "" || name == m.Name {
			out.Templates = append(out.Templates, p.managed(&m))
		}
	}
	return out, nil
}

func (p *plane) describeManaged(_ context.Context, req *awsapi.Request) (any, error) {
	m, err := jobs.DescribeManagedTemplate(req.Path("templateName"), req.Query("templateVersion"))
	if err != nil {
		return nil, err
	}
	type parameter struct {
		Key         string `json:"key"`
		Description string `json:"description"`
		Regex       string `json:"regex"`
		Example     string `json:"example"`
		Optional    bool   `json:"optional"`
	}
	out := struct {
		managed
		Parameters []parameter `json:"documentParameters"`
		Document   string      `json:"document"`
	}{p.managed(m), []parameter{}, m.Document}
	for _, q := range m.Parameters {
		out.Parameters = append(out.Parameters, parameter(q))
	}
	return out, nil
}
