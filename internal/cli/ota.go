package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

func otaCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:     "ota",
		Short:   "Over-the-air updates of firmware",
		Example: "  berth ota create --group lamps --signer lamps build/firmware.bin --wait\n  berth ota list",
	}, otaCreateCommand(t), otaListCommand(t), otaShowCommand(t), otaDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

// updateView is an OTA update as it is printed.
type updateView struct {
	ID         string           `json:"otaUpdateId"`
	ARN        string           `json:"otaUpdateArn,omitempty"`
	Status     string           `json:"otaUpdateStatus,omitempty"`
	Job        string           `json:"awsIotJobId,omitempty"`
	JobStatus  string           `json:"jobStatus,omitempty"`
	Executions map[string]int32 `json:"executions,omitempty"`
	Stream     string           `json:"streamId,omitempty"`
	Protocols  []types.Protocol `json:"protocols,omitempty"`
	Targets    []string         `json:"targets,omitempty"`
	Error      string           `json:"error,omitempty"`
	CreatedAt  *time.Time       `json:"creationDate,omitempty"`
}

func otaListCommand(t *target) *cobra.Command {
	var status string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List OTA updates, the newest first",
		Example: "  berth ota list --status CREATE_FAILED",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []updateView{}
			tab := table{header: []string{"UPDATE", "CREATED"}}
			for p := iot.NewListOTAUpdatesPaginator(api, &iot.ListOTAUpdatesInput{OtaUpdateStatus: types.OTAUpdateStatus(strings.ToUpper(status))}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list OTA updates", err)
				}
				for _, u := range page.OtaUpdates {
					v := updateView{ID: text(u.OtaUpdateId), ARN: text(u.OtaUpdateArn), CreatedAt: u.CreationDate}
					list = append(list, v)
					tab.add(v.ID, timestamp(v.CreatedAt))
				}
			}
			return emit(cmd, map[string]any{"otaUpdates": list}, tab)
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only updates in this state")
	return cmd
}

// look reads an update and, once it is there, how far its job is.
func look(cmd *cobra.Command, api *iot.Client, id string) (v updateView, err error) {
	out, err := api.GetOTAUpdate(cmd.Context(), &iot.GetOTAUpdateInput{OtaUpdateId: &id})
	if err != nil {
		return v, apiError(fmt.Sprintf("show OTA update %q", id), err)
	}
	u := out.OtaUpdateInfo
	v = updateView{ID: text(u.OtaUpdateId), ARN: text(u.OtaUpdateArn), Status: string(u.OtaUpdateStatus), Job: text(u.AwsIotJobId),
		Protocols: u.Protocols, Targets: u.Targets, CreatedAt: u.CreationDate}
	if u.ErrorInfo != nil {
		v.Error = text(u.ErrorInfo.Code) + ": " + text(u.ErrorInfo.Message)
	}
	for _, f := range u.OtaUpdateFiles {
		if f.FileLocation != nil && f.FileLocation.Stream != nil {
			v.Stream = text(f.FileLocation.Stream.StreamId)
		}
	}
	if u.OtaUpdateStatus != types.OTAUpdateStatusCreateComplete {
		return v, nil
	}
	j, err := api.DescribeJob(cmd.Context(), &iot.DescribeJobInput{JobId: u.AwsIotJobId})
	if isException(err, "ResourceNotFoundException") {
		v.JobStatus = "deleted"
		return v, nil
	}
	if err != nil {
		return v, apiError(fmt.Sprintf("describe job %q", v.Job), err)
	}
	v.JobStatus, v.Executions = string(j.Job.Status), executionCounts(j.Job.JobProcessDetails)
	return v, nil
}

// progressLine says in one line how far an update is.
func (v *updateView) progressLine() string {
	if v.JobStatus == "" {
		return v.Status
	}
	parts := []string{v.JobStatus}
	for _, state := range executionStates {
		if n := v.Executions[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(parts, ", ")
}

func otaShowCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "show UPDATE",
		Short:   "Show an OTA update and how far its job is",
		Example: "  berth ota show lamps-1-2",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			v, err := look(cmd, api, args[0])
			if err != nil {
				return err
			}
			var tab table
			for _, row := range [][2]string{{"update", v.ID}, {"status", v.Status}, {"error", v.Error}, {"job", v.Job}, {"progress", v.progressLine()},
				{"stream", v.Stream}, {"targets", strings.Join(v.Targets, " ")}, {"created", timestamp(v.CreatedAt)}} {
				if row[1] != "" {
					tab.add(row[0], row[1])
				}
			}
			return emit(cmd, v, tab)
		},
	}
}

func otaDeleteCommand(t *target) *cobra.Command {
	var force, stream bool
	cmd := &cobra.Command{
		Use:     "delete UPDATE",
		Short:   "Delete an OTA update and its job",
		Example: "  berth ota delete lamps-1-2 --force --stream",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if _, err := api.DeleteOTAUpdate(cmd.Context(), &iot.DeleteOTAUpdateInput{OtaUpdateId: &args[0], DeleteStream: stream, ForceDeleteAWSJob: force}); err != nil {
				return apiError(fmt.Sprintf("delete OTA update %q", args[0]), err)
			}
			return report(cmd, updateView{ID: args[0]}, "deleted OTA update %s", args[0])
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "even if the job has not ended")
	cmd.Flags().BoolVar(&stream, "stream", false, "the stream that was made for it too")
	return cmd
}
