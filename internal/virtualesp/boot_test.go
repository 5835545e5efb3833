package virtualesp

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/otadata"
	"github.com/berth-iot/berth/esp/partition"
)

const bootTable = `nvs,      data, nvs,     0x9000,   0x4000
otadata,  data, ota,     0xd000,   0x2000
factory,  app,  factory, 0x10000,  0x10000
ota_0,    app,  ota_0,   0x20000,  0x10000
ota_1,    app,  ota_1,   0x30000,  0x10000
`

func program(t *testing.T, f *Flash, offset uint32, p []byte) {
	t.Helper()
	n := uint32((len(p) + SectorSize - 1) &^ (SectorSize - 1))
	if err := errors.Join(f.Erase(offset, n), f.Program(offset, p)); err != nil {
		t.Fatal(err)
	}
}

func programTable(t *testing.T, f *Flash, csv string) {
	t.Helper()
	table, err := partition.ParseCSV([]byte(csv), partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := table.Binary(partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	program(t, f, partition.DefaultOffset, raw)
}

// programApp writes a small image for a chip.
func programApp(t *testing.T, f *Flash, offset uint32, c appimage.Chip) {
	t.Helper()
	image, err := appimage.Build(appimage.Header{FlashSize: 4 << 20, Entry: 0x40380000, Chip: c, MaxRev: 0xFFFF, HashAppended: true},
		[]appimage.Segment{{Address: 0x40380000, Data: make([]byte, 64)}})
	if err != nil {
		t.Fatal(err)
	}
	program(t, f, offset, image)
}

func TestPlanBoot(t *testing.T) {
	t.Parallel()
	const c3 = appimage.ESP32C3
	otaTo := func(slot int) func(t *testing.T, f *Flash) {
		return func(t *testing.T, f *Flash) {
			data, _, err := otadata.Initial().Set(slot, 2, false)
			if err != nil {
				t.Fatal(err)
			}
			program(t, f, 0xD000, data.Append(nil))
		}
	}
	table := func(t *testing.T, f *Flash) { programTable(t, f, bootTable) }
	app := func(offset uint32, c appimage.Chip) func(t *testing.T, f *Flash) {
		return func(t *testing.T, f *Flash) { programApp(t, f, offset, c) }
	}
	all := []func(*testing.T, *Flash){table, app(0x10000, c3), app(0x20000, c3), app(0x30000, c3)}
	for name, c := range map[string]struct {
		flash []func(t *testing.T, f *Flash)
		opt   BootOptions
		app   string // or
		err   string
		tried int
	}{
		"erased":           {nil, BootOptions{}, "", "no partition table at 0x8000", 0},
		"table of nothing": {[]func(*testing.T, *Flash){func(t *testing.T, f *Flash) { program(t, f, 0x8000, []byte("rubbish")) }}, BootOptions{}, "", "magic", 0},
		"table elsewhere":  {all, BootOptions{TableOffset: 0x9000}, "", "no partition table at 0x9000", 0},
		"no application":   {[]func(*testing.T, *Flash){table}, BootOptions{}, "", "no application verifies", 3},
		"no app partition": {[]func(*testing.T, *Flash){func(t *testing.T, f *Flash) { programTable(t, f, "nvs, data, nvs, 0x9000, 0x4000\n") }}, BootOptions{}, "", "has no application", 0},
		"factory":          {all, BootOptions{}, "factory", "", 0},
		"chosen slot":      {append(all, otaTo(1)), BootOptions{}, "ota_1", "", 0},
		"chosen is broken": {append(all, otaTo(1), func(t *testing.T, f *Flash) { program(t, f, 0x30000, []byte{0xE9, 1}) }), BootOptions{}, "ota_0", "", 1},
		"for another chip": {[]func(*testing.T, *Flash){table, app(0x10000, appimage.ESP32), app(0x20000, c3)}, BootOptions{}, "ota_0", "", 1},
		"no bootloader":    {all, BootOptions{NeedBootloader: true}, "", "no bootloader at 0x0", 0},
		"bootloader":       {append(all, app(0, c3)), BootOptions{NeedBootloader: true}, "factory", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := flashOf(t, 1<<20)
			for _, step := range c.flash {
				step(t, f)
			}
			_, before := f.Usage()
			b := PlanBoot(f, chip.ESP32C3, c.opt)
			if _, after := f.Usage(); after != before {
				t.Error("planning wrote to the flash")
			}
			switch {
			case c.err != "":
				if !errors.Is(b.Err, ErrBoot) || !strings.Contains(b.Err.Error(), c.err) {
					t.Errorf("%v, want %q", b.Err, c.err)
				}
			case b.Err != nil || b.App.Name != c.app:
				t.Errorf("%s, want %s", b, c.app)
			}
			if len(b.Tried) != c.tried {
				t.Errorf("tried %+v", b.Tried)
			}
			if b.String() == "" {
				t.Error("says nothing")
			}
		})
	}
}

// TestRollback starts a new application twice that never confirms itself.
func TestRollback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := flashOf(t, 1<<20)
		programTable(t, f, bootTable)
		for _, at := range []uint32{0x10000, 0x20000, 0x30000} {
			programApp(t, f, at, appimage.ESP32C3)
		}
		data, _, err := otadata.Initial().Set(1, 2, true)
		if err != nil {
			t.Fatal(err)
		}
		program(t, f, 0xD000, data.Append(nil))
		var apps []string
		c := newChip(t, Config{Flash: f, BootOptions: BootOptions{Rollback: true}, Boot: func(b Boot) { apps = append(apps, b.App.Name) }})
		c.Port()
		synctest.Wait()
		c.Reset(false)
		synctest.Wait()
		if got := strings.Join(apps, " "); got != "ota_1 factory" {
			t.Errorf("started %s", got)
		}
	})
}

func FuzzPlanBoot(f *testing.F) {
	table, err := partition.ParseCSV([]byte(bootTable), partition.Options{})
	if err != nil {
		f.Fatal(err)
	}
	raw, err := table.Binary(partition.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, otadata.Initial().Append(nil), []byte{0xE9, 1, 2, 3})
	f.Fuzz(func(t *testing.T, table, ota, app []byte) {
		flash := flashOf(t, 1<<20)
		for at, p := range map[uint32][]byte{0x8000: table, 0xD000: ota, 0x10000: app} {
			_ = flash.Program(at, p)
		}
		b := PlanBoot(flash, chip.ESP32C3, BootOptions{Rollback: true})
		b.write(flash)
		_ = b.String()
	})
}
