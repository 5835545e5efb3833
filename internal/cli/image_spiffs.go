package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-iot/berth/esp/spiffs"
)

func imageSPIFFSCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "spiffs",
		Short:   "SPIFFS file systems",
		Example: "  berth image spiffs create --size 0x10000 certs certs.bin\n  berth image spiffs list certs.bin",
		Args:    cobra.NoArgs,
	}
	return group(cmd, imageSPIFFSCreateCommand(), imageSPIFFSListCommand(), imageSPIFFSExtractCommand())
}

// imageSPIFFSFlags are the flags of the geometry, named as those of ESP-IDF's
// generator.
type imageSPIFFSFlags struct {
	page, block, name, meta imageSize
	noMagic, noMagicLen     bool
	aligned, bigEndian      bool
}

func (f *imageSPIFFSFlags) register(cmd *cobra.Command) {
	cfg := spiffs.DefaultConfig()
	f.page, f.block = imageSize(cfg.PageSize), imageSize(cfg.BlockSize)
	f.name, f.meta = imageSize(cfg.ObjectNameLen), imageSize(cfg.MetaLen)
	flags := cmd.Flags()
	flags.Var(&f.page, "page-size", "logical page in bytes (CONFIG_SPIFFS_PAGE_SIZE)")
	flags.Var(&f.block, "block-size", "logical block in bytes, the flash sector")
	flags.Var(&f.name, "obj-name-len", "room for a path with its NUL in bytes (CONFIG_SPIFFS_OBJ_NAME_LEN)")
	flags.Var(&f.meta, "meta-len", "metadata of a file in bytes (CONFIG_SPIFFS_META_LENGTH)")
	flags.BoolVar(&f.noMagic, "no-magic", false, "no magic in the blocks (CONFIG_SPIFFS_USE_MAGIC off)")
	flags.BoolVar(&f.noMagicLen, "no-magic-len", false, "no length in the magic (CONFIG_SPIFFS_USE_MAGIC_LENGTH off)")
	flags.BoolVar(&f.aligned, "aligned-obj-ix-tables", false, "object index tables aligned (SPIFFS_ALIGNED_OBJECT_INDEX_TABLES)")
	flags.BoolVar(&f.bigEndian, "big-endian", false, "for a big-endian target")
}

func (f *imageSPIFFSFlags) config() spiffs.Config {
	return spiffs.Config{
		PageSize: int(f.page), BlockSize: int(f.block), ObjectNameLen: int(f.name), MetaLen: int(f.meta),
		Magic: !f.noMagic, MagicLength: !f.noMagicLen, AlignedIndexTables: f.aligned, BigEndian: f.bigEndian,
	}
}

