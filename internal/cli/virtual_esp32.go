package cli

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/internal/firmware"
	"github.com/berth-iot/berth/internal/virtualesp"
)

func virtualESP32Command() *cobra.Command {
	o := virtualESP32Options{hungUp: func() {}}
	cmd := &cobra.Command{
		Use:   "virtual-esp32 --pty | --listen ADDR | --run",
		Short: "A virtual chip that flashing tools can talk to",
		Long: `A chip whose flash is a file and which answers the serial protocol of Espressif's
ROM loader and stub: berth's own flasher and esptool can identify, erase, write,
verify and read it. Without --flash the flash is in memory and begins erased.

The chip is on a pseudo-terminal or a TCP port until it is interrupted; then what
went over the wire is printed. Neither carries DTR and RTS: the chip starts in
download mode, and every reset and every new connection leads back there. With
--rfc2217 the TCP port carries them, and a reset without the boot pin starts the
application in flash: the line "boot" says which, or why none.

With --run the chip also runs: it starts what is in its flash as ESP-IDF's bootloader
would, and the device library connects with the certificate that a station wrote into
a SPIFFS, NVS or esp_secure_cert partition, to --endpoint or to the one in flash. It
reports its shadow, does what is desired and takes updates into its other slot, with
roll-back. A flashing tool that connects stops it; when it hangs up the chip starts
again. "berth virtual-esp32 app" makes applications to flash and to roll out; images
of ESP-IDF's run as one that does nothing of its own.

--fault takes drop=P, flip=P (probability per byte), reset-after-bytes=N,
reset-at-command=N, unplug-after-bytes=N, unplug-at-command=N, worn=ADDRESS,
secure-boot, flash-encryption, secure-download and seed=N, separated by commas or
repeated.`,
		Example: `  berth virtual-esp32 --chip esp32s3 --flash board.bin --pty
  berth virtual-esp32 --listen 127.0.0.1:5555
  esptool --before no_reset --port socket://127.0.0.1:5555 flash_id
  berth virtual-esp32 --run --flash board.bin --endpoint localhost:8883 --ca berth-data/ca.pem`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.chip, "chip", "esp32c3", "kind of chip: "+strings.Join(chipTargets(), ", "))
	f.StringVar(&o.flash, "flash", "", "file that is the flash; made if missing (default in memory)")
	f.StringVar(&o.flashSize, "flash-size", "", "size of the flash, 1MB to 16MB (default that of the file, or 4MB)")
	f.StringVar(&o.mac, "mac", "", "MAC address (default random)")
	f.BoolVar(&o.pty, "pty", false, "on a pseudo-terminal")
	f.StringVar(&o.listen, "listen", "", "on a TCP port, HOST:PORT")
	f.BoolVar(&o.rfc2217, "rfc2217", false, "speak RFC 2217 on the TCP port, with DTR and RTS")
	f.BoolVar(&o.pacing, "baud-pacing", false, "take the time that a wire and a flash chip take")
	f.StringArrayVar(&o.faults, "fault", nil, "what goes wrong")
	f.BoolVar(&o.once, "once", false, "end with the first connection")
	f.BoolVar(&o.runs, "run", false, "run what is in flash")
	f.StringVar(&o.endpoint, "endpoint", "", "`HOST:PORT` of the server, with --run (default the one in flash)")
	f.StringVar(&o.ca, "ca", "", "PEM `FILE` of the authorities to trust, with --run (default those in flash)")
	f.StringVar(&o.template, "claim-template", "", "with --run: the certificate in flash is a claim for this provisioning template, with the parameters SerialNumber and MAC")
	cmd.AddCommand(virtualAppCommand())
	return cmd
}

func chipTargets() []string {
	var names []string
	for _, c := range chip.All() {
		names = append(names, c.Target)
	}
	return names
}

type virtualESP32Options struct {
	chip, flash, flashSize, mac, listen string
	endpoint, ca, template              string
	pty, rfc2217, pacing, once, runs    bool
	faults                              []string

	hungUp func()     // called when a flashing tool has gone
	mu     sync.Mutex // of the output
}

