package iotdefender

import (
	"context"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/defender"
)

func (p *plane) describeConfiguration(ctx context.Context, _ *awsapi.Request) (any, error) {
	return p.defender.DescribeAccountAuditConfiguration(ctx)
}

func (p *plane) updateConfiguration(ctx context.Context, req *awsapi.Request) (any, error) {
	var in defender.AuditConfiguration
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.defender.UpdateAccountAuditConfiguration(ctx, in)
}

func (p *plane) deleteConfiguration(ctx context.Context, req *awsapi.Request) (any, error) {
	schedules, err := req.Bool("deleteScheduledAudits", false)
	if err != nil {
		return nil, err
	}
	return empty{}, p.defender.DeleteAccountAuditConfiguration(ctx, schedules)
}

func (p *plane) startAudit(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Checks []string `json:"targetCheckNames"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	id, err := p.defender.StartOnDemandAuditTask(ctx, in.Checks)
	return struct {
		ID string `json:"taskId"`
	}{id}, err
}

func (p *plane) describeAudit(ctx context.Context, req *awsapi.Request) (any, error) {
	t, err := p.defender.DescribeAuditTask(ctx, req.Path("taskId"))
	if err != nil {
		return nil, err
	}
	return struct {
		*defender.Task
		Statistics defender.Statistics `json:"taskStatistics"`
	}{t, t.Statistics()}, nil
}

func (p *plane) listAudits(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	start, end, err := span(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListAuditTasks(ctx, start, end, req.Query("taskType"), req.Query("taskStatus"), page)
	type task struct {
		ID     string `json:"taskId"`
		Status string `json:"taskStatus"`
		Type   string `json:"taskType"`
	}
	out := struct {
		Tasks []task `json:"tasks"`
		Next  string `json:"nextToken,omitempty"`
	}{[]task{}, next}
	for _, t := range list {
		out.Tasks = append(out.Tasks, task{t.ID, t.Status, t.Type})
	}
	return out, err
}

func (p *plane) cancelAudit(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.defender.CancelAuditTask(ctx, req.Path("taskId"))
}

func (p *plane) listFindings(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Task       string            `json:"taskId"`
		Check      string            `json:"checkName"`
		Resource   defender.Resource `json:"resourceIdentifier"`
		Start      *defender.Moment  `json:"startTime"`
		End        *defender.Moment  `json:"endTime"`
		Suppressed bool              `json:"listSuppressedFindings"`
		Limit      *int              `json:"maxResults"`
		Token      string            `json:"nextToken"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListAuditFindings(ctx, defender.FindingFilter{Task: in.Task, Check: in.Check, Resource: in.Resource,
		Start: moment(in.Start), End: moment(in.End), Suppressed: in.Suppressed}, bodyPage(in.Limit, in.Token))
	return struct {
		Findings []*defender.Finding `json:"findings"`
		Next     string              `json:"nextToken,omitempty"`
	}{append([]*defender.Finding{}, list...), next}, err
}

// bodyPage is the page that a body asks for; a limit of 0 is refused by the listing.
func bodyPage(limit *int, token string) defender.Page {
	p := defender.Page{Token: token}
	if limit != nil {
		if p.Limit = *limit; p.Limit == 0 {
			p.Limit = -1
		}
	}
	return p
}

func (p *plane) describeFinding(ctx context.Context, req *awsapi.Request) (any, error) {
	f, err := p.defender.DescribeAuditFinding(ctx, req.Path("findingId"))
	return struct {
		Finding *defender.Finding `json:"finding"`
	}{f}, err
}

func (p *plane) listRelated(ctx context.Context, req *awsapi.Request) (any, error) {
	f, err := p.defender.DescribeAuditFinding(ctx, req.Query("findingId"))
	if err != nil {
		return nil, err
	}
	return struct {
		Related []defender.RelatedResource `json:"relatedResources"`
	}{append([]defender.RelatedResource{}, f.Related...)}, nil
}

func schedule(req *awsapi.Request) (defender.Schedule, error) {
	var in struct {
		Frequency string   `json:"frequency"`
		Day       string   `json:"dayOfMonth"`
		Weekday   string   `json:"dayOfWeek"`
		Checks    []string `json:"targetCheckNames"`
	}
	err := req.Decode(&in)
	return defender.Schedule{Name: req.Path("scheduledAuditName"), Frequency: in.Frequency, Day: in.Day, Weekday: in.Weekday, Checks: in.Checks}, err
}

