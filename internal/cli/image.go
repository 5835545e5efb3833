package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// imageCommand is "berth image": flash contents made, listed, taken apart and
// converted, without a board and without a server.
func imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Make and read flash images: SPIFFS, NVS, partition tables, apps",
		Long: `Make and read what lies in the flash of an ESP32: file systems, key-value
partitions, partition tables, applications and secure certificate partitions.
Images are the same, byte for byte, as those of Espressif's own tools.`,
		Example: `  berth image spiffs create --size 0x10000 certs certs.bin
  berth image nvs create --size 0x6000 device.csv nvs.bin
  berth image partitions show build/partition_table/partition-table.bin
  berth image app info build/firmware.bin`,
	}
	return group(cmd, imageSPIFFSCommand(), imageNVSCommand(), imagePartitionsCommand(), imageAppCommand(), imageSecureCertCommand())
}

// imageSize is a flag for a number of bytes: decimal, hexadecimal, or with K
// or M after it.
type imageSize int64

func (s *imageSize) String() string { return fmt.Sprintf("0x%x", int64(*s)) }

func (s *imageSize) Type() string { return "size" }

func (s *imageSize) Set(v string) error {
	digits := strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(v)), "B")
	shift := 0
	// A hexadecimal number may end in B, and none ends in K or M.
	if strings.HasPrefix(digits, "0X") {
		digits = strings.ToUpper(strings.TrimSpace(v))
	} else if rest, ok := strings.CutSuffix(digits, "K"); ok {
		digits, shift = rest, 10
	} else if rest, ok := strings.CutSuffix(digits, "M"); ok {
		digits, shift = rest, 20
	}
	n, err := strconv.ParseInt(strings.ToLower(digits), 0, 64)
	if err != nil || n < 0 || n > 1<<32>>shift {
		return errors.New("it must be a number of bytes such as 0x10000, 65536, 64K or 4MB")
	}
	*s = imageSize(n << shift)
	return nil
}

// imageJSON tells whether the command is to print JSON. The flag belongs to
// the root command; without one, it is a table.
func imageJSON(cmd *cobra.Command) (bool, error) {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return false, nil
	}
	switch format {
	case "json":
		return true, nil
	case "table", "":
		return false, nil
	}
	return false, fmt.Errorf("output format %q is not known: it must be json or table", format)
}

// imagePrint prints v as JSON, or what table writes with tabs between columns.
func imagePrint(cmd *cobra.Command, v any, table func(w io.Writer)) error {
	asJSON, err := imageJSON(cmd)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// imageWritten is what every command that makes a file prints.
type imageWritten struct {
	File     string   `json:"file"`
	Bytes    int      `json:"bytes"`
	What     string   `json:"what"`
	Warnings []string `json:"warnings,omitempty"`
}

// imageWrite writes an image to a file, whole or not at all, and reports it;
// "-" is standard output, with no report. Images with secrets are for the
// owner alone.
func imageWrite(cmd *cobra.Command, name string, b []byte, secret bool, what string, warnings ...string) error {
	if _, err := imageJSON(cmd); err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), imageLine(w))
	}
	if name == "-" {
		_, err := cmd.OutOrStdout().Write(b)
		return err
	}
	mode := fs.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	if err := imageWriteFile(name, b, mode); err != nil {
		return err
	}
	return imagePrint(cmd, imageWritten{File: name, Bytes: len(b), What: what, Warnings: warnings}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d bytes, %s\n", name, len(b), what)
	})
}

func imageWriteFile(name string, b []byte, mode fs.FileMode) error {
	// A device or a pipe cannot be replaced, only written to.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		if err := os.WriteFile(name, b, mode); err != nil {
			return fmt.Errorf("write image: %w", err)
		}
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".berth-image-*")
	if err != nil {
		return fmt.Errorf("write image: %w: make the folder, or choose another place", imagePathError(err, name))
	}
	defer os.Remove(f.Name()) // after the rename there is nothing left to remove
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write image: %w", imagePathError(err, name))
	}
	return nil
}

// imagePathError names the file that the user asked for instead of the
// temporary one.
func imagePathError(err error, name string) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return &fs.PathError{Op: path.Op, Path: name, Err: path.Err}
	}
	return err
}

// imageRead reads an input file.
func imageRead(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	return b, nil
}

// imageDamaged is the error of a command that has printed all there is to
// print, and must still fail.
func imageDamaged(name string, problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	more := ""
	if n := len(problems) - 3; n > 0 {
		problems, more = problems[:3], fmt.Sprintf("; and %d more", n)
	}
	return fmt.Errorf("%s is damaged: %s%s: read the flash again, or write a new image", name, strings.Join(problems, "; "), more)
}

// imageLine puts a message on one line.
func imageLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// imageText makes bytes from an image safe to show on a terminal.
func imageText(s string) string {
	q := strconv.Quote(s)
	if q[1:len(q)-1] == s {
		return s
	}
	return q
}
