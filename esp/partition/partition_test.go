package partition

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type vector struct {
	Case, Note string
	Input      string
	Args       []string
	Output     string
	SHA256     string
	CSV        string
	Error      string
	Warnings   []string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	var list []vector
	if err := json.Unmarshal(read(t, "vectors.json"), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v vector) options(t testing.TB) Options {
	t.Helper()
	var opt Options
	for args := v.Args; len(args) > 0; args = args[1:] {
		switch args[0] {
		case "--disable-md5sum":
			opt.NoMD5 = true
		case "--offset", "--flash-size":
			n, err := strconv.ParseUint(strings.TrimSuffix(args[1], "MB"), 0, 32)
			if err != nil {
				t.Fatal(err)
			}
			if args[0] == "--offset" {
				opt.Offset = uint32(n)
			} else {
				opt.FlashSize = n << 20
			}
			args = args[1:]
		default:
			t.Fatalf("unknown argument %q", args[0])
		}
	}
	return opt
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.Case, func(t *testing.T) {
			t.Parallel()
			opt := v.options(t)
			table, isBinary, warnings, err := Parse(read(t, v.Input), opt)
			if isBinary != strings.HasSuffix(v.Input, ".bin") {
				t.Errorf("taken for binary: %v", isBinary)
			}
			if v.Error != "" {
				if !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), v.Error) {
					t.Fatalf("error %v, want %s", err, v.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(warnings, v.Warnings) {
				t.Errorf("warnings %q, want %q", warnings, v.Warnings)
			}
			if isBinary {
				if got, want := table.CSV(opt), read(t, v.Output); !bytes.Equal(got, want) {
					t.Errorf("CSV\n%swant\n%s", got, want)
				}
				return
			}
			got, err := table.Binary(opt)
			if err != nil {
				t.Fatal(err)
			}
			want := read(t, v.Output)
			if sum := sha256.Sum256(got); !bytes.Equal(got, want) || hex.EncodeToString(sum[:]) != v.SHA256 {
				t.Errorf("binary differs from the tool's")
			}
			again, _, err := ParseBinary(want, opt)
			if err != nil || !reflect.DeepEqual(again, table) {
				t.Errorf("read back %v, %v", again, err)
			}
			if got, want := table.CSV(opt), read(t, v.CSV); !bytes.Equal(got, want) {
				t.Errorf("CSV\n%swant\n%s", got, want)
			}
		})
	}
}

func address(n uint32) *uint32 { return &n }