// virtualESP32Event is a line of -o json.
type virtualESP32Event struct {
	Event     string               `json:"event"` // ready, boot, device or end
	Chip      string               `json:"chip,omitempty"`
	MAC       string               `json:"mac,omitempty"`
	FlashSize int                  `json:"flashSize,omitempty"`
	Port      string               `json:"port,omitempty"`
	App       string               `json:"app,omitempty"`
	Version   string               `json:"version,omitempty"`
	Text      string               `json:"text,omitempty"` // what the device tells
	Error     string               `json:"error,omitempty"`
	Counters  *virtualesp.Counters `json:"counters,omitempty"`
}

func (o *virtualESP32Options) run(cmd *cobra.Command) error {
	config, err := o.config()
	if err != nil {
		return err
	}
	booted := func(b virtualesp.Boot) {
		e := virtualESP32Event{Event: "boot", App: b.App.Name}
		if b.Err != nil {
			e.Error = b.Err.Error()
		} else if d := b.Image.Description; d != nil {
			e.Version = d.Version
		}
		o.print(cmd, e, "boot: %s", b)
	}
	var board *firmware.Board // with --run
	config.Boot = booted
	if o.runs {
		config.BootOptions.Rollback = true
		config.Boot = func(b virtualesp.Boot) { board.Boot(b) }
		config.Halt = func() { board.PowerOff() }
	}
	size, err := parseFlashSize(o.flashSize)
	if err != nil {
		return err
	}
	switch {
	case o.flash != "":
		config.Flash, err = virtualesp.OpenFlash(o.flash, size)
	case size != 0:
		config.Flash, err = virtualesp.NewFlash(size)
	default:
		config.Flash, err = virtualesp.NewFlash(4 << 20)
	}
	if err != nil {
		return err
	}
	c, err := virtualesp.New(config)
	if err != nil {
		return errors.Join(err, config.Flash.Close())
	}
	defer func() { _ = c.Close() }()
	if o.runs {
		if board, err = o.board(cmd, c, booted); err != nil {
			return err
		}
		defer board.Close()
		board.PowerOn()
		o.hungUp = func() {
			if config.HoldBoot { // nothing else would take it out of download mode
				board.PowerOn()
			}
		}
	}
	serve := o.serveTCP
	switch {
	case o.pty:
		serve = o.servePty
	case o.listen == "":
		serve = o.serveNobody
	}
	if err := serve(cmd, c); err != nil {
		return err
	}
	count := c.Counters()
	if err := c.Close(); err != nil {
		return err
	}
	o.print(cmd, virtualESP32Event{Event: "end", Counters: &count},
		"%d commands, %d bytes in, %d bytes out, %d sectors erased, %d bytes programmed",
		count.Commands, count.BytesIn, count.BytesOut, count.SectorsErased, count.BytesProgrammed)
	return nil
}

// config is the chip that the flags describe, without flash.
func (o *virtualESP32Options) config() (virtualesp.Config, error) {
	config := virtualesp.Config{HoldBoot: !o.rfc2217}
	switch {
	case o.pty && o.listen != "", !o.pty && o.listen == "" && !o.runs:
		return config, usagef("want --pty, --listen or --run")
	case !o.runs && (o.endpoint != "" || o.ca != "" || o.template != ""):
		return config, usagef("--endpoint, --ca and --claim-template are for --run")
	case o.rfc2217 && o.pty:
		return config, usagef("--rfc2217 is for --listen")
	}
	kind, ok := chip.ByTarget(o.chip)
	if !ok {
		return config, usagef("--chip %q: want one of %s", o.chip, strings.Join(chipTargets(), ", "))
	}
	config.Chip = kind
	if o.mac != "" {
		mac, err := net.ParseMAC(o.mac)
		if err != nil || len(mac) != 6 {
			return config, usagef("--mac %q: want six bytes like 7c:df:a1:00:00:01", o.mac)
		}
		config.MAC = [6]byte(mac)
	}
	for _, fault := range o.faults {
		if err := config.Faults.Add(fault); err != nil {
			return config, usagef("--fault: %w", err)
		}
	}
	if o.pacing {
		config.Timing = virtualesp.TypicalTiming()
	}
	return config, nil
}

