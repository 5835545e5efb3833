package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/partition"
)

func imagePartitionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "partitions",
		Short:   "Partition tables, CSV and binary",
		Example: "  berth image partitions convert partitions.csv partitions.bin\n  berth image partitions show partitions.bin",
		Args:    cobra.NoArgs,
	}
	return group(cmd, imagePartitionsConvertCommand(), imagePartitionsShowCommand())
}

// imagePartitionsFlags are the flags of what a table is checked against, named
// as those of ESP-IDF's generator.
type imagePartitionsFlags struct {
	flashSize, offset, primary, recovery imageSize
	noMD5, noVerify                      bool
	secure                               string
	extra                                []string
}

func (f *imagePartitionsFlags) register(cmd *cobra.Command) {
	f.offset = partition.DefaultOffset
	flags := cmd.Flags()
	flags.Var(&f.flashSize, "flash-size", "size of the chip's flash, such as 4MB, that the partitions must fit")
	flags.Var(&f.offset, "offset", "where the table itself lies in flash")
	flags.BoolVar(&f.noMD5, "no-md5", false, "no MD5 row at the end of the table")
	flags.BoolVar(&f.noVerify, "no-verify", false, "do not check the table")
	flags.StringVar(&f.secure, "secure", "", "check that app partitions suit secure boot: v1 or v2")
	flags.Var(&f.primary, "primary-bootloader-offset", "where the bootloader lies, for tables that name it")
	flags.Var(&f.recovery, "recovery-bootloader-offset", "where the recovery bootloader lies, for tables that name it")
	flags.StringArrayVar(&f.extra, "extra-partition-subtypes", nil, `a subtype of the project, such as "data, my_config, 0x41"`)
}

func (f *imagePartitionsFlags) options(cmd *cobra.Command) (partition.Options, error) {
	opt := partition.Options{
		Offset: uint32(f.offset), NoMD5: f.noMD5, FlashSize: uint64(f.flashSize),
		Secure: partition.Secure(f.secure), LookupEnv: os.LookupEnv,
	}
	switch {
	case opt.Secure != partition.SecureNone && opt.Secure != partition.SecureV1 && opt.Secure != partition.SecureV2:
		return opt, fmt.Errorf("secure boot scheme %q is not known: it must be v1 or v2", f.secure)
	case f.offset == 0 || int64(f.offset)+partition.Sector > 1<<32:
		return opt, fmt.Errorf("partition table offset 0x%x is not possible: the usual one is 0x8000", int64(f.offset))
	}
	for flag, to := range map[string]struct {
		from imageSize
		to   **uint32
	}{
		"primary-bootloader-offset":  {f.primary, &opt.PrimaryBootloaderOffset},
		"recovery-bootloader-offset": {f.recovery, &opt.RecoveryBootloaderOffset},
	} {
		if cmd.Flags().Changed(flag) {
			offset := uint32(to.from)
			*to.to = &offset
		}
	}
	for _, s := range f.extra {
		extra, err := partition.ParseExtraSubtype(s)
		if err != nil {
			return opt, err
		}
		opt.ExtraSubtypes = append(opt.ExtraSubtypes, extra)
	}
	return opt, nil
}

// read parses a table, and verifies it unless that is turned off. A table that
// can be read and does not verify is returned with the error.
func (f *imagePartitionsFlags) read(cmd *cobra.Command, name string) (t partition.Table, binary bool, opt partition.Options, warnings []string, err error) {
	if opt, err = f.options(cmd); err != nil {
		return nil, false, opt, nil, err
	}
	b, err := imageRead(name)
	if err != nil {
		return nil, false, opt, nil, err
	}
	if binary = partition.IsBinary(b); binary {
		t, warnings, err = partition.ParseBinary(b, opt)
	} else {
		t, err = partition.ParseCSV(b, opt)
	}
	if err != nil {
		return nil, binary, opt, warnings, fmt.Errorf("%s: %w", name, err)
	}
	if !f.noVerify {
		more, err := t.Verify(opt)
		warnings = append(warnings, more...)
		if err != nil {
			return t, binary, opt, warnings, fmt.Errorf("%s: %w", name, err)
		}
	}
	return t, binary, opt, warnings, nil
}

func imagePartitionsConvertCommand() *cobra.Command {
	var flags imagePartitionsFlags
	cmd := &cobra.Command{
		Use:   "convert IN OUT",
		Short: "Convert a table from CSV to binary or back",
		Long: `Convert a partition table from CSV to binary or back; which of the two IN is
shows in its content. The table is checked as ESP-IDF checks it. OUT may be -.`,
		Example: "  berth image partitions convert --flash-size 4MB partitions.csv partitions.bin\n" +
			"  berth image partitions convert partitions.bin -",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, binary, opt, warnings, err := flags.read(cmd, args[0])
			if err != nil {
				for _, w := range warnings {
					fmt.Fprintln(cmd.ErrOrStderr(), imageLine(w))
				}
				return err
			}
			if binary {
				return imageWrite(cmd, args[1], t.CSV(opt), false, fmt.Sprintf("%d partitions as CSV", len(t)), warnings...)
			}
			b, err := t.Binary(opt)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return imageWrite(cmd, args[1], b, false, fmt.Sprintf("%d partitions as binary", len(t)), warnings...)
		},
	}
	flags.register(cmd)
	return cmd
}

// imagePartition is one partition in the output of show.
type imagePartition struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Subtype string `json:"subtype"`
	Offset  uint32 `json:"offset"`
	Size    uint32 `json:"size"`
	Flags   string `json:"flags"`
}

func imagePartitionsShowCommand() *cobra.Command {
	var flags imagePartitionsFlags
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Print a table, CSV or binary, and check it",
		Long: `Print a partition table, CSV or binary, with every offset and size filled in,
and check it as ESP-IDF checks it.`,
		Example: "  berth image partitions show build/partition_table/partition-table.bin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, _, opt, warnings, err := flags.read(cmd, args[0])
			for _, w := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), imageLine(w))
			}
			if err != nil && t == nil {
				return err
			}
			list := []imagePartition{}
			for _, p := range t {
				list = append(list, imagePartition{p.Name, p.Type.String(), p.SubtypeName(opt), p.Offset, p.Size, p.Flags.String()})
			}
			if printErr := imagePrint(cmd, list, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tTYPE\tSUBTYPE\tOFFSET\tSIZE\tEND\tFLAGS")
				for i, p := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t0x%x\t0x%x\t0x%x\t%s\n", imageText(p.Name), p.Type, p.Subtype, p.Offset, p.Size, t[i].End(), p.Flags)
				}
			}); printErr != nil {
				return printErr
			}
			return err
		},
	}
	flags.register(cmd)
	return cmd
}
