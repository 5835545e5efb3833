package cli

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/nvs"
)

func imageNVSCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "nvs",
		Short:   "NVS key-value partitions and their keys",
		Example: "  berth image nvs create --size 0x6000 device.csv nvs.bin\n  berth image nvs dump nvs.bin",
		Args:    cobra.NoArgs,
	}
	return group(cmd, imageNVSCreateCommand(), imageNVSDumpCommand(), imageNVSKeysCommand())
}

// imageNVSKeys reads a key file; no name means no keys.
func imageNVSKeys(name string) (*nvs.Keys, error) {
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	keys, err := nvs.ParseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("read keys: %s: %w: make one with berth image nvs keys", name, err)
	}
	return &keys, nil
}

func imageNVSCreateCommand() *cobra.Command {
	var size imageSize
	var keyFile string
	var version int
	cmd := &cobra.Command{
		Use:   "create --size SIZE CSV... OUT",
		Short: "Make an image from CSV files",
		Long: `Make an NVS image from CSV files in the grammar of ESP-IDF's NVS partition
generator: key, type (namespace, data, file), encoding (u8 to u64, i8 to i64,
string, hex2bin, base64, binary), value. Files named in a CSV are looked for in
the current folder, then in that of the CSV. With --keys the image is encrypted.`,
		Example: "  berth image nvs create --size 0x6000 device.csv nvs.bin\n" +
			"  berth image nvs create --size 0x6000 --keys keys.bin device.csv nvs.bin",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			inputs, out := args[:len(args)-1], args[len(args)-1]
			keys, err := imageNVSKeys(keyFile)
			if err != nil {
				return err
			}
			w, err := nvs.NewWriter(int(size), nvs.Options{Version: nvs.Version(version), Keys: keys})
			if err != nil {
				return err
			}
			for _, input := range inputs {
				if err := imageNVSAddCSV(w, input); err != nil {
					return err
				}
			}
			warnings := w.Warnings()
			if w.ReadOnly() {
				warnings = append(warnings, "Minimum partition size for read/write NVS is 0x3000 bytes. Partitions smaller than this must be flagged as \"readonly\" in the partition table CSV.")
			}
			what := "NVS"
			if keys != nil {
				what = "encrypted NVS"
			}
			return imageWrite(cmd, out, w.Image(), true, what, warnings...)
		},
	}
	cmd.Flags().Var(&size, "size", "size of the partition, such as 0x6000 or 24K")
	if err := cmd.MarkFlagRequired("size"); err != nil {
		panic(err) // the flag is defined one line above
	}
	cmd.Flags().StringVar(&keyFile, "keys", "", "key file to encrypt with, as from berth image nvs keys")
	cmd.Flags().IntVar(&version, "version", 2, "version of the pages, as the generator counts them: 2, or 1 for ESP-IDF before 3.2")
	return cmd
}

