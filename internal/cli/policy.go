package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/policy"
)

func policyCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:     "policy",
		Short:   "Policies: what a certificate may do",
		Example: "  berth policy create sensors --least-privilege lamp\n  berth policy lint --document policy.json",
	},
		policyCreateCommand(t), policyListCommand(t), policyShowCommand(t), policyVersionsCommand(t),
		policySetDefaultCommand(t), policyLinkCommand(t, true), policyLinkCommand(t, false),
		policyDeleteCommand(t), policyLintCommand(t))
	t.addFlags(cmd)
	return cmd
}

// policyView is a policy or one version of it, as it is printed.
type policyView struct {
	Name      string          `json:"policyName"`
	ARN       string          `json:"policyArn,omitempty"`
	Version   string          `json:"policyVersionId,omitempty"`
	Default   string          `json:"defaultVersionId,omitempty"`
	IsDefault bool            `json:"isDefaultVersion,omitempty"`
	CreatedAt string          `json:"creationDate,omitempty"`
	Document  json.RawMessage `json:"policyDocument,omitempty"`
}

// documentFlags say where a policy document comes from.
type documentFlags struct {
	file, thing        string
	publish, subscribe []string
}

func (d *documentFlags) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&d.file, "document", "", "policy document, JSON `FILE` or - for standard input")
	f.StringVar(&d.thing, "least-privilege", "", "write the document for devices like `THING`: their own client identifier, topics, shadow and jobs")
	f.StringArrayVar(&d.publish, "publish", nil, "with --least-privilege, one more topic to publish to, * allowed")
	f.StringArrayVar(&d.subscribe, "subscribe", nil, "with --least-privilege, one more topic to subscribe to, * allowed")
}

func (d *documentFlags) check() error {
	if (d.file == "") == (d.thing == "") {
		return usagef("give --document or --least-privilege")
	}
	if d.thing == "" && len(d.publish)+len(d.subscribe) > 0 {
		return usagef("--publish and --subscribe are for --least-privilege")
	}
	return nil
}

// read returns the document, checked.
func (d *documentFlags) read(cmd *cobra.Command, where arnPlace) ([]byte, *policy.Document, error) {
	doc := []byte(nil)
	if d.thing != "" {
		doc = leastPrivilege(where, d.publish, d.subscribe)
	} else {
		var err error
		if doc, err = input(cmd, d.file); err != nil {
			return nil, nil, fmt.Errorf("--document: %w", err)
		}
	}
	if err := policy.CheckSize(doc); err != nil {
		return nil, nil, fmt.Errorf("policy document: %w", err)
	}
	parsed, err := policy.Parse(doc)
	if err != nil {
		return nil, nil, fmt.Errorf("policy document: %w", err)
	}
	return doc, parsed, nil
}

func policyCreateCommand(t *target) *cobra.Command {
	var d documentFlags
	var print, newVersion bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a policy, or a new version of it",
		Long: `Create a policy from a document, or with --new-version the next version of it, which becomes
the default.

--least-privilege THING writes the document itself. It names no thing but the policy variable
${iot:Connection.Thing.ThingName}, so that one policy serves a whole fleet and lets every device
do only what is its own; it is attached to THING's certificates. --print shows it and does
nothing else.`,
		Example: `  berth policy create sensors --document policy.json
  berth policy create sensors --least-privilege lamp --publish topic/hello
  berth policy create sensors --least-privilege lamp --print`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.check(); err != nil {
				return err
			}
			s, err := t.find(cmd.Context())
			if err != nil {
				return err
			}
			api := s.iot()
			var where arnPlace
			var principals []string
			if d.thing != "" {
				if where, err = s.arns(cmd, api, d.thing); err != nil {
					return err
				}
			}
			doc, parsed, err := d.read(cmd, where)
			if err != nil {
				return err
			}
			if print {
				_, err := cmd.OutOrStdout().Write(append(bytes.TrimSpace(doc), '\n'))
				return err
			}
			for _, w := range policy.Lint(parsed) {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
			}
			if d.thing != "" {
				if principals, err = thingPrincipals(cmd, api, d.thing); err != nil {
					return err
				}
			}
			v, err := putPolicy(cmd, api, args[0], string(doc), newVersion)
			if err != nil {
				return err
			}
			for _, arn := range principals {
				if _, err := api.AttachPolicy(cmd.Context(), &iot.AttachPolicyInput{PolicyName: &args[0], Target: &arn}); err != nil {
					return apiError(fmt.Sprintf("attach policy %q to %s", args[0], arn), err)
				}
			}
			what := fmt.Sprintf("created policy %s, version %s", v.Name, v.Version)
			if len(principals) > 0 {
				what += fmt.Sprintf(", attached to %d certificates of thing %s", len(principals), d.thing)
			}
			return report(cmd, v, "%s", what)
		},
	}
	d.addFlags(cmd)
	cmd.Flags().BoolVar(&print, "print", false, "print the document and create nothing")
	cmd.Flags().BoolVar(&newVersion, "new-version", false, "add a version to a policy that exists and make it the default")
	return cmd
}

