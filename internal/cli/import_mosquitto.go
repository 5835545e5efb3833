package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/admin"
	"github.com/berth-iot/berth/internal/mosquitto"
	"github.com/berth-iot/berth/internal/password"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/transfer"
)

// mosquittoView is the outcome as it is printed.
type mosquittoView struct {
	DryRun   bool             `json:"dryRun"`
	Policies []mosquittoItem  `json:"policies"`
	Users    []mosquittoItem  `json:"users"`
	Config   string           `json:"config"`
	Notes    []mosquitto.Note `json:"notes"`
}

type mosquittoItem struct {
	Name     string          `json:"name"`
	State    string          `json:"state"` // new, same, changed
	Policies []string        `json:"policies,omitempty"`
	Document json.RawMessage `json:"document,omitempty"`
}

func importMosquittoCommand() *cobra.Command {
	t := new(target)
	var path, root, out string
	var dry bool
	cmd := &cobra.Command{
		Use:   "mosquitto",
		Short: "Turn a Mosquitto's configuration, access control list and users into berth's",
		Long: `Turn a Mosquitto's configuration, access control list and password file into policies and users of a
running berth, and into a configuration for berth serve, which --out names. Users keep their passwords:
the hashes are taken over as they are. The report says what does not move.

A second run changes nothing.`,
		Example: `  berth import mosquitto --config /etc/mosquitto/mosquitto.conf --dry-run
  berth import mosquitto --config /etc/mosquitto/mosquitto.conf --out berth.yaml
  berth serve --config berth.yaml`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usagef("give --config, the path of mosquitto.conf")
			}
			conf, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s, prefix, err := t.policiesOf(cmd.Context())
			offline := dry && errors.As(err, new(*hintedError))
			if err != nil && !offline {
				return err
			}
			plan, err := mosquitto.NewPlan(string(conf), prefix, readBelow(root, os.ReadFile), readBelow(root, folder))
			if err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
			v := mosquittoView{DryRun: dry, Policies: []mosquittoItem{}, Users: []mosquittoItem{}, Config: plan.YAML(), Notes: plan.Notes}
			if offline {
				v.Notes = append(v.Notes, mosquitto.Note{About: "berth", Text: "none runs here that this could be compared with: everything counts as new"})
			}
			if v.Notes == nil {
				v.Notes = []mosquitto.Note{}
			}
			err = importMosquitto(cmd.Context(), s, plan, &v)
			if err != nil {
				return err
			}
			if out != "" && !dry {
				if err := writeChanged(out, v.Config); err != nil {
					return err
				}
			}
			return showMosquitto(cmd, &v, out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "config", "", "`PATH` of mosquitto.conf")
	f.StringVar(&root, "root", "", "`FOLDER` in which the paths of mosquitto.conf begin, for a copy from another machine")
	f.StringVar(&out, "out", "", "`FILE` to write berth's configuration to")
	f.BoolVar(&dry, "dry-run", false, "say what would be done and change nothing")
	t.addFlags(cmd)
	return cmd
}

// policiesOf finds the berth, and how the ARNs in its policies begin; those of an ordinary one if there is
// none.
func (t *target) policiesOf(ctx context.Context) (s *site, prefix string, err error) {
	usual := server.Defaults()
	prefix = "arn:aws:iot:" + usual.Region + ":" + usual.Account + ":"
	if s, err = t.find(ctx); err != nil {
		return nil, prefix, err
	}
	if s.base == "" {
		return nil, "", usagef("users with passwords are berth's: AWS has none")
	}
	prefix, err = transfer.NewAccount(transfer.Config{AWS: s.cfg, Base: s.base, Number: s.account}).Prefix(ctx)
	return s, prefix, err
}

// readBelow makes a function of paths one of paths below a folder.
func readBelow[T any](root string, read func(string) (T, error)) func(string) (T, error) {
	return func(path string) (T, error) {
		if root != "" {
			path = filepath.Join(root, path)
		}
		return read(path)
	}
}

