// Package iotdefender holds the operations of AWS IoT Device Defender: audits, security profiles,
// violations, custom metrics and dimensions.
package iotdefender

import (
	"errors"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/defender"
)

type plane struct{ defender *defender.Service }

// Operations returns the handlers.
func Operations(s *defender.Service) awsapi.Set {
	p := &plane{s}
	handlers := map[string]awsapi.Handler{
		"CreateSecurityProfile":            p.createProfile,
		"DescribeSecurityProfile":          p.describeProfile,
		"UpdateSecurityProfile":            p.updateProfile,
		"DeleteSecurityProfile":            p.deleteProfile,
		"ListSecurityProfiles":             p.listProfiles,
		"AttachSecurityProfile":            p.attach,
		"DetachSecurityProfile":            p.detach,
		"ListTargetsForSecurityProfile":    p.listTargets,
		"ListSecurityProfilesForTarget":    p.listForTarget,
		"ValidateSecurityProfileBehaviors": p.validate,

		"ListActiveViolations":            p.listActive,
		"ListViolationEvents":             p.listEvents,
		"ListMetricValues":                p.listValues,
		"PutVerificationStateOnViolation": p.verify,

		"CreateCustomMetric":   p.createMetric,
		"DescribeCustomMetric": p.describeMetric,
		"UpdateCustomMetric":   p.updateMetric,
		"DeleteCustomMetric":   p.deleteMetric,
		"ListCustomMetrics":    p.listMetrics,
		"CreateDimension":      p.createDimension,
		"DescribeDimension":    p.describeDimension,
		"UpdateDimension":      p.updateDimension,
		"DeleteDimension":      p.deleteDimension,
		"ListDimensions":       p.listDimensions,

		"DescribeAccountAuditConfiguration":   p.describeConfiguration,
		"UpdateAccountAuditConfiguration":     p.updateConfiguration,
		"DeleteAccountAuditConfiguration":     p.deleteConfiguration,
		"StartOnDemandAuditTask":              p.startAudit,
		"DescribeAuditTask":                   p.describeAudit,
		"ListAuditTasks":                      p.listAudits,
		"CancelAuditTask":                     p.cancelAudit,
		"ListAuditFindings":                   p.listFindings,
		"DescribeAuditFinding":                p.describeFinding,
		"ListRelatedResourcesForAuditFinding": p.listRelated,

		"CreateScheduledAudit":     p.createSchedule,
		"DescribeScheduledAudit":   p.describeSchedule,
		"UpdateScheduledAudit":     p.updateSchedule,
		"DeleteScheduledAudit":     p.deleteSchedule,
		"ListScheduledAudits":      p.listSchedules,
		"CreateAuditSuppression":   p.createSuppression,
		"DescribeAuditSuppression": p.describeSuppression,
		"UpdateAuditSuppression":   p.updateSuppression,
		"DeleteAuditSuppression":   p.deleteSuppression,
		"ListAuditSuppressions":    p.listSuppressions,
	}
	return awsapi.Set{Service: awsapi.IoT, Handlers: handlers}.Exceptions(exception)
}

func exception(err error) error {
	for _, x := range []struct {
		kind   error
		name   string
		status int
	}{
		{defender.ErrNotFound, "ResourceNotFoundException", 404},
		{defender.ErrAlreadyExists, "ResourceAlreadyExistsException", 409},
		{defender.ErrInvalid, "InvalidRequestException", 400},
		{defender.ErrVersionConflict, "VersionConflictException", 409},
		{defender.ErrLimit, "LimitExceededException", 410},
	} {
		if errors.Is(err, x.kind) {
			return &awsapi.Error{Type: x.name, Status: x.status, Message: err.Error()}
		}
	}
	return err
}

type empty struct{}

func page(req *awsapi.Request) (defender.Page, error) {
	p, err := req.Page("maxResults", "nextToken")
	return defender.Page{Limit: p.Limit, Token: p.Token}, err
}

// span reads startTime and endTime, which the query must have, in ISO 8601.
func span(req *awsapi.Request) (start, end time.Time, err error) {
	for name, to := range map[string]*time.Time{"startTime": &start, "endTime": &end} {
		text := req.Query(name)
		if text == "" {
			return start, end, awsapi.Missing(name)
		}
		if *to, err = time.Parse(time.RFC3339, text); err != nil {
			return start, end, awsapi.Invalid("%s is %q, which is no time", name, text)
		}
	}
	return start, end, nil
}

// moment is a time of a request's body, zero for none.
func moment(m *defender.Moment) time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.Time
}