func imageNVSAddCSV(w *nvs.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read CSV: %w", err)
	}
	defer f.Close()
	err = w.AddCSV(f, func(file string) ([]byte, error) {
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(file) {
			if b, err := os.ReadFile(filepath.Join(filepath.Dir(name), file)); err == nil {
				return b, nil
			}
		}
		return b, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// imageNVSEntry is one entry in the output of dump.
type imageNVSEntry struct {
	Namespace string `json:"namespace"`
	Key       string `json:"key"`
	Type      string `json:"type"`
	// Value is a number, a string, or a blob in base64.
	Value any `json:"value"`
}

// imageNVSPage is one page in the output of dump.
type imageNVSPage struct {
	Offset  int              `json:"offset"`
	State   string           `json:"state"`
	Seq     uint32           `json:"sequence"`
	Version int              `json:"version,omitempty"`
	Written int              `json:"written"`
	Erased  int              `json:"erased"`
	Empty   int              `json:"empty"`
	Records []imageNVSRecord `json:"records,omitempty"`
}

// imageNVSRecord is one entry as it lies in its page, in the output of dump
// --all.
type imageNVSRecord struct {
	Index     int    `json:"index"`
	State     string `json:"state"`
	Stale     bool   `json:"stale,omitempty"`
	Namespace uint8  `json:"namespace"`
	Key       string `json:"key"`
	Type      string `json:"type"`
	Span      int    `json:"span"`
	Chunk     uint8  `json:"chunk"`
	Error     string `json:"error,omitempty"`
}

// imageNVSDump is the output of dump.
type imageNVSDump struct {
	Entries  []imageNVSEntry `json:"entries"`
	Pages    []imageNVSPage  `json:"pages"`
	Problems []string        `json:"problems"`
}

func imageNVSDumpOf(m *nvs.Image, all bool) imageNVSDump {
	dump := imageNVSDump{Entries: []imageNVSEntry{}, Pages: []imageNVSPage{}, Problems: append([]string{}, m.Problems...)}
	for _, e := range m.Entries {
		kind := e.Type().String()
		if _, ok := e.Value.([]byte); ok {
			kind = "blob"
		}
		dump.Entries = append(dump.Entries, imageNVSEntry{e.Namespace, e.Key, kind, e.Value})
	}
	for _, p := range m.Pages {
		page := imageNVSPage{
			Offset: p.Offset, State: p.State.String(), Seq: p.Seq, Version: int(p.Version),
			Written: p.Written, Erased: p.Erased, Empty: p.Empty,
		}
		for _, r := range p.Records {
			if !all {
				break
			}
			record := imageNVSRecord{
				Index: r.Index, State: r.State.String(), Stale: r.Stale, Namespace: r.Namespace,
				Key: r.Key, Type: r.Type.String(), Span: r.Span, Chunk: r.Chunk,
			}
			if r.Err != nil {
				record.Error = r.Err.Error()
			}
			page.Records = append(page.Records, record)
		}
		dump.Pages = append(dump.Pages, page)
	}
	return dump
}

func imageNVSDumpCommand() *cobra.Command {
	var keyFile string
	var all bool
	cmd := &cobra.Command{
		Use:   "dump [--keys KEYS] IMG",
		Short: "Print the entries of an image, and check it",
		Long: `Print the entries of an NVS image, fresh or read from a board, and check it.
Blobs are shown by their length and first bytes; JSON has them whole, in base64.`,
		Example: "  berth image nvs dump nvs.bin\n  berth image nvs dump --keys keys.bin -o json nvs.bin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := imageNVSKeys(keyFile)
			if err != nil {
				return err
			}
			b, err := imageRead(args[0])
			if err != nil {
				return err
			}
			m, err := nvs.Read(b, keys)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			dump := imageNVSDumpOf(m, all)
			if err := imagePrint(cmd, dump, dump.table); err != nil {
				return err
			}
			return imageDamaged(args[0], m.Problems)
		},
	}
	cmd.Flags().StringVar(&keyFile, "keys", "", "key file of an encrypted image")
	cmd.Flags().BoolVar(&all, "all", false, "also print every entry of every page, erased and stale ones included")
	return cmd
}

func (d imageNVSDump) table(w io.Writer) {
	fmt.Fprintln(w, "NAMESPACE\tKEY\tTYPE\tVALUE")
	for _, e := range d.Entries {
		value := fmt.Sprint(e.Value)
		switch v := e.Value.(type) {
		case string:
			value = imageText(v)
		case []byte:
			value = fmt.Sprintf("%d bytes", len(v))
			if len(v) > 0 {
				value += " " + hex.EncodeToString(v[:min(16, len(v))])
			}
			if len(v) > 16 {
				value += "…"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", imageText(e.Namespace), imageText(e.Key), e.Type, value)
	}
	for _, p := range d.Pages {
		for i, r := range p.Records {
			if i == 0 {
				fmt.Fprintf(w, "\nPAGE 0x%x\t%s\tsequence %d\t%d written, %d erased, %d empty\n", p.Offset, p.State, p.Seq, p.Written, p.Erased, p.Empty)
			}
			state := r.State
			if r.Stale {
				state = "stale"
			}
			if r.Error != "" {
				state = r.Error
			}
			fmt.Fprintf(w, "%d\t%d/%s\t%s\tspan %d, chunk %d, %s\n", r.Index, r.Namespace, imageText(r.Key), r.Type, r.Span, r.Chunk, state)
		}
	}
}

func imageNVSKeysCommand() *cobra.Command {
	var hmacFile, newHMACFile string
	var force bool
	cmd := &cobra.Command{
		Use:   "keys OUT",
		Short: "Make the keys of an encrypted partition",
		Long: `Make the key file of an encrypted NVS partition: random keys, or those that a
device derives from an HMAC key in its eFuses. The file is what goes into the
nvs_keys partition, where flash encryption must protect it; with an HMAC key it
stays at the factory and the HMAC key goes into the eFuses.`,
		Example: "  berth image nvs keys keys.bin\n" +
			"  berth image nvs keys --hmac-key hmac.bin keys.bin\n" +
			"  berth image nvs keys --new-hmac-key hmac.bin keys.bin",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{args[0], newHMACFile} {
				if err := imageNVSKeepKeys(name, force); err != nil {
					return err
				}
			}
			var hmacKey []byte
			switch {
			case hmacFile != "":
				var err error
				if hmacKey, err = os.ReadFile(hmacFile); err != nil {
					return fmt.Errorf("read HMAC key: %w", err)
				}
			case newHMACFile != "":
				hmacKey = make([]byte, 32)
				if _, err := rand.Read(hmacKey); err != nil {
					return fmt.Errorf("make HMAC key: %w", err)
				}
				if err := imageWriteFile(newHMACFile, hmacKey, 0o600); err != nil {
					return err
				}
			}
			if hmacKey == nil {
				keys, err := nvs.GenerateKeys()
				if err != nil {
					return err
				}
				return imageWrite(cmd, args[0], keys.AppendPartition(nil), true, "random NVS keys")
			}
			keys, err := nvs.DeriveKeys(hmacKey)
			if err != nil {
				return err
			}
			return imageWrite(cmd, args[0], keys.AppendPartition(nil), true, "NVS keys derived from an HMAC key")
		},
	}
	cmd.Flags().StringVar(&hmacFile, "hmac-key", "", "derive the keys from the 32-byte HMAC key in this file")
	cmd.Flags().StringVar(&newHMACFile, "new-hmac-key", "", "make an HMAC key, keep it in this file, and derive the keys from it")
	cmd.Flags().BoolVar(&force, "force", false, "replace a key file that exists")
	cmd.MarkFlagsMutuallyExclusive("hmac-key", "new-hmac-key")
	return cmd
}

// imageNVSKeepKeys refuses to overwrite keys: partitions encrypted with them
// would be lost.
func imageNVSKeepKeys(name string, force bool) error {
	if name == "" || force {
		return nil
	}
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		return fmt.Errorf("make keys: %s exists, and what it encrypts could not be read again without it: choose another name, or give --force", name)
	}
	return nil
}
