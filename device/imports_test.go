package device_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// core is what the library's core may import: what TinyGo has for microcontrollers, and of this
// module the packet codec, topics and itself. filippo.io/nistec is the arithmetic of P-256, which the
// standard library does not hand out.
var core = map[string]bool{
	"bufio": true, "bytes": true, "context": true, "crypto/aes": true, "crypto/cipher": true, "crypto/hkdf": true, "crypto/hmac": true,
	"crypto/pbkdf2": true, "crypto/rand": true, "crypto/sha256": true, "encoding/base64": true, "encoding/binary": true, "encoding/hex": true,
	"errors": true, "fmt": true, "hash": true, "hash/crc32": true, "io": true, "math/big": true, "math/rand/v2": true, "net": true, "slices": true,
	"strconv": true, "strings": true, "sync": true, "time": true, "unicode/utf16": true, "unicode/utf8": true,
	"filippo.io/nistec": true,
}

// beside is what packages below linux may import beside the standard library: each has one purpose, so
// that programs which do without it stay without it.
var beside = map[string]string{
	"linux/ble/":       "tinygo.org/x/bluetooth",
	"linux/websocket/": "github.com/coder/websocket",
}

// chip is what package esp32 needs besides, with the formats of esp.
var chip = map[string]bool{"encoding/base32": true, "hash/fnv": true}

// TestImports states what the core imports, and that nothing of the library imports the server.
func TestImports(t *testing.T) {
	t.Parallel()
	const module = "github.com/berth-iot/berth/"
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files++
		for _, spec := range f.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			own := strings.HasPrefix(name, module+"device") || name == module+"mqtt" || name == module+"topic"
			switch onMachine := strings.HasPrefix(path, "linux/"); {
			case own && !(strings.Contains(name, "/device/linux") && !onMachine):
			case strings.HasPrefix(path, "esp32/") && (strings.HasPrefix(name, module+"esp/") || chip[name]):
			case core[name]:
			case onMachine && beside[path[:strings.LastIndexByte(path, '/')+1]] == name:
			case strings.HasPrefix(path, "typed/") && name == "encoding/json":
			case strings.HasPrefix(path, "espidentity/") && (strings.HasPrefix(name, module+"esp/") || !strings.Contains(strings.Split(name, "/")[0], ".")):
				// It reads the formats of ESP32's flash, for machines that hold an image of one.
			case onMachine && !strings.HasPrefix(name, module) && !strings.Contains(strings.Split(name, "/")[0], "."):
				// Package linux has the whole standard library, and nothing else.
			default:
				t.Errorf("%s imports %s", path, name)
			}
		}
		return nil
	})
	if err != nil || files < 20 {
		t.Errorf("%d files, %v", files, err)
	}
}
