package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/spiffs"
)

// runImage runs "image args" below a root like berth's.
func runImage(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	root := &cobra.Command{Use: "berth", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().StringP("output", "o", "table", "json or table")
	root.AddCommand(imageCommand())
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append([]string{"image"}, args...))
	err = root.Execute()
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("error of more than one line: %v", err)
	}
	return out.String(), errs.String(), err
}

func mustRunImage(t *testing.T, args ...string) string {
	t.Helper()
	out, _, err := runImage(t, args...)
	if err != nil {
		t.Fatalf("image %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func putFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestImageHelp(t *testing.T) {
	t.Parallel()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Example == "" || cmd.Short == "" || cmd.Args == nil {
			t.Errorf("%s: no example, summary or rule for arguments", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(imageCommand())
}

func TestImageSPIFFS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		vector string
		flags  []string
	}{
		{"d01-creds-default", []string{"--size", "0x10000", "--page-size", "256", "--block-size", "4096", "--obj-name-len", "32", "--meta-len", "4"}},
		{"d02-defaults-implicit", []string{"--size", "24576"}},
		{"d05-subdirs", []string{"--size", "32K"}},
		{"d07-page512-block8192", []string{"--size", "64K", "--page-size", "512", "--block-size", "8192"}},
		{"d09-no-magic", []string{"--size=0x8000", "--no-magic"}},
		{"d10-aligned-ix", []string{"--size", "65536", "--aligned-obj-ix-tables"}},
		{"d11-meta0-name64", []string{"--size", "24576", "--meta-len", "0", "--obj-name-len", "64"}},
		{"d12-big-endian", []string{"--size", "32768", "--big-endian"}},
		{"d17-no-magic-len", []string{"--size", "20480", "--no-magic-len"}},
	} {
		t.Run(test.vector, func(t *testing.T) {
			t.Parallel()
			vector := filepath.Join("../../esp/spiffs/testdata", test.vector)
			out := filepath.Join(t.TempDir(), "out.bin")
			mustRunImage(t, append(append([]string{"spiffs", "create"}, test.flags...), filepath.Join(vector, "in"), out)...)
			if !bytes.Equal(readFile(t, out), readFile(t, filepath.Join(vector, "expected.bin.gz"))) {
				t.Fatal("image differs from the tool's")
			}
			var listing imageSPIFFSListing
			if err := json.Unmarshal([]byte(mustRunImage(t, "spiffs", "list", "-o", "json", out)), &listing); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "a", "b")
			mustRunImage(t, "spiffs", "extract", out, dir)
			for _, f := range listing.Files {
				if !bytes.Equal(readFile(t, filepath.Join(dir, f.Name)), readFile(t, filepath.Join(vector, "in", f.Name))) {
					t.Errorf("%s differs after extract", f.Name)
				}
			}
			if len(listing.Files) == 0 || len(listing.Problems) != 0 {
				t.Errorf("listing %+v", listing)
			}
		})
	}
}

func TestImageSPIFFSErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	file := putFile(t, filepath.Join(in, "a.txt"), make([]byte, 5000))
	out := filepath.Join(dir, "out.bin")
	evil, err := spiffs.Build(spiffs.DefaultConfig(), 8192, []spiffs.File{{Name: "/../evil", Data: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	escape := putFile(t, filepath.Join(dir, "evil.bin"), evil)
	damaged := bytes.Clone(evil)
	damaged[2*256+4] = 0 // its data page deleted
	broken := putFile(t, filepath.Join(dir, "broken.bin"), damaged)
	erased := putFile(t, filepath.Join(dir, "erased.bin"), bytes.Repeat([]byte{0xFF}, 8192))
	tests := []struct {
		name string
		args []string
		says string
	}{
		{"no size", []string{"create", in, out}, `required flag(s) "size"`},
		{"bad size", []string{"create", "--size", "many", in, out}, "it must be a number of bytes"},
		{"one argument", []string{"create", "--size", "0x10000", in}, "accepts 2 arg(s)"},
		{"no folder", []string{"create", "--size", "0x10000", filepath.Join(dir, "absent"), out}, "no such file"},
		{"file for folder", []string{"create", "--size", "0x10000", file, out}, "is a file: give the folder"},
		{"full", []string{"create", "--size", "0x1000", in, out}, "give a larger --size"},
		{"size", []string{"create", "--size", "5000", in, out}, "image size should be a multiple of block size"},
		{"block", []string{"create", "--size", "0x1000", "--page-size", "300", in, out}, "block size should be a multiple of page size"},
		{"mount", []string{"create", "--size", "0x10000", "--block-size", "32768", in, out}, "no room for the magic"},
		{"name", []string{"create", "--size", "0x10000", "--obj-name-len", "4", in, out}, "object name '/a.txt' too long"},
		{"place", []string{"create", "--size", "0x10000", in, filepath.Join(dir, "no", "out.bin")}, "make the folder"},
		{"list absent", []string{"list", filepath.Join(dir, "absent")}, "no such file"},
		{"list erased", []string{"list", erased}, "an erased partition"},
		{"list damaged", []string{"list", broken}, "broken.bin is damaged: object 1"},
		{"list with wrong geometry", []string{"list", "--page-size", "512", escape}, "no block has the magic"},
		{"escape", []string{"extract", escape, filepath.Join(dir, "x")}, "would lie outside"},
		{"format", []string{"list", "-o", "xml", escape}, `output format "xml" is not known`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := runImage(t, append([]string{"spiffs"}, test.args...)...)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %q", err, test.says)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("an image was left behind")
			}
		})
	}
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(dir, "evil")); err == nil {
			t.Error("a file was written outside the folder")
		}
	})
}

