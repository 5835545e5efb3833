package cli

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/firmware"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/serial"
)

// flashSource is where the regions of flash write and flash verify come from: pairs of address and
// file, partitions by name, a build folder.
type flashSource struct {
	partitions  []string
	tableFile   string
	tableOffset imageSize
	firmware    string
	raw         bool
}

func (f *flashSource) register(cmd *cobra.Command) {
	f.tableOffset = partition.DefaultOffset
	flags := cmd.Flags()
	flags.StringArrayVar(&f.partitions, "partition", nil, "`NAME` of the partition for the next file; may be repeated")
	flags.StringVar(&f.tableFile, "partition-table", "", "partition table `FILE`, CSV or binary, instead of the one on the board")
	flags.Var(&f.tableOffset, "partition-table-offset", "where the table lies in flash")
	flags.StringVar(&f.firmware, "firmware", "", "ESP-IDF build `FOLDER` with flasher_args.json")
	flags.BoolVar(&f.raw, "raw", false, "the files are encrypted or signed for this board already")
}

// flashInput is a file and where it goes.
type flashInput struct {
	address   uint32
	partition string // instead of the address
	name      string
	data      []byte
}

// read reads the files; it needs no board.
func (f *flashSource) read(words []string) (inputs []flashInput, build firmware.Build, err error) {
	if f.firmware != "" {
		if build, err = firmware.Load(f.firmware); err != nil {
			return nil, build, err
		}
		for _, file := range build.Files {
			inputs = append(inputs, flashInput{address: file.Offset, name: file.Name, data: file.Data})
		}
	}
	if len(words) < len(f.partitions) {
		return nil, build, usagef("--partition wants a FILE each")
	}
	for i, name := range f.partitions {
		file := words[len(words)-len(f.partitions)+i]
		b, err := imageRead(file)
		if err != nil {
			return nil, build, err
		}
		inputs = append(inputs, flashInput{partition: name, name: name, data: b})
	}
	words = words[:len(words)-len(f.partitions)]
	if len(words)%2 != 0 {
		return nil, build, usagef("want pairs of ADDR and FILE")
	}
	for i := 0; i < len(words); i += 2 {
		address, err := flashAddress(words[i])
		if err != nil {
			return nil, build, err
		}
		b, err := imageRead(words[i+1])
		if err != nil {
			return nil, build, err
		}
		inputs = append(inputs, flashInput{address: address, name: filepath.Base(words[i+1]), data: b})
	}
	if len(inputs) == 0 {
		return nil, build, usagef("nothing to do: give ADDR and FILE, --partition NAME FILE or --firmware FOLDER")
	}
	return inputs, build, nil
}

func flashAddress(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, usagef("address %q is no 32-bit number, such as 0x10000", s)
	}
	return uint32(n), nil
}

// regions places the inputs on the board and refuses what does not fit.
func (f *flashSource) regions(ctx context.Context, b *flashBoard, inputs []flashInput) ([]serial.Region, error) {
	t, err := f.table(ctx, b, inputs)
	if err != nil {
		return nil, err
	}
	var list []serial.Region
	for _, in := range inputs {
		r := serial.Region{Name: in.name, Address: in.address, Data: in.data, Raw: f.raw}
		if in.partition != "" {
			p, ok := t.ByName(in.partition)
			if !ok {
				return nil, fmt.Errorf("write partition %q: the table has none of that name: it has %s", in.partition, partitionNames(t))
			}
			r.Address = p.Offset
		}
		if p, ok := partitionAt(t, r.Address); ok {
			if r.End() > p.End() {
				return nil, fmt.Errorf("write %v: %d bytes do not fit partition %q, which has %d: make the file smaller or the partition larger", r, len(r.Data), p.Name, p.Size)
			}
			// Firmware reads such a partition without decryption, on a chip with flash encryption too.
			r.Raw = r.Raw || p.Type == partition.Data && p.Flags&partition.Encrypted == 0 && p.Subtype != partition.DataOTA && p.Subtype != partition.DataNVSKeys
		}
		list = append(list, r)
	}
	return list, nil
}

func partitionAt(t partition.Table, address uint32) (partition.Partition, bool) {
	for _, p := range t {
		if address >= p.Offset && uint64(address) < p.End() {
			return p, true
		}
	}
	return partition.Partition{}, false
}

func partitionNames(t partition.Table) string {
	s := ""
	for i, p := range t {
		if i > 0 {
			s += ", "
		}
		s += imageText(p.Name)
	}
	return s
}

// table finds the partition table that holds once the inputs are written: one among them, the file
// named by the flag, or, if a partition is named, the one on the board. A table from a file must be
// the board's too, which costs one MD5.
func (f *flashSource) table(ctx context.Context, b *flashBoard, inputs []flashInput) (partition.Table, error) {
	opt := partition.Options{Offset: uint32(f.tableOffset)}
	at := uint32(f.tableOffset)
	written := slices.IndexFunc(inputs, func(in flashInput) bool {
		return in.partition == "" && in.address == at && partition.IsBinary(in.data)
	})
	var t partition.Table
	var err error
	switch {
	case written >= 0:
		t, _, err = partition.ParseBinary(inputs[written].data, opt)
	case f.tableFile != "":
		t, err = f.fileTable(ctx, b, opt)
	case len(f.partitions) > 0:
		t, err = b.table(ctx, at, opt)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := b.FlashSize(ctx)
	if err != nil {
		return nil, err
	}
	if t.FlashSize() > uint64(size) {
		return nil, fmt.Errorf("the partition table reaches to 0x%x, the flash of this board to 0x%x (%s): use a table for this flash, or a board with more", t.FlashSize(), size, flashSizeText(size))
	}
	return t, nil
}

func (f *flashSource) fileTable(ctx context.Context, b *flashBoard, opt partition.Options) (partition.Table, error) {
	raw, err := imageRead(f.tableFile)
	if err != nil {
		return nil, err
	}
	t, binary, _, err := partition.Parse(raw, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.tableFile, err)
	}
	if !binary {
		if raw, err = t.Binary(opt); err != nil {
			return nil, fmt.Errorf("%s: %w", f.tableFile, err)
		}
	}
	sum, err := b.MD5(ctx, opt.Offset, uint32(len(raw)))
	if err != nil {
		return nil, err
	}
	if sum != md5.Sum(raw) {
		return nil, fmt.Errorf("%s is not the partition table on the board: write the table first, or leave out --partition-table", f.tableFile)
	}
	return t, nil
}

// table reads the partition table on the board.
func (b *flashBoard) table(ctx context.Context, at uint32, opt partition.Options) (partition.Table, error) {
	raw, err := b.Read(ctx, at, partition.MaxLength, nil)
	if err != nil {
		return nil, err
	}
	t, _, err := partition.ParseBinary(raw, opt)
	if err == nil && len(t) == 0 {
		err = errors.New("it is blank")
	}
	if err != nil {
		return nil, fmt.Errorf("read the board's partition table at 0x%x: %w: write firmware first, or name its place with --partition-table-offset", at, err)
	}
	return t, nil
}
