package cli

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

func commandCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:     "command",
		Short:   "Commands: single instructions to single devices",
		Example: "  berth command start blink --thing lamp --wait\n  berth command list --thing lamp",
	}, commandStartCommand(t), commandListCommand(t), commandShowCommand(t))
	t.addFlags(cmd)
	return cmd
}

// commandView is a command execution as it is printed.
type commandView struct {
	ID          string         `json:"executionId,omitempty"`
	Command     string         `json:"commandId"`
	Target      string         `json:"targetArn,omitempty"`
	Status      string         `json:"status,omitempty"`
	ReasonCode  string         `json:"reasonCode,omitempty"`
	Reason      string         `json:"reasonDescription,omitempty"`
	Result      map[string]any `json:"result,omitempty"`
	Timeout     int64          `json:"executionTimeoutSeconds,omitempty"`
	CreatedAt   *time.Time     `json:"createdAt,omitempty"`
	UpdatedAt   *time.Time     `json:"lastUpdatedAt,omitempty"`
	CompletedAt *time.Time     `json:"completedAt,omitempty"`
}

// deviceFlags name the target of a command.
type deviceFlags struct{ thing, client string }

func (d *deviceFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.thing, "thing", "", "the thing `NAME`")
	cmd.Flags().StringVar(&d.client, "client", "", "the MQTT client with this `ID`")
}

// arn replaces the resource in the ARN of something else of the account.
func (d *deviceFlags) arn(of string) string {
	if d.thing != "" {
		return resourceARN(of, "thing/"+d.thing)
	}
	return resourceARN(of, "client/"+d.client)
}

func (d *deviceFlags) given() bool { return d.thing != "" || d.client != "" }

func resourceARN(of, resource string) string {
	part := strings.SplitN(of, ":", 6)
	if len(part) != 6 {
		return resource
	}
	part[5] = resource
	return strings.Join(part, ":")
}

// readCommand returns a command; its ARN tells region and account.
func readCommand(cmd *cobra.Command, api *iot.Client, id string) (*iot.GetCommandOutput, error) {
	out, err := api.GetCommand(cmd.Context(), &iot.GetCommandInput{CommandId: &id})
	if err != nil {
		return nil, apiError("get command \""+id+"\"", err)
	}
	return out, nil
}

func commandShowCommand(t *target) *cobra.Command {
	var d deviceFlags
	var execution string
	cmd := &cobra.Command{
		Use:     "show COMMAND --execution ID (--thing NAME | --client ID)",
		Short:   "Show one execution of a command",
		Example: "  berth command show blink --execution 07e4b780-7eca-4ffd-b772-b76358da5542 --thing lamp",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (d.thing == "") == (d.client == "") {
				return usagef("give one of --thing and --client")
			}
			if execution == "" {
				return usagef("give --execution; berth command list shows which there are")
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			c, err := readCommand(cmd, api, args[0])
			if err != nil {
				return err
			}
			v, err := readCommandExecution(cmd, api, execution, d.arn(text(c.CommandArn)))
			if err != nil {
				return err
			}
			return v.emit(cmd)
		},
	}
	d.add(cmd)
	cmd.Flags().StringVar(&execution, "execution", "", "`ID` of the execution")
	return cmd
}

func readCommandExecution(cmd *cobra.Command, api *iot.Client, id, target string) (*commandView, error) {
	withResult := true
	e, err := api.GetCommandExecution(cmd.Context(), &iot.GetCommandExecutionInput{ExecutionId: &id, TargetArn: &target, IncludeResult: &withResult})
	if err != nil {
		return nil, apiError("get command execution "+id, err)
	}
	v := &commandView{ID: text(e.ExecutionId), Command: afterSlash(text(e.CommandArn)), Target: text(e.TargetArn), Status: string(e.Status),
		CreatedAt: e.CreatedAt, UpdatedAt: e.LastUpdatedAt, CompletedAt: e.CompletedAt}
	if e.ExecutionTimeoutSeconds != nil {
		v.Timeout = *e.ExecutionTimeoutSeconds
	}
	if r := e.StatusReason; r != nil {
		v.ReasonCode, v.Reason = text(r.ReasonCode), text(r.ReasonDescription)
	}
	for name, r := range e.Result {
		if v.Result == nil {
			v.Result = make(map[string]any)
		}
		switch {
		case r.S != nil:
			v.Result[name] = *r.S
		case r.B != nil:
			v.Result[name] = *r.B
		default:
			v.Result[name] = r.BIN
		}
	}
	return v, nil
}

