package serial

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/berth-iot/berth/esp/chip"
)

// identifyTimeout is for a question that the oldest chips do not understand.
const identifyTimeout = 500 * time.Millisecond

// Security is what the chip's eFuses protect.
type Security struct {
	Known           bool // false: the chip cannot tell
	SecureBoot      bool // only signed bootloaders and applications start
	FlashEncryption bool // flash is decrypted as it is read, so plain data turn into noise
	SecureDownload  bool // only plain writes are left of the loader
	Flags           uint32
	CryptCount      uint8
}

// Bits of the flags in GET_SECURITY_INFO (ESP-IDF, esp_rom secure boot headers).
const (
	flagSecureBoot     = 1 << 0
	flagSecureDownload = 1 << 2
)

// String says it in words.
func (s Security) String() string {
	if !s.Known {
		return "unknown"
	}
	var on []string
	if s.SecureBoot {
		on = append(on, "secure boot")
	}
	if s.FlashEncryption {
		on = append(on, "flash encryption")
	}
	if s.SecureDownload {
		on = append(on, "secure download mode")
	}
	if len(on) == 0 {
		return "open"
	}
	return strings.Join(on, ", ")
}

// identify finds out chip, security and MAC.
func (s *Session) identify(ctx context.Context) error {
	c, err := s.detect(ctx)
	if err != nil {
		return err
	}
	if s.opt.Chip != "" {
		if want, _ := chip.ByTarget(s.opt.Chip); want != c {
			return &Error{Op: "identify", Reason: ErrWrongChip, Text: fmt.Sprintf("this board has an %s, wanted is an %s", c.Name, want.Name),
				Remedy: "plug in the right board, or name its chip"}
		}
	}
	s.chip = c
	if s.security.SecureDownload {
		return &Error{Op: "identify", Reason: ErrSecureDownload, Text: "the " + c.Name + " is in secure download mode",
			Remedy: "its MAC and flash cannot be read over the serial loader, so nothing could be verified: update it over the air"}
	}
	if s.reset == ResetUSBJTAG {
		if err := s.stopWatchdog(ctx); err != nil {
			return err
		}
	}
	list := make([]uint32, len(c.MAC.Registers))
	for i, address := range c.MAC.Registers {
		if list[i], err = s.readRegister(ctx, address); err != nil {
			return err
		}
	}
	mac, err := c.MAC.Address(list)
	if err != nil {
		return &Error{Op: "identify", Reason: ErrUnknownChip, Cause: err, Text: "the " + c.Name + " has no factory MAC", Remedy: "the chip is blank or damaged: use another board"}
	}
	s.mac = mac[:]
	if c.SecurityInfoLen == 0 && c.Security.CryptCount.Address != 0 {
		return s.readSecurity(ctx)
	}
	return nil
}

// detect finds the chip. Those since C3 name themselves together with their security settings; S2
// gives the settings alone; older ones show in a word of ROM.
func (s *Session) detect(ctx context.Context) (*chip.Chip, error) {
	want, _ := chip.ByTarget(s.opt.Chip)
	if ask := want == nil || want.SecurityInfoLen > 0; ask && (s.link.status == 4 || s.stubAnswers) {
		c, err := s.securityInfo(ctx)
		if c != nil || err != nil {
			return c, err
		}
	}
	magic, err := s.readRegister(ctx, chip.MagicRegister)
	if err != nil {
		return nil, err
	}
	if c, ok := chip.ByMagic(magic); ok {
		if c.SecurityInfoLen > 0 { // it did not understand, though it knows the question
			again, err := s.securityInfo(ctx)
			if err != nil {
				return nil, err
			}
			if again != c {
				return nil, fmt.Errorf("%w: the %s does not tell its security settings", errNotResponse, c.Name)
			}
		}
		return c, nil
	}
	return nil, &Error{Op: "identify", Reason: ErrUnknownChip, Text: fmt.Sprintf("a chip with 0x%08x at 0x%x is not known", magic, chip.MagicRegister),
		Remedy: "known are " + knownChips()}
}

