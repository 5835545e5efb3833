package cli

import (
	"context"
	"crypto/md5"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/partition"
)

// flashRange is what flash read and flash erase work on.
type flashRange struct {
	partition   string
	tableOffset imageSize
	all         bool
}

func (f *flashRange) register(cmd *cobra.Command) {
	f.tableOffset = partition.DefaultOffset
	flags := cmd.Flags()
	flags.StringVar(&f.partition, "partition", "", "`NAME` of a partition instead of address and size")
	flags.Var(&f.tableOffset, "partition-table-offset", "where the table lies in flash")
	flags.BoolVar(&f.all, "all", false, "the whole flash instead of address and size")
}

// words tells how many arguments name the range.
func (f *flashRange) words() (int, error) {
	switch {
	case f.all && f.partition != "":
		return 0, usagef("--all and --partition exclude each other")
	case f.all || f.partition != "":
		return 0, nil
	}
	return 2, nil
}

// parse reads address and size from the arguments, if they are there.
func (f *flashRange) parse(words []string) (address, size uint32, err error) {
	if len(words) == 0 {
		return 0, 0, nil
	}
	if address, err = flashAddress(words[0]); err != nil {
		return 0, 0, err
	}
	var n imageSize
	if err := n.Set(words[1]); err != nil || n == 0 || int64(n) > 1<<32-1 {
		return 0, 0, usagef("size %q: it must be a number of bytes such as 0x10000 or 64K", words[1])
	}
	return address, uint32(n), nil
}

// find resolves a partition or the whole flash on the board.
func (f *flashRange) find(ctx context.Context, b *flashBoard, address, size uint32) (name string, _, _ uint32, err error) {
	switch {
	case f.partition != "":
		t, err := b.table(ctx, uint32(f.tableOffset), partition.Options{Offset: uint32(f.tableOffset)})
		if err != nil {
			return "", 0, 0, err
		}
		p, ok := t.ByName(f.partition)
		if !ok {
			return "", 0, 0, fmt.Errorf("partition %q: the board's table has none of that name: it has %s", f.partition, partitionNames(t))
		}
		return p.Name, p.Offset, p.Size, nil
	case f.all:
		size, err := b.FlashSize(ctx)
		return "flash", 0, size, err
	}
	return "", address, size, nil
}

func flashReadCommand() *cobra.Command {
	var (
		flags flashFlags
		what  flashRange
	)
	cmd := &cobra.Command{
		Use:   "read [ADDR SIZE] FILE",
		Short: "Read flash of a board into a file",
		Long: `Read flash of a board into a file, checked by MD5. The file is for its owner
alone, because flash may hold keys.`,
		Example: `  berth flash read 0x310000 0x10000 certs.bin
  berth flash read --partition nvs nvs.bin
  berth flash read --all backup.bin`,
		RunE: func(cmd *cobra.Command, words []string) error {
			n, err := what.words()
			if err != nil {
				return err
			}
			if len(words) != n+1 {
				return usagef("want %d arguments, have %d", n+1, len(words))
			}
			address, size, err := what.parse(words[:n])
			if err != nil {
				return err
			}
			flags.large = size == 0 || size >= largeRead // a partition or the whole flash is large
			return flags.with(cmd.Context(), func(b *flashBoard) error {
				name, address, size, err := what.find(cmd.Context(), b, address, size)
				if err != nil {
					return err
				}
				bars := newFlashProgress(cmd.ErrOrStderr())
				data, err := b.Read(cmd.Context(), address, size, bars.read)
				bars.stop()
				if err != nil {
					return err
				}
				if err := imageWriteFile(words[n], data, 0o600); err != nil {
					return err
				}
				return b.emit(cmd, []flashRegion{{Name: name, Address: address, Size: len(data), State: flashRead, MD5: fmt.Sprintf("%x", md5.Sum(data))}})
			})
		},
	}
	flags.register(cmd)
	what.register(cmd)
	return cmd
}

func flashEraseCommand() *cobra.Command {
	var (
		flags flashFlags
		what  flashRange
	)
	cmd := &cobra.Command{
		Use:   "erase [ADDR SIZE]",
		Short: "Erase flash of a board",
		Example: `  berth flash erase 0x310000 0x10000
  berth flash erase --partition nvs
  berth flash erase --all`,
		RunE: func(cmd *cobra.Command, words []string) error {
			n, err := what.words()
			if err != nil {
				return err
			}
			if len(words) != n {
				return usagef("want %d arguments, have %d: ADDR and SIZE, --partition NAME or --all", n, len(words))
			}
			address, size, err := what.parse(words)
			if err != nil {
				return err
			}
			return flags.with(cmd.Context(), func(b *flashBoard) error {
				name, address, size, err := what.find(cmd.Context(), b, address, size)
				if err != nil {
					return err
				}
				if err := b.Erase(cmd.Context(), address, size); err != nil {
					return err
				}
				return b.emit(cmd, []flashRegion{{Name: name, Address: address, Size: int(size), State: flashErased}})
			})
		},
	}
	flags.register(cmd)
	what.register(cmd)
	return cmd
}
