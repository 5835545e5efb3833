package cli

import (
	"io"
	"os"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct {
	bars *mpb.Progress
	bar  *mpb.Bar
	text atomic.Value // string: what is being done
}

func newProgress(w io.Writer, total int) *progress {
	p := new(progress)
	f, ok := w.(*os.File)
	if !ok {
		return p
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return p
	}
	p.text.Store("")
	p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(30))
	p.bar = p.bars.AddBar(int64(total), mpb.BarRemoveOnComplete(), mpb.AppendDecorators(
		decor.CountersNoUnit("%d/%d "),
		decor.Any(func(decor.Statistics) string { return p.text.Load().(string) }),
	))
	return p
}

// at says what is being done.
func (p *progress) at(text string) { p.text.Store(text) }

// step counts one thing done.
func (p *progress) step() {
	if p.bar != nil {
		p.bar.Increment()
	}
}

// stop takes the bar away. It may be called again.
func (p *progress) stop() {
	if p.bars != nil {
		p.bar.Abort(true)
		p.bars.Wait()
		p.bars = nil
	}
}
