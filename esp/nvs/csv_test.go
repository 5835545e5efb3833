package nvs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

const csvHead = "key,type,encoding,value\n"

func fromCSV(t testing.TB, csv string) (*Image, []string, error) {
	w, err := NewWriter(0x6000, Options{})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"hex": " 0a0B\n", "text": "line\r\n", "b64": "AQID\nBAU=\n", "bin": "\x00\xff"}
	err = w.AddCSV(strings.NewReader(csv), func(name string) ([]byte, error) {
		if s, ok := files[name]; ok {
			return []byte(s), nil
		}
		return nil, fs.ErrNotExist
	})
	if err != nil {
		return nil, nil, err
	}
	m, err := Read(w.Image(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m, w.Warnings(), m.Verify()
}

func show(m *Image) string {
	var list []string
	for _, e := range m.Entries {
		switch v := e.Value.(type) {
		case []byte:
			list = append(list, fmt.Sprintf("%s/%s=%s", e.Namespace, e.Key, hex.EncodeToString(v)))
		default:
			list = append(list, fmt.Sprintf("%s/%s=%v", e.Namespace, e.Key, v))
		}
	}
	return strings.Join(list, " ")
}

func TestCSV(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, csv, want string
	}{
		{"plain", csvHead + "n,namespace,,\na,data,u8,1\n", "n/a=1"},
		{"no line end", csvHead + "n,namespace,,\na,data,u8,1", "n/a=1"},
		{"CRLF", strings.ReplaceAll(csvHead+"n,namespace,,\na,data,string,x\n", "\n", "\r\n"), "n/a=x"},
		{"CR", strings.ReplaceAll(csvHead+"n,namespace,,\na,data,string,x\n", "\n", "\r"), "n/a=x"},
		{"byte order mark", "\xEF\xBB\xBF" + csvHead + "n,namespace,,\na,data,u8,1\n", "n/a=1"},
		{"blank lines", "\n" + csvHead + "\nn,namespace,,\n\n  \na,data,u8,1\n\n", "n/a=1"},
		{"comments", "# first\n" + csvHead + "#x\nn,namespace,,\n#a,data,u8,2\na,data,u8,1\n", "n/a=1"},
		{"no comment inside a line", csvHead + "n,namespace,,\n #a,data,u8,1\nb,data,string,#x\n", "n/ #a=1 n/b=#x"},
		{"columns in another order", "type,value,key,encoding\nnamespace,,n,\ndata,7,a,u8\n", "n/a=7"},
		{"short rows", csvHead + "n,namespace\na,data,string\n", "n/a="},
		{"quotes", csvHead + "n,namespace,,\na,data,string,\"x,\"\"y\"\"\nz\"\nb,data,string,p\"q\n", "n/a=x,\"y\"\nz n/b=p\"q"},
		{"after a quote", csvHead + "n,namespace,,\na,data,string,\"x\"y\n", "n/a=xy"},
		{"numbers", csvHead + "n,namespace,,\na,data,i8, -5 \nb,data,U16,1_000\nc,data,u8,007\nd,data,i32,+3\n", "n/a=-5 n/b=1000 n/c=7 n/d=3"},
		{"hex", csvHead + "n,namespace,,\na,data,hex2bin, 00fF \nb,file,hex2bin,hex\nc,data,hex2bin,\n", "n/a=00ff n/b=0a0b n/c="},
		{"base64", csvHead + "n,namespace,,\na,data,base64,AQI=\nb,file,base64,b64\n", "n/a=0102 n/b=0102030405"},
		{"files", csvHead + "n,namespace,,\na,file,string,text\nb,file,binary,bin\n", "n/a=line\r\n n/b=00ff"},
		{"binary text in bytes", csvHead + "n,namespace,,\na,data,binary,é\n", "n/a=c3a9"},
		{"fill", csvHead + "n,namespace,,\na,data,blob_fill(4;0xAb),x\nb,data,blob_sz_fill(3;0x00),yz\nc,data,blob_fill(2;0xff),\n",
			"n/a=78ababab n/b=02000000797a00 n/c=ffff"},
		{"spaces around words", "key, type , encoding,value\nn, namespace,,\na, data, u8,1\n", "n/a=1"},
		{"nothing", csvHead, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, _, err := fromCSV(t, test.csv)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(m); got != test.want {
				t.Errorf("entries %q, want %q", got, test.want)
			}
		})
	}
}

