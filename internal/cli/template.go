package cli

import (
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/provisioning"
)

func templateCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "template",
		Short: "Provisioning templates: what becomes of a new device",
		Example: `  berth template create fleet --body fleet.json
  berth template create factory --type JITP --body jitp.json
  berth template list`,
	}, templateCreateCommand(t), templateListCommand(t), templateShowCommand(t), templateDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

// templateView is a provisioning template as it is printed.
type templateView struct {
	Name        string `json:"templateName"`
	ARN         string `json:"templateArn,omitempty"`
	Type        string `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
	Enabled     bool   `json:"enabled"`
	Version     int32  `json:"defaultVersionId,omitempty"`
	Hook        string `json:"preProvisioningHook,omitempty"`
	CreatedAt   string `json:"creationDate,omitempty"`
	Body        string `json:"templateBody,omitempty"`
}

func templateCreateCommand(t *target) *cobra.Command {
	var file, kind, description, hook, role string
	var disabled, newVersion bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a provisioning template, or a new version of it",
		Long: `Create a provisioning template from a file, or with --new-version the next version of it, which
becomes the default.

Devices come to a template of type FLEET_PROVISIONING with a claim certificate, to one of type
JITP with a certificate of your own authority (see berth ca jitp).

--hook is asked before a device is let in: an http or https URL, exec: and the path of a program
that berth serve --hook-commands names, or the ARN of a Lambda function.`,
		Example: `  berth template create fleet --body fleet.json --hook https://example.com/allow
  berth template create fleet --body fleet.json --new-version`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("give --body")
			}
			body, err := input(cmd, file)
			if err != nil {
				return fmt.Errorf("--body: %w", err)
			}
			if _, err := provisioning.ParseTemplate(body); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			name := args[0]
			if newVersion {
				out, err := api.CreateProvisioningTemplateVersion(cmd.Context(), &iot.CreateProvisioningTemplateVersionInput{
					TemplateName: &name, TemplateBody: aws.String(string(body)), SetAsDefault: true})
				if err != nil {
					return apiError(fmt.Sprintf("create a version of template %q", name), err)
				}
				v := templateView{Name: name, ARN: text(out.TemplateArn), Version: aws.ToInt32(out.VersionId), Enabled: true}
				return report(cmd, v, "created template %s, version %d", name, v.Version)
			}
			in := &iot.CreateProvisioningTemplateInput{TemplateName: &name, TemplateBody: aws.String(string(body)), ProvisioningRoleArn: &role,
				Description: optional(description), Enabled: aws.Bool(!disabled), Type: types.TemplateType(kind)}
			if hook != "" {
				in.PreProvisioningHook = &types.ProvisioningHook{TargetArn: &hook}
			}
			out, err := api.CreateProvisioningTemplate(cmd.Context(), in)
			if isException(err, "ResourceAlreadyExistsException") {
				return hinted(apiError(fmt.Sprintf("create template %q", name), err), "--new-version adds a version to it")
			}
			if err != nil {
				return apiError(fmt.Sprintf("create template %q", name), err)
			}
			v := templateView{Name: name, ARN: text(out.TemplateArn), Type: kind, Version: aws.ToInt32(out.DefaultVersionId), Enabled: !disabled, Hook: hook}
			return report(cmd, v, "created template %s, version %d", name, v.Version)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "body", "", "template, JSON `FILE` or - for standard input")
	f.StringVar(&kind, "type", "FLEET_PROVISIONING", "FLEET_PROVISIONING or JITP")
	f.StringVar(&description, "description", "", "description")
	f.StringVar(&hook, "hook", "", "`TARGET` that is asked before a device is provisioned")
	f.StringVar(&role, "role", "arn:aws:iam::000000000000:role/berth", "role `ARN`, which AWS needs and berth only keeps")
	f.BoolVar(&disabled, "disabled", false, "do not let devices use it yet")
	f.BoolVar(&newVersion, "new-version", false, "add a version to a template that exists and make it the default")
	return cmd
}

func templateListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List provisioning templates",
		Example: "  berth template list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []templateView{}
			tab := table{header: []string{"NAME", "TYPE", "ENABLED", "DESCRIPTION"}}
			for p := iot.NewListProvisioningTemplatesPaginator(api, &iot.ListProvisioningTemplatesInput{}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list templates", err)
				}
				for _, s := range page.Templates {
					v := templateView{Name: text(s.TemplateName), ARN: text(s.TemplateArn), Type: string(s.Type), Description: text(s.Description),
						Enabled: aws.ToBool(s.Enabled), CreatedAt: timestamp(s.CreationDate)}
					list = append(list, v)
					tab.add(v.Name, v.Type, strconv.FormatBool(v.Enabled), v.Description)
				}
			}
			return emit(cmd, map[string]any{"templates": list}, tab)
		},
	}
}

func templateShowCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a provisioning template",
		Example: "  berth template show fleet",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			out, err := api.DescribeProvisioningTemplate(cmd.Context(), &iot.DescribeProvisioningTemplateInput{TemplateName: &args[0]})
			if err != nil {
				return apiError(fmt.Sprintf("describe template %q", args[0]), err)
			}
			v := templateView{Name: text(out.TemplateName), ARN: text(out.TemplateArn), Type: string(out.Type), Description: text(out.Description),
				Enabled: aws.ToBool(out.Enabled), Version: aws.ToInt32(out.DefaultVersionId), CreatedAt: timestamp(out.CreationDate), Body: text(out.TemplateBody)}
			if out.PreProvisioningHook != nil {
				v.Hook = text(out.PreProvisioningHook.TargetArn)
			}
			return emit(cmd, v, table{rows: [][]string{{"name", v.Name}, {"arn", v.ARN}, {"type", v.Type}, {"enabled", strconv.FormatBool(v.Enabled)},
				{"version", strconv.Itoa(int(v.Version))}, {"hook", v.Hook}, {"created", v.CreatedAt}, {"", ""}, {v.Body}}})
		},
	}
}

func templateDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a provisioning template",
		Example: "  berth template delete fleet",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if _, err := api.DeleteProvisioningTemplate(cmd.Context(), &iot.DeleteProvisioningTemplateInput{TemplateName: &args[0]}); err != nil {
				return apiError(fmt.Sprintf("delete template %q", args[0]), err)
			}
			return report(cmd, templateView{Name: args[0]}, "deleted template %s", args[0])
		},
	}
}
