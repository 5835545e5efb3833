package virtualesp

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/otadata"
	"github.com/berth-iot/berth/esp/partition"
)

// ErrBoot is wrapped by the reasons why a chip does not start.
var ErrBoot = errors.New("nothing to start")

// BootOptions is how a bootloader was built.
type BootOptions struct {
	// TableOffset is where the partition table lies; 0 is 0x8000.
	TableOffset uint32
	// Rollback is CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE.
	Rollback bool
	// NeedBootloader refuses a flash without a second-stage bootloader, as a real chip
	// does. Without it the chip has one of its own.
	NeedBootloader bool
}

// Boot is what a bootloader makes of a flash.
type Boot struct {
	// Err is why nothing starts; nil if App does.
	Err error
	// App is the partition that starts, Image what is in it, and Slot its number or
	// otadata.Factory.
	App   partition.Partition
	Image *appimage.Image
	Slot  int
	// Reason says in words why it is this one.
	Reason string
	// Tried are the applications that were refused before it.
	Tried []Refused
	// Table is the partition table.
	Table partition.Table
	// OTAData is what the bootloader writes into the OTA data partition, and Changed
	// which of its sectors.
	OTAData otadata.Data
	Changed [2]bool
}

// Refused is an application that does not start, and why.
type Refused struct {
	App partition.Partition
	Err error
}

// String says in one line what starts, or why nothing does.
func (b Boot) String() string {
	var s strings.Builder
	for _, r := range b.Tried {
		fmt.Fprintf(&s, "%s refused: %v; ", r.App.Name, r.Err)
	}
	if b.Err != nil {
		fmt.Fprintf(&s, "%v", b.Err)
		return s.String()
	}
	fmt.Fprintf(&s, "%s at %#x", b.App.Name, b.App.Offset)
	if d := b.Image.Description; d != nil {
		fmt.Fprintf(&s, ": %s %s", d.ProjectName, d.Version)
	}
	if b.Reason != "" {
		fmt.Fprintf(&s, " (%s)", b.Reason)
	}
	return s.String()
}

// PlanBoot finds the application that a chip of that kind starts from a flash, as ESP-IDF's
// bootloader does: it reads the partition table, lets OTA data choose a slot, and takes the
// first image that verifies. It writes nothing.
func PlanBoot(flash io.ReaderAt, c *chip.Chip, opt BootOptions) Boot {
	var b Boot
	fail := func(format string, args ...any) Boot {
		b.Err = fmt.Errorf("%w: "+format, append([]any{ErrBoot}, args...)...)
		return b
	}
	if opt.NeedBootloader {
		if _, err := readImage(flash, c, c.BootloaderOffset, 0x8000-c.BootloaderOffset); err != nil {
			return fail("no bootloader at %#x: %w", c.BootloaderOffset, err)
		}
	}
	if opt.TableOffset == 0 {
		opt.TableOffset = partition.DefaultOffset
	}
	raw := make([]byte, partition.MaxLength)
	if n, err := flash.ReadAt(raw, int64(opt.TableOffset)); n < len(raw) {
		return fail("read partition table: %w", err)
	}
	if blank(raw) {
		return fail("no partition table at %#x", opt.TableOffset)
	}
	table, _, err := partition.ParseBinary(raw, partition.Options{Offset: opt.TableOffset})
	if err != nil {
		return fail("%w", err)
	}
	b.Table = table
	apps := otadata.Apps{}
	slots := map[int]partition.Partition{}
	if factory := table.ByType(partition.App, partition.AppFactory); len(factory) > 0 {
		apps.Factory = true
		slots[otadata.Factory] = factory[0]
	}
	for ; apps.Slots < otadata.MaxSlots; apps.Slots++ {
		slot := table.ByType(partition.App, partition.AppOTA0+partition.Subtype(apps.Slots))
		if len(slot) == 0 {
			break
		}
		slots[apps.Slots] = slot[0]
	}
	if len(slots) == 0 {
		return fail("the partition table has no application")
	}
	data := otadata.Initial()
	if ota := table.ByType(partition.Data, partition.DataOTA); len(ota) > 0 && ota[0].Size >= otadata.Size {
		raw := make([]byte, otadata.Size)
		if n, err := flash.ReadAt(raw, int64(ota[0].Offset)); n < len(raw) {
			return fail("read OTA data: %w", err)
		}
		if data, err = otadata.Decode(raw); err != nil {
			return fail("%w", err)
		}
		apps.HasData = true
	}
	choice := otadata.Decide(data, apps, opt.Rollback)
	b.OTAData, b.Changed = choice.Data, choice.Changed
	for _, slot := range choice.Order() {
		app, ok := slots[slot]
		if !ok {
			continue
		}
		image, err := readImage(flash, c, app.Offset, app.Size)
		if err != nil {
			b.Tried = append(b.Tried, Refused{app, err})
			continue
		}
		b.App, b.Image, b.Slot, b.Reason = app, image, slot, choice.Reason
		if len(b.Tried) > 0 {
			b.Reason = "the first that verifies"
		}
		var changed [2]bool
		b.OTAData, changed = choice.Loaded(slot)
		b.Changed[0], b.Changed[1] = b.Changed[0] || changed[0], b.Changed[1] || changed[1]
		return b
	}
	return fail("no application verifies")
}

// StartFrom starts a flash: it does what PlanBoot plans, and writes what the bootloader writes.
func StartFrom(flash nvs.Flash, c *chip.Chip, opt BootOptions) Boot {
	b := PlanBoot(flash, c, opt)
	b.write(flash)
	return b
}

// readImage reads and verifies an image in a region of flash.
func readImage(flash io.ReaderAt, c *chip.Chip, offset, size uint32) (*appimage.Image, error) {
	if size > maxFlash {
		return nil, fmt.Errorf("partition of %#x bytes: %w", size, ErrRange)
	}
	raw := make([]byte, size)
	n, err := flash.ReadAt(raw, int64(offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	image, err := appimage.Decode(raw[:n])
	if err != nil {
		return nil, err
	}
	if err := image.Verify(); err != nil {
		return nil, err
	}
	if int(image.Chip) != c.ImageID {
		return nil, fmt.Errorf("image is for %s, the chip is %s", image.Chip, c.Name)
	}
	return image, nil
}

// write stores the OTA data that the bootloader changed.
func (b Boot) write(flash nvs.Flash) {
	ota := b.Table.ByType(partition.Data, partition.DataOTA)
	if len(ota) == 0 || b.Changed == [2]bool{} {
		return
	}
	raw := b.OTAData.Append(nil)
	for i, changed := range b.Changed {
		at := ota[0].Offset + uint32(i*otadata.SectorSize)
		if !changed {
			continue
		}
		// A worn sector, or one beyond the flash, is what the next start finds.
		if flash.Erase(at, SectorSize) == nil {
			_ = flash.Program(at, raw[i*otadata.SectorSize:(i+1)*otadata.SectorSize])
		}
	}
}