func TestCSVErrors(t *testing.T) {
	t.Parallel()
	ns := csvHead + "n,namespace,,\n"
	tests := []struct {
		name, csv string
		is        error
		says      string
	}{
		{"empty", "", ErrCSV, "first line must be"},
		{"no header", "n,namespace,,\n", ErrCSV, `no column "key"`},
		{"not text", csvHead + "\xff\xfe\n", ErrCSV, "UTF-8"},
		{"open quote", ns + "a,data,string,\"x\n", ErrCSV, "line 3: a quote is never closed"},
		{"commas", ns + "a,data,string,x,y\n", ErrCSV, "line 3: 5 fields"},
		{"no namespace", csvHead + "a,data,u8,1\n", ErrCSV, "before any namespace"},
		{"type", ns + "a,dat,u8,1\n", ErrCSV, `type "dat"`},
		{"encoding", ns + "a,data,u128,1\n", ErrEntry, "u128: Unsupported encoding"},
		{"long key", ns + "kkkkkkkkkkkkkkkk,data,u8,1\n", ErrEntry, "line 3: nvs: bad entry: Length of key `kkkkkkkkkkkkkkkk` should be <= 15 characters"},
		{"long namespace", csvHead + "kkkkkkkkkkkkkkkk,namespace,,\n", ErrEntry, "should be <= 15 characters"},
		{"u8", ns + "a,data,u8,256\n", ErrEntry, "Packing error for 'u8' key 'a' = '256': ubyte format requires 0 <= number <= 255"},
		{"i8", ns + "a,data,i8,-129\n", ErrEntry, "requires -128 <= number <= 127"},
		{"u64", ns + "a,data,u64,18446744073709551616\n", ErrEntry, "requires 0 <= number <= 18446744073709551615"},
		{"hex number", ns + "a,data,u8,0x10\n", ErrEntry, "decimal integer"},
		{"no number", ns + "a,data,u8,\n", ErrEntry, "decimal integer"},
		{"underscores", ns + "a,data,u8,1__0\n", ErrEntry, "decimal integer"},
		{"odd hex", ns + "a,data,hex2bin,abc\n", ErrEntry, "a: Invalid data length. Should be multiple of 2"},
		{"not hex", ns + "a,data,hex2bin,zz\n", ErrEntry, "Non-hexadecimal digit found"},
		{"base64 padding", ns + "a,data,base64,AQI\n", ErrEntry, "Incorrect padding"},
		{"base64 short", ns + "a,data,base64,A\n", ErrEntry, "cannot be 1 more than a multiple of 4"},
		{"string", ns + "a,data,string," + strings.Repeat("s", 4000) + "\n", ErrEntry, "Size (4001) exceeds max allowed length `4000` bytes for key `a`"},
		{"binary file as string", ns + "a,file,string,bin\n", ErrEntry, "use encoding binary"},
		{"no file", ns + "a,file,binary,absent\n", fs.ErrNotExist, "read file for key `a`"},
		{"fill format", ns + "a,data,blob_fill(4;7),x\n", ErrEntry, "Invalid encoding format"},
		{"fill length", ns + "a,data,blob_fill(1;0x00),xy\n", ErrEntry, "Value length exceeds specified length"},
		{"fill huge", ns + "a,data,blob_fill(2000000000;0x00),\n", ErrFull, "more than the partition"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := fromCSV(t, test.csv)
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that is %v and says %q", err, test.is, test.says)
			}
		})
	}
	w, err := NewWriter(0x3000, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AddCSV(strings.NewReader(ns+"a,file,binary,x\n"), nil); !errors.Is(err, ErrCSV) {
		t.Errorf("a file without a way to open it: %v", err)
	}
}

func TestWiFiKeys(t *testing.T) {
	t.Parallel()
	m, _, err := fromCSV(t, csvHead+"nvs.net80211,namespace,,\n"+
		"ap.ssid,data,string,ThisIsASSID\nap.passwd,data,string,ThisIsAPassword\nap.authmode,data,u8,3\nsta.pswd,data,string,x\nsta.ssid,data,string,y\n")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, e := range m.Entries {
		keys = append(keys, e.Key)
	}
	if got, want := strings.Join(keys, " "), "ap.ssid ap.passwd ap.pmk_info ap.authmode sta.pswd sta.apinfo sta.pmk sta.apsw sta.ssid"; got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
	// IEEE 802.11-2020, J.4.2: the PSK of this network and pass phrase.
	psk, _ := hex.DecodeString("0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af")
	if pmk, _ := m.Lookup("nvs.net80211", "ap.pmk_info"); !bytes.Equal(pmk.([]byte)[100:], psk) {
		t.Errorf("ap.pmk_info %x", pmk)
	}
}

func TestDuplicateKeyWarns(t *testing.T) {
	t.Parallel()
	m, warnings, err := fromCSV(t, csvHead+"n,namespace,,\na,data,u8,1\na,data,u8,2\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "line 4: key `a` is written twice") || show(m) != "n/a=2" {
		t.Errorf("warnings %q, entries %s", warnings, show(m))
	}
}

func FuzzCSV(f *testing.F) {
	f.Add(csvHead + "n,namespace,,\na,data,u8,1\nb,file,string,text\nc,data,string,\"q\"\"\n\"\n")
	f.Add(csvHead + "n,namespace,,\na,data,blob_sz_fill(9;0x01),1\nb,data,base64,AQI=\nsta.ssid,data,string,x\n")
	f.Fuzz(func(t *testing.T, csv string) {
		if len(csv) > 10000 {
			return
		}
		if _, _, err := fromCSV(t, csv); err != nil && strings.Contains(err.Error(), "damaged") {
			// A string with a NUL in it is the one thing the writer takes that
			// a reader may see differently.
			t.Fatal(err)
		}
	})
}
