package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/admin"
	"github.com/berth-iot/berth/internal/stream"
)

// otaOptions are the flags of ota create.
type otaOptions struct {
	aim              jobOptions // things and groups
	id, name, signer string
	protocols        []string
	fileType         int32
	continuous, wait bool
	rate             int32
	timeout          int64
	poll             time.Duration
}

// anyRole is required by the API and means nothing to a berth.
const anyRole = "arn:aws:iam::000000000000:role/berth"

func otaCreateCommand(t *target) *cobra.Command {
	o := otaOptions{poll: time.Second}
	cmd := &cobra.Command{
		Use:   "create FIRMWARE",
		Short: "Send firmware to things and thing groups",
		Long: `Send firmware to things and thing groups: store the file, sign it, and make a job that devices with
an OTA library for AWS IoT understand. With --wait the command ends when all have finished, with
exit code 1 if one did not succeed.`,
		Example: `  berth ota create --thing lamp --signer lamps build/firmware.bin --wait
  berth ota create --group lamps --signer lamps --protocol http --rate 100 build/firmware.bin`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(o.aim.things)+len(o.aim.groups) == 0:
				return usagef("give --thing or --group")
			case t.aws:
				return usagef("berth ota create works on a berth: with AWS, upload to S3 and use aws iot create-ota-update")
			case args[0] == "-" && o.name == "":
				return usagef("standard input has no name: give --name")
			}
			return o.run(cmd, t, args[0])
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.aim.things, "thing", nil, "thing `NAME`, repeatable")
	f.StringSliceVar(&o.aim.groups, "group", nil, "thing group `NAME` with the groups below it, repeatable")
	f.StringVar(&o.signer, "signer", "", "`NAME` of the signer; without one devices get no signature")
	f.StringSliceVar(&o.protocols, "protocol", []string{"mqtt"}, "mqtt, http, or both")
	f.StringVar(&o.id, "id", "", "name of the update; default that of the file and the time")
	f.StringVar(&o.name, "name", "", "name to store the file under; default its own")
	f.Int32Var(&o.fileType, "file-type", 0, "number that tells devices what the file is, 0 to 255")
	f.BoolVar(&o.continuous, "continuous", false, "go on with things that join the groups later")
	f.Int32Var(&o.rate, "rate", 0, "things per minute")
	f.Int64Var(&o.timeout, "timeout", 0, "minutes that a device may take")
	f.BoolVar(&o.wait, "wait", false, "wait until all devices have finished, and tell how far they are")
	return cmd
}

// notInID are the characters that the name of an update cannot have.
var notInID = regexp.MustCompile(`[^a-zA-Z0-9_-]+`)

// updateID makes a name of at most 56 characters.
func updateID(name string, now time.Time) string {
	stem := strings.Trim(notInID.ReplaceAllString(strings.TrimSuffix(name, filepath.Ext(name)), "-"), "-")
	return stem[:min(len(stem), 40)] + now.UTC().Format("-20060102150405")
}

func (o *otaOptions) run(cmd *cobra.Command, t *target, path string) error {
	if o.name == "" {
		o.name = filepath.Base(path)
	}
	if o.id == "" {
		o.id = updateID(o.name, time.Now())
	}
	content, err := input(cmd, path)
	if err != nil {
		return err
	}
	api, err := t.control(cmd)
	if err != nil {
		return err
	}
	targets, err := o.aim.targets(cmd.Context(), api)
	if err != nil {
		return err
	}
	var stored admin.File
	if err := t.send(cmd.Context(), http.MethodPut, "/berth/files/"+url.PathEscape(o.name), "application/octet-stream", content, &stored); err != nil {
		return fmt.Errorf("put file %q: %w", o.name, err)
	}
	out, err := api.CreateOTAUpdate(cmd.Context(), o.input(stored, targets))
	if err != nil {
		return apiError(fmt.Sprintf("create OTA update %q", o.id), err)
	}
	v := updateView{ID: text(out.OtaUpdateId), ARN: text(out.OtaUpdateArn), Status: string(out.OtaUpdateStatus), Job: text(out.AwsIotJobId), Targets: targets}
	if !o.wait {
		return report(cmd, v, "created OTA update %s of %d bytes\nhow far it is: berth ota show %s", v.ID, stored.Size, v.ID)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "created OTA update %s of %d bytes\n", v.ID, stored.Size)
	return o.follow(cmd, api, v.ID)
}

// input makes the request for a file that is stored.
func (o *otaOptions) input(stored admin.File, targets []string) *iot.CreateOTAUpdateInput {
	role, bucket, version := anyRole, stream.Bucket, strconv.FormatInt(stored.Version, 10)
	file := types.OTAUpdateFile{FileName: &stored.Name, FileType: &o.fileType,
		FileLocation: &types.FileLocation{S3Location: &types.S3Location{Bucket: &bucket, Key: &stored.Name, Version: &version}}}
	if o.signer != "" {
		file.CodeSigning = &types.CodeSigning{StartSigningJobParameter: &types.StartSigningJobParameter{SigningProfileName: &o.signer}}
	}
	in := &iot.CreateOTAUpdateInput{OtaUpdateId: &o.id, RoleArn: &role, Targets: targets, Files: []types.OTAUpdateFile{file}}
	for _, p := range o.protocols {
		in.Protocols = append(in.Protocols, types.Protocol(strings.ToUpper(p)))
	}
	if o.continuous {
		in.TargetSelection = types.TargetSelectionContinuous
	}
	if o.rate > 0 {
		in.AwsJobExecutionsRolloutConfig = &types.AwsJobExecutionsRolloutConfig{MaximumPerMinute: &o.rate}
	}
	if o.timeout > 0 {
		in.AwsJobTimeoutConfig = &types.AwsJobTimeoutConfig{InProgressTimeoutInMinutes: &o.timeout}
	}
	return in
}

// follow prints each change until the update has ended.
func (o *otaOptions) follow(cmd *cobra.Command, api *iot.Client, id string) error {
	for last := ""; ; {
		v, err := look(cmd, api, id)
		if err != nil {
			return err
		}
		if line := v.progressLine(); line != last {
			fmt.Fprintln(cmd.ErrOrStderr(), line)
			last = line
		}
		switch {
		case v.Status == string(types.OTAUpdateStatusCreateFailed):
			return errors.New("OTA update " + id + " could not be made: " + v.Error)
		case v.JobStatus == string(types.JobStatusCompleted) || v.JobStatus == string(types.JobStatusCanceled):
			all := int32(0)
			for _, n := range v.Executions {
				all += n
			}
			if good := v.Executions["SUCCEEDED"]; good < all || v.JobStatus != string(types.JobStatusCompleted) {
				return fmt.Errorf("OTA update %s ended: %s", id, last)
			}
			return report(cmd, v, "OTA update %s: %s", id, last)
		case v.JobStatus == "deleted":
			return fmt.Errorf("the job of OTA update %s was deleted", id)
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(o.poll):
		}
	}
}
