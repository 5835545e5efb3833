package nvs

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
)

// wifiKeys adds what Espressif's generator adds to the Wi-Fi driver's own
// keys, so that the driver takes the settings as if it had saved them.
type wifiKeys struct {
	stationDone        bool
	ssid, pass, secure []byte // of the access point
}

// add writes one entry through write, and the entries that come with it.
func (k *wifiKeys) add(key string, value []byte, write func(key, encoding string, value []byte) error, encoding string) error {
	switch key {
	case "ap.ssid":
		k.ssid = value
	case "ap.passwd":
		k.pass = value
	case "ap.authmode":
		if string(value) != "0" {
			k.secure = value
		}
	case "sta.ssid", "sta.pswd":
		if err := write(key, encoding, value); err != nil || k.stationDone {
			return err
		}
		k.stationDone = true
		for _, extra := range []struct{ key, hex string }{
			{"sta.apinfo", strings.Repeat("f", 280)},
			{"sta.pmk", strings.Repeat("0", 64)},
			{"sta.apsw", "0000"},
		} {
			if err := write(extra.key, "hex2bin", []byte(extra.hex)); err != nil {
				return err
			}
		}
		return nil
	default:
		return write(key, encoding, value)
	}
	// The pairwise master key comes before the entry that completes it.
	if len(k.ssid) > 0 && len(k.pass) > 0 && len(k.secure) > 0 {
		pmk, err := pbkdf2.Key(sha1.New, string(k.pass), k.ssid, 4096, 32)
		if err != nil {
			return fmt.Errorf("nvs: derive ap.pmk_info: %w", err)
		}
		if err := write("ap.pmk_info", "hex2bin", []byte(strings.Repeat("0", 200)+hex.EncodeToString(pmk))); err != nil {
			return err
		}
	}
	return write(key, encoding, value)
}
