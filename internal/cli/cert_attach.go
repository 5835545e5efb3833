package cli

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/spf13/cobra"
)

func certAttachCommand(t *target) *cobra.Command {
	return certLinkCommand(t, "attach", "to", "attached", func(cmd *cobra.Command, api *iot.Client, arn, policy, thing string) error {
		if policy != "" {
			if _, err := api.AttachPolicy(cmd.Context(), &iot.AttachPolicyInput{PolicyName: &policy, Target: &arn}); err != nil {
				return apiError(fmt.Sprintf("attach policy %q", policy), err)
			}
		}
		if thing != "" {
			if _, err := api.AttachThingPrincipal(cmd.Context(), &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: &arn}); err != nil {
				return apiError(fmt.Sprintf("attach to thing %q", thing), err)
			}
		}
		return nil
	})
}

func certDetachCommand(t *target) *cobra.Command {
	return certLinkCommand(t, "detach", "from", "detached", func(cmd *cobra.Command, api *iot.Client, arn, policy, thing string) error {
		if thing != "" {
			if _, err := api.DetachThingPrincipal(cmd.Context(), &iot.DetachThingPrincipalInput{ThingName: &thing, Principal: &arn}); err != nil {
				return apiError(fmt.Sprintf("detach from thing %q", thing), err)
			}
		}
		if policy != "" {
			if _, err := api.DetachPolicy(cmd.Context(), &iot.DetachPolicyInput{PolicyName: &policy, Target: &arn}); err != nil {
				return apiError(fmt.Sprintf("detach policy %q", policy), err)
			}
		}
		return nil
	})
}

// certLinkCommand is attach or detach: both take a certificate with --policy, --thing or both.
func certLinkCommand(t *target, verb, word, done string, link func(cmd *cobra.Command, api *iot.Client, arn, policy, thing string) error) *cobra.Command {
	var policy, thing string
	summary := fmt.Sprintf("%s a certificate %s a thing, a policy or both", strings.ToUpper(verb[:1])+verb[1:], word)
	cmd := &cobra.Command{
		Use:     verb + " CERTIFICATE [--thing NAME] [--policy NAME]",
		Short:   summary,
		Long:    summary + ". " + certificateHelp,
		Example: "  berth cert " + verb + " certs/lamp.cert.pem --thing lamp --policy sensors",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if policy == "" && thing == "" {
				return usagef("give --thing, --policy or both")
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			arn, err := certificateARN(cmd, api, args[0])
			if err != nil {
				return err
			}
			if err := link(cmd, api, arn, policy, thing); err != nil {
				return err
			}
			v := struct {
				ARN    string `json:"certificateArn"`
				Policy string `json:"policyName,omitempty"`
				Thing  string `json:"thingName,omitempty"`
			}{arn, policy, thing}
			return report(cmd, v, "%s %s", done, arn)
		},
	}
	cmd.Flags().StringVar(&policy, "policy", "", "policy")
	cmd.Flags().StringVar(&thing, "thing", "", "thing")
	return cmd
}
