package firmware

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// hello is the list of a small project, in the form that ESP-IDF 5 writes.
const hello = `{
  "write_flash_args": ["--flash_mode", "dio", "--flash_size", "2MB", "--flash_freq", "40m"],
  "flash_settings": {"flash_mode": "dio", "flash_size": "2MB", "flash_freq": "40m"},
  "flash_files": {
    "0x1000": "bootloader/bootloader.bin",
    "0x10000": "hello.bin",
    "0x8000": "partition_table/partition-table.bin",
    "0x310000": "certs.bin"
  },
  "bootloader": {"offset": "0x1000", "file": "bootloader/bootloader.bin", "encrypted": "false"},
  "app": {"offset": "0x10000", "file": "hello.bin", "encrypted": "true"},
  "partition-table": {"offset": "0x8000", "file": "partition_table/partition-table.bin", "encrypted": "false"},
  "extra_esptool_args": {"after": "hard_reset", "before": "default_reset", "stub": true, "chip": "esp32"}
}`

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write(ArgsFile, hello)
	write("bootloader/bootloader.bin", "B")
	write("partition_table/partition-table.bin", "P")
	write("hello.bin", "A")
	if _, err := Load(dir); !errors.Is(err, ErrBuild) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file is missing: %v", err)
	}
	write("certs.bin", "C")
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := Build{Chip: "esp32", FlashSize: 2 << 20, Files: []File{
		{Name: "bootloader", Offset: 0x1000, Path: "bootloader/bootloader.bin", Data: []byte("B")},
		{Name: "partition-table", Offset: 0x8000, Path: "partition_table/partition-table.bin", Data: []byte("P")},
		{Name: "app", Offset: 0x10000, Path: "hello.bin", Encrypted: true, Data: []byte("A")},
		{Name: "certs.bin", Offset: 0x310000, Path: "certs.bin", Data: []byte("C")},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		``, `[]`, `{}`, `{"flash_files":{}}`, `{"flash_files":{"x":"a.bin"}}`, `{"flash_files":{"0x100000000":"a.bin"}}`,
		`{"flash_files":{"0":"../a.bin"}}`, `{"flash_files":{"0":"/a.bin"}}`, `{"flash_files":{"0":"a.bin","0x0":"b.bin"}}`,
		`{"flash_files":{"0":"a.bin"},"flash_settings":{"flash_size":"4GB"}}`, `{"flash_files":{"0":7}}`,
	} {
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrBuild) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(hello))
	f.Add([]byte(`{"flash_files":{"0":"a"},"app":{"offset":"0","file":"a","encrypted":"true"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		build, err := Parse(b)
		if err != nil {
			return
		}
		for i, file := range build.Files {
			if !filepath.IsLocal(filepath.FromSlash(file.Path)) || i > 0 && file.Offset <= build.Files[i-1].Offset {
				t.Fatalf("%+v", build)
			}
		}
	})
}
