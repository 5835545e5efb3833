package esp32

import (
	"errors"
	"fmt"

	"github.com/berth-iot/berth/device/ota"
	"github.com/berth-iot/berth/esp/appimage"
)

// Running is what an image must fit: what runs now.
type Running struct {
	Chip appimage.Chip
	// Revision of the chip, 100 × major + minor; -1 is not looked at.
	Revision int
	// Project is the name in the running image's description; "" takes any.
	Project string
	// SecureVersion is the least that the chip's eFuses, or the running image, allow.
	SecureVersion uint32
}

// Check looks at a whole image in the free slot: that it is one, that its checksum and its own SHA-256
// hold, that it is for this chip and this product, and that it does not go back behind the version that
// security needs. Its result is for ota.Config.Check.
func (r Running) Check(read func(b []byte, offset int64) (int, error), img ota.Image) error {
	b := make([]byte, img.Size)
	if _, err := read(b, 0); err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	m, err := appimage.Decode(b)
	if err != nil {
		return err
	}
	if err := m.Verify(); err != nil {
		return err
	}
	d := m.Description
	switch {
	case m.Chip != r.Chip:
		return fmt.Errorf("it is for %s, this is %s", m.Chip, r.Chip)
	case r.Revision >= 0 && r.Revision < int(m.MinRev):
		return fmt.Errorf("it needs revision v%d.%d of the chip, this is v%d.%d", m.MinRev/100, m.MinRev%100, r.Revision/100, r.Revision%100)
	case d == nil:
		return errors.New("it has no description of an application: a bootloader, or built by something other than ESP-IDF")
	case r.Project != "" && d.ProjectName != r.Project:
		return fmt.Errorf("it is %q, this device runs %q", d.ProjectName, r.Project)
	case d.SecureVersion < r.SecureVersion:
		return fmt.Errorf("its security version %d is below %d, behind which the device does not go back", d.SecureVersion, r.SecureVersion)
	}
	return nil
}
