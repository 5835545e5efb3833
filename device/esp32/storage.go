// Package esp32 is what the device library needs of an ESP32: durable memory in an NVS partition, the
// application's slots with OTA data, the identity that a factory wrote, and the check of an image before
// it is started. It works on a flash that is handed in: the chip's own, or that of a virtual one.
package esp32

import (
	"encoding/base32"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/esp/nvs"
)

// Flash is the whole flash of a chip; offsets are in bytes from its start. See nvs.Flash.
type Flash = nvs.Flash

// Storage keeps records as blobs in a namespace of an NVS partition. It satisfies flash.Storage.
//
// Names are longer than the 15 characters of a key in NVS: a key is a hash of the name, and a blob
// begins with the name.
type Storage struct {
	store     *nvs.Store
	namespace string
}

// OpenStorage uses a namespace of a store.
func OpenStorage(store *nvs.Store, namespace string) *Storage { return &Storage{store, namespace} }

// key is 13 characters of a 64-bit hash and one more for names whose hashes are the same.
func (s *Storage) key(name string, try int) string {
	h := fnv.New64a()
	h.Write([]byte(name))
	return base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)) + string(rune('a'+try))
}

// maxTries is how many names with the same hash there may be.
const maxTries = 4

// find returns the key of a name, and the first one that is free if it has none.
func (s *Storage) find(name string) (key string, value []byte, err error) {
	free := ""
	for try := range maxTries {
		k := s.key(name, try)
		blob, ok := s.store.Get(s.namespace, k)
		b, _ := blob.([]byte)
		held, value, sound := split(b)
		switch {
		case (!ok || !sound) && free == "":
			free = k
		case sound && held == name:
			return k, value, nil
		}
	}
	if free == "" {
		return "", nil, fmt.Errorf("record %q: too many names have its hash", name)
	}
	return free, nil, flash.ErrNotFound
}

// split takes a blob apart into a record's name and what it holds.
func split(b []byte) (name string, value []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	return string(b[1 : 1+b[0]]), b[1+b[0]:], true
}

// Read returns a record, or flash.ErrNotFound.
func (s *Storage) Read(name string) ([]byte, error) {
	_, value, err := s.find(name)
	return value, err
}

// Write stores a record.
func (s *Storage) Write(name string, b []byte) error {
	key, _, err := s.find(name)
	if err != nil && !errors.Is(err, flash.ErrNotFound) {
		return err
	}
	blob := append([]byte{byte(len(name))}, name...)
	return s.store.Set(nvs.Entry{Namespace: s.namespace, Key: key, Value: append(blob, b...)})
}

// Remove erases a record.
func (s *Storage) Remove(name string) error {
	key, _, err := s.find(name)
	if errors.Is(err, flash.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.store.Delete(s.namespace, key)
}

// Names lists the records.
func (s *Storage) Names() (names []string, err error) {
	for _, key := range s.store.Keys(s.namespace) {
		blob, _ := s.store.Get(s.namespace, key)
		b, _ := blob.([]byte)
		if name, _, ok := split(b); ok {
			names = append(names, name)
		}
	}
	return names, nil
}
