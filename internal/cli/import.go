package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/transfer"
)

func importCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "import",
		Short:   "Move a fleet to berth: from AWS IoT, or from Mosquitto",
		Example: "  berth import aws --dry-run\n  berth import mosquitto --config /etc/mosquitto/mosquitto.conf --dry-run",
	}, importAWSCommand(), importMosquittoCommand())
}

func exportCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "export",
		Short:   "Move a fleet from berth to AWS IoT",
		Example: "  berth export aws --region eu-west-1 --dry-run",
	}, exportAWSCommand())
}

// away is the account on the other side of a transfer.
type away struct {
	region, profile, endpoint, account string
	rate                               float64
}

func (a *away) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.region, "region", "", "AWS region; default: that of the AWS configuration")
	f.StringVar(&a.profile, "profile", "", "profile of the AWS configuration")
	f.StringVar(&a.endpoint, "endpoint-url", "", "`URL` of another implementation of the API instead of AWS, such as another berth")
	f.StringVar(&a.account, "account", "", "account `NUMBER` in its ARNs; default: asked for")
	f.Float64Var(&a.rate, "rate", -1, "requests per second of each operation, 0 for no bound; default: 10 with AWS, which throttles, else no bound")
}

// open finds the account with AWS's ordinary configuration. Variables that berth env has set are for the
// berth of this machine: they would lead back to it.
func (a *away) open(ctx context.Context) (*transfer.Account, error) {
	if url := os.Getenv("AWS_ENDPOINT_URL_IOT"); url != "" && a.endpoint == "" {
		return nil, hinted(errors.New("the environment points to "+url+", not to AWS"),
			"use another shell, or unset the AWS_ variables that berth env has set")
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(a.profile), config.WithRegion(a.region))
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, hinted(errors.New("no AWS region is configured"), "give --region, or run aws configure")
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, hinted(errors.New("no AWS credentials are configured"), "run aws configure, or choose a --profile")
	}
	rate := a.rate
	if rate < 0 {
		rate = 0
		if a.endpoint == "" {
			rate = 10
		}
	}
	return transfer.NewAccount(transfer.Config{AWS: cfg, Base: a.endpoint, Number: a.account, Rate: rate}), nil
}

// transferFlags are those of both directions.
type transferFlags struct {
	transfer.Options
	data string
	away away
}

func (t *transferFlags) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.data, "data", "./berth-data", "data folder of the running berth")
	f.BoolVar(&t.DryRun, "dry-run", false, "say what would be done and change nothing")
	f.StringSliceVar(&t.Only, "only", nil, "only these `KINDS`: "+strings.Join(transfer.KindNames(), ", "))
	f.StringVar(&t.Prefix, "prefix", "", "only what has a name that begins so; certificates follow their things")
	f.BoolVar(&t.Overwrite, "overwrite", false, "also replace shadows and statuses of certificates that differ in the target")
	f.IntVar(&t.Parallel, "parallel", 8, "requests at a time")
	t.away.addFlags(cmd)
}

// here is the berth whose data folder is named. The environment is for the other side.
func (t *transferFlags) here(ctx context.Context) (*transfer.Account, error) {
	s, err := fromData(ctx, t.data)
	if err != nil {
		return nil, err
	}
	return transfer.NewAccount(transfer.Config{AWS: s.cfg, Base: s.base, Number: s.account}), nil
}

const transferHelp = `
It moves things with types, groups, billing groups, certificates, certificate authorities, policies with
all versions, what is attached to what, provisioning templates, role aliases, authorizers, rules and their
destinations, job templates, jobs that have not ended, shadows, and the configurations of indexing, events
and logging, with their tags. ARNs become those of the target. Devices keep their keys and certificates;
private keys do not move, since AWS IoT keeps none.

A second run changes nothing, and one that was interrupted goes on. Nothing is deleted in the target. What
differs is made like the source, but for shadows and statuses of certificates, which the target's devices
and operators may have changed: --overwrite replaces those too.

The AWS side is found with the ordinary AWS configuration: environment, profiles, roles.`

func importAWSCommand() *cobra.Command {
	t := new(transferFlags)
	cmd := &cobra.Command{
		Use:   "aws",
		Short: "Copy what an AWS account has in AWS IoT into a running berth",
		Long:  "Copy what an AWS account has in AWS IoT into a running berth.\n" + transferHelp,
		Example: `  berth import aws --region eu-west-1 --dry-run
  berth import aws --region eu-west-1 --only things,certificates --prefix lamp-
  berth import aws --endpoint-url http://127.0.0.1:5000 --region us-east-1`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(cmd, true) },
	}
	t.addFlags(cmd)
	return cmd
}

