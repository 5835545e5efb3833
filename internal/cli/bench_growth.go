package cli

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/bench"
)

// grow measures the cost of messages against the size of something else, and draws it.
func (b *benchmark) grow(cmd *cobra.Command, targets []bench.Target, jobs []job) error {
	if !slices.Contains(bench.Growths(), b.growth) {
		return usagef("--growth %q: want one of %v", b.growth, bench.Growths())
	}
	if len(jobs) != 1 || jobs[0].scenario != "pairs" {
		return usagef("--growth measures pairs, with one quality of service")
	}
	cfg := b.cfg
	cfg.QoS = jobs[0].qos
	if strings.HasSuffix(b.growth, "rules") {
		if len(targets) != 1 {
			return usagef("--growth %s: want one server, the berth of --data", b.growth)
		}
		s, err := b.own.find(cmd.Context())
		if err != nil {
			return err
		}
		cfg.Rules.Create = func(ctx context.Context, name, sql string) error {
			document := map[string]any{"sql": sql, "awsIotSqlVersion": "2016-03-23", "actions": []any{}}
			if err := s.own(ctx, http.MethodPost, "/rules/"+name, document, nil); err != nil {
				return apiError("create rule \""+name+"\"", err)
			}
			return nil
		}
		cfg.Rules.Delete = func(ctx context.Context, name string) error {
			return s.own(ctx, http.MethodDelete, "/rules/"+name, nil, nil)
		}
	}
	bar := newProgress(cmd.ErrOrStderr(), len(targets)*len(b.sizes))
	defer bar.stop()
	var results []bench.Result
	var lines []bench.Series
	for _, t := range targets {
		bar.at(fmt.Sprintf("%s on %s", b.growth, t.Name))
		runs, err := bench.Growth(cmd.Context(), t, cfg, b.growth, b.sizes, func(bench.Result) { bar.step() })
		if err != nil {
			return err
		}
		line := bench.Series{Name: t.Name}
		for _, r := range runs {
			line.Y = append(line.Y, r.ServerCPU)
		}
		lines, results = append(lines, line), append(results, runs...)
	}
	bar.stop()
	if b.plot != "" {
		title := fmt.Sprintf("CPU per delivery, QoS %d, by %s", cfg.QoS, b.growth)
		if err := os.WriteFile(b.plot, bench.Plot(title, "µs", b.sizes, lines), 0o644); err != nil {
			return err
		}
	}
	tab := table{header: []string{"TARGET", "BY", "SIZE", "CPU µS", "P50 µS", "P99 µS", "SERVER MIB", "KIB EACH", "LOST"}}
	for _, r := range results {
		tab.add(r.Target, r.Scenario, fmt.Sprint(r.Connections), fmt.Sprintf("%.2f", r.ServerCPU), fmt.Sprintf("%.0f", r.P50), fmt.Sprintf("%.0f", r.P99),
			fmt.Sprintf("%.0f", r.ServerRSS/1024), fmt.Sprintf("%.1f", r.MemoryKiB), fmt.Sprint(r.Lost))
	}
	return emit(cmd, map[string]any{"results": results}, tab)
}
