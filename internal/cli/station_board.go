package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/berth-iot/berth/internal/factory"
)

// stationBoard shows the ports of a station: a line for each on a terminal, and a line for each
// board that is done.
type stationBoard struct {
	out  io.Writer
	json bool
	bars *mpb.Progress // nil without a terminal

	mu    sync.Mutex
	lanes map[string]*stationLane
}

func newStationBoard(cmd *cobra.Command, ports int) *stationBoard {
	b := &stationBoard{out: cmd.OutOrStdout(), json: wantsJSON(cmd), lanes: make(map[string]*stationLane)}
	if f, ok := cmd.ErrOrStderr().(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			b.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(24))
		}
	}
	return b
}

func (b *stationBoard) close() {
	if b.bars != nil {
		for _, l := range b.lanes {
			l.bar.Abort(true)
		}
		b.bars.Wait()
	}
}

// stationLane is one port.
type stationLane struct {
	board *stationBoard
	bar   *mpb.Bar
	text  atomic.Value // string
}

func (b *stationBoard) lane(port string) *stationLane {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lanes[port]; l != nil {
		return l
	}
	l := &stationLane{board: b}
	l.text.Store("")
	if b.bars != nil {
		l.bar = b.bars.AddBar(0, mpb.PrependDecorators(decor.Name(port+" ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return l.text.Load().(string) })))
	}
	b.lanes[port] = l
	return l
}

func (l *stationLane) at(e factory.Event) {
	if l.bar == nil {
		return
	}
	text := e.Text
	if e.Thing != "" {
		text = e.Thing + ": " + text
	}
	l.text.Store(text)
	l.bar.SetTotal(int64(e.Total), false)
	l.bar.SetCurrent(int64(e.Done))
}

// stationResult is one board as JSON; a station prints one on each line.
type stationResult struct {
	Port   string          `json:"port"`
	Result string          `json:"result"` // PASS or FAIL
	Board  *factory.Result `json:"board,omitempty"`
	Error  string          `json:"error,omitempty"`
	Fix    string          `json:"fix,omitempty"`
}

// result tells what became of a board.
func (l *stationLane) result(port string, out *factory.Result, err error) {
	v := stationResult{Port: port, Result: "PASS"}
	if out != nil && out.Record != nil {
		v.Board = out
	}
	if err != nil {
		v.Result, v.Error, v.Fix = "FAIL", err.Error(), factory.Fix(err)
	}
	b := l.board
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.out
	if b.bars != nil {
		w = b.bars // prints above the bars
		l.text.Store(v.Result)
		l.bar.SetTotal(0, false)
	}
	if b.json {
		enc := json.NewEncoder(b.out)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(v) // a closed standard output ends the command anyway
		return
	}
	fmt.Fprintln(w, v.line())
}

func (v *stationResult) line() string {
	who := v.Port
	if v.Board != nil {
		who = fmt.Sprintf("%s  %s  %s", v.Port, v.Board.MAC, v.Board.Thing)
	}
	switch {
	case v.Error != "" && v.Fix != "":
		return fmt.Sprintf("FAIL  %s  %s\n      %s", who, v.Error, v.Fix)
	case v.Error != "":
		return fmt.Sprintf("FAIL  %s  %s", who, v.Error)
	case v.Board.Again:
		return fmt.Sprintf("PASS  %s  prepared before", who)
	}
	return fmt.Sprintf("PASS  %s  %.1f s", who, float64(v.Board.Millis)/1000)
}
