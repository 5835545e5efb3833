package otadata

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

func entry(seq uint32, s State) Entry {
	e := Erased().WithSeq(seq)
	e.State = s
	return e
}

func TestBytes(t *testing.T) {
	t.Parallel()
	// The first entries that ESP-IDF's otatool writes for slots 0 and 1: their
	// checksums are well known.
	for seq, crc := range map[uint32]string{1: "9a984347", 2: "7437f655"} {
		b := entry(seq, Undefined).Append(nil)
		if got := hex.EncodeToString(b[28:]); len(b) != EntrySize || got != crc {
			t.Errorf("sequence %d: %d bytes, checksum %s, want %s", seq, len(b), got, crc)
		}
	}
	d := Data{entry(7, Valid), Erased()}
	b := d.Append(nil)
	again, err := Decode(b)
	if err != nil || again != d || len(b) != Size {
		t.Errorf("read back %v, %v", again, err)
	}
	if _, err := Decode(b[:Size-1]); !errors.Is(err, ErrSize) {
		t.Errorf("short partition: %v", err)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	two := Apps{Factory: true, Slots: 2, HasData: true}
	noFactory := Apps{Slots: 2, HasData: true}
	broken := entry(5, Valid)
	broken.CRC++
	tests := []struct {
		name     string
		data     Data
		apps     Apps
		rollback bool
		slot     int
		order    string
		states   [2]State // after
		changed  [2]bool
	}{
		{"no OTA data", Initial(), Apps{Factory: true}, true, Factory, "[-1]", [2]State{Undefined, Undefined}, [2]bool{}},
		{"fresh", Initial(), two, true, Factory, "[-1 0 1]", [2]State{Undefined, Undefined}, [2]bool{}},
		{"fresh without factory", Initial(), noFactory, true, 0, "[0 1]", [2]State{Undefined, Undefined}, [2]bool{}},
		{"first update", Data{entry(1, Undefined), Erased()}, two, false, 0, "[0 -1 1]", [2]State{Undefined, Undefined}, [2]bool{}},
		{"second update", Data{entry(1, Undefined), entry(2, Undefined)}, two, false, 1, "[1 0 -1]", [2]State{Undefined, Undefined}, [2]bool{}},
		{"third update", Data{entry(3, Undefined), entry(2, Undefined)}, two, false, 0, "[0 -1 1]", [2]State{Undefined, Undefined}, [2]bool{}},
		{"same number twice", Data{entry(2, Valid), entry(2, New)}, two, true, 1, "[1 0 -1]", [2]State{Valid, New}, [2]bool{}},
		{"new becomes pending", Data{entry(1, Valid), entry(2, New)}, two, true, 1, "[1 0 -1]", [2]State{Valid, PendingVerify}, [2]bool{false, true}},
		{"new without rollback", Data{entry(1, Valid), entry(2, New)}, two, false, 1, "[1 0 -1]", [2]State{Valid, New}, [2]bool{}},
		{"pending is aborted", Data{entry(1, Valid), entry(2, PendingVerify)}, two, true, 0, "[0 -1 1]", [2]State{Valid, Aborted}, [2]bool{false, true}},
		{"first update aborted", Data{entry(1, PendingVerify), Erased()}, two, true, Factory, "[-1 0 1]", [2]State{Aborted, Undefined}, [2]bool{true, false}},
		{"aborted without factory", Data{entry(2, PendingVerify), Erased()}, noFactory, true, 0, "[0 1]", [2]State{Aborted, Undefined}, [2]bool{true, false}},
		{"invalid is passed over", Data{entry(1, Valid), entry(2, Invalid)}, two, true, 0, "[0 -1 1]", [2]State{Valid, Invalid}, [2]bool{}},
		{"both given up", Data{entry(1, Invalid), entry(2, Aborted)}, two, true, Factory, "[-1 0 1]", [2]State{Invalid, Aborted}, [2]bool{}},
		{"checksum broken", Data{entry(1, Valid), broken}, two, true, 0, "[0 -1 1]", [2]State{Valid, Valid}, [2]bool{}},
		{"all broken", Data{broken, broken}, two, true, Factory, "[-1 0 1]", [2]State{Valid, Valid}, [2]bool{}},
		{"all broken without factory", Data{broken, broken}, noFactory, true, Factory, "[0 1]", [2]State{Valid, Valid}, [2]bool{}},
		{"no slots", Data{entry(1, Valid), Erased()}, Apps{Factory: true, HasData: true}, true, Factory, "[-1]", [2]State{Valid, Undefined}, [2]bool{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := Decide(test.data, test.apps, test.rollback)
			if b.Slot != test.slot || fmt.Sprint(b.Order()) != test.order {
				t.Errorf("slot %d, order %v (%s), want %d, %s", b.Slot, b.Order(), b.Reason, test.slot, test.order)
			}
			if got := [2]State{b.Data[0].State, b.Data[1].State}; got != test.states || b.Changed != test.changed {
				t.Errorf("states %v, changed %v, want %v, %v", got, b.Changed, test.states, test.changed)
			}
			if b.Reason == "" {
				t.Error("no reason")
			}
		})
	}
}

func TestLoaded(t *testing.T) {
	t.Parallel()
	b := Decide(Initial(), Apps{Slots: 2, HasData: true}, true)
	d, changed := b.Loaded(1)
	if changed != [2]bool{true, false} || d[0] != entry(2, Valid) {
		t.Errorf("after slot 1 of an empty table: %+v, %v", d, changed)
	}
	if next := Decide(d, Apps{Slots: 2, HasData: true}, true); next.Slot != 1 {
		t.Errorf("next start takes slot %d", next.Slot)
	}
	b = Decide(Data{entry(1, Valid), Erased()}, Apps{Slots: 2, HasData: true}, true)
	if _, changed := b.Loaded(0); changed != [2]bool{} {
		t.Error("written without need")
	}
}

// TestUpdates follows a device through updates that are confirmed, given up,
// or cut off, and holds the bootloader to the slot that should run.
func TestUpdates(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		apps := Apps{Factory: true, Slots: 1 + rnd.IntN(MaxSlots), HasData: true}
		d := Initial()
		good := Factory
		for step := range 50 {
			slot := rnd.IntN(apps.Slots)
			if slot == good {
				continue
			}
			next, index, err := d.Set(slot, apps.Slots, true)
			if err != nil {
				t.Fatal(err)
			}
			if next[1-index] != d[1-index] {
				t.Fatalf("seed %d step %d: the other entry changed", seed, step)
			}
			b := Decide(next, apps, true)
			if b.Slot != slot || b.Data[index].State != PendingVerify {
				t.Fatalf("seed %d step %d: slot %d, want %d", seed, step, b.Slot, slot)
			}
			d = b.Data
			switch rnd.IntN(3) {
			case 0:
				if d, _, err = d.Mark(Valid); err != nil {
					t.Fatal(err)
				}
				good = slot
			case 1:
				if d, _, err = d.Mark(Invalid); err != nil {
					t.Fatal(err)
				}
			}
			b = Decide(d, apps, true)
			if b.Slot != good {
				t.Fatalf("seed %d step %d: slot %d runs after all, want %d: %+v", seed, step, b.Slot, good, d)
			}
			d = b.Data
		}
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	if _, _, err := Initial().Set(2, 2, false); err == nil {
		t.Error("slot beyond the last is taken")
	}
	if _, _, err := Initial().Mark(Valid); err == nil {
		t.Error("the factory application is marked")
	}
	d, index, err := Data{entry(4, Valid), entry(5, Valid)}.Set(0, 8, false)
	if err != nil || index != 0 || d[0].Seq != 9 {
		t.Errorf("from slot 4 of 8 to 0: %+v in %d, %v; want sequence number 9 in 0", d, index, err)
	}
	same, index, err := Data{entry(1, Invalid), entry(2, Valid)}.Set(1, 2, true)
	if err != nil || index != 1 || !reflect.DeepEqual(same[1], entry(2, New)) {
		t.Errorf("the slot that is active already: %+v in %d, %v", same, index, err)
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(Data{entry(1, Valid), entry(2, New)}.Append(nil), uint8(2), true)
	f.Add(Initial().Append(nil), uint8(16), false)
	f.Fuzz(func(t *testing.T, b []byte, slots uint8, rollback bool) {
		d, err := Decode(b)
		if err != nil {
			return
		}
		apps := Apps{Factory: rollback, Slots: int(slots % (MaxSlots + 1)), HasData: true}
		boot := Decide(d, apps, rollback)
		if boot.Slot < Factory || boot.Slot >= max(1, apps.Slots) {
			t.Fatalf("slot %d of %d", boot.Slot, apps.Slots)
		}
		boot.Order()
		boot.Loaded(boot.Slot)
	})
}
