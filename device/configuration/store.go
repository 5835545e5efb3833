package configuration

import (
	"github.com/berth-iot/berth/device/flash"
)

// Keys in flash. A configuration is staged first, in one write; then its parts go to their places, and
// then it is removed. Flash keeps the order of changes, so whatever write the power goes in, the device
// has the old configuration or finds the whole new one at the next start.
const (
	settingsKey = "conf"
	stagedKey   = "conf.new"
)

// Stage stores a configuration that is to be tried. done is called when it is in flash.
func Stage(store *flash.Store, d Document, done func(error)) error {
	return store.Set(stagedKey, d.Append(nil), done)
}

// Staged returns the configuration that is to be tried, if there is one. One that cannot be read is
// removed.
func Staged(store *flash.Store) (d Document, ok bool) {
	b, ok := store.Get(stagedKey)
	if !ok {
		return Document{}, false
	}
	d, err := Parse(b)
	if err != nil {
		_ = store.Delete(stagedKey, nil)
		return Document{}, false
	}
	return d, true
}

// Unstage removes the staged configuration, when it has been settled or does not work. done, if not
// nil, is called when that is in flash.
func Unstage(store *flash.Store, done func(error)) error { return store.Delete(stagedKey, done) }

// Settle makes a configuration the device's, but for certificates and keys, which package identity
// keeps.
func Settle(store *flash.Store, d Document) error {
	d = d.Over(settled(store)).withoutIdentity()
	if d.empty() {
		return nil
	}
	return store.Set(settingsKey, d.Append(nil), nil)
}

func (d Document) withoutIdentity() Document {
	d.Thing, d.Certificate, d.Key, d.Claim = "", nil, nil, Claim{}
	return d
}

func settled(store *flash.Store) Document {
	b, ok := store.Get(settingsKey)
	if !ok {
		return Document{}
	}
	d, err := Parse(b)
	if err != nil {
		return Document{}
	}
	return d
}

// Load returns what the device has been configured with, without certificates and keys: Wi-Fi,
// endpoint, authorities, template, the application's values. One that is being tried counts already.
func Load(store *flash.Store) Document {
	d := settled(store)
	if staged, ok := Staged(store); ok {
		d = staged.Over(d)
	}
	return d.withoutIdentity()
}