func folder(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// writeChanged writes a file unless it holds that already.
func writeChanged(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// importMosquitto makes policies first, so that no user is without. Without a site everything is new.
func importMosquitto(ctx context.Context, s *site, plan *mosquitto.Plan, v *mosquittoView) error {
	for _, p := range plan.Policies {
		item := mosquittoItem{Name: p.Name, State: transfer.New, Document: json.RawMessage(p.Document)}
		if s != nil {
			var err error
			if item.State, err = syncPolicy(ctx, s.iot(), p, v.DryRun); err != nil {
				return err
			}
		}
		v.Policies = append(v.Policies, item)
	}
	there := make(map[string]password.User)
	if s != nil {
		var have struct {
			Users []password.User `json:"users"`
		}
		if err := s.own(ctx, http.MethodGet, "/berth/users", nil, &have); err != nil {
			return fmt.Errorf("list users: %w", err)
		}
		for _, u := range have.Users {
			there[u.Name] = u
		}
	}
	for _, u := range plan.Users {
		item := mosquittoItem{Name: u.Name, State: transfer.New, Policies: u.Policies}
		if old, ok := there[u.Name]; ok {
			item.State = transfer.Changed
			if old.Digest == password.Digest(u.Hash.String()) && strings.Join(old.Policies, ",") == strings.Join(u.Policies, ",") {
				item.State = transfer.Same
			}
		}
		if s != nil && !v.DryRun && item.State != transfer.Same {
			if err := s.own(ctx, http.MethodPut, userPath(u.Name), admin.NewUser{Hash: u.Hash.String(), Policies: u.Policies}, nil); err != nil {
				return fmt.Errorf("put user %q: %w", u.Name, err)
			}
		}
		v.Users = append(v.Users, item)
	}
	return nil
}

// syncPolicy makes a policy, or a version of it that becomes the default.
func syncPolicy(ctx context.Context, api *iot.Client, p mosquitto.Policy, dry bool) (string, error) {
	old, err := api.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &p.Name})
	if isException(err, "ResourceNotFoundException") {
		if dry {
			return transfer.New, nil
		}
		_, err = api.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &p.Name, PolicyDocument: &p.Document})
		if err != nil {
			err = apiError(fmt.Sprintf("create policy %q", p.Name), err)
		}
		return transfer.New, err
	}
	if err != nil {
		return "", apiError(fmt.Sprintf("get policy %q", p.Name), err)
	}
	var a, b bytes.Buffer
	if json.Compact(&a, []byte(text(old.PolicyDocument))) == nil && json.Compact(&b, []byte(p.Document)) == nil && bytes.Equal(a.Bytes(), b.Bytes()) {
		return transfer.Same, nil
	}
	if dry {
		return transfer.Changed, nil
	}
	in := &iot.CreatePolicyVersionInput{PolicyName: &p.Name, PolicyDocument: &p.Document, SetAsDefault: true}
	_, err = api.CreatePolicyVersion(ctx, in)
	if isException(err, "VersionsLimitExceededException") {
		if err = dropOldVersion(ctx, api, p.Name); err == nil {
			_, err = api.CreatePolicyVersion(ctx, in)
		}
	}
	if err != nil {
		err = apiError(fmt.Sprintf("create a version of policy %q", p.Name), err)
	}
	return transfer.Changed, err
}

// dropOldVersion deletes the oldest version that is not the default.
func dropOldVersion(ctx context.Context, api *iot.Client, name string) error {
	list, err := api.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: &name})
	if err != nil {
		return err
	}
	oldest := -1
	for i, v := range list.PolicyVersions {
		if !v.IsDefaultVersion && (oldest < 0 || aws.ToTime(v.CreateDate).Before(aws.ToTime(list.PolicyVersions[oldest].CreateDate))) {
			oldest = i
		}
	}
	if oldest < 0 {
		return errors.New("there is no version to replace")
	}
	_, err = api.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: &name, PolicyVersionId: list.PolicyVersions[oldest].VersionId})
	return err
}

func showMosquitto(cmd *cobra.Command, v *mosquittoView, out string) error {
	tab := table{header: []string{"KIND", "NAME", "STATE", "POLICIES"}}
	for _, p := range v.Policies {
		tab.add("policy", p.Name, p.State, "")
	}
	for _, u := range v.Users {
		tab.add("user", u.Name, u.State, strings.Join(u.Policies, ","))
	}
	if err := emit(cmd, v, tab); err != nil || wantsJSON(cmd) {
		return err
	}
	w := cmd.OutOrStdout()
	fmt.Fprintln(w)
	for _, n := range v.Notes {
		fmt.Fprintf(w, "%s: %s\n", n.About, n.Text)
	}
	switch {
	case out == "" || v.DryRun:
		fmt.Fprintf(w, "\nconfiguration for berth serve:\n%s", v.Config)
	default:
		fmt.Fprintf(w, "\nwrote %s: start berth with berth serve --config %s\n", out, out)
	}
	if v.DryRun {
		fmt.Fprintln(w, "dry run: nothing was changed")
	}
	return nil
}