func TestImageNVS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "cert.pem"), []byte("-----BEGIN"))
	one := putFile(t, filepath.Join(dir, "one.csv"), []byte("key,type,encoding,value\ncerts,namespace,,\ndevice,file,binary,cert.pem\nu,data,u64,18446744073709551615\n"))
	two := putFile(t, filepath.Join(dir, "two.csv"), []byte("key,type,encoding,value\nwifi,namespace,,\nssid,data,string,a\tb\n"))
	out, keys := filepath.Join(dir, "nvs.bin"), filepath.Join(dir, "keys.bin")

	mustRunImage(t, "nvs", "create", "--size", "0x6000", one, two, out)
	want := []nvs.Entry{{Namespace: "certs", Key: "device", Value: []byte("-----BEGIN")}, {Namespace: "certs", Key: "u", Value: uint64(1<<64 - 1)}, {Namespace: "wifi", Key: "ssid", Value: "a\tb"}}
	image, err := nvs.Build(0x6000, nvs.Options{}, want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, out), image) {
		t.Error("image differs from that of the same entries")
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v of an image with secrets, %v", info.Mode(), err)
	}

	table := mustRunImage(t, "nvs", "dump", out)
	for _, s := range []string{"certs", "10 bytes 2d2d2d2d2d424547494e", "18446744073709551615", `"a\tb"`} {
		if !strings.Contains(table, s) {
			t.Errorf("dump does not show %s:\n%s", s, table)
		}
	}
	dump := mustRunImage(t, "nvs", "dump", "--all", "-o", "json", out)
	for _, s := range []string{`"value": "LS0tLS1CRUdJTg=="`, `"value": 18446744073709551615`, `"type": "blob_data"`, `"state": "active"`} {
		if !strings.Contains(dump, s) {
			t.Errorf("JSON does not have %s:\n%s", s, dump)
		}
	}
	if all := mustRunImage(t, "nvs", "dump", "--all", out); !strings.Contains(all, "PAGE 0x0") || !strings.Contains(all, "blob_index") {
		t.Errorf("dump --all:\n%s", all)
	}

	mustRunImage(t, "nvs", "keys", keys)
	if _, _, err := runImage(t, "nvs", "keys", keys); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("keys are overwritten: %v", err)
	}
	mustRunImage(t, "nvs", "create", "--size", "24K", "--keys", keys, one, out)
	if got := mustRunImage(t, "nvs", "dump", "--keys", keys, out); !strings.Contains(got, "18446744073709551615") {
		t.Errorf("dump of an encrypted image:\n%s", got)
	}
	hmacKey, derived := filepath.Join(dir, "hmac.bin"), filepath.Join(dir, "derived.bin")
	mustRunImage(t, "nvs", "keys", "--new-hmac-key", hmacKey, derived)
	mustRunImage(t, "nvs", "keys", "--hmac-key", hmacKey, "--force", keys)
	if !bytes.Equal(readFile(t, keys), readFile(t, derived)) {
		t.Error("one HMAC key gives two sets of keys")
	}
	reference := "../../esp/nvs/testdata/keys-TEST-ONLY/"
	mustRunImage(t, "nvs", "keys", "--hmac-key", reference+"hmac-TEST-ONLY-hmac.bin", "--force", keys)
	if !bytes.Equal(readFile(t, keys), readFile(t, reference+"nvs-keys-TEST-ONLY-hmac.bin")) {
		t.Error("derived keys differ from the tool's")
	}

	mustRunImage(t, "nvs", "create", "--size", "0x3000", "--version", "1", "../../esp/nvs/testdata/d13-version1/in.csv", out)
	if !bytes.Equal(readFile(t, out), readFile(t, "../../esp/nvs/testdata/d13-version1/expected.bin")) {
		t.Error("version 1 image differs from the tool's")
	}
	_, stderr, err := runImage(t, "nvs", "create", "--size", "0x1000", two, out)
	if err != nil || !strings.Contains(stderr, "must be flagged as \"readonly\"") {
		t.Errorf("read-only image: %q, %v", stderr, err)
	}
}

func TestImageNVSErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	csv := putFile(t, filepath.Join(dir, "in.csv"), []byte("key,type,encoding,value\nn,namespace,,\na,data,u8,256\n"))
	text := putFile(t, filepath.Join(dir, "text"), []byte("hello"))
	keys, err := nvs.GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := nvs.Build(0x3000, nvs.Options{Keys: &keys}, []nvs.Entry{{Namespace: "n", Key: "k", Value: "v"}})
	if err != nil {
		t.Fatal(err)
	}
	image := putFile(t, filepath.Join(dir, "sealed.bin"), sealed)
	out := filepath.Join(dir, "out.bin")
	for _, test := range []struct {
		name string
		args []string
		says string
	}{
		{"value", []string{"create", "--size", "0x3000", csv, out}, "in.csv: line 3: nvs: bad entry: Packing error for 'u8' key 'a' = '256'"},
		{"size", []string{"create", "--size", "0x3100", csv, out}, "Size of partition must be multiple of 4096"},
		{"no CSV", []string{"create", "--size", "0x3000", filepath.Join(dir, "absent"), out}, "no such file"},
		{"keys", []string{"create", "--size", "0x3000", "--keys", text, csv, out}, "make one with berth image nvs keys"},
		{"not NVS", []string{"dump", text}, "not an NVS image"},
		{"encrypted", []string{"dump", image}, "the image is encrypted, give its keys"},
		{"HMAC key", []string{"keys", "--hmac-key", text, out}, "an HMAC key has 32 bytes, not 5"},
	} {
		if _, _, err := runImage(t, append([]string{"nvs"}, test.args...)...); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.says)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: a file was left behind", test.name)
		}
	}
}