// securityInfo asks GET_SECURITY_INFO; no chip and no error means that it is not understood.
func (s *Session) securityInfo(ctx context.Context) (*chip.Chip, error) {
	var answer response
	var err error
	for range commandAttempts {
		answer, err = s.link.once(ctx, request{op: opGetSecurityInfo}, identifyTimeout)
		var status *StatusError
		if errors.As(err, &status) && (!spoilt(status) || status.Code == codeInvalid) {
			return nil, nil
		}
		if err == nil || !transient(err) {
			break
		}
		if err := s.resume(ctx); err != nil {
			return nil, err
		}
	}
	if errors.Is(err, ErrTimeout) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := answer.data
	if len(b) != 12 && len(b) != 20 {
		return nil, fmt.Errorf("%w: GET_SECURITY_INFO with %d bytes", errNotResponse, len(b))
	}
	s.security = securityOf(binary.LittleEndian.Uint32(b), b[4])
	if len(b) == 12 {
		return chip.ESP32S2, nil
	}
	id := binary.LittleEndian.Uint32(b[12:])
	if c, ok := chip.ByID(int(id)); ok {
		return c, nil
	}
	return nil, &Error{Op: "identify", Reason: ErrUnknownChip, Text: fmt.Sprintf("chip number %d is not known", id), Remedy: "known are " + knownChips()}
}

func securityOf(flags uint32, cryptCount uint8) Security {
	return Security{
		Known:           true,
		SecureBoot:      flags&flagSecureBoot != 0,
		FlashEncryption: bits.OnesCount8(cryptCount)%2 == 1,
		SecureDownload:  flags&flagSecureDownload != 0,
		Flags:           flags,
		CryptCount:      cryptCount,
	}
}

// readSecurity reads the eFuses of a chip that does not answer GET_SECURITY_INFO.
func (s *Session) readSecurity(ctx context.Context) error {
	crypt, err := s.readField(ctx, s.chip.Security.CryptCount)
	if err != nil {
		return err
	}
	boot, err := s.readField(ctx, s.chip.Security.SecureBoot)
	if err != nil {
		return err
	}
	s.security = securityOf(0, uint8(crypt))
	s.security.SecureBoot = boot != 0
	return nil
}

// Revision reads the chip's revision, which ESP-IDF writes as major.minor. It costs a command for
// each eFuse word.
func (s *Session) Revision(ctx context.Context) (major, minor int, err error) {
	read := func(fields []chip.Field) (value, ones int, err error) {
		for _, f := range fields {
			v, err := s.readField(ctx, f)
			if err != nil {
				return 0, 0, s.explain("read the chip's revision", err)
			}
			value = value<<f.Width | int(v)
			ones += bits.OnesCount32(v)
		}
		return value, ones, nil
	}
	major, ones, err := read(s.chip.Revision.Major)
	if err != nil {
		return 0, 0, err
	}
	if s.chip.Revision.MajorCounts {
		major = ones
	}
	minor, _, err = read(s.chip.Revision.Minor)
	return major, minor, err
}

func (s *Session) readField(ctx context.Context, f chip.Field) (uint32, error) {
	word, err := s.readRegister(ctx, f.Address)
	return f.Of(word), err
}

func (s *Session) readRegister(ctx context.Context, address uint32) (uint32, error) {
	answer, err := s.command(ctx, request{op: opReadReg, data: words(address)})
	if err != nil {
		return 0, fmt.Errorf("read register 0x%08x: %w", address, err)
	}
	return answer.value, nil
}

func (s *Session) writeRegister(ctx context.Context, address, value uint32) error {
	if _, err := s.command(ctx, request{op: opWriteReg, data: words(address, value, 0xFFFFFFFF, 0)}); err != nil {
		return fmt.Errorf("write register 0x%08x: %w", address, err)
	}
	return nil
}

// stopWatchdog keeps the RTC watchdogs from resetting a chip whose loader talks over its own USB
// Serial/JTAG controller: that reset does not stop them as a power cycle does.
func (s *Session) stopWatchdog(ctx context.Context) error {
	w := s.chip.Watchdog
	steps := [][2]uint32{{w.Protect, w.Key}, {w.Config0, 0}, {w.Protect, 0}}
	if w.Config0 == 0 {
		return nil
	}
	for _, step := range steps {
		if err := s.writeRegister(ctx, step[0], step[1]); err != nil {
			return err
		}
	}
	if w.SuperConfig == 0 {
		return nil
	}
	if err := s.writeRegister(ctx, w.SuperProtect, w.SuperKey); err != nil {
		return err
	}
	config, err := s.readRegister(ctx, w.SuperConfig)
	if err != nil {
		return err
	}
	if err := s.writeRegister(ctx, w.SuperConfig, config|w.SuperAutoFeed); err != nil {
		return err
	}
	return s.writeRegister(ctx, w.SuperProtect, 0)
}