func exportAWSCommand() *cobra.Command {
	t := new(transferFlags)
	cmd := &cobra.Command{
		Use:     "aws",
		Short:   "Copy what a running berth has into an AWS account",
		Long:    "Copy what a running berth has into an AWS account.\n" + transferHelp,
		Example: "  berth export aws --region eu-west-1 --profile production --dry-run",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.run(cmd, false) },
	}
	t.addFlags(cmd)
	return cmd
}

func (t *transferFlags) run(cmd *cobra.Command, inward bool) error {
	for _, name := range t.Only {
		if !slices.Contains(transfer.KindNames(), name) {
			return usagef("--only: there is no kind %q: there are %s", name, strings.Join(transfer.KindNames(), ", "))
		}
	}
	if t.Parallel < 1 {
		return usagef("--parallel %d: want a number above 0", t.Parallel)
	}
	ctx := cmd.Context()
	here, err := t.here(ctx)
	if err != nil {
		return err
	}
	there, err := t.away.open(ctx)
	if err != nil {
		return err
	}
	from, to, what := here, there, "export"
	if inward {
		from, to, what = there, here, "import"
	}
	bar := newSteps(cmd.ErrOrStderr())
	t.Progress = bar.at
	rep, err := transfer.Run(ctx, from, to, t.Options)
	bar.stop()
	if err != nil {
		if rep != nil && len(rep.Kinds) > 0 && !t.DryRun {
			err = hinted(fmt.Errorf("%s: %w", what, err), "what was done stays; run it again and it goes on")
			return err
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := emit(cmd, rep, transferTable(rep)); err != nil {
		return err
	}
	if !wantsJSON(cmd) {
		transferNotes(cmd.OutOrStdout(), rep)
	}
	if n := rep.Total().Failed; n > 0 {
		return hinted(fmt.Errorf("%s: %d of %d could not be moved", what, n, rep.Total().Found), "the notes say why; run it again when that is put right")
	}
	return nil
}

func transferTable(rep *transfer.Report) table {
	tab := table{header: []string{"KIND", "FOUND", "NEW", "SAME", "CHANGED", "KEPT", "IMPOSSIBLE", "FAILED", "NOTE"}}
	for _, c := range append(rep.Kinds, rep.Total()) {
		row := []string{c.Kind}
		for _, n := range []int{c.Found, c.New, c.Same, c.Changed, c.Kept, c.Impossible, c.Failed} {
			row = append(row, strconv.Itoa(n))
		}
		tab.add(append(row, c.Note)...)
	}
	return tab
}

// shownNotes is the number of notes of one wording that the table shows.
const shownNotes = 5

// transferNotes prints what there is to say of single resources, and in general.
func transferNotes(w io.Writer, rep *transfer.Report) {
	type wording struct{ kind, state, note string }
	var order []wording
	names := make(map[wording][]string)
	for _, item := range rep.Items {
		if item.Note == "" {
			continue
		}
		key := wording{item.Kind, item.State, item.Note}
		if names[key] == nil {
			order = append(order, key)
		}
		names[key] = append(names[key], item.Name)
	}
	for _, key := range order {
		list := names[key]
		text := strings.Join(list[:min(len(list), shownNotes)], ", ")
		if more := len(list) - shownNotes; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(w, "\n%s, %s: %s\n  %s\n", key.kind, key.state, text, key.note)
	}
	fmt.Fprintln(w)
	for _, note := range rep.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	sum := rep.Total()
	switch {
	case rep.DryRun:
		fmt.Fprintf(w, "dry run: %d would be made, %d changed; nothing was\n", sum.New, sum.Changed)
	case sum.New+sum.Changed == 0:
		fmt.Fprintf(w, "nothing to do: %s has what %s has\n", strings.TrimSuffix(rep.Target, ":"), strings.TrimSuffix(rep.Source, ":"))
	default:
		fmt.Fprintf(w, "made %d, changed %d in %.1f s\n", sum.New, sum.Changed, rep.Seconds)
	}
}

// steps is a bar for work of several kinds.
type steps struct {
	p *progress
}

func newSteps(w io.Writer) *steps { return &steps{newProgress(w, 1)} }

func (s *steps) at(step transfer.Step) {
	if s.p.bar == nil {
		return
	}
	s.p.at(step.Doing + " " + step.Kind)
	s.p.bar.SetTotal(int64(step.Total)+1, false) // the one more keeps the bar until stop
	s.p.bar.SetCurrent(int64(step.Done))
}

func (s *steps) stop() { s.p.stop() }
