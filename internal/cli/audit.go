package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

// auditPoll is how often audit run asks whether the audit has ended.
const auditPoll = 200 * time.Millisecond

// registryChecks are the checks that berth makes.
var registryChecks = []string{
	"CA_CERTIFICATE_EXPIRING_CHECK", "CA_CERTIFICATE_KEY_QUALITY_CHECK", "CONFLICTING_CLIENT_IDS_CHECK", "DEVICE_CERTIFICATE_EXPIRING_CHECK",
	"DEVICE_CERTIFICATE_KEY_QUALITY_CHECK", "DEVICE_CERTIFICATE_SHARED_CHECK", "IOT_POLICY_OVERLY_PERMISSIVE_CHECK", "LOGGING_DISABLED_CHECK",
	"REVOKED_CA_CERTIFICATE_STILL_ACTIVE_CHECK", "REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE_CHECK",
}

func auditCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:     "audit",
		Short:   "Audits of certificates, policies and connections",
		Example: "  berth audit run\n  berth audit run --check IOT_POLICY_OVERLY_PERMISSIVE_CHECK -o json",
	}, auditRunCommand(t))
	t.addFlags(cmd)
	return cmd
}

// findingView is a finding as it is printed.
type findingView struct {
	ID       string   `json:"findingId"`
	Check    string   `json:"checkName"`
	Severity string   `json:"severity"`
	Resource string   `json:"resource"`
	Code     string   `json:"reasonForNonComplianceCode"`
	Reason   string   `json:"reasonForNonCompliance"`
	Related  []string `json:"relatedResources,omitempty"`
}

func auditRunCommand(t *target) *cobra.Command {
	var checks []string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run an audit and print what it finds",
		Long: `Run an audit on demand and print its findings, the worst first; those that are suppressed are left
out. Checks that the account's audit configuration has not enabled are enabled in it. The exit code
is 1 if there is a finding of severity CRITICAL or a check failed, and 0 otherwise.`,
		Example: `  berth audit run
  berth audit run --check DEVICE_CERTIFICATE_EXPIRING_CHECK,CA_CERTIFICATE_EXPIRING_CHECK -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if len(checks) == 0 {
				checks = registryChecks
			}
			if err := enableChecks(cmd, api, checks); err != nil {
				return err
			}
			started, err := api.StartOnDemandAuditTask(cmd.Context(), &iot.StartOnDemandAuditTaskInput{TargetCheckNames: checks})
			if err != nil {
				return apiError("start audit", err)
			}
			task, err := awaitAudit(cmd, api, text(started.TaskId))
			if err != nil {
				return err
			}
			list, err := listFindings(cmd, api, text(started.TaskId))
			if err != nil {
				return err
			}
			return emitAudit(cmd, text(started.TaskId), task, list)
		},
	}
	cmd.Flags().StringSliceVar(&checks, "check", nil, "`NAME` of a check, repeatable (default all that berth makes)")
	return cmd
}

func enableChecks(cmd *cobra.Command, api *iot.Client, checks []string) error {
	now, err := api.DescribeAccountAuditConfiguration(cmd.Context(), &iot.DescribeAccountAuditConfigurationInput{})
	if err != nil {
		return apiError("describe account audit configuration", err)
	}
	missing := make(map[string]types.AuditCheckConfiguration)
	for _, name := range checks {
		if !now.AuditCheckConfigurations[name].Enabled {
			missing[name] = types.AuditCheckConfiguration{Enabled: true}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = api.UpdateAccountAuditConfiguration(cmd.Context(), &iot.UpdateAccountAuditConfigurationInput{AuditCheckConfigurations: missing})
	if err != nil {
		return apiError("enable audit checks", err)
	}
	return nil
}

func awaitAudit(cmd *cobra.Command, api *iot.Client, id string) (*iot.DescribeAuditTaskOutput, error) {
	tick := time.NewTicker(auditPoll)
	defer tick.Stop()
	for {
		out, err := api.DescribeAuditTask(cmd.Context(), &iot.DescribeAuditTaskInput{TaskId: &id})
		if err != nil {
			return nil, apiError("describe audit task "+id, err)
		}
		if out.TaskStatus != types.AuditTaskStatusInProgress {
			return out, nil
		}
		select {
		case <-cmd.Context().Done():
			return nil, cmd.Context().Err()
		case <-tick.C:
		}
	}
}

func listFindings(cmd *cobra.Command, api *iot.Client, task string) ([]findingView, error) {
	list := []findingView{}
	for p := iot.NewListAuditFindingsPaginator(api, &iot.ListAuditFindingsInput{TaskId: &task}); p.HasMorePages(); {
		page, err := p.NextPage(cmd.Context())
		if err != nil {
			return nil, apiError("list audit findings", err)
		}
		for _, f := range page.Findings {
			v := findingView{ID: text(f.FindingId), Check: text(f.CheckName), Severity: string(f.Severity), Code: text(f.ReasonForNonComplianceCode), Reason: text(f.ReasonForNonCompliance)}
			if f.NonCompliantResource != nil {
				v.Resource = resourceName(f.NonCompliantResource.ResourceIdentifier)
			}
			for _, r := range f.RelatedResources {
				v.Related = append(v.Related, resourceName(r.ResourceIdentifier))
			}
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(a, b findingView) int { return severity(a.Severity) - severity(b.Severity) })
	return list, nil
}

func severity(s string) int {
	return slices.Index([]string{"CRITICAL", "HIGH", "MEDIUM", "LOW"}, s)
}

func resourceName(r *types.ResourceIdentifier) string {
	switch {
	case r == nil:
	case r.DeviceCertificateId != nil:
		return "cert/" + *r.DeviceCertificateId
	case r.CaCertificateId != nil:
		return "cacert/" + *r.CaCertificateId
	case r.ClientId != nil:
		return "client/" + *r.ClientId
	case r.PolicyVersionIdentifier != nil:
		return "policy/" + text(r.PolicyVersionIdentifier.PolicyName) + ":" + text(r.PolicyVersionIdentifier.PolicyVersionId)
	case r.Account != nil:
		return "account/" + aws.ToString(r.Account)
	}
	return ""
}

func emitAudit(cmd *cobra.Command, id string, task *iot.DescribeAuditTaskOutput, list []findingView) error {
	tab := table{header: []string{"SEVERITY", "CHECK", "RESOURCE", "REASON"}}
	critical := 0
	for _, f := range list {
		tab.add(f.Severity, strings.TrimSuffix(f.Check, "_CHECK"), f.Resource, f.Reason)
		if f.Severity == "CRITICAL" {
			critical++
		}
	}
	if len(list) == 0 {
		tab = table{header: []string{"no findings"}}
	}
	failed := int32(0)
	if n := task.TaskStatistics; n != nil && n.FailedChecks != nil {
		failed = *n.FailedChecks
	}
	if err := emit(cmd, map[string]any{"taskId": id, "taskStatus": task.TaskStatus, "findings": list}, tab); err != nil {
		return err
	}
	switch {
	case critical > 0:
		return hinted(fmt.Errorf("the audit has %d critical findings", critical), "a finding that is accepted can be suppressed: aws iot create-audit-suppression")
	case failed > 0:
		return fmt.Errorf("%d checks of the audit failed", failed)
	}
	return nil
}
