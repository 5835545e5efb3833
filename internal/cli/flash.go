package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/esp/serial/hostport"
	"github.com/berth-iot/berth/esp/serial/stub"
)

// flashCommand is "berth flash": a board on a serial port.
func flashCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "flash",
		Short: "Read and write the flash of a board over its serial port",
		Long: `Read and write the flash of a board with an ESP chip over its serial port. The
loader in the chip's ROM is enough for most; large transfers and the ESP8266 run
Espressif's flasher stub in the chip's RAM (--stub none does without).`,
		Example: `  berth flash info
  berth flash write --firmware build
  berth flash write --partition storage certs.bin
  berth flash verify --port /dev/ttyUSB0 0x310000 certs.bin`,
	}, flashInfoCommand(), flashPortsCommand(), flashReadCommand(), flashWriteCommand(), flashVerifyCommand(), flashEraseCommand())
	return cmd
}

// flashFlags are the flags of every command that talks to a board.
type flashFlags struct {
	port      string
	baud      int
	chip      string
	before    string
	after     string
	stub      string
	large     bool // so much is transferred that a stub pays off
	flashSize imageSize
}

func (f *flashFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.port, "port", "p", hostport.Auto, "serial port, socket://host:port, rfc2217://host:port, or auto for the only board")
	flags.IntVarP(&f.baud, "baud", "b", 460800, "baud rate for large transfers")
	flags.StringVar(&f.chip, "chip", "auto", "chip that the board must have, such as esp32c3")
	flags.StringVar(&f.before, "before", "auto", "how to reset the board into download mode: auto, classic, usb-jtag, usb-cdc or none")
	flags.StringVar(&f.after, "after", "auto", "how to leave the board: auto, hard, soft or stay")
	flags.StringVar(&f.stub, "stub", stubAuto, "flasher stub: auto, none, or the JSON `FILE` of one for this chip")
	flags.Var(&f.flashSize, "flash-size", "size of the flash; asked of the flash chip by default")
}

func (f *flashFlags) options() (opt serial.Options, end serial.ResetEnd, err error) {
	before := map[string]serial.ResetMethod{"auto": serial.ResetAuto, "classic": serial.ResetClassic, "usb-jtag": serial.ResetUSBJTAG, "usb-cdc": serial.ResetUSBCDC, "none": serial.ResetNone}
	after := map[string]serial.ResetEnd{"auto": serial.EndAuto, "hard": serial.EndHard, "soft": serial.EndSoft, "stay": serial.EndStay}
	reset, ok := before[f.before]
	if !ok {
		return opt, 0, usagef("--before %q: want auto, classic, usb-jtag, usb-cdc or none", f.before)
	}
	if end, ok = after[f.after]; !ok {
		return opt, 0, usagef("--after %q: want auto, hard, soft or stay", f.after)
	}
	if f.baud <= 0 {
		return opt, 0, usagef("--baud %d: want a rate in bit/s, such as 460800", f.baud)
	}
	opt = serial.Options{Reset: reset, Baud: f.baud, FlashSize: uint32(min(int64(f.flashSize), 1<<32-1))}
	if f.chip != "auto" {
		if _, ok := chip.ByTarget(f.chip); !ok {
			return opt, 0, usagef("--chip %q is not known", f.chip)
		}
		opt.Chip = f.chip
	}
	return opt, end, nil
}

// flashBoard is a board while a command has it.
type flashBoard struct {
	*serial.Session
	port  string
	start time.Time
}

// Values of --stub besides a file.
const (
	stubAuto = "auto"
	stubNone = "none"
)

// From these sizes on a stub saves more time than sending it takes: ROM loaders read 64 bytes a command
// and write 1 KiB.
const (
	largeRead  = 16 << 10
	largeWrite = 256 << 10
)

// flashTarget is what every result says of the board.
type flashTarget struct {
	Port string `json:"port"`
	Chip string `json:"chip"`
	MAC  string `json:"mac"`
}

func (b *flashBoard) target() flashTarget {
	return flashTarget{Port: b.port, Chip: b.Chip().Name, MAC: b.MAC().String()}
}

