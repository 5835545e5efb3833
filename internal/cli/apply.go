package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/apply"
)

func applyCommand() *cobra.Command {
	var t target
	var file string
	var parameters []string
	var dry, check bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Bring policies, rules, groups, templates and CAs to the state of a file",
		Long: `Takes a template of AWS CloudFormation, YAML or JSON, and makes or changes the resources of
AWS::IoT in it, in the order in which they need one another. What is as the template says stays as
it is, so that applying again does nothing. What is not in the template is left alone; nothing is
ever deleted, except that a job template, which cannot be changed, is made again.

Ref, Sub, GetAtt, Join, Split, Select, If, FindInMap, Base64 and conditions work, and !File NAME is
the content of a file beside the template. Resources of other services can be referred to and are
not made.

With --dry-run nothing is changed; with --check neither, and the exit code is 1 if something would
be.`,
		Example: `  berth apply -f fleet.yaml --dry-run
  berth apply -f fleet.yaml
  berth apply -f fleet.yaml --parameter Stage=test -o json
  berth apply -f fleet.yaml --aws --profile prod --check`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("name the template: -f FILE")
			}
			given := make(map[string]string)
			for _, p := range parameters {
				name, value, ok := strings.Cut(p, "=")
				if !ok {
					return usagef("--parameter %q: want NAME=VALUE", p)
				}
				given[name] = value
			}
			b, err := input(cmd, file)
			if err != nil {
				return err
			}
			dir := "."
			if file != "-" {
				dir = filepath.Dir(file)
			}
			template, err := apply.Parse(b, dir)
			if err != nil {
				return err
			}
			s, err := t.find(cmd.Context())
			if err != nil {
				return err
			}
			place, err := s.place(cmd.Context())
			if err != nil {
				return err
			}
			o := apply.Options{Parameters: given, DryRun: dry || check}
			if !wantsJSON(cmd) {
				o.Tell = func(step apply.Step) { printStep(cmd, step, o.DryRun) }
			}
			steps, err := apply.Run(cmd.Context(), controlPlane{s}, template, place, o)
			changes := 0
			for _, step := range steps {
				if step.Action != apply.Keep && step.Action != apply.Skip {
					changes++
				}
			}
			if wantsJSON(cmd) {
				if steps == nil {
					steps = []apply.Step{}
				}
				if err := emit(cmd, map[string]any{"steps": steps, "changes": changes, "dryRun": o.DryRun}, table{}); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
			if !wantsJSON(cmd) && changes == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "everything is as the template says")
			}
			if check && changes > 0 {
				return &exitError{exitFailed, fmt.Errorf("%d of %d resources differ from the template", changes, len(steps))}
			}
			return nil
		},
	}
	t.addFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "", "template, `FILE` or - for standard input")
	f.StringArrayVar(&parameters, "parameter", nil, "value of a parameter, `NAME=VALUE`; repeatable")
	f.BoolVar(&dry, "dry-run", false, "show what would be done and do nothing")
	f.BoolVar(&check, "check", false, "as --dry-run, with exit code 1 if something would be done")
	return cmd
}

func printStep(cmd *cobra.Command, s apply.Step, dry bool) {
	w := cmd.OutOrStdout()
	word := map[apply.Action]string{apply.Create: "created", apply.Update: "changed", apply.Replace: "made again", apply.Keep: "unchanged", apply.Skip: "skipped"}[s.Action]
	if dry {
		word = map[apply.Action]string{apply.Create: "would create", apply.Update: "would change", apply.Replace: "would make again", apply.Keep: "unchanged", apply.Skip: "skipped"}[s.Action]
	}
	line := fmt.Sprintf("%s %s %s", word, strings.TrimPrefix(s.Type, "AWS::"), s.Name)
	if s.Note != "" {
		line += ": " + s.Note
	}
	fmt.Fprintln(w, line)
	for _, c := range s.Changes {
		fmt.Fprintln(w, "    "+c.String())
	}
}

// place is partition, region and account of a site.
func (s *site) place(ctx context.Context) (apply.Place, error) {
	p := apply.Place{Partition: "aws", Region: s.cfg.Region, Account: s.account}
	if p.Account != "" {
		return p, nil
	}
	if s.base != "" {
		var out struct {
			Server struct {
				Account string `json:"account"`
			} `json:"server"`
		}
		if err := s.own(ctx, "GET", "/berth/server", nil, &out); err != nil {
			return p, err
		}
		p.Account = out.Server.Account
		return p, nil
	}
	out, err := sts.NewFromConfig(s.cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return p, apiError("ask for the account", err)
	}
	p.Account = text(out.Account)
	if parts := strings.SplitN(text(out.Arn), ":", 3); len(parts) == 3 {
		p.Partition = parts[1]
	}
	return p, nil
}

// controlPlane is the apply.API of a site.
type controlPlane struct{ s *site }

// Call implements apply.API.
func (c controlPlane) Call(ctx context.Context, method, path string, query url.Values, header map[string]string, in, out any) error {
	address := c.s.base
	if address == "" {
		address = "https://iot." + c.s.cfg.Region + ".amazonaws.com"
	}
	address += path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var body []byte
	kind := ""
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		kind = "application/json"
	}
	var more [][2]string
	for name, v := range header {
		more = append(more, [2]string{name, v})
	}
	err := c.s.signed(ctx, "iot", method, address, kind, body, out, more...)
	// AWS says Unauthorized for a rule that does not exist.
	if isException(err, "ResourceNotFoundException") || method == "GET" && strings.HasPrefix(path, "/rules/") && isException(err, "UnauthorizedException") {
		return errors.Join(apply.ErrNotFound, err)
	}
	return err
}
