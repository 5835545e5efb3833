package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/simulate"
)

func simulateCommand() *cobra.Command {
	cfg := simulate.Config{}
	var compare bool
	var plot string
	var worker bool
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a fleet of devices with faults, in virtual time",
		Long: `Run the real device library, by the thousand, against a real server in memory over mutual TLS. The
devices join just in time with certificates of a CA of the maker's own, publish messages of QoS 1,
and meet with faults: the server goes down, a part loses its network without a word, clocks read
1970, lines are slow, the power goes in the middle of a write to flash, or of an update.

Time is virtual: it passes when nobody has anything to do, so that an hour takes as long as its
work. --capacity stands for what a server takes: further connections wait, and time out. The seed
decides who meets with what; the order of what happens at once is not repeated to the letter.

The exit code is 1 if a message was lost that should not have been, one was out of order, or a
device did not come back.`,
		Example: `  berth simulate --devices 1000
  berth simulate --devices 10000 --compare --outage 60s --cut 0 --power 0 --update 0 --plot storm.svg`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if worker {
				simulate.Worker(os.Stdin, cmd.OutOrStdout())
			}
			schemes := []string{cfg.Scheme}
			if compare {
				schemes = []string{simulate.FullJitter, simulate.Tutorial}
			}
			var reports []*simulate.Report
			for _, scheme := range schemes {
				r, err := runSimulation(cmd, cfg, scheme)
				if errors.Is(err, simulate.ErrConfig) {
					return &usageError{err}
				}
				if err != nil {
					return err
				}
				reports = append(reports, r)
			}
			if plot != "" {
				f, err := os.Create(plot)
				if err != nil {
					return err
				}
				if err := errors.Join(simulate.Plot(f, reports), f.Close()); err != nil {
					return err
				}
			}
			return showSimulation(cmd, reports)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Devices, "devices", 1000, "how many devices")
	f.Uint64Var(&cfg.Seed, "seed", 1, "decides who meets with which fault")
	f.IntVar(&cfg.Capacity, "capacity", 800, "connections that the server takes in a second; 0 for all at once")
	f.DurationVar(&cfg.Every, "every", 30*time.Second, "time between two messages of a device")
	f.StringVar(&cfg.Scheme, "scheme", simulate.FullJitter, "waits between attempts to connect: full-jitter, or tutorial for 2^n seconds and up to 5 more")
	f.BoolVar(&compare, "compare", false, "run both schemes")
	f.DurationVar(&cfg.Outage, "outage", time.Minute, "how long the server is down; 0 for not at all")
	f.Float64Var(&cfg.Cut, "cut", 0.1, "share of devices that lose their network")
	f.DurationVar(&cfg.CutFor, "cut-for", 5*time.Minute, "how long they lose it")
	f.Float64Var(&cfg.Clock, "clock", 0.05, "share of devices whose clock reads 1970")
	f.Float64Var(&cfg.Slow, "slow", 0.05, "share of devices on lines of 4 KB/s and 600 ms")
	f.Float64Var(&cfg.Power, "power", 0.05, "share of devices that lose power in a write to flash")
	f.IntVar(&cfg.Update, "update", 16<<10, "bytes of an update over the air for all; 0 for none")
	f.Float64Var(&cfg.UpdateBy, "update-power", 0.05, "share of devices that lose power during the update")
	f.BoolVar(&worker, "worker", false, "run what standard input says")
	_ = f.MarkHidden("worker") // it is there
	f.StringVar(&plot, "plot", "", "draw the first storm into this SVG `FILE`")
	return cmd
}

func runSimulation(cmd *cobra.Command, cfg simulate.Config, scheme string) (*simulate.Report, error) {
	dir, err := os.MkdirTemp("", "berth-simulate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cfg.Data, cfg.Scheme = dir, scheme
	if !wantsJSON(cmd) {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n", scheme)
		cfg.Tell = func(at time.Duration, text string) {
			fmt.Fprintf(cmd.OutOrStdout(), "%10s  %s\n", at.Round(time.Second), text)
		}
	}
	return simulate.Run(cmd.Context(), cfg, "simulate", "--worker")
}

// showSimulation prints reports, and fails if one of them is bad.
func showSimulation(cmd *cobra.Command, reports []*simulate.Report) error {
	var bad []string
	for _, r := range reports {
		for _, n := range []struct {
			count int
			what  string
		}{{r.Lost, "messages lost"}, {r.Disorder, "messages out of order"}, {r.NotBack, "devices not connected at the end"}} {
			if n.count > 0 {
				bad = append(bad, fmt.Sprintf("%s: %d %s", r.Scheme, n.count, n.what))
			}
		}
	}
	if wantsJSON(cmd) {
		if err := report(cmd, reports, ""); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\nSCHEME\tSTORM\tAWAY\tPEAK/S\t50 %\t90 %\t99 %\tALL")
		for _, r := range reports {
			for _, s := range r.Storms {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.1f s\t%.1f s\t%.1f s\t%.1f s\n", r.Scheme, s.Name, s.Away, s.Peak(), s.Back50, s.Back90, s.Back99, s.BackAll)
			}
		}
		fmt.Fprintln(w, "\nSCHEME\tPUBLISHED\tRECEIVED\tLOST\tDUPLICATES\tOUT OF ORDER\tQUEUE FULL\tLOST WITH POWER\tCLOCKS SET\tUPDATED\tROLLED BACK")
		for _, r := range reports {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", r.Scheme, r.Published, r.Received, r.Lost, r.Twice, r.Disorder, r.Dropped, r.Unpowered, r.ClockSet, r.Updated, r.RolledBack)
		}
		for _, r := range reports {
			fmt.Fprintf(w, "\n%s: %d devices, %v of virtual time in %v", r.Scheme, r.Devices, r.Virtual.Round(time.Second), r.Real.Round(100*time.Millisecond))
		}
		fmt.Fprintln(w)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}