// with opens the board, does the work and leaves the board as asked. After a failure it is only
// reset by its lines, because nobody knows whether the loader listens.
func (f *flashFlags) with(ctx context.Context, do func(*flashBoard) error) (err error) {
	opt, end, err := f.options()
	if err != nil {
		return err
	}
	var own *serial.Stub
	if f.stub != stubAuto && f.stub != stubNone {
		b, err := os.ReadFile(f.stub)
		if err != nil {
			return fmt.Errorf("read stub: %w", err)
		}
		if own, err = serial.ParseStub(b); err != nil {
			return fmt.Errorf("%s: %w", f.stub, err)
		}
	}
	board := &flashBoard{start: time.Now()}
	port, name, err := hostport.Open(ctx, f.port)
	if err != nil {
		return err
	}
	board.port, opt.Name = name, name
	opt.Reopen = func(ctx context.Context) (serial.Port, error) {
		port, _, err := hostport.Open(ctx, name)
		return port, err
	}
	if board.Session, err = serial.Open(ctx, port, opt); err != nil {
		return err
	}
	defer func() {
		if closeErr := board.Close(); err == nil {
			err = closeErr
		}
	}()
	if own == nil && f.stub == stubAuto && (f.large || !board.Chip().ROMMD5) {
		if own, err = stub.For(ctx, board.Session); err != nil {
			return err
		}
	}
	if own != nil && !board.StubRunning() {
		if err := board.RunStub(ctx, own); err != nil {
			return err
		}
	}
	err = do(board)
	_, lines := port.(serial.Lines)
	switch {
	case err == nil || errors.Is(err, errFlashDiffers):
		if resetErr := board.Reset(ctx, end); err == nil {
			return resetErr
		}
	case lines && (end == serial.EndAuto || end == serial.EndHard):
		_ = board.Reset(context.WithoutCancel(ctx), serial.EndHard) // the first error says more
	}
	return err
}

func flashPortsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ports",
		Short:   "List the serial ports of this machine",
		Example: "  berth flash ports",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := hostport.List()
			if err != nil {
				return err
			}
			t := table{header: []string{"PORT", "USB", "ADAPTER", "SERIAL"}}
			if list == nil {
				list = []hostport.Info{}
			}
			for _, p := range list {
				id := ""
				if p.Vendor != 0 {
					id = fmt.Sprintf("%04x:%04x", p.Vendor, p.Product)
				}
				t.add(p.Name, id, p.Adapter, p.Serial)
			}
			return emit(cmd, list, t)
		},
	}
}

// flashInfo is the output of flash info.
type flashInfo struct {
	flashTarget
	Revision  string `json:"revision"`
	FlashID   string `json:"flashId"`
	FlashSize uint32 `json:"flashSize"`
	Loader    string `json:"loader"`
	Security  struct {
		Known           bool `json:"known"`
		SecureBoot      bool `json:"secureBoot"`
		FlashEncryption bool `json:"flashEncryption"`
	} `json:"security"`
}

func flashInfoCommand() *cobra.Command {
	var flags flashFlags
	cmd := &cobra.Command{
		Use:     "info",
		Short:   "Show chip, MAC, flash and security of a board",
		Example: "  berth flash info --port /dev/ttyUSB0",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), func(b *flashBoard) error {
				major, minor, err := b.Revision(cmd.Context())
				if err != nil {
					return err
				}
				id, err := b.FlashID(cmd.Context())
				if err != nil {
					return err
				}
				size, err := b.FlashSize(cmd.Context())
				if err != nil {
					return err
				}
				info := flashInfo{flashTarget: b.target(), Revision: fmt.Sprintf("%d.%d", major, minor), FlashID: fmt.Sprintf("%06x", id), FlashSize: size, Loader: "rom"}
				if b.StubRunning() {
					info.Loader = "stub"
				}
				s := b.Security()
				info.Security.Known, info.Security.SecureBoot, info.Security.FlashEncryption = s.Known, s.SecureBoot, s.FlashEncryption
				t := table{}
				t.add("port", info.Port)
				t.add("chip", fmt.Sprintf("%s revision %s", info.Chip, info.Revision))
				t.add("MAC", info.MAC)
				t.add("flash", fmt.Sprintf("%s, id %s", flashSizeText(size), info.FlashID))
				t.add("security", s.String())
				t.add("loader", info.Loader)
				return emit(cmd, info, t)
			})
		},
	}
	flags.register(cmd)
	return cmd
}

func flashSizeText(n uint32) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