// scheduleSummary is what a list says of a scheduled audit (AWS IoT API reference,
// ScheduledAuditMetadata).
type scheduleSummary struct {
	Name      string `json:"scheduledAuditName"`
	ARN       string `json:"scheduledAuditArn"`
	Frequency string `json:"frequency"`
	Day       string `json:"dayOfMonth,omitempty"`
	Weekday   string `json:"dayOfWeek,omitempty"`
}

func summary(c defender.Schedule) scheduleSummary {
	return scheduleSummary{c.Name, c.ARN, c.Frequency, c.Day, c.Weekday}
}

type scheduleARN struct {
	ARN string `json:"scheduledAuditArn"`
}

func (p *plane) createSchedule(ctx context.Context, req *awsapi.Request) (any, error) {
	in, err := schedule(req)
	if err != nil {
		return nil, err
	}
	arn, err := p.defender.CreateScheduledAudit(ctx, in)
	return scheduleARN{arn}, err
}

func (p *plane) describeSchedule(ctx context.Context, req *awsapi.Request) (any, error) {
	c, err := p.defender.DescribeScheduledAudit(ctx, req.Path("scheduledAuditName"))
	return struct {
		scheduleSummary
		Checks []string `json:"targetCheckNames"`
	}{summary(c), c.Checks}, err
}

func (p *plane) updateSchedule(ctx context.Context, req *awsapi.Request) (any, error) {
	in, err := schedule(req)
	if err != nil {
		return nil, err
	}
	arn, err := p.defender.UpdateScheduledAudit(ctx, in)
	return scheduleARN{arn}, err
}

func (p *plane) deleteSchedule(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.defender.DeleteScheduledAudit(ctx, req.Path("scheduledAuditName"))
}

func (p *plane) listSchedules(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListScheduledAudits(ctx, page)
	audits := make([]scheduleSummary, len(list))
	for i, c := range list {
		audits[i] = summary(c)
	}
	return struct {
		Audits []scheduleSummary `json:"scheduledAudits"`
		Next   string            `json:"nextToken,omitempty"`
	}{audits, next}, err
}

type suppressionIn struct {
	Check        string            `json:"checkName"`
	Resource     defender.Resource `json:"resourceIdentifier"`
	Expires      *defender.Moment  `json:"expirationDate"`
	Indefinitely *bool             `json:"suppressIndefinitely"`
	Description  *string           `json:"description"`
	Limit        *int              `json:"maxResults"`
	Token        string            `json:"nextToken"`
}

func (p *plane) createSuppression(ctx context.Context, req *awsapi.Request) (any, error) {
	var in suppressionIn
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	x := defender.Suppression{Check: in.Check, Resource: in.Resource, Expires: defender.Moment{Time: moment(in.Expires)}}
	if in.Indefinitely != nil {
		x.Indefinitely = *in.Indefinitely
	}
	if in.Description != nil {
		x.Description = *in.Description
	}
	return empty{}, p.defender.CreateAuditSuppression(ctx, x)
}

func (p *plane) describeSuppression(ctx context.Context, req *awsapi.Request) (any, error) {
	var in suppressionIn
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return p.defender.DescribeAuditSuppression(ctx, in.Check, in.Resource)
}

func (p *plane) updateSuppression(ctx context.Context, req *awsapi.Request) (any, error) {
	var in suppressionIn
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.defender.UpdateAuditSuppression(ctx, in.Check, in.Resource, defender.SuppressionUpdate{Expires: in.Expires, Indefinitely: in.Indefinitely, Description: in.Description})
}

func (p *plane) deleteSuppression(ctx context.Context, req *awsapi.Request) (any, error) {
	var in suppressionIn
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.defender.DeleteAuditSuppression(ctx, in.Check, in.Resource)
}

func (p *plane) listSuppressions(ctx context.Context, req *awsapi.Request) (any, error) {
	var in suppressionIn
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	list, next, err := p.defender.ListAuditSuppressions(ctx, in.Check, in.Resource, bodyPage(in.Limit, in.Token))
	return struct {
		Suppressions []defender.Suppression `json:"suppressions"`
		Next         string                 `json:"nextToken,omitempty"`
	}{append([]defender.Suppression{}, list...), next}, err
}
