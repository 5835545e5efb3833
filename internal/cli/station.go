package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/firmware"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/esp/serial/hostport"
	"github.com/berth-iot/berth/esp/serial/stub"
	"github.com/berth-iot/berth/internal/factory"
)

// station is "berth station".
type station struct {
	target
	recipe, preset, journal, firmware, serials, labels, operator string
	policies                                                     []string
	ports                                                        []string
	once, reissue                                                bool
	baud                                                         int
	flashSize                                                    imageSize
}

func stationCommand() *cobra.Command {
	s := new(station)
	cmd := &cobra.Command{
		Use:   "station",
		Short: "Prepare boards: key, certificate, thing and policy, into their flash",
		Long: `Prepare boards, one after the other on every port: read the MAC, register the thing, make its
key and certificate, write them into the partition that the firmware reads them from, verify, next.

The key is made here and never crosses the network unless the recipe says otherwise. The journal
remembers every step: a board that was cut off is finished when it is plugged in again, and no
board gets two certificates. With --firmware the application is written too, where it differs.

A recipe (YAML) names thing, policies and partition; a preset does for common examples:
` + presetList() + `
The station works on berth, or with --aws on AWS.`,
		Example: `  berth station --preset aws-spiffs --policy sensors
  berth station --recipe lamp.yaml --firmware build --port /dev/ttyUSB0 --port /dev/ttyUSB1
  berth station --recipe lamp.yaml --once -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	s.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&s.recipe, "recipe", "", "YAML `FILE` that says what becomes of a board")
	f.StringVar(&s.preset, "preset", "", "recipe of a common example, instead of a file")
	f.StringArrayVar(&s.policies, "policy", nil, "policy to attach, besides those of the recipe; may be repeated")
	f.StringArrayVarP(&s.ports, "port", "p", nil, "serial port, socket://host:port, rfc2217://host:port, or auto for every port with a USB adapter; may be repeated")
	f.StringVar(&s.firmware, "firmware", "", "ESP-IDF build `FOLDER` to write as well")
	f.StringVar(&s.serials, "serials", "", "`FILE` with a serial number on each line, for new boards")
	f.StringVar(&s.labels, "labels", "", "write a label (SVG) for each board to this `FOLDER`")
	f.BoolVar(&s.once, "once", false, "one board on each port, then end")
	f.BoolVar(&s.reissue, "reissue", false, "give boards that were prepared before a new certificate and revoke the old one")
	f.StringVar(&s.operator, "operator", userName(), "who does it, for the journal")
	f.IntVarP(&s.baud, "baud", "b", 460800, "baud rate for large transfers")
	f.Var(&s.flashSize, "flash-size", "size of the boards' flash; asked of the flash chip by default")
	cmd.PersistentFlags().StringVar(&s.journal, "journal", "./station", "folder of the journal")
	cmd.AddCommand(stationListCommand(s), stationLabelCommand(s), stationRegisterCommand(s))
	return cmd
}

func presetList() string {
	var b strings.Builder
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range factory.Presets() {
			if !yield(name) {
				return
			}
		}
	}) {
		p := factory.Presets()[name]
		fmt.Fprintf(&b, "  %-16s %s in partition %s\n", name, p.Format, p.Partition)
	}
	return b.String()
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func (s *station) load(ctx context.Context) (*factory.Recipe, error) {
	switch {
	case (s.recipe == "") == (s.preset == ""):
		return nil, usagef("give either --recipe or --preset")
	case s.preset != "":
		return factory.ParseRecipe([]byte("preset: " + strconv.Quote(s.preset)))
	}
	r, err := factory.LoadRecipe(s.recipe)
	if err != nil || len(r.Build) == 0 {
		return r, err
	}
	build := exec.CommandContext(ctx, r.Build[0], r.Build[1:]...)
	build.Dir, build.Stdout, build.Stderr = filepath.Dir(s.recipe), os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build the firmware: %s: %w", strings.Join(r.Build, " "), err)
	}
	return r, nil
}

func (s *station) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	recipe, err := s.load(ctx)
	if err != nil {
		return stationError(err)
	}
	recipe.Policies = append(recipe.Policies, s.policies...)
	journal, err := factory.OpenJournal(ctx, s.journal, nil)
	if err != nil {
		return err
	}
	defer journal.Close()
	cfg := factory.Config{Recipe: recipe, Journal: journal, Reissue: s.reissue, Operator: s.operator, Open: s.open}
	if s.serials != "" {
		if cfg.Serials, err = readLines(s.serials); err != nil {
			return err
		}
	}
	if s.firmware != "" {
		if err := s.build(&cfg); err != nil {
			return err
		}
	}
	if recipe.Issue == factory.IssueOwnCA {
		if place, err := s.find(ctx); err == nil { // only for what boards are told; a line may have no network
			cfg.Root = place.caPEM
			cfg.Endpoint, _ = place.endpoint(ctx)
		}
	} else {
		place, err := s.find(ctx)
		if err != nil {
			return err
		}
		cfg.Cloud = &factory.AWS{API: place.iot(), Host: place.host, Root: place.caPEM}
	}
	line, err := factory.New(ctx, cfg)
	if err != nil {
		return stationError(err)
	}
	defer line.Close()
	ports, err := s.portNames()
	if err != nil {
		return err
	}
	board := newStationBoard(cmd, len(ports))
	defer board.close()
	if len(cfg.Serials) > 0 {
		go line.Ahead(ctx, 4*len(ports)) // what it cannot do is done when the board is there
	}
	var lanes sync.WaitGroup
	failed := make([]error, len(ports))
	for i, port := range ports {
		lanes.Go(func() { failed[i] = s.lane(ctx, line, port, board) })
	}
	lanes.Wait()
	for _, err := range failed {
		if err != nil && !errors.Is(err, context.Canceled) {
			return errStationFailed
		}
	}
	return nil
}

// errStationFailed ends the command with 1; what failed has been told.
var errStationFailed = errors.New("not every board was prepared")

// stationError makes the remedy of an error its hint.
func stationError(err error) error {
	if fix := factory.Fix(err); fix != "" {
		return hinted(err, fix)
	}
	return err
}

func (s *station) build(cfg *factory.Config) error {
	build, err := firmware.Load(s.firmware)
	if err != nil {
		return err
	}
	if s.flashSize == 0 {
		s.flashSize = imageSize(build.FlashSize)
	}
	for _, f := range build.Files {
		cfg.Firmware = append(cfg.Firmware, factory.Region{Name: f.Name, Address: f.Offset, Data: f.Data})
		if f.Offset == partition.DefaultOffset {
			if cfg.Table, _, err = partition.ParseBinary(f.Data, partition.Options{}); err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
		}
	}
	return nil
}

func (s *station) open(ctx context.Context, name string) (factory.Board, error) {
	port, name, err := hostport.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	session, err := serial.Open(ctx, port, serial.Options{Name: name, Baud: s.baud, FlashSize: uint32(min(int64(s.flashSize), 1<<32-1)),
		Reopen: func(ctx context.Context) (serial.Port, error) {
			port, _, err := hostport.Open(ctx, name)
			return port, err
		}})
	if err != nil {
		return nil, err
	}
	if err := s.runStub(ctx, session); err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return factory.SerialBoard{Session: session}, nil
}

// runStub starts a stub where it pays off: for firmware, and on chips whose ROM cannot verify.
func (s *station) runStub(ctx context.Context, session *serial.Session) error {
	if s.firmware == "" && session.Chip().ROMMD5 || session.StubRunning() {
		return nil
	}
	loader, err := stub.For(ctx, session)
	if err != nil || loader == nil {
		return err
	}
	return session.RunStub(ctx, loader)
}

func (s *station) portNames() ([]string, error) {
	if len(s.ports) > 0 && !slices.Contains(s.ports, hostport.Auto) {
		return s.ports, nil
	}
	list, err := hostport.List()
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(slices.Clone(s.ports), func(p string) bool { return p == hostport.Auto })
	for _, p := range list {
		if p.Vendor != 0 && !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil, hinted(errors.New("no serial port with a USB adapter is plugged in"), "plug a board in, or name its port with --port; berth flash ports lists them")
	}
	return names, nil
}

// changePause is how often a port is looked at for the next board.
const changePause = 500 * time.Millisecond

// lane prepares the boards on one port until the context ends, or one with --once.
func (s *station) lane(ctx context.Context, line *factory.Station, port string, board *stationBoard) error {
	last := ""
	for {
		lane := board.lane(port)
		out, err := line.Prepare(ctx, port, lane.at)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err != nil && !s.once && errors.Is(err, serial.ErrNoBoard):
			last = "" // the board was taken away
		case out != nil && out.Record != nil && out.Again && out.MAC == last:
			// the same board is still there
		default:
			if out != nil && out.Record != nil {
				last = out.MAC
				if err == nil && s.labels != "" {
					err = writeLabel(s.labels, out.Record)
				}
			}
			lane.result(port, out, err)
		}
		if s.once {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(changePause):
		}
	}
}

func stationRegisterCommand(s *station) *cobra.Command {
	recipe := ""
	cmd := &cobra.Command{
		Use:   "register --recipe FILE",
		Short: "Register the boards of a journal whose certificates one's own CA signed",
		Long: `Register the boards of a journal whose certificates one's own CA signed on a line without a
network: thing, certificate and policies of each, as the recipe says. Boards that were registered
before are passed over. The CA must be registered first (berth ca register).`,
		Example: "  berth station register --recipe lamp.yaml --journal usb-stick/station",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := factory.LoadRecipe(recipe)
			if err != nil {
				return stationError(err)
			}
			place, err := s.find(cmd.Context())
			if err != nil {
				return err
			}
			journal, err := factory.OpenJournal(cmd.Context(), s.journal, nil)
			if err != nil {
				return err
			}
			defer journal.Close()
			type registered struct {
				MAC   string `json:"mac"`
				Thing string `json:"thing"`
				Error string `json:"error,omitempty"`
			}
			list := []registered{}
			t := table{header: []string{"MAC", "THING", "RESULT"}}
			err = factory.Register(cmd.Context(), r, journal, &factory.AWS{API: place.iot(), Host: place.host, Root: place.caPEM}, func(rec *factory.Record, err error) {
				v, result := registered{MAC: rec.MAC, Thing: rec.Thing}, "registered"
				if err != nil {
					v.Error, result = err.Error(), err.Error()
				}
				list = append(list, v)
				t.add(v.MAC, v.Thing, result)
			})
			if e := emit(cmd, map[string]any{"boards": list}, t); err == nil {
				err = e
			}
			return stationError(err)
		},
	}
	cmd.Flags().StringVar(&recipe, "recipe", "", "YAML `FILE` that the boards were prepared by")
	cmd.MarkFlagRequired("recipe")
	return cmd
}

func writeLabel(dir string, r *factory.Record) error {
	svg, err := factory.LabelOf(r).SVG()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.MAC+".svg"), svg, 0o644)
}

func readLines(name string) ([]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func stationListCommand(s *station) *cobra.Command {
	form := ""
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the journal: every board, its thing, certificate and state",
		Example: `  berth station list
  berth station list --format csv > boards.csv`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			journal, err := factory.OpenJournal(cmd.Context(), s.journal, nil)
			if err != nil {
				return err
			}
			defer journal.Close()
			boards := []*factory.Record{}
			err = journal.Each(cmd.Context(), func(r *factory.Record) error { boards = append(boards, r); return nil })
			if err != nil {
				return err
			}
			if form == "csv" {
				return writeBoards(cmd.OutOrStdout(), boards)
			}
			t := table{header: []string{"MAC", "THING", "STATE", "CERTIFICATE", "WHEN", "SECONDS", "BY", "FAILURE"}}
			for _, r := range boards {
				t.add(r.MAC, r.Thing, string(r.Step), r.CertificateID[:min(len(r.CertificateID), 12)], timestamp(&r.Updated),
					strconv.FormatFloat(float64(r.Millis)/1000, 'f', 1, 64), r.Operator, r.Failure)
			}
			return emit(cmd, boards, t)
		},
	}
	cmd.Flags().StringVar(&form, "format", "", "csv, for a spreadsheet")
	return cmd
}

func writeBoards(w io.Writer, boards []*factory.Record) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{"mac", "chip", "serial", "thing", "step", "certificateId", "started", "updated", "millis", "runs", "operator", "failure"}); err != nil {
		return err
	}
	for _, r := range boards {
		err := c.Write([]string{r.MAC, r.Chip, r.Serial, r.Thing, string(r.Step), r.CertificateID, r.Started.Format(time.RFC3339), r.Updated.Format(time.RFC3339),
			strconv.FormatInt(r.Millis, 10), strconv.FormatInt(r.Runs, 10), r.Operator, r.Failure})
		if err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

func stationLabelCommand(s *station) *cobra.Command {
	out := ""
	cmd := &cobra.Command{
		Use:   "label MAC",
		Short: "Show the label of a board, or write it as SVG or PNG",
		Example: `  berth station label a0b1c2d3e4f5
  berth station label a0b1c2d3e4f5 --out label.svg`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			journal, err := factory.OpenJournal(cmd.Context(), s.journal, nil)
			if err != nil {
				return err
			}
			defer journal.Close()
			r, err := journal.Get(cmd.Context(), strings.ToLower(strings.ReplaceAll(words[0], ":", "")))
			if err != nil {
				return err
			}
			if r == nil {
				return hinted(fmt.Errorf("the journal in %s has no board %s", s.journal, words[0]), "berth station list shows those it has")
			}
			label := factory.LabelOf(r)
			var b []byte
			switch {
			case out == "":
				text, err := label.Terminal()
				if err != nil {
					return err
				}
				if wantsJSON(cmd) {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(label)
				}
				_, err = io.WriteString(cmd.OutOrStdout(), text)
				return err
			case strings.HasSuffix(out, ".png"):
				b, err = label.PNG()
			default:
				b, err = label.SVG()
			}
			if err != nil {
				return err
			}
			return os.WriteFile(out, b, 0o644)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to this `FILE`, by its ending SVG or PNG")
	return cmd
}