func TestCSV(t *testing.T) {
	t.Parallel()
	boot := Options{PrimaryBootloaderOffset: address(0x1000), RecoveryBootloaderOffset: address(0x3f0000)}
	env := Options{LookupEnv: func(name string) (string, bool) { return "0x6000", name == "SIZE" }}
	extra := Options{ExtraSubtypes: []ExtraSubtype{{Data, "config", 0x41}}}
	tests := []struct {
		name string
		opt  Options
		csv  string
		want string // rows, as CSV prints them
	}{
		{"comments, blanks, CRLF", Options{}, "# x\r\n\r\n nvs , data , nvs , , 24k , \r\n", "nvs,data,nvs,0x9000,24K,"},
		{"byte order mark", Options{}, "\xEF\xBB\xBFnvs,data,nvs,,24K", "nvs,data,nvs,0x9000,24K,"},
		{"UTF-16", Options{}, "\xFF\xFEa\x00,\x001\x00,\x002\x00,\x00,\x001\x00M\x00", "a,data,nvs,0x9000,1M,"},
		{"case", Options{}, "a,DATA,NVS,0X9000,0x6000", "a,data,nvs,0x9000,24K,"},
		{"numbers", Options{}, "a,0x40,0b11,,0o10000\nb,254,255,,1_000", "a,64,3,0x9000,4K,\nb,254,255,0xa000,0x3e8,"},
		{"custom", extra, "a,data,config,,4K", "a,data,config,0x9000,4K,"},
		{"size in bytes", Options{}, "a,data,fat,,0x1001", "a,data,fat,0x9000,0x1001,"},
		{"ota slots", Options{}, "a,app,ota_15,,1M\nb,app,test,,1M\nc,app,tee_1,,1M", "a,app,ota_15,0x10000,1M,\nb,app,test,0x110000,1M,\nc,app,tee_1,0x210000,1M,"},
		{"bootloader and table", boot, "boot,bootloader,primary,,\ntable,partition_table,primary,,\nnvs,data,nvs,,24K\nrec,bootloader,recovery,,\nspare,partition_table,ota,,",
			"boot,bootloader,primary,0x1000,28K,\ntable,partition_table,primary,0x8000,4K,\nnvs,data,nvs,0x9000,24K,\nrec,bootloader,recovery,0x3f0000,28K,\nspare,partition_table,ota,0x3f7000,4K,"},
		{"variable", env, "a,data,fat,,$SIZE\nb,data,spiffs,,${SIZE}", "a,data,fat,0x9000,24K,\nb,data,spiffs,0xf000,24K,"},
		{"negative size", Options{}, "a,data,fat,0x10000,-64K\nb,data,fat,,-128K", "a,data,fat,0x10000,0M,\nb,data,fat,0x10000,64K,"},
		{"too many fields", Options{}, "a,data,fat,,4K,readonly,what,ever", "a,data,fat,0x9000,4K,readonly"},
		{"empty", Options{}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			table, err := ParseCSV([]byte(test.csv), test.opt)
			if err != nil {
				t.Fatal(err)
			}
			_, rows, _ := strings.Cut(string(table.CSV(test.opt)), "Flags\n")
			if strings.TrimSpace(rows) != test.want {
				t.Errorf("rows\n%s\nwant\n%s", rows, test.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		opt  Options
		csv  string
		says string
	}{
		{"no type", Options{}, "a", "Error at line 1: Field 'type' can't be left empty."},
		{"type", Options{}, "a,dato,nvs,,4K", "Value 'dato' is not valid. Known keywords: bootloader, partition_table, app, data"},
		{"type range", Options{}, "a,300,nvs,,4K", "type 300 is not between"},
		{"app subtype", Options{}, "a,app,,,1M", "App partition cannot have an empty subtype"},
		{"app subtype name", Options{}, "a,app,nvs,,1M", "Known keywords: factory, test, ota_0, ota_1, "},
		{"custom subtype name", Options{}, "a,0x40,nvs,,1M", "Invalid field value nvs"},
		{"offset", Options{}, "a,data,nvs,x,1M", "Invalid field value x"},
		{"octal", Options{}, "a,data,nvs,,010", "Invalid field value 010"},
		{"unit alone", Options{}, "a,data,nvs,,K", "Invalid field value "},
		{"negative offset", Options{}, "a,data,nvs,-1,4K", "offset -1 is negative"},
		{"too large", Options{}, "a,data,fat,,8192M", "no address"},
		{"far too large", Options{}, "a,data,fat,,99999999999M", "no address"},
		{"beyond 32 bits", Options{}, "a,data,fat,0xFFFFF000,8K", "no address"},
		{"negative size", Options{}, "a,data,fat,0x20000,-64K", "no address"},
		{"bootloader offset", Options{}, "b,bootloader,primary,,", "Primary bootloader offset is not defined. Please use --primary-bootloader-offset"},
		{"bootloader above table", Options{PrimaryBootloaderOffset: address(0x9000)}, "a,data,fat,,4K", "Primary bootloader must be below partition table"},
		{"recovery offset", Options{PrimaryBootloaderOffset: address(0)}, "b,bootloader,recovery,,", "Recovery bootloader offset is not defined"},
		{"variable", Options{}, "$X", "unknown variable 'X'"},
		{"app size", Options{}, "a,app,factory,,0x1800", "Partition a invalid: Size 0x1800 is not aligned to 0x1000"},
		{"app size for secure boot v1", Options{Secure: SecureV1}, "a,app,factory,,0x11000", "Size 0x11000 is not aligned to 0x10000"},
		{"data offset", Options{}, "a,data,fat,0x9001,4K", "Partition a invalid: Offset 0x9001 is not aligned to 0x1000"},
		{"read-only otadata", Options{}, "a,data,ota,,8K,readonly", "always read-write and cannot be read-only"},
		{"small NVS", Options{}, "a,data,nvs,,8K", "'a' partition of type 1 and subtype 2 of this size (0x2000) must be flagged as 'readonly' (the size of read/write NVS has to be at least 0x3000)"},
		{"two otadata", Options{}, "a,data,ota,,8K\nb,data,ota,,8K", "Found multiple otadata partitions. Only one partition can be defined with type=\"data\"(1) and subtype=\"ota\"(0)"},
		{"two TEE otadata", Options{}, "a,data,tee_ota,,8K\nb,data,tee_ota,,8K", "Found multiple TEE otadata partitions"},
		{"TEE otadata size", Options{}, "a,data,tee_ota,,4K", "TEE otadata partition must have size = 0x2000"},
		{"flash size", Options{FlashSize: 2 << 20}, "a,app,factory,,2M", "Partitions tables occupies 2.1MB of flash (2162688 bytes) which does not fit in configured flash size 2MB"},
		{"neither", Options{}, "\x00\x01\x02", "neither a CSV nor a binary"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, _, err := Parse([]byte(test.csv), test.opt)
			if !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
		})
	}
	var many []string
	for i := range 95 {
		many = append(many, fmt.Sprintf("p%d,data,fat,,4K", i))
	}
	table, err := ParseCSV([]byte(strings.Join(many, "\n")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Binary(Options{}); !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), "Binary partition table length (3072) longer than max") {
		t.Errorf("95 rows and an MD5: %v", err)
	}
	if _, err := table.Binary(Options{NoMD5: true}); err != nil {
		t.Errorf("95 rows without an MD5: %v", err)
	}
}

func TestBinaryErrors(t *testing.T) {
	t.Parallel()
	row := Table{{Name: "a", Type: Data, Subtype: DataFAT, Offset: 0x9000, Size: 0x1000}}
	good, err := row.Binary(Options{})
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, with string) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		sum := md5.Sum(b[:32])
		copy(b[48:], sum[:])
		return b
	}
	for _, test := range []struct {
		name string
		b    []byte
		opt  Options
		says string
	}{
		{"no end", good[:64], Options{}, "missing an end-of-table marker"},
		{"odd length", good[:70], Options{}, "multiple of 32 bytes"},
		{"magic", change(0, "\xaa\x51"), Options{}, `Invalid magic bytes (b'\xaaQ')`},
		{"MD5 where none is wanted", good, Options{NoMD5: true}, `Invalid magic bytes (b'\xeb\xeb')`},
		{"name", change(12, "\xff\xfe"), Options{}, "not UTF-8"},
		{"name with a comma", change(12, "a,b"), Options{}, "comma"},
	} {
		if _, _, err := ParseBinary(test.b, test.opt); !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want one that says %q", test.name, err, test.says)
		}
	}
	table, warnings, err := ParseBinary(change(28, "\x05"), Options{})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "unknown flag(s) 0x00000004") || table[0].Flags != Encrypted {
		t.Errorf("unknown flag: %v, %q, %v", table, warnings, err)
	}
	if table, _, err := ParseBinary(bytes.Repeat([]byte{0xFF}, 0xC00), Options{}); err != nil || len(table) != 0 {
		t.Errorf("erased table: %v, %v", table, err)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	table, _, _, err := Parse(read(t, "d01-two-ota-spiffs/in.csv"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := table.ByName("certs"); !ok || p.Offset != 0x310000 || p.End() != 0x320000 {
		t.Errorf("certs: %+v, %v", p, ok)
	}
	if _, ok := table.ByName("absent"); ok {
		t.Error("found what is not there")
	}
	if found := table.ByType(App, AppOTA0+1); len(found) != 1 || found[0].Name != "ota_1" {
		t.Errorf("ota_1: %v", found)
	}
	if size := table.FlashSize(); size != 0x320000 {
		t.Errorf("flash size 0x%x", size)
	}
	if (Partition{Type: Data, Subtype: DataNVS}).SubtypeName(Options{}) != "nvs" || Type(64).String() != "64" || (Partition{Type: 64, Subtype: 7}).SubtypeName(Options{}) != "7" {
		t.Error("names")
	}
}

func TestExtraSubtype(t *testing.T) {
	t.Parallel()
	got, err := ParseExtraSubtype("data, my_config, 0x41")
	if want := (ExtraSubtype{Data, "my_config", 0x41}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, s := range []string{"data,x", "what,x,1", "data,x,zz", "data,x,0x100", "data,x,2"} {
		if _, err := ParseExtraSubtype(s); !errors.Is(err, ErrTable) {
			t.Errorf("%q: error %v", s, err)
		}
	}
}

func TestLongName(t *testing.T) {
	t.Parallel()
	table, _, warnings, err := Parse([]byte("a_name_of_twenty_one,data,fat,,4K"), Options{})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "will be cut to 'a_name_of_twenty'") {
		t.Fatalf("%v, %q", err, warnings)
	}
	b, err := table.Binary(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := ParseBinary(b, Options{}); err != nil || again[0].Name != "a_name_of_twenty" {
		t.Errorf("%v, %v", again, err)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var table Table
		next := uint32(0x9000)
		for i := range rnd.IntN(20) {
			p := Partition{Name: fmt.Sprintf("part%d", i), Type: Type(rnd.IntN(2)), Flags: Flags(rnd.IntN(2))}
			align := p.Type.alignment()
			p.Subtype = DataFAT
			if p.Type == App {
				p.Subtype = AppOTA0 + Subtype(rnd.IntN(16))
			}
			p.Offset = (next + align - 1) / align * align
			p.Size = 0x1000 * uint32(rnd.IntN(500))
			next = p.Offset + p.Size
			table = append(table, p)
		}
		opt := Options{NoMD5: rnd.IntN(2) == 0}
		b, err := table.Binary(opt)
		if err != nil {
			t.Fatal(err)
		}
		fromBinary, isBinary, _, err := Parse(b, opt)
		if err != nil || !isBinary || !reflect.DeepEqual(fromBinary, table) {
			t.Fatalf("seed %d: binary: %v", seed, err)
		}
		fromCSV, isBinary, _, err := Parse(table.CSV(opt), opt)
		if err != nil || isBinary || len(table) > 0 && !reflect.DeepEqual(fromCSV, table) {
			t.Fatalf("seed %d: CSV: %v", seed, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(bytes.TrimRight(read(f, v.Input), "\xff"))
	}
	f.Add(append([]byte(magic+"\x01\x02"), make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The end marker is put back that the seeds leave out to stay small.
		if IsBinary(b) {
			b = append(b, bytes.Repeat([]byte{0xFF}, 32)...)
		}
		opt := Options{PrimaryBootloaderOffset: address(0x1000), NoMD5: len(b)%2 == 0}
		table, _, _, err := Parse(b, opt)
		if err != nil {
			return
		}
		binary, err := table.Binary(opt)
		if err != nil {
			return
		}
		if _, _, err := ParseBinary(binary, opt); err != nil && !strings.Contains(err.Error(), "name") {
			t.Fatalf("%q: %v", binary, err)
		}
	})
}