// read reads an image with the geometry given, or that found in it when none
// of the flags is.
func (f *imageSPIFFSFlags) read(cmd *cobra.Command, name string) (*spiffs.Image, error) {
	b, err := imageRead(name)
	if err != nil {
		return nil, err
	}
	cfg, given := f.config(), false
	cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) { given = given || flag.Changed })
	if !given {
		if cfg, err = spiffs.Detect(b); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	m, err := spiffs.Read(b, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

func imageSPIFFSCreateCommand() *cobra.Command {
	var flags imageSPIFFSFlags
	var size imageSize
	cmd := &cobra.Command{
		Use:   "create --size SIZE DIR OUT",
		Short: "Make an image of all files in a folder",
		Long: `Make a SPIFFS image of all files in a folder and its sub-folders. Names are
sorted, the files of a folder before its sub-folders. The size must be that of
the partition, and the other flags must be what the firmware was built with.`,
		Example: "  berth image spiffs create --size 0x10000 certs certs.bin",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			if err != nil {
				return fmt.Errorf("read folder: %w", err)
			}
			if !info.IsDir() {
				return fmt.Errorf("read folder: %s is a file: give the folder that holds the files", args[0])
			}
			fsys := os.DirFS(args[0])
			files, err := spiffs.FilesIn(fsys)
			if err != nil {
				return err
			}
			b, err := spiffs.Build(flags.config(), int(size), files)
			switch {
			case errors.Is(err, spiffs.ErrFull):
				return fmt.Errorf("%w: give a larger --size, and make the partition as large", err)
			case errors.Is(err, spiffs.ErrName):
				return fmt.Errorf("%w: rename the file, or give a larger --obj-name-len that the firmware shares", err)
			case err != nil:
				return err
			}
			return imageWrite(cmd, args[1], b, true, fmt.Sprintf("%d files", len(files)))
		},
	}
	cmd.Flags().Var(&size, "size", "size of the partition, such as 0x10000 or 64K")
	if err := cmd.MarkFlagRequired("size"); err != nil {
		panic(err) // the flag is defined one line above
	}
	flags.register(cmd)
	return cmd
}

// imageSPIFFSFile is one file in the output of list and extract.
type imageSPIFFSFile struct {
	Name string `json:"name"`
	Size int    `json:"size"`
	ID   uint16 `json:"id"`
}

// imageSPIFFSListing is the output of list.
type imageSPIFFSListing struct {
	PageSize     int               `json:"pageSize"`
	BlockSize    int               `json:"blockSize"`
	Blocks       int               `json:"blocks"`
	FreePages    int               `json:"freePages"`
	DeletedPages int               `json:"deletedPages"`
	StalePages   int               `json:"stalePages"`
	Files        []imageSPIFFSFile `json:"files"`
	Problems     []string          `json:"problems"`
}

func imageSPIFFSListCommand() *cobra.Command {
	var flags imageSPIFFSFlags
	cmd := &cobra.Command{
		Use:   "list IMG",
		Short: "List the files in an image, and check it",
		Long: `List the files in a SPIFFS image, fresh or read from a board, and check it. The
geometry is found from the image; give its flags if that fails.`,
		Example: "  berth image spiffs list certs.bin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := flags.read(cmd, args[0])
			if err != nil {
				return err
			}
			listing := imageSPIFFSListing{
				PageSize: m.Config.PageSize, BlockSize: m.Config.BlockSize, Blocks: m.Blocks,
				FreePages: m.FreePages, DeletedPages: m.DeletedPages, StalePages: m.StalePages,
				Files: []imageSPIFFSFile{}, Problems: append([]string{}, m.Problems...),
			}
			for _, o := range m.Objects {
				listing.Files = append(listing.Files, imageSPIFFSFile{o.Name, o.Size, o.ID})
			}
			if err := imagePrint(cmd, listing, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tSIZE\tID")
				for _, f := range listing.Files {
					fmt.Fprintf(w, "%s\t%d\t%d\n", imageText(f.Name), f.Size, f.ID)
				}
			}); err != nil {
				return err
			}
			return imageDamaged(args[0], m.Problems)
		},
	}
	flags.register(cmd)
	return cmd
}

func imageSPIFFSExtractCommand() *cobra.Command {
	var flags imageSPIFFSFlags
	cmd := &cobra.Command{
		Use:   "extract IMG DIR",
		Short: "Write the files in an image to a folder",
		Long: `Write the files in a SPIFFS image to a folder, which is made if it does not
exist. Files that are there already are replaced.`,
		Example: "  berth image spiffs extract certs.bin out",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := flags.read(cmd, args[0])
			if err != nil {
				return err
			}
			files, err := imageSPIFFSExtract(m, args[1])
			if err != nil {
				return err
			}
			if err := imagePrint(cmd, files, func(w io.Writer) {
				for _, f := range files {
					fmt.Fprintf(w, "%s\t%d bytes\n", imageText(f.Name), f.Size)
				}
			}); err != nil {
				return err
			}
			return imageDamaged(args[0], m.Problems)
		},
	}
	flags.register(cmd)
	return cmd
}

// imageSPIFFSExtract writes every readable file of m below dir and nowhere
// else, whatever the names in the image say.
func imageSPIFFSExtract(m *spiffs.Image, dir string) ([]imageSPIFFSFile, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("extract: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("extract: %w", err)
	}
	defer root.Close()
	files := []imageSPIFFSFile{}
	for _, o := range m.Objects {
		data, err := o.Data()
		if err != nil {
			continue // named in Problems
		}
		name := strings.TrimLeft(filepath.FromSlash(o.Name), string(filepath.Separator))
		if !filepath.IsLocal(name) {
			return files, fmt.Errorf("extract: %q would lie outside %s: rename it on the device, or read it another way", o.Name, dir)
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return files, fmt.Errorf("extract %q: %w", o.Name, err)
		}
		// The files of a device are, as often as not, its private key.
		if err := root.WriteFile(name, data, 0o600); err != nil {
			return files, fmt.Errorf("extract %q: %w", o.Name, err)
		}
		files = append(files, imageSPIFFSFile{o.Name, o.Size, o.ID})
	}
	return files, nil
}