func TestImagePartitions(t *testing.T) {
	t.Parallel()
	vectors := "../../esp/partition/testdata/"
	out := filepath.Join(t.TempDir(), "out")
	mustRunImage(t, "partitions", "convert", "--flash-size", "4MB", vectors+"d08-flash-4MB-ok/in.csv", out)
	if !bytes.Equal(readFile(t, out), readFile(t, vectors+"d08-flash-4MB-ok/expected.bin")) {
		t.Error("binary differs from the tool's")
	}
	if got := mustRunImage(t, "partitions", "convert", out, "-"); got != string(readFile(t, vectors+"d08-flash-4MB-ok/expected.csv")) {
		t.Errorf("CSV differs from the tool's:\n%s", got)
	}
	mustRunImage(t, "partitions", "convert", "--offset", "0x10000", vectors+"d05-offset-0x10000/in.csv", out)
	if !bytes.Equal(readFile(t, out), readFile(t, vectors+"d05-offset-0x10000/expected.bin")) {
		t.Error("binary of a moved table differs from the tool's")
	}
	mustRunImage(t, "partitions", "convert", "--no-md5", vectors+"d04-no-md5/in.csv", out)
	if !bytes.Equal(readFile(t, out), readFile(t, vectors+"d04-no-md5/expected.bin")) {
		t.Error("binary without MD5 differs from the tool's")
	}
	if got := mustRunImage(t, "partitions", "show", vectors+"d01-two-ota-spiffs/in.csv"); !strings.Contains(got, "certs     data  spiffs   0x310000  0x10000   0x320000") {
		t.Errorf("show:\n%s", got)
	}
	var list []imagePartition
	if err := json.Unmarshal([]byte(mustRunImage(t, "partitions", "show", "-o", "json", vectors+"d03-flags/expected.bin")), &list); err != nil {
		t.Fatal(err)
	}
	if want := (imagePartition{"sec", "data", "spiffs", 0x116000, 0x10000, "encrypted:readonly"}); len(list) != 5 || list[4] != want {
		t.Errorf("show: %+v", list)
	}
	table := putFile(t, filepath.Join(t.TempDir(), "t.csv"), []byte("boot,bootloader,primary,,\nown,data,config,,4K\n"))
	got := mustRunImage(t, "partitions", "show", "--primary-bootloader-offset", "0x1000", "--extra-partition-subtypes", "data, config, 0x41", table)
	if !strings.Contains(got, "own   data        config   0x9000  0x1000") {
		t.Errorf("show:\n%s", got)
	}
	_, stderr, err := runImage(t, "partitions", "show", vectors+"d99-warn-name/in.csv")
	if err != nil || !strings.Contains(stderr, "WARNING: Partition has name 'nvs'") {
		t.Errorf("warning %q, %v", stderr, err)
	}
}

func TestImagePartitionsErrors(t *testing.T) {
	t.Parallel()
	vectors := "../../esp/partition/testdata/"
	out := filepath.Join(t.TempDir(), "out")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"convert", vectors + "d90-err-overlap/in.csv", out}, "CSV Error at line 4: Partitions overlap. Partition sets offset 0x100000. Previous partition ends 0x110000"},
		{[]string{"convert", vectors + "da1-bin-bad-md5/in.bin", out}, "MD5 checksums don't match!"},
		{[]string{"convert", "--flash-size", "4MB", vectors + "d94-err-flash-size/in.csv", out}, "does not fit in configured flash size 4MB"},
		{[]string{"convert", vectors + "d95-err-subtype/in.csv", out}, "Value 'nvss' is not valid. Known keywords: ota, phy, nvs"},
		{[]string{"show", vectors + "d93-err-dup/in.csv"}, "Partition names must be unique"},
		{[]string{"show", "--secure", "v3", vectors + "d01-two-ota-spiffs/in.csv"}, "it must be v1 or v2"},
		{[]string{"show", "--offset", "0", vectors + "d01-two-ota-spiffs/in.csv"}, "the usual one is 0x8000"},
		{[]string{"show", "--extra-partition-subtypes", "x", vectors + "d01-two-ota-spiffs/in.csv"}, "it must be type, name, number"},
		{[]string{"show", "image.go"}, "Error at line 1"},
	} {
		if _, _, err := runImage(t, append([]string{"partitions"}, test.args...)...); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: error %v, want %q", test.args, err, test.says)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%v: a file was left behind", test.args)
		}
	}
	if _, _, err := runImage(t, "partitions", "show", "--no-verify", vectors+"d93-err-dup/in.csv"); err != nil {
		t.Errorf("--no-verify: %v", err)
	}
}