func putPolicy(cmd *cobra.Command, api *iot.Client, name, doc string, newVersion bool) (policyView, error) {
	if newVersion {
		out, err := api.CreatePolicyVersion(cmd.Context(), &iot.CreatePolicyVersionInput{PolicyName: &name, PolicyDocument: &doc, SetAsDefault: true})
		if err != nil {
			return policyView{}, apiError(fmt.Sprintf("create a version of policy %q", name), err)
		}
		return policyView{Name: name, ARN: text(out.PolicyArn), Version: text(out.PolicyVersionId), IsDefault: out.IsDefaultVersion}, nil
	}
	out, err := api.CreatePolicy(cmd.Context(), &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: &doc})
	if isException(err, "ResourceAlreadyExistsException") {
		return policyView{}, hinted(apiError(fmt.Sprintf("create policy %q", name), err), "--new-version adds a version to it")
	}
	if err != nil {
		return policyView{}, apiError(fmt.Sprintf("create policy %q", name), err)
	}
	return policyView{Name: name, ARN: text(out.PolicyArn), Version: text(out.PolicyVersionId), IsDefault: true}, nil
}

func policyListCommand(t *target) *cobra.Command {
	var of string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List policies",
		Example: "  berth policy list --attached-to certs/lamp.cert.pem",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []policyView{}
			tab := table{header: []string{"NAME", "ARN"}}
			if of != "" {
				arn, err := certificateARN(cmd, api, of)
				if err != nil {
					return err
				}
				names, err := attachedPolicies(cmd, api, arn)
				if err != nil {
					return err
				}
				tab.header = tab.header[:1]
				for _, name := range names {
					list = append(list, policyView{Name: name})
					tab.add(name)
				}
				return emit(cmd, map[string]any{"policies": list}, tab)
			}
			for p := iot.NewListPoliciesPaginator(api, &iot.ListPoliciesInput{}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list policies", err)
				}
				for _, policy := range page.Policies {
					v := policyView{Name: text(policy.PolicyName), ARN: text(policy.PolicyArn)}
					list = append(list, v)
					tab.add(v.Name, v.ARN)
				}
			}
			return emit(cmd, map[string]any{"policies": list}, tab)
		},
	}
	cmd.Flags().StringVar(&of, "attached-to", "", "only those of this certificate (identifier, ARN or PEM file) or group ARN")
	return cmd
}

