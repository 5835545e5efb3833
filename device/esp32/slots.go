package esp32

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/berth-iot/berth/esp/otadata"
	"github.com/berth-iot/berth/esp/partition"
)

const sector = 4096

// Slots are the application's partitions, of which OTA data names the one that starts. It satisfies
// ota.Slots. The bootloader is one with roll-back (CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE): an
// application that does not confirm itself is not started a second time.
type Slots struct {
	flash   Flash
	data    partition.Partition
	free    partition.Partition
	slots   int
	running int // otadata.Factory or a number
	next    int // the free one

	mu sync.Mutex
}

// OpenSlots takes the partition table and the slot that the bootloader has started, or otadata.Factory.
// The free slot is the one after it, as with esp_ota_get_next_update_partition.
func OpenSlots(f Flash, table partition.Table, running int) (*Slots, error) {
	s := &Slots{flash: f, running: running}
	data := table.ByType(partition.Data, partition.DataOTA)
	if len(data) == 0 || data[0].Size < otadata.Size {
		return nil, errors.New("the partition table has no OTA data")
	}
	s.data = data[0]
	var apps []partition.Partition
	for len(apps) < otadata.MaxSlots {
		p := table.ByType(partition.App, partition.AppOTA0+partition.Subtype(len(apps)))
		if len(p) == 0 {
			break
		}
		apps = append(apps, p[0])
	}
	s.slots = len(apps)
	if running >= s.slots || running < otadata.Factory {
		return nil, fmt.Errorf("slot %d runs, and the partition table has %d", running, s.slots)
	}
	if s.slots == 0 || s.slots == 1 && running == 0 {
		return nil, errors.New("the partition table has no second slot for an application")
	}
	s.next = (running + 1) % s.slots
	s.free = apps[s.next]
	return s, nil
}

func (s *Slots) load() (otadata.Data, error) {
	b := make([]byte, otadata.Size)
	if n, err := s.flash.ReadAt(b, int64(s.data.Offset)); n < len(b) {
		return otadata.Data{}, fmt.Errorf("read OTA data: %w", err)
	}
	return otadata.Decode(b)
}

// save writes one of the two entries; the other one counts if the power goes meanwhile.
func (s *Slots) save(d otadata.Data, index int) error {
	b := d.Append(nil)
	at := s.data.Offset + uint32(index*otadata.SectorSize)
	if err := s.flash.Erase(at, otadata.SectorSize); err != nil {
		return fmt.Errorf("write OTA data: %w", err)
	}
	if err := s.flash.Program(at, b[index*otadata.SectorSize:][:otadata.SectorSize]); err != nil {
		return fmt.Errorf("write OTA data: %w", err)
	}
	return nil
}

// Running tells which slot runs, and whether it is on trial.
func (s *Slots) Running() (slot int, trial bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.load()
	if err != nil || s.running == otadata.Factory {
		return s.running, false
	}
	i, ok := d.Active()
	return s.running, ok && d[i].State == otadata.PendingVerify && int(d[i].Seq-1)%s.slots == s.running
}

// Size is that of the free slot in bytes.
func (s *Slots) Size() int64 { return int64(s.free.Size) }

func (s *Slots) check(n int, offset int64) error {
	if offset < 0 || offset+int64(n) > int64(s.free.Size) {
		return fmt.Errorf("%d bytes at %d: slot %s has %d", n, offset, s.free.Name, s.free.Size)
	}
	return nil
}

// ReadAt reads from the free slot.
func (s *Slots) ReadAt(b []byte, offset int64) (int, error) {
	if err := s.check(len(b), offset); err != nil {
		return 0, err
	}
	n, err := s.flash.ReadAt(b, int64(s.free.Offset)+offset)
	if n == len(b) && err == io.EOF {
		err = nil
	}
	return n, err
}

// WriteAt erases and writes the free slot. offset is a multiple of 4096: what is behind it is lost.
func (s *Slots) WriteAt(b []byte, offset int64) (int, error) {
	if err := s.check(len(b), offset); err != nil {
		return 0, err
	}
	if offset%sector != 0 {
		return 0, fmt.Errorf("write slot %s at %d: not the start of a sector", s.free.Name, offset)
	}
	at, size := s.free.Offset+uint32(offset), (uint32(len(b))+sector-1)&^(sector-1)
	if err := s.flash.Erase(at, size); err != nil {
		return 0, err
	}
	if err := s.flash.Program(at, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Activate makes the bootloader start the free slot next, on trial.
func (s *Slots) Activate(int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.load()
	if err != nil {
		return err
	}
	d, i, err := d.Set(s.next, s.slots, true)
	if err != nil {
		return err
	}
	return s.save(d, i)
}

// Confirm keeps the running application.
func (s *Slots) Confirm() error { return s.mark(otadata.Valid) }

// Rollback makes the bootloader start the other one next.
func (s *Slots) Rollback() error { return s.mark(otadata.Invalid) }

func (s *Slots) mark(state otadata.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.load()
	if err != nil {
		return err
	}
	d, i, err := d.Mark(state)
	if err != nil {
		return err
	}
	return s.save(d, i)
}
