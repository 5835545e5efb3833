package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

func jobCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:     "job",
		Short:   "Jobs: remote operations on devices",
		Example: "  berth job create reboot-1 --thing lamp --document reboot.json\n  berth job executions reboot-1",
	}, jobCreateCommand(t), jobListCommand(t), jobDescribeCommand(t), jobCancelCommand(t), jobExecutionsCommand(t))
	t.addFlags(cmd)
	return cmd
}

// jobView is a job as it is printed.
type jobView struct {
	ID          string           `json:"jobId"`
	ARN         string           `json:"jobArn,omitempty"`
	Status      string           `json:"status,omitempty"`
	Selection   string           `json:"targetSelection,omitempty"`
	Description string           `json:"description,omitempty"`
	Targets     []string         `json:"targets,omitempty"`
	Counts      map[string]int32 `json:"executions,omitempty"`
	Comment     string           `json:"comment,omitempty"`
	CreatedAt   *time.Time       `json:"createdAt,omitempty"`
	CompletedAt *time.Time       `json:"completedAt,omitempty"`
}

func jobListCommand(t *target) *cobra.Command {
	var status string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List jobs, the newest first",
		Example: "  berth job list --status IN_PROGRESS",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []jobView{}
			tab := table{header: []string{"JOB", "STATUS", "SELECTION", "CREATED", "COMPLETED"}}
			for p := iot.NewListJobsPaginator(api, &iot.ListJobsInput{Status: types.JobStatus(strings.ToUpper(status))}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list jobs", err)
				}
				for _, j := range page.Jobs {
					v := jobView{ID: text(j.JobId), ARN: text(j.JobArn), Status: string(j.Status), Selection: string(j.TargetSelection), CreatedAt: j.CreatedAt, CompletedAt: j.CompletedAt}
					list = append(list, v)
					tab.add(v.ID, v.Status, v.Selection, timestamp(v.CreatedAt), timestamp(v.CompletedAt))
				}
			}
			return emit(cmd, map[string]any{"jobs": list}, tab)
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only jobs in this state")
	return cmd
}

func jobDescribeCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "describe JOB",
		Short:   "Show a job and how far it is",
		Example: "  berth job describe reboot-1",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			out, err := api.DescribeJob(cmd.Context(), &iot.DescribeJobInput{JobId: &args[0]})
			if err != nil {
				return apiError(fmt.Sprintf("describe job %q", args[0]), err)
			}
			j := out.Job
			v := jobView{ID: text(j.JobId), ARN: text(j.JobArn), Status: string(j.Status), Selection: string(j.TargetSelection), Description: text(j.Description),
				Targets: j.Targets, Comment: text(j.Comment), CreatedAt: j.CreatedAt, CompletedAt: j.CompletedAt}
			rows := [][]string{{"job", v.ID}, {"arn", v.ARN}, {"status", v.Status}, {"selection", v.Selection}, {"description", v.Description},
				{"targets", strings.Join(v.Targets, " ")}, {"comment", v.Comment}, {"created", timestamp(v.CreatedAt)}, {"completed", timestamp(v.CompletedAt)}}
			v.Counts = executionCounts(j.JobProcessDetails)
			for _, state := range executionStates {
				if n := v.Counts[state]; n > 0 {
					rows = append(rows, []string{strings.ToLower(state), strconv.Itoa(int(n))})
				}
			}
			return emit(cmd, v, table{rows: rows})
		},
	}
}

// executionStates are the states of executions in the order in which they are printed.
var executionStates = [...]string{"QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"}

// executionCounts are the numbers of executions above 0, by state.
func executionCounts(d *types.JobProcessDetails) map[string]int32 {
	counts := make(map[string]int32)
	if d == nil {
		return counts
	}
	for i, n := range []*int32{d.NumberOfQueuedThings, d.NumberOfInProgressThings, d.NumberOfSucceededThings, d.NumberOfFailedThings,
		d.NumberOfTimedOutThings, d.NumberOfRejectedThings, d.NumberOfRemovedThings, d.NumberOfCanceledThings} {
		if n != nil && *n > 0 {
			counts[executionStates[i]] = *n
		}
	}
	return counts
}

func jobCancelCommand(t *target) *cobra.Command {
	var force bool
	var comment string
	cmd := &cobra.Command{
		Use:     "cancel JOB",
		Short:   "Cancel a job and its queued executions",
		Example: "  berth job cancel reboot-1 --comment 'wrong image'",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			out, err := api.CancelJob(cmd.Context(), &iot.CancelJobInput{JobId: &args[0], Force: force, Comment: optional(comment)})
			if err != nil {
				return apiError(fmt.Sprintf("cancel job %q", args[0]), err)
			}
			return report(cmd, jobView{ID: text(out.JobId), ARN: text(out.JobArn), Description: text(out.Description)}, "canceled job %s", args[0])
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "executions in progress too")
	cmd.Flags().StringVar(&comment, "comment", "", "why")
	return cmd
}

// executionView is an execution as it is printed.
type executionView struct {
	Thing     string     `json:"thingName"`
	Number    int64      `json:"executionNumber"`
	Status    string     `json:"status"`
	QueuedAt  *time.Time `json:"queuedAt,omitempty"`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	UpdatedAt *time.Time `json:"lastUpdatedAt,omitempty"`
}

func jobExecutionsCommand(t *target) *cobra.Command {
	var status string
	cmd := &cobra.Command{
		Use:     "executions JOB",
		Short:   "List what became of a job on each thing",
		Example: "  berth job executions reboot-1 --status FAILED",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []executionView{}
			tab := table{header: []string{"THING", "NUMBER", "STATUS", "QUEUED", "STARTED", "UPDATED"}}
			in := &iot.ListJobExecutionsForJobInput{JobId: &args[0], Status: types.JobExecutionStatus(strings.ToUpper(status))}
			for p := iot.NewListJobExecutionsForJobPaginator(api, in); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError(fmt.Sprintf("list executions of job %q", args[0]), err)
				}
				for _, e := range page.ExecutionSummaries {
					_, thing, _ := strings.Cut(text(e.ThingArn), ":thing/")
					s := e.JobExecutionSummary
					if s == nil {
						continue
					}
					v := executionView{Thing: thing, Status: string(s.Status), QueuedAt: s.QueuedAt, StartedAt: s.StartedAt, UpdatedAt: s.LastUpdatedAt}
					if s.ExecutionNumber != nil {
						v.Number = *s.ExecutionNumber
					}
					list = append(list, v)
					tab.add(v.Thing, strconv.FormatInt(v.Number, 10), v.Status, timestamp(v.QueuedAt), timestamp(v.StartedAt), timestamp(v.UpdatedAt))
				}
			}
			return emit(cmd, map[string]any{"executions": list}, tab)
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only executions in this state")
	return cmd
}