func policyShowCommand(t *target) *cobra.Command {
	var version string
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print a policy's document",
		Example: "  berth policy show sensors --version 2",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			var v policyView
			var doc string
			if version == "" {
				out, err := api.GetPolicy(cmd.Context(), &iot.GetPolicyInput{PolicyName: &args[0]})
				if err != nil {
					return apiError(fmt.Sprintf("get policy %q", args[0]), err)
				}
				v = policyView{Name: text(out.PolicyName), ARN: text(out.PolicyArn), Default: text(out.DefaultVersionId), Version: text(out.DefaultVersionId), IsDefault: true, CreatedAt: timestamp(out.CreationDate)}
				doc = text(out.PolicyDocument)
			} else {
				out, err := api.GetPolicyVersion(cmd.Context(), &iot.GetPolicyVersionInput{PolicyName: &args[0], PolicyVersionId: &version})
				if err != nil {
					return apiError(fmt.Sprintf("get version %s of policy %q", version, args[0]), err)
				}
				v = policyView{Name: text(out.PolicyName), ARN: text(out.PolicyArn), Version: text(out.PolicyVersionId), IsDefault: out.IsDefaultVersion, CreatedAt: timestamp(out.CreationDate)}
				doc = text(out.PolicyDocument)
			}
			if v.Document = json.RawMessage(doc); !json.Valid(v.Document) {
				return fmt.Errorf("get policy %q: the document is not JSON", args[0])
			}
			if wantsJSON(cmd) {
				return emit(cmd, v, table{})
			}
			var indented bytes.Buffer
			json.Indent(&indented, v.Document, "", "  ")
			indented.WriteByte('\n')
			_, err = indented.WriteTo(cmd.OutOrStdout())
			return err
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "version, instead of the default one")
	return cmd
}

func policyVersionsCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "versions NAME",
		Short:   "List a policy's versions",
		Example: "  berth policy versions sensors",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			out, err := api.ListPolicyVersions(cmd.Context(), &iot.ListPolicyVersionsInput{PolicyName: &args[0]})
			if err != nil {
				return apiError(fmt.Sprintf("list the versions of policy %q", args[0]), err)
			}
			list := []policyView{}
			tab := table{header: []string{"VERSION", "CREATED", "DEFAULT"}}
			for _, p := range out.PolicyVersions {
				v := policyView{Name: args[0], Version: text(p.VersionId), IsDefault: p.IsDefaultVersion, CreatedAt: timestamp(p.CreateDate)}
				list = append(list, v)
				mark := ""
				if v.IsDefault {
					mark = "yes"
				}
				tab.add(v.Version, v.CreatedAt, mark)
			}
			return emit(cmd, map[string]any{"policyVersions": list}, tab)
		},
	}
}

func policySetDefaultCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "set-default NAME VERSION",
		Short:   "Put another version of a policy in force",
		Example: "  berth policy set-default sensors 1",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := strconv.Atoi(args[1]); err != nil {
				return usagef("version %q is no number", args[1])
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if _, err := api.SetDefaultPolicyVersion(cmd.Context(), &iot.SetDefaultPolicyVersionInput{PolicyName: &args[0], PolicyVersionId: &args[1]}); err != nil {
				return apiError(fmt.Sprintf("set version %s of policy %q as default", args[1], args[0]), err)
			}
			return report(cmd, policyView{Name: args[0], Version: args[1], IsDefault: true}, "policy %s: version %s is in force", args[0], args[1])
		},
	}
}

// policyLinkCommand is attach or detach.
func policyLinkCommand(t *target, attach bool) *cobra.Command {
	verb, word, done := "attach", "to", "attached"
	if !attach {
		verb, word, done = "detach", "from", "detached"
	}
	summary := fmt.Sprintf("%s a policy %s a certificate or thing group", strings.ToUpper(verb[:1])+verb[1:], word)
	return &cobra.Command{
		Use:     verb + " NAME TARGET",
		Short:   summary,
		Long:    summary + ". TARGET is a certificate's identifier, ARN or PEM file, or a thing group's ARN.",
		Example: "  berth policy " + verb + " sensors certs/lamp.cert.pem",
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
			if attach {
				_, err = api.AttachPolicy(cmd.Context(), &iot.AttachPolicyInput{PolicyName: &args[0], Target: &arn})
			} else {
				_, err = api.DetachPolicy(cmd.Context(), &iot.DetachPolicyInput{PolicyName: &args[0], Target: &arn})
			}
			if err != nil {
				return apiError(fmt.Sprintf("%s policy %q", verb, args[0]), err)
			}
			return report(cmd, map[string]string{"policyName": args[0], "target": arn}, "%s policy %s %s %s", done, args[0], word, arn)
		},
	}
}

