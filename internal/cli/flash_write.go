package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/berth-iot/berth/esp/serial"
)

// flashResult is the output of flash write, verify, read and erase.
type flashResult struct {
	flashTarget
	Regions   []flashRegion `json:"regions"`
	Commands  int           `json:"commands"`
	BytesSent int           `json:"bytesSent"`
	Seconds   float64       `json:"seconds"`
}

type flashRegion struct {
	Name    string `json:"name,omitempty"`
	Address uint32 `json:"address"`
	Size    int    `json:"size"`
	Written int    `json:"written"`
	State   string `json:"state"`
	MD5     string `json:"md5,omitempty"`
}

// States of a region.
const (
	flashWritten   = "written"
	flashVerified  = "verified"
	flashUnchanged = "unchanged"
	flashSame      = "same"
	flashDiffers   = "differs"
	flashRead      = "read"
	flashErased    = "erased"
)

func (b *flashBoard) emit(cmd *cobra.Command, regions []flashRegion) error {
	stats := b.Stats()
	result := flashResult{flashTarget: b.target(), Regions: regions, Commands: stats.Commands, BytesSent: stats.BytesSent, Seconds: time.Since(b.start).Seconds()}
	t := table{header: []string{"REGION", "ADDRESS", "SIZE", "WRITTEN", "STATE"}}
	for _, r := range regions {
		t.add(r.Name, fmt.Sprintf("0x%x", r.Address), fmt.Sprint(r.Size), fmt.Sprint(r.Written), r.State)
	}
	return emit(cmd, result, t)
}

func flashWriteCommand() *cobra.Command {
	var (
		flags    flashFlags
		source   flashSource
		all      bool
		noVerify bool
	)
	cmd := &cobra.Command{
		Use:   "write [ADDR FILE]...",
		Short: "Write files to the flash of a board",
		Long: `Write files to the flash of a board: pairs of address and file, files for
partitions by name, or all of an ESP-IDF build. What the flash holds already is
left alone, and everything is verified by MD5 on the chip. A file that does not
fit its partition, a partition table that does not fit the flash and firmware
for another chip are refused before anything is written.`,
		Example: `  berth flash write 0x310000 certs.bin
  berth flash write --partition storage certs.bin
  berth flash write --firmware build --chip esp32c3 -o json`,
		RunE: func(cmd *cobra.Command, words []string) error {
			ctx := cmd.Context()
			inputs, build, err := source.read(words)
			if err != nil {
				return err
			}
			if build.Chip != "" && flags.chip == "auto" {
				flags.chip = build.Chip
			}
			total := 0
			for _, in := range inputs {
				total += len(in.data)
			}
			flags.large = total >= largeWrite
			return flags.with(ctx, func(b *flashBoard) error {
				if size, err := b.FlashSize(ctx); err == nil && build.FlashSize > size {
					return fmt.Errorf("the build is for %s of flash, this board has %s: use a board with more, or set the flash size in the build", flashSizeText(build.FlashSize), flashSizeText(size))
				}
				regions, err := source.regions(ctx, b, inputs)
				if err != nil {
					return err
				}
				bars := newFlashProgress(cmd.ErrOrStderr())
				written, err := b.Write(ctx, regions, serial.WriteOptions{OnlyChanged: !all, Verify: !noVerify, Progress: bars.write})
				bars.stop()
				if err != nil {
					return err
				}
				var list []flashRegion
				for _, w := range written {
					r := flashRegion{Name: w.Region.Name, Address: w.Region.Address, Size: len(w.Region.Data), Written: w.Bytes, State: flashWritten, MD5: fmt.Sprintf("%x", w.MD5)}
					switch {
					case w.Bytes == 0:
						r.State = flashUnchanged
					case w.Checked:
						r.State = flashVerified
					}
					list = append(list, r)
				}
				return b.emit(cmd, list)
			})
		},
	}
	flags.register(cmd)
	source.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "write also what the flash holds already")
	cmd.Flags().BoolVar(&noVerify, "no-verify", false, "do not compare afterwards")
	return cmd
}

var errFlashDiffers = errors.New("the flash differs from the files")

func flashVerifyCommand() *cobra.Command {
	var (
		flags  flashFlags
		source flashSource
	)
	cmd := &cobra.Command{
		Use:   "verify [ADDR FILE]...",
		Short: "Compare files with the flash of a board",
		Long: `Compare files with the flash of a board by MD5, one command each. The exit code
is 1 if one differs.`,
		Example: `  berth flash verify 0x310000 certs.bin
  berth flash verify --firmware build`,
		RunE: func(cmd *cobra.Command, words []string) error {
			ctx := cmd.Context()
			inputs, _, err := source.read(words)
			if err != nil {
				return err
			}
			return flags.with(ctx, func(b *flashBoard) error {
				regions, err := source.regions(ctx, b, inputs)
				if err != nil {
					return err
				}
				differ, err := b.Verify(ctx, regions)
				if err != nil {
					return err
				}
				var list []flashRegion
				for _, r := range regions {
					list = append(list, flashRegion{Name: r.Name, Address: r.Address, Size: len(r.Data), State: flashSame})
				}
				for _, i := range differ {
					list[i].State = flashDiffers
				}
				if err := b.emit(cmd, list); err != nil || len(differ) == 0 {
					return err
				}
				return hinted(errFlashDiffers, "berth flash write with the same arguments writes what differs")
			})
		},
	}
	flags.register(cmd)
	source.register(cmd)
	return cmd
}

// flashProgress is a bar for each region on a terminal, and a line for each phase elsewhere.
type flashProgress struct {
	w     io.Writer
	bars  *mpb.Progress
	bar   *mpb.Bar
	index int
	phase serial.Phase
}

func newFlashProgress(w io.Writer) *flashProgress {
	p := &flashProgress{w: w, index: -1}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
		}
	}
	return p
}

func (p *flashProgress) write(at serial.Progress) {
	changed := at.Region != p.index || at.Phase != p.phase
	if at.Region != p.index && p.bars != nil {
		if p.bar != nil {
			p.bar.Abort(false)
		}
		p.bar = p.bars.AddBar(int64(at.Total), mpb.PrependDecorators(decor.Name(at.Name+" ")), mpb.AppendDecorators(decor.CountersKibiByte("% .0f / % .0f ")))
	}
	p.index, p.phase = at.Region, at.Phase
	switch {
	case p.bar != nil:
		p.bar.SetCurrent(int64(at.Done))
	case changed:
		fmt.Fprintf(p.w, "%s: %s\n", at.Name, at.Phase)
	}
}

func (p *flashProgress) read(done, total int) {
	p.write(serial.Progress{Name: "flash", Phase: "read", Done: done, Total: total})
}

func (p *flashProgress) stop() {
	if p.bars != nil {
		if p.bar != nil {
			p.bar.Abort(false)
		}
		p.bars.Wait()
	}
}
