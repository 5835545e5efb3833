package otadata

import "fmt"

// Factory is the slot number of the factory application.
const Factory = -1

// Apps is what the partition table offers to boot.
type Apps struct {
	Factory bool
	Slots   int // ota_0, ota_1, … without a gap
	// HasData says that the table has an OTA data partition.
	HasData bool
}

// Boot is what the bootloader decides.
type Boot struct {
	// Slot is the application to start first, Factory or a slot number.
	Slot int
	// Data is what the partition holds from now on, and Changed which of its
	// sectors must be erased and written for that, before anything starts.
	Data    Data
	Changed [2]bool
	// Reason says in words why it is this slot.
	Reason string

	apps    Apps
	initial bool
}

// Decide makes the bootloader's decision. With rollback
// (CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE) an application that was started once
// and did not confirm itself is aborted, and a new one becomes pending.
//
//	new ──started──► pending-verify ──confirmed──► valid
//	                      │      └──gave up──► invalid
//	                      └──started again──► aborted
func Decide(d Data, apps Apps, rollback bool) Boot {
	b := Boot{Slot: Factory, Data: d, apps: apps}
	if !apps.HasData {
		b.Reason = "the partition table has no OTA data"
		return b
	}
	if rollback {
		for i := range b.Data {
			if b.Data[i].State == PendingVerify {
				b.set(i, Aborted)
			}
		}
	}
	if !b.Data[0].candidate() && !b.Data[1].candidate() || apps.Slots == 0 {
		b.Reason = "OTA data names no slot"
		if !apps.Factory {
			b.Slot = 0
			b.initial = !b.Data[0].Intact() && !b.Data[1].Intact()
			b.Reason += ", and there is no factory application"
		}
		return b
	}
	active, ok := b.Data.Active()
	if !ok {
		b.Reason = "OTA data is damaged"
		return b
	}
	entry := b.Data[active]
	b.Slot = int((entry.Seq - 1) % uint32(apps.Slots))
	b.Reason = fmt.Sprintf("entry %d with sequence number %d, %v", active, entry.Seq, entry.State)
	if rollback && entry.State == New {
		b.set(active, PendingVerify)
	}
	return b
}

// candidate tells whether the entry looks as if it named a slot, its checksum
// left aside.
func (e Entry) candidate() bool {
	return e.Seq != 0xFFFFFFFF && e.State != Invalid && e.State != Aborted
}

func (b *Boot) set(i int, s State) {
	b.Data[i].State = s
	b.Changed[i] = true
}

// Order returns the slots in the order in which the bootloader tries them
// until one holds an image that verifies: from the slot chosen down to the
// factory application, then up from it.
func (b Boot) Order() []int {
	var order []int
	add := func(slot int) {
		if slot == Factory && b.apps.Factory || slot >= 0 && slot < b.apps.Slots {
			order = append(order, slot)
		}
	}
	for slot := b.Slot; slot >= Factory; slot-- {
		add(slot)
	}
	for slot := b.Slot + 1; slot < b.apps.Slots; slot++ {
		add(slot)
	}
	return order
}

// Loaded returns the data after slot was loaded. Where there is no factory
// application and OTA data was empty, the bootloader writes down which slot it
// found; changed says which sectors that touches.
func (b Boot) Loaded(slot int) (d Data, changed [2]bool) {
	d = b.Data
	if slot > Factory && b.initial {
		d[0] = Erased().WithSeq(uint32(slot) + 1)
		d[0].State = Valid
		changed[0] = true
	}
	return d, changed
}

// Set returns the data that makes the bootloader start slot next, as
// esp_ota_set_boot_partition does, and the index of the one sector to write.
// slots is how many there are.
func (d Data) Set(slot, slots int, rollback bool) (Data, int, error) {
	if slot < 0 || slot >= slots || slots > MaxSlots {
		return d, 0, fmt.Errorf("otadata: set slot %d: there are %d", slot, slots)
	}
	state := Undefined
	if rollback {
		state = New
	}
	index, seq := 0, uint32(slot)+1
	if active, ok := d.Active(); ok {
		index, seq = active, d[active].Seq
		now := (seq - 1) % uint32(slots)
		if now != uint32(slot) {
			index = 1 - active
			seq += (uint32(slot) + uint32(slots) - now) % uint32(slots)
		}
	}
	d[index] = d[index].WithSeq(seq)
	d[index].State = state
	return d, index, nil
}

// Mark returns the data with the state of the running application set, as
// esp_ota_mark_app_valid_cancel_rollback (Valid) and
// esp_ota_mark_app_invalid_rollback_and_reboot (Invalid) do, and the index of
// the sector to write. It fails if no entry counts, when the factory
// application runs.
func (d Data) Mark(state State) (Data, int, error) {
	active, ok := d.Active()
	if !ok {
		return d, 0, fmt.Errorf("otadata: mark %v: no slot is active", state)
	}
	d[active].State = state
	return d, active, nil
}
