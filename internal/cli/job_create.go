package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

// jobOptions are the flags of job create.
type jobOptions struct {
	things, groups                          []string
	document, source, template, description string
	parameters                              map[string]string
	continuous                              bool
	rate, retries                           int32
	timeout                                 int64
}

func jobCreateCommand(t *target) *cobra.Command {
	var o jobOptions
	cmd := &cobra.Command{
		Use:   "create JOB",
		Short: "Create a job",
		Long: `Create a job for things and thing groups. Its document is a JSON file, an address to read one
from, or a job template's.`,
		Example: `  berth job create update-1 --group lamps --document update.json --rate 100 --timeout 30
  berth job create reboot-1 --thing lamp --template arn:aws:iot:us-east-1::jobtemplate/AWS-Reboot:1.0`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := 0
			for _, s := range []string{o.document, o.source, o.template} {
				if s != "" {
					given++
				}
			}
			switch {
			case given != 1:
				return usagef("give one of --document, --document-source and --template")
			case len(o.things)+len(o.groups) == 0:
				return usagef("give --thing or --group")
			}
			in, err := o.input(cmd, args[0])
			if err != nil {
				return err
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if in.Targets, err = o.targets(cmd.Context(), api); err != nil {
				return err
			}
			out, err := api.CreateJob(cmd.Context(), in)
			if err != nil {
				return apiError(fmt.Sprintf("create job %q", args[0]), err)
			}
			v := jobView{ID: text(out.JobId), ARN: text(out.JobArn), Description: text(out.Description), Targets: in.Targets}
			return report(cmd, v, "created job %s", v.ID)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.things, "thing", nil, "thing `NAME`, repeatable")
	f.StringSliceVar(&o.groups, "group", nil, "thing group `NAME` with the groups below it, repeatable")
	f.StringVar(&o.document, "document", "", "`FILE` with the job document, - for standard input")
	f.StringVar(&o.source, "document-source", "", "address to read the document from: https:, s3: or berth://NAME")
	f.StringVar(&o.template, "template", "", "`ARN` of a job template")
	f.StringToStringVar(&o.parameters, "parameter", nil, "parameter `NAME=VALUE` of an AWS managed template, repeatable")
	f.StringVar(&o.description, "description", "", "description")
	f.BoolVar(&o.continuous, "continuous", false, "go on with things that join the groups later")
	f.Int32Var(&o.rate, "rate", 0, "things per minute")
	f.Int64Var(&o.timeout, "timeout", 0, "minutes that an execution may be in progress")
	f.Int32Var(&o.retries, "retries", 0, "how often a thing tries again after a failure or time-out")
	return cmd
}

// input makes the request, without its targets.
func (o *jobOptions) input(cmd *cobra.Command, id string) (*iot.CreateJobInput, error) {
	in := &iot.CreateJobInput{JobId: &id, DocumentSource: optional(o.source), JobTemplateArn: optional(o.template),
		Description: optional(o.description), DocumentParameters: o.parameters}
	if o.document != "" {
		b, err := input(cmd, o.document)
		if err != nil {
			return nil, err
		}
		in.Document = optional(strings.TrimSpace(string(b)))
	}
	if o.continuous {
		in.TargetSelection = types.TargetSelectionContinuous
	}
	if o.rate > 0 {
		in.JobExecutionsRolloutConfig = &types.JobExecutionsRolloutConfig{MaximumPerMinute: &o.rate}
	}
	if o.timeout > 0 {
		in.TimeoutConfig = &types.TimeoutConfig{InProgressTimeoutInMinutes: &o.timeout}
	}
	if o.retries > 0 {
		in.JobExecutionsRetryConfig = &types.JobExecutionsRetryConfig{CriteriaList: []types.RetryCriteria{
			{FailureType: types.RetryableFailureTypeAll, NumberOfRetries: &o.retries}}}
	}
	return in, nil
}

// targets finds the ARNs of the things and groups.
func (o *jobOptions) targets(ctx context.Context, api *iot.Client) ([]string, error) {
	var arns []string
	for _, name := range o.things {
		out, err := api.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &name})
		if err != nil {
			return nil, apiError(fmt.Sprintf("describe thing %q", name), err)
		}
		arns = append(arns, text(out.ThingArn))
	}
	for _, name := range o.groups {
		out, err := api.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: &name})
		if err != nil {
			return nil, apiError(fmt.Sprintf("describe thing group %q", name), err)
		}
		arns = append(arns, text(out.ThingGroupArn))
	}
	return arns, nil
}
