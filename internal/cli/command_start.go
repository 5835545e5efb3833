package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// commandPoll is how often --wait asks.
const commandPoll = 250 * time.Millisecond

func commandStartCommand(t *target) *cobra.Command {
	var d deviceFlags
	var seconds int64
	var parameters map[string]string
	var wait bool
	cmd := &cobra.Command{
		Use:   "start COMMAND (--thing NAME | --client ID)",
		Short: "Send a command to a device",
		Long: `Send a command to a device. With --wait, wait until the device has reported an end or the time is
over: the exit code is 0 if it SUCCEEDED and 1 otherwise.`,
		Example: `  berth command start blink --thing lamp --wait --timeout 30
  berth command start set-level --client lamp-1 --parameter level=7`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (d.thing == "") == (d.client == "") {
				return usagef("give one of --thing and --client")
			}
			if seconds < 0 {
				return usagef("--timeout is negative")
			}
			s, err := t.find(cmd.Context())
			if err != nil {
				return err
			}
			api := s.iot()
			c, err := readCommand(cmd, api, args[0])
			if err != nil {
				return err
			}
			in := map[string]any{"commandArn": text(c.CommandArn), "targetArn": d.arn(text(c.CommandArn)), "clientToken": uuid.NewString()}
			if seconds > 0 {
				in["executionTimeoutSeconds"] = seconds
			}
			if len(parameters) > 0 {
				if in["parameters"], err = commandParameters(c.MandatoryParameters, parameters); err != nil {
					return err
				}
			}
			var out struct {
				ID string `json:"executionId"`
			}
			if err := s.jobsData(cmd.Context(), "/command-executions", in, &out); err != nil {
				return fmt.Errorf("start command %q: %w", args[0], err)
			}
			if !wait {
				return report(cmd, commandView{ID: out.ID, Command: args[0], Target: d.arn(text(c.CommandArn))}, "started execution %s", out.ID)
			}
			v, err := awaitCommand(cmd, api, out.ID, d.arn(text(c.CommandArn)))
			if err != nil {
				return err
			}
			if err := v.emit(cmd); err != nil {
				return err
			}
			if v.Status != string(types.CommandExecutionStatusSucceeded) {
				return fmt.Errorf("command %q: the execution is %s", args[0], v.Status)
			}
			return nil
		},
	}
	d.add(cmd)
	f := cmd.Flags()
	f.Int64Var(&seconds, "timeout", 0, "`SECONDS` the device has, 1 to 43200 (default 10)")
	f.StringToStringVar(&parameters, "parameter", nil, "parameter `NAME=VALUE`, repeatable")
	f.BoolVar(&wait, "wait", false, "wait for the end")
	return cmd
}

// awaitCommand returns the execution when it has ended or timed out.
func awaitCommand(cmd *cobra.Command, api *iot.Client, id, target string) (*commandView, error) {
	tick := time.NewTicker(commandPoll)
	defer tick.Stop()
	for {
		v, err := readCommandExecution(cmd, api, id, target)
		if err != nil {
			return nil, err
		}
		if v.Status != string(types.CommandExecutionStatusCreated) && v.Status != string(types.CommandExecutionStatusInProgress) {
			return v, nil
		}
		select {
		case <-cmd.Context().Done():
			return v, cmd.Context().Err()
		case <-tick.C:
		}
	}
}

// commandParameters gives the values the types that the command wants; STRING where it says nothing.
func commandParameters(known []types.CommandParameter, given map[string]string) (map[string]any, error) {
	kinds := make(map[string]types.CommandParameterType)
	for _, p := range known {
		kinds[text(p.Name)] = p.Type
		if v := p.DefaultValue; p.Type == "" && v != nil {
			switch {
			case v.I != nil:
				kinds[text(p.Name)] = types.CommandParameterTypeInteger
			case v.L != nil:
				kinds[text(p.Name)] = types.CommandParameterTypeLong
			case v.D != nil:
				kinds[text(p.Name)] = types.CommandParameterTypeDouble
			case v.B != nil:
				kinds[text(p.Name)] = types.CommandParameterTypeBoolean
			case v.UL != nil:
				kinds[text(p.Name)] = types.CommandParameterTypeUnsignedlong
			case v.BIN != nil:
				kinds[text(p.Name)] = types.CommandParameterTypeBinary
			}
		}
	}
	out := make(map[string]any)
	for name, value := range given {
		key, v, err := "S", any(value), error(nil)
		switch kinds[name] {
		case types.CommandParameterTypeInteger:
			key = "I"
			v, err = strconv.ParseInt(value, 10, 32)
		case types.CommandParameterTypeLong:
			key = "L"
			v, err = strconv.ParseInt(value, 10, 64)
		case types.CommandParameterTypeDouble:
			key = "D"
			v, err = strconv.ParseFloat(value, 64)
		case types.CommandParameterTypeBoolean:
			key = "B"
			v, err = strconv.ParseBool(value)
		case types.CommandParameterTypeUnsignedlong:
			key = "UL"
		case types.CommandParameterTypeBinary:
			key, v = "BIN", []byte(value)
		}
		if err != nil {
			return nil, usagef("--parameter %s=%s: want %s", name, value, kinds[name])
		}
		out[name] = map[string]any{key: v}
	}
	return out, nil
}

// jobsData posts to the jobs data plane, which AWS has at an address of its own.
func (s *site) jobsData(ctx context.Context, path string, in, out any) error {
	base := s.base
	if base == "" {
		found, err := s.iot().DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Jobs")})
		if err != nil {
			return apiError("describe endpoint", err)
		}
		base = "https://" + text(found.EndpointAddress)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return s.signed(ctx, "iot-jobs-data", "POST", base+path, "application/json", body, out)
}

func resultRows(result map[string]any) [][]string {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(result)) {
		rows = append(rows, []string{"result " + name, fmt.Sprint(result[name])})
	}
	return rows
}