func (v *commandView) emit(cmd *cobra.Command) error {
	rows := [][]string{{"execution", v.ID}, {"command", v.Command}, {"target", v.Target}, {"status", v.Status}, {"reason", strings.TrimSpace(v.ReasonCode + " " + v.Reason)},
		{"created", timestamp(v.CreatedAt)}, {"updated", timestamp(v.UpdatedAt)}, {"completed", timestamp(v.CompletedAt)}}
	rows = append(rows, resultRows(v.Result)...)
	return emit(cmd, v, table{rows: rows})
}

func commandListCommand(t *target) *cobra.Command {
	var d deviceFlags
	var id string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List commands, or the executions of one or on one device, the newest first",
		Example: `  berth command list
  berth command list --command blink
  berth command list --thing lamp`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.thing != "" && d.client != "" || id != "" && d.given() {
				return usagef("give one of --command, --thing and --client")
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if id == "" && d.client == "" && d.thing == "" {
				return listCommands(cmd, api)
			}
			in := &iot.ListCommandExecutionsInput{}
			switch {
			case id != "":
				c, err := readCommand(cmd, api, id)
				if err != nil {
					return err
				}
				in.CommandArn = c.CommandArn
			case d.thing != "":
				out, err := api.DescribeThing(cmd.Context(), &iot.DescribeThingInput{ThingName: &d.thing})
				if err != nil {
					return apiError("describe thing \""+d.thing+"\"", err)
				}
				in.TargetArn = out.ThingArn
			default:
				page, err := api.ListCommands(cmd.Context(), &iot.ListCommandsInput{})
				if err != nil {
					return apiError("list commands", err)
				}
				if len(page.Commands) == 0 {
					return emit(cmd, map[string]any{"executions": []commandView{}}, table{})
				}
				arn := d.arn(text(page.Commands[0].CommandArn))
				in.TargetArn = &arn
			}
			return listCommandExecutions(cmd, api, in)
		},
	}
	d.add(cmd)
	cmd.Flags().StringVar(&id, "command", "", "executions of the command `ID`")
	return cmd
}

func listCommands(cmd *cobra.Command, api *iot.Client) error {
	type view struct {
		ID         string     `json:"commandId"`
		ARN        string     `json:"commandArn"`
		Name       string     `json:"displayName,omitempty"`
		Deprecated bool       `json:"deprecated"`
		CreatedAt  *time.Time `json:"createdAt,omitempty"`
	}
	list := []view{}
	tab := table{header: []string{"COMMAND", "NAME", "STATE", "CREATED"}}
	for p := iot.NewListCommandsPaginator(api, &iot.ListCommandsInput{}); p.HasMorePages(); {
		page, err := p.NextPage(cmd.Context())
		if err != nil {
			return apiError("list commands", err)
		}
		for _, c := range page.Commands {
			v := view{ID: text(c.CommandId), ARN: text(c.CommandArn), Name: text(c.DisplayName), Deprecated: c.Deprecated != nil && *c.Deprecated, CreatedAt: c.CreatedAt}
			state := "AVAILABLE"
			if v.Deprecated {
				state = "DEPRECATED"
			}
			list = append(list, v)
			tab.add(v.ID, v.Name, state, timestamp(v.CreatedAt))
		}
	}
	return emit(cmd, map[string]any{"commands": list}, tab)
}

func listCommandExecutions(cmd *cobra.Command, api *iot.Client, in *iot.ListCommandExecutionsInput) error {
	// AWS wants one of the two filters by time.
	since := "2000-01-01T00:00"
	in.StartedTimeFilter = &types.TimeFilter{After: &since}
	list := []commandView{}
	tab := table{header: []string{"EXECUTION", "COMMAND", "TARGET", "STATUS", "CREATED", "COMPLETED"}}
	for p := iot.NewListCommandExecutionsPaginator(api, in); p.HasMorePages(); {
		page, err := p.NextPage(cmd.Context())
		if err != nil {
			return apiError("list command executions", err)
		}
		for _, e := range page.CommandExecutions {
			v := commandView{ID: text(e.ExecutionId), Command: afterSlash(text(e.CommandArn)), Target: text(e.TargetArn), Status: string(e.Status),
				CreatedAt: e.CreatedAt, CompletedAt: e.CompletedAt}
			list = append(list, v)
			tab.add(v.ID, v.Command, afterColon(v.Target), v.Status, timestamp(v.CreatedAt), timestamp(v.CompletedAt))
		}
	}
	return emit(cmd, map[string]any{"executions": list}, tab)
}

func afterSlash(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }
func afterColon(s string) string { return s[strings.LastIndexByte(s, ':')+1:] }
