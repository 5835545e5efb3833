// Package firmware reads the build folder of an ESP-IDF project: which file belongs where in flash.
//
// ESP-IDF writes that into flasher_args.json ("Flash arguments" in the build system chapter of its
// programming guide).
package firmware

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ArgsFile is the name of the list in a build folder.
const ArgsFile = "flasher_args.json"

// ErrBuild is in the chain of every error of this package.
var ErrBuild = errors.New("ESP-IDF build")

// Build is what a build wants in flash.
type Build struct {
	// Chip is the target, such as "esp32c3"; empty if the build does not say.
	Chip string
	// FlashSize is what the build was configured for, in bytes; 0 if it follows the chip.
	FlashSize uint32
	// Files by ascending offset.
	Files []File
}

// File is one file of a build.
type File struct {
	Name      string // "bootloader", "partition-table", "app" and so on; the file's name if it has no other
	Offset    uint32 // in flash, in bytes
	Path      string // below the build folder, as the build spells it
	Encrypted bool   // it is to be encrypted on a chip with flash encryption
	Data      []byte // its content, from Load
}

// Parse reads a flasher_args.json. The order and unknown members do not matter.
func Parse(b []byte) (Build, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return Build{}, fmt.Errorf("%w: %s: %v", ErrBuild, ArgsFile, err)
	}
	var args struct {
		Files    map[string]string `json:"flash_files"`
		Settings struct {
			Size string `json:"flash_size"`
		} `json:"flash_settings"`
		Extra struct {
			Chip string `json:"chip"`
		} `json:"extra_esptool_args"`
	}
	if err := json.Unmarshal(b, &args); err != nil {
		return Build{}, fmt.Errorf("%w: %s: %v", ErrBuild, ArgsFile, err)
	}
	if len(args.Files) == 0 {
		return Build{}, fmt.Errorf("%w: %s lists no flash_files: build the project first", ErrBuild, ArgsFile)
	}
	build := Build{Chip: args.Extra.Chip}
	var err error
	if build.FlashSize, err = parseSize(args.Settings.Size); err != nil {
		return Build{}, err
	}
	for offset, path := range args.Files {
		at, err := parseOffset(offset)
		if err != nil {
			return Build{}, err
		}
		if !filepath.IsLocal(filepath.FromSlash(path)) {
			return Build{}, fmt.Errorf("%w: %s: file %q is not inside the build folder", ErrBuild, ArgsFile, path)
		}
		build.Files = append(build.Files, File{Name: filepath.Base(path), Offset: at, Path: path})
	}
	slices.SortFunc(build.Files, func(a, b File) int {
		if a.Offset != b.Offset {
			return int(int64(a.Offset) - int64(b.Offset))
		}
		return strings.Compare(a.Path, b.Path)
	})
	for i := 1; i < len(build.Files); i++ {
		if build.Files[i].Offset == build.Files[i-1].Offset {
			return Build{}, fmt.Errorf("%w: %s: two files at 0x%x", ErrBuild, ArgsFile, build.Files[i].Offset)
		}
	}
	build.name(members)
	return build, nil
}

// name takes the names of the members that describe one file each.
func (b *Build) name(members map[string]json.RawMessage) {
	for name, raw := range members {
		var entry struct {
			Offset    string `json:"offset"`
			File      string `json:"file"`
			Encrypted string `json:"encrypted"`
		}
		if json.Unmarshal(raw, &entry) != nil || entry.File == "" {
			continue // settings, not a file
		}
		at, err := parseOffset(entry.Offset)
		if err != nil {
			continue
		}
		for i := range b.Files {
			if b.Files[i].Offset == at && b.Files[i].Path == entry.File {
				b.Files[i].Name, b.Files[i].Encrypted = name, entry.Encrypted == "true"
			}
		}
	}
}

func parseOffset(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: offset %q is no 32-bit number", ErrBuild, ArgsFile, s)
	}
	return uint32(n), nil
}

// parseSize reads a size such as 4MB; "detect", "keep" and nothing leave it open.
func parseSize(s string) (uint32, error) {
	if s == "" || s == "detect" || s == "keep" {
		return 0, nil
	}
	digits, shift := s, 0
	if rest, ok := strings.CutSuffix(s, "MB"); ok {
		digits, shift = rest, 20
	} else if rest, ok := strings.CutSuffix(s, "KB"); ok {
		digits, shift = rest, 10
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || n > 1<<31>>shift {
		return 0, fmt.Errorf("%w: %s: flash size %q is not known", ErrBuild, ArgsFile, s)
	}
	return uint32(n << shift), nil
}

// Load reads the list of a build folder and every file in it.
func Load(folder string) (Build, error) {
	b, err := os.ReadFile(filepath.Join(folder, ArgsFile))
	if err != nil {
		return Build{}, fmt.Errorf("%w: %w: name the folder that idf.py build writes to", ErrBuild, err)
	}
	build, err := Parse(b)
	if err != nil {
		return Build{}, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return Build{}, fmt.Errorf("%w: %w", ErrBuild, err)
	}
	defer root.Close()
	for i := range build.Files {
		f := &build.Files[i]
		if f.Data, err = root.ReadFile(filepath.FromSlash(f.Path)); err != nil {
			return Build{}, fmt.Errorf("%w: %w: build the project again", ErrBuild, err)
		}
	}
	return build, nil
}