// parseFlashSize reads a size such as 4MB; 0 is none.
func parseFlashSize(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "M")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 16 || n&(n-1) != 0 || number == strings.ToUpper(s) {
		return 0, usagef("--flash-size %q: want 1MB, 2MB, 4MB, 8MB or 16MB", s)
	}
	return n << 20, nil
}

func (o *virtualESP32Options) print(cmd *cobra.Command, e virtualESP32Event, format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if wantsJSON(cmd) {
		// Its type cannot fail to encode; that nobody reads is no reason to stop.
		_ = json.NewEncoder(cmd.OutOrStdout()).Encode(e)
		return
	}
	fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
}

func (o *virtualESP32Options) ready(cmd *cobra.Command, c *virtualesp.Chip, port string) {
	mac := c.MAC()
	e := virtualESP32Event{
		Event: "ready", Chip: c.Kind().Name, MAC: net.HardwareAddr(mac[:]).String(), FlashSize: c.Flash().Size(), Port: port,
	}
	o.print(cmd, e, "%s, MAC address %s, %d MB of flash, on %s", e.Chip, e.MAC, e.FlashSize>>20, e.Port)
}

// board is what runs on the chip.
func (o *virtualESP32Options) board(cmd *cobra.Command, c *virtualesp.Chip, booted func(virtualesp.Boot)) (*firmware.Board, error) {
	mac := c.MAC()
	cfg := firmware.Config{Flash: c.Flash(), FlashSize: c.Flash().Size(), Chip: c.Kind(), MAC: mac, Endpoint: o.endpoint, Booted: booted,
		Told: func(text string) { o.print(cmd, virtualESP32Event{Event: "device", Text: text}, "%s", text) },
		Event: func(e link.Event) {
			text := e.Kind.String()
			if e.Err != nil {
				text += ": " + e.Err.Error()
			}
			o.print(cmd, virtualESP32Event{Event: "device", Text: text}, "%s", text)
		}}
	if o.template != "" {
		serial := hex.EncodeToString(mac[:])
		cfg.Template = identity.Template{Name: o.template, CommonName: serial, Parameters: map[string]string{"SerialNumber": serial, "MAC": net.HardwareAddr(mac[:]).String()}}
	}
	if o.ca != "" {
		b, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, err
		}
		cfg.Roots = x509.NewCertPool()
		if !cfg.Roots.AppendCertsFromPEM(b) {
			return nil, usagef("--ca %s: no certificate in it", o.ca)
		}
	}
	return firmware.New(cfg), nil
}

// serveNobody lets the chip run until it is interrupted.
func (o *virtualESP32Options) serveNobody(cmd *cobra.Command, _ *virtualesp.Chip) error {
	<-cmd.Context().Done()
	return nil
}

func (o *virtualESP32Options) servePty(cmd *cobra.Command, c *virtualesp.Chip) error {
	pty, err := virtualesp.OpenPty()
	if err != nil {
		return err
	}
	defer pty.Close()
	o.ready(cmd, c, pty.Path)
	for {
		err := c.Serve(cmd.Context(), pty.Line())
		o.hungUp()
		if cmd.Context().Err() != nil || errors.Is(err, virtualesp.ErrUnplugged) {
			return nil
		}
		if err != nil || o.once {
			return err
		}
	}
}

func (o *virtualESP32Options) serveTCP(cmd *cobra.Command, c *virtualesp.Chip) error {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	stop := context.AfterFunc(cmd.Context(), func() { listener.Close() })
	defer stop()
	scheme := "socket"
	if o.rfc2217 {
		scheme = "rfc2217"
	}
	o.ready(cmd, c, scheme+"://"+listener.Addr().String())
	for {
		conn, err := listener.Accept()
		if cmd.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var line io.ReadWriteCloser = conn
		if o.rfc2217 {
			line = virtualesp.RFC2217(conn, c)
		}
		// A connection that broke is the end of that connection; the next one is as good.
		if err := c.Serve(cmd.Context(), line); err != nil && cmd.Context().Err() == nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "berth: connection from %s: %v\n", conn.RemoteAddr(), err)
		}
		o.hungUp()
		if o.once || cmd.Context().Err() != nil {
			return nil
		}
	}
}