func TestImageApp(t *testing.T) {
	t.Parallel()
	b, err := appimage.Build(appimage.Header{Mode: appimage.DIO, FlashSize: 4 << 20, Chip: appimage.ESP32C3, MinRev: 3, MaxRev: 199, HashAppended: true},
		[]appimage.Segment{{Address: 0x3C000020, Data: appimage.Description{ProjectName: "thermostat", Version: "1.2.3"}.Append(nil)}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	good := putFile(t, filepath.Join(dir, "good.bin"), b)
	table := mustRunImage(t, "app", "info", good)
	for _, s := range []string{"ESP32-C3", "v0.3 to v1.99", "thermostat", "1.2.3", "dio, 40m, 4 MiB", "0x3c000020, 256 bytes at 0x20"} {
		if !strings.Contains(table, s) {
			t.Errorf("info does not show %q:\n%s", s, table)
		}
	}
	var info imageApp
	if err := json.Unmarshal([]byte(mustRunImage(t, "app", "info", "-o", "json", good)), &info); err != nil {
		t.Fatal(err)
	}
	if !info.Valid || info.Description.Project != "thermostat" || info.ChipID != 5 || info.Length != len(b) {
		t.Errorf("info %+v", info)
	}
	b[100] ^= 1
	out, _, err := runImage(t, "app", "info", putFile(t, filepath.Join(dir, "bad.bin"), b))
	if err == nil || !strings.Contains(err.Error(), "checksum is 0x") || !strings.Contains(out, "ESP32-C3") {
		t.Errorf("corrupt image: %v, %s", err, out)
	}
	if _, _, err := runImage(t, "app", "info", putFile(t, filepath.Join(dir, "cut.bin"), b[:120])); err == nil || !strings.Contains(err.Error(), "truncated app image") {
		t.Errorf("truncated image: %v", err)
	}
	if _, _, err := runImage(t, "app", "info", "image.go"); err == nil || !strings.Contains(err.Error(), "not an ESP32 app image") {
		t.Errorf("no image: %v", err)
	}
}

func TestImageSecureCert(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert := putFile(t, filepath.Join(dir, "cert.pem"), []byte("-----BEGIN CERTIFICATE-----\nAA==\n"))
	key := putFile(t, filepath.Join(dir, "key.pem"), []byte("-----BEGIN PRIVATE KEY-----\nsecret\n"))
	iv := putFile(t, filepath.Join(dir, "iv"), make([]byte, 16))
	out := filepath.Join(dir, "out.bin")
	mustRunImage(t, "securecert", "create", "--device-cert", cert, "--ca-cert", cert, "--private-key", key, out)
	shown := mustRunImage(t, "securecert", "show", "-o", "json", out)
	if !strings.Contains(shown, "BEGIN CERTIFICATE") || strings.Contains(shown, "secret") || !strings.Contains(shown, `"private_key"`) {
		t.Errorf("show:\n%s", shown)
	}
	mustRunImage(t, "securecert", "create", "--device-cert", cert, "--ds-ciphertext", key, "--ds-iv", iv, "--ds-efuse-key", "1", out)
	if table := mustRunImage(t, "securecert", "show", out); !strings.Contains(table, "ds_context") {
		t.Errorf("show:\n%s", table)
	}
	b := readFile(t, out)
	b[12] ^= 1
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"create", filepath.Join(dir, "x")}, "nothing to put into it"},
		{[]string{"create", "--device-cert", filepath.Join(dir, "absent"), filepath.Join(dir, "x")}, "no such file"},
		{[]string{"create", "--device-cert", cert, "--size", "0x1800", filepath.Join(dir, "x")}, "multiple of 0x1000"},
		{[]string{"show", putFile(t, filepath.Join(dir, "bad.bin"), b)}, "bad.bin is damaged: device_cert at 0x0: checksum does not match"},
		{[]string{"show", cert}, "not a secure cert partition"},
	} {
		if _, _, err := runImage(t, append([]string{"securecert"}, test.args...)...); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: error %v, want %q", test.args, err, test.says)
		}
	}
}

func TestImageSize(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]imageSize{"0x10000": 65536, "65536": 65536, "64K": 65536, "64k": 65536, "64KB": 65536, "4MB": 4 << 20, "4m": 4 << 20, "0x1B": 0x1B, "0": 0} {
		var size imageSize
		if err := size.Set(s); err != nil || size != want {
			t.Errorf("%s is %d, %v; want %d", s, size, err, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "1.5M", "8192M", "0x200000000"} {
		var size imageSize
		if err := size.Set(s); err == nil {
			t.Errorf("%q is %d", s, size)
		}
	}
}
