package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

func thingCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:     "thing",
		Short:   "Things: the devices of the registry",
		Example: "  berth thing create lamp --type bulb --attribute room=kitchen\n  berth thing list",
	},
		thingCreateCommand(t), thingListCommand(t), thingDescribeCommand(t), thingUpdateCommand(t),
		thingDeleteCommand(t), thingAttachCommand(t), thingDetachCommand(t), thingPrincipalsCommand(t), thingSearchCommand(t))
	t.addFlags(cmd)
	return cmd
}

// thingView is a thing as it is printed.
type thingView struct {
	Name       string            `json:"thingName"`
	ARN        string            `json:"thingArn,omitempty"`
	ID         string            `json:"thingId,omitempty"`
	Type       string            `json:"thingTypeName,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Billing    string            `json:"billingGroupName,omitempty"`
	ClientID   string            `json:"defaultClientId,omitempty"`
	Version    int64             `json:"version,omitempty"`
}

func pairs(m map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	return strings.Join(list, ",")
}

func thingCreateCommand(t *target) *cobra.Command {
	var typeName, billing string
	var attributes map[string]string
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a thing",
		Example: "  berth thing create lamp --attribute room=kitchen",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			in := &iot.CreateThingInput{ThingName: &args[0], ThingTypeName: optional(typeName), BillingGroupName: optional(billing)}
			if len(attributes) > 0 {
				in.AttributePayload = &types.AttributePayload{Attributes: attributes}
			}
			out, err := api.CreateThing(cmd.Context(), in)
			if err != nil {
				return apiError(fmt.Sprintf("create thing %q", args[0]), err)
			}
			v := thingView{Name: text(out.ThingName), ARN: text(out.ThingArn), ID: text(out.ThingId)}
			return report(cmd, v, "created thing %s", v.Name)
		},
	}
	cmd.Flags().StringVar(&typeName, "type", "", "thing type")
	cmd.Flags().StringVar(&billing, "billing-group", "", "billing group")
	cmd.Flags().StringToStringVar(&attributes, "attribute", nil, "attribute `NAME=VALUE`, repeatable")
	return cmd
}

func thingListCommand(t *target) *cobra.Command {
	var typeName, attribute string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List things",
		Example: "  berth thing list --attribute room=kitchen",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			in := &iot.ListThingsInput{ThingTypeName: optional(typeName)}
			if name, value, ok := strings.Cut(attribute, "="); ok {
				in.AttributeName, in.AttributeValue = &name, &value
			} else if attribute != "" {
				return usagef("--attribute %q: want NAME=VALUE", attribute)
			}
			list := []thingView{}
			tab := table{header: []string{"NAME", "TYPE", "VERSION", "ATTRIBUTES"}}
			for p := iot.NewListThingsPaginator(api, in); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list things", err)
				}
				for _, th := range page.Things {
					v := thingView{Name: text(th.ThingName), ARN: text(th.ThingArn), Type: text(th.ThingTypeName), Attributes: th.Attributes, Version: th.Version}
					list = append(list, v)
					tab.add(v.Name, v.Type, strconv.FormatInt(v.Version, 10), pairs(v.Attributes))
				}
			}
			return emit(cmd, map[string]any{"things": list}, tab)
		},
	}
	cmd.Flags().StringVar(&typeName, "type", "", "only things of this type")
	cmd.Flags().StringVar(&attribute, "attribute", "", "only things with `NAME=VALUE`")
	return cmd
}

func thingDescribeCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "describe NAME",
		Short:   "Show a thing",
		Example: "  berth thing describe lamp -o json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			out, err := api.DescribeThing(cmd.Context(), &iot.DescribeThingInput{ThingName: &args[0]})
			if err != nil {
				return apiError(fmt.Sprintf("describe thing %q", args[0]), err)
			}
			v := thingView{
				Name: text(out.ThingName), ARN: text(out.ThingArn), ID: text(out.ThingId), Type: text(out.ThingTypeName),
				Attributes: out.Attributes, Billing: text(out.BillingGroupName), ClientID: text(out.DefaultClientId), Version: out.Version,
			}
			return emit(cmd, v, table{rows: [][]string{
				{"name", v.Name}, {"arn", v.ARN}, {"id", v.ID}, {"type", v.Type}, {"attributes", pairs(v.Attributes)},
				{"billing group", v.Billing}, {"version", strconv.FormatInt(v.Version, 10)},
			}})
		},
	}
}

func thingUpdateCommand(t *target) *cobra.Command {
	var (
		typeName   string
		attributes map[string]string
		removed    []string
		dropType   bool
		replace    bool
		version    int64
	)
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Change a thing's attributes or type",
		Long: `Change a thing's attributes or type. Attributes that are not named stay as they are, unless
--replace is given.`,
		Example: "  berth thing update lamp --attribute room=hall --remove-attribute floor",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := &iot.UpdateThingInput{ThingName: &args[0], ThingTypeName: optional(typeName), RemoveThingType: dropType}
			if len(attributes)+len(removed) == 0 && typeName == "" && !dropType && !replace {
				return usagef("nothing to change: give --attribute, --remove-attribute, --type or --remove-type")
			}
			if len(attributes)+len(removed) > 0 || replace {
				set := maps.Clone(attributes)
				if set == nil {
					set = map[string]string{}
				}
				for _, name := range removed {
					set[name] = "" // with merge, an empty value removes
				}
				in.AttributePayload = &types.AttributePayload{Attributes: set, Merge: !replace}
			}
			if cmd.Flags().Changed("expected-version") {
				in.ExpectedVersion = &version
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if _, err := api.UpdateThing(cmd.Context(), in); err != nil {
				return apiError(fmt.Sprintf("update thing %q", args[0]), err)
			}
			return report(cmd, thingView{Name: args[0]}, "updated thing %s", args[0])
		},
	}
	f := cmd.Flags()
	f.StringToStringVar(&attributes, "attribute", nil, "set attribute `NAME=VALUE`, repeatable")
	f.StringArrayVar(&removed, "remove-attribute", nil, "remove attribute `NAME`, repeatable")
	f.BoolVar(&replace, "replace", false, "remove the attributes that are not named")
	f.StringVar(&typeName, "type", "", "set the thing type")
	f.BoolVar(&dropType, "remove-type", false, "remove the thing type")
	f.Int64Var(&version, "expected-version", 0, "change only this version")
	return cmd
}

func thingDeleteCommand(t *target) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a thing",
		Example: "  berth thing delete lamp --force",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if force {
				list, err := thingPrincipals(cmd, api, args[0])
				if err != nil {
					return err
				}
				for _, arn := range list {
					if _, err := api.DetachThingPrincipal(cmd.Context(), &iot.DetachThingPrincipalInput{ThingName: &args[0], Principal: &arn}); err != nil {
						return apiError(fmt.Sprintf("detach %s from thing %q", arn, args[0]), err)
					}
				}
			}
			if _, err := api.DeleteThing(cmd.Context(), &iot.DeleteThingInput{ThingName: &args[0]}); err != nil {
				return apiError(fmt.Sprintf("delete thing %q", args[0]), err)
			}
			return report(cmd, thingView{Name: args[0]}, "deleted thing %s", args[0])
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "detach its certificates first; they stay in the registry")
	return cmd
}

func thingPrincipals(cmd *cobra.Command, api *iot.Client, name string) ([]string, error) {
	list := []string{}
	for p := iot.NewListThingPrincipalsPaginator(api, &iot.ListThingPrincipalsInput{ThingName: &name}); p.HasMorePages(); {
		page, err := p.NextPage(cmd.Context())
		if err != nil {
			return nil, apiError(fmt.Sprintf("list the principals of thing %q", name), err)
		}
		list = append(list, page.Principals...)
	}
	return list, nil
}

func thingAttachCommand(t *target) *cobra.Command {
	var exclusive bool
	cmd := &cobra.Command{
		Use:     "attach NAME CERTIFICATE",
		Short:   "Attach a certificate to a thing",
		Long:    "Attach a certificate to a thing. " + certificateHelp,
		Example: "  berth thing attach lamp certs/lamp.cert.pem",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			arn, err := certificateARN(cmd, api, args[1])
			if err != nil {
				return err
			}
			in := &iot.AttachThingPrincipalInput{ThingName: &args[0], Principal: &arn}
			if exclusive {
				in.ThingPrincipalType = types.ThingPrincipalTypeExclusiveThing
			}
			if _, err := api.AttachThingPrincipal(cmd.Context(), in); err != nil {
				return apiError(fmt.Sprintf("attach %s to thing %q", args[1], args[0]), err)
			}
			return report(cmd, map[string]string{"thingName": args[0], "principal": arn}, "attached %s to thing %s", arn, args[0])
		},
	}
	cmd.Flags().BoolVar(&exclusive, "exclusive", false, "the certificate may belong to this thing only")
	return cmd
}

func thingDetachCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "detach NAME CERTIFICATE",
		Short:   "Detach a certificate from a thing",
		Long:    "Detach a certificate from a thing. " + certificateHelp,
		Example: "  berth thing detach lamp certs/lamp.cert.pem",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			arn, err := certificateARN(cmd, api, args[1])
			if err != nil {
				return err
			}
			if _, err := api.DetachThingPrincipal(cmd.Context(), &iot.DetachThingPrincipalInput{ThingName: &args[0], Principal: &arn}); err != nil {
				return apiError(fmt.Sprintf("detach %s from thing %q", args[1], args[0]), err)
			}
			return report(cmd, map[string]string{"thingName": args[0], "principal": arn}, "detached %s from thing %s", arn, args[0])
		},
	}
}

func thingPrincipalsCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "principals NAME",
		Short:   "List what is attached to a thing",
		Example: "  berth thing principals lamp",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list, err := thingPrincipals(cmd, api, args[0])
			if err != nil {
				return err
			}
			tab := table{header: []string{"PRINCIPAL"}}
			for _, arn := range list {
				tab.add(arn)
			}
			return emit(cmd, map[string]any{"principals": list}, tab)
		},
	}
}

// ensureThing creates a thing unless there is one of this name, whatever its attributes.
func ensureThing(cmd *cobra.Command, api *iot.Client, name string) error {
	_, err := api.CreateThing(cmd.Context(), &iot.CreateThingInput{ThingName: aws.String(name)})
	if err != nil && !isException(err, "ResourceAlreadyExistsException") {
		return apiError(fmt.Sprintf("create thing %q", name), err)
	}
	return nil
}