func policyDeleteCommand(t *target) *cobra.Command {
	var version string
	var force bool
	cmd := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a policy, or one version of it",
		Example: "  berth policy delete sensors --force\n  berth policy delete sensors --version 1",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if version != "" && force {
				return usagef("--version and --force exclude each other")
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if version != "" {
				if _, err := api.DeletePolicyVersion(cmd.Context(), &iot.DeletePolicyVersionInput{PolicyName: &args[0], PolicyVersionId: &version}); err != nil {
					return apiError(fmt.Sprintf("delete version %s of policy %q", version, args[0]), err)
				}
				return report(cmd, policyView{Name: args[0], Version: version}, "deleted version %s of policy %s", version, args[0])
			}
			if force {
				if err := releasePolicy(cmd, api, args[0]); err != nil {
					return err
				}
			}
			if _, err := api.DeletePolicy(cmd.Context(), &iot.DeletePolicyInput{PolicyName: &args[0]}); err != nil {
				return apiError(fmt.Sprintf("delete policy %q", args[0]), err)
			}
			return report(cmd, policyView{Name: args[0]}, "deleted policy %s", args[0])
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "delete this version only")
	cmd.Flags().BoolVar(&force, "force", false, "detach it from everything and delete its other versions first")
	return cmd
}

func releasePolicy(cmd *cobra.Command, api *iot.Client, name string) error {
	var targets []string
	for p := iot.NewListTargetsForPolicyPaginator(api, &iot.ListTargetsForPolicyInput{PolicyName: &name}); p.HasMorePages(); {
		page, err := p.NextPage(cmd.Context())
		if err != nil {
			return apiError(fmt.Sprintf("list the targets of policy %q", name), err)
		}
		targets = append(targets, page.Targets...)
	}
	for _, arn := range targets {
		if _, err := api.DetachPolicy(cmd.Context(), &iot.DetachPolicyInput{PolicyName: &name, Target: &arn}); err != nil {
			return apiError(fmt.Sprintf("detach policy %q from %s", name, arn), err)
		}
	}
	versions, err := api.ListPolicyVersions(cmd.Context(), &iot.ListPolicyVersionsInput{PolicyName: &name})
	if err != nil {
		return apiError(fmt.Sprintf("list the versions of policy %q", name), err)
	}
	for _, v := range versions.PolicyVersions {
		if v.IsDefaultVersion {
			continue
		}
		if _, err := api.DeletePolicyVersion(cmd.Context(), &iot.DeletePolicyVersionInput{PolicyName: &name, PolicyVersionId: v.VersionId}); err != nil {
			return apiError(fmt.Sprintf("delete version %s of policy %q", text(v.VersionId), name), err)
		}
	}
	return nil
}

// errWarnings makes lint fail without saying more.
var errWarnings = errors.New("the policy document has warnings")

func policyLintCommand(t *target) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "lint [NAME]",
		Short: "Check a policy for mistakes",
		Long: `Check a policy document, or the version in force of the policy NAME, for errors and for what is
valid and probably not meant. It fails if it finds any.`,
		Example: "  berth policy lint --document policy.json",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "") == (len(args) == 0) {
				return usagef("give --document or a policy's NAME")
			}
			var doc []byte
			if file != "" {
				var err error
				if doc, err = input(cmd, file); err != nil {
					return fmt.Errorf("--document: %w", err)
				}
			} else {
				api, err := t.control(cmd)
				if err != nil {
					return err
				}
				out, err := api.GetPolicy(cmd.Context(), &iot.GetPolicyInput{PolicyName: &args[0]})
				if err != nil {
					return apiError(fmt.Sprintf("get policy %q", args[0]), err)
				}
				doc = []byte(text(out.PolicyDocument))
			}
			if err := policy.CheckSize(doc); err != nil {
				return fmt.Errorf("policy document: %w", err)
			}
			parsed, err := policy.Parse(doc)
			if err != nil {
				return fmt.Errorf("policy document: %w", err)
			}
			warnings := policy.Lint(parsed)
			if warnings == nil {
				return report(cmd, map[string][]string{"warnings": {}}, "no warnings")
			}
			tab := table{}
			for _, w := range warnings {
				tab.add(w)
			}
			if err := emit(cmd, map[string][]string{"warnings": warnings}, tab); err != nil {
				return err
			}
			return errWarnings
		},
	}
	cmd.Flags().StringVar(&file, "document", "", "policy document, JSON `FILE` or - for standard input")
	return cmd
}
