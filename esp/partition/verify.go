package partition

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// Verify checks a table by the rules of ESP-IDF: alignment, unique names, no
// overlap, nothing below the end of the table itself, the size of otadata and
// NVS, flags that make sense, and the flash size if opt names one. warnings
// are likely mistakes that are allowed.
func (t Table) Verify(opt Options) (warnings []string, err error) {
	if opt.PrimaryBootloaderOffset != nil && uint64(*opt.PrimaryBootloaderOffset) >= opt.offset() {
		return nil, errorf("Unsupported configuration. Primary bootloader must be below partition table: 0x%x is not below 0x%x",
			*opt.PrimaryBootloaderOffset, opt.offset())
	}
	for _, p := range t {
		w, err := p.verify(opt)
		warnings = append(warnings, w...)
		if err != nil {
			return warnings, err
		}
	}
	for _, check := range []func(Options) error{t.checkNames, t.checkOverlap, t.checkOTAData, t.checkFlashSize} {
		if err := check(opt); err != nil {
			return warnings, err
		}
	}
	return warnings, nil
}

func (p Partition) verify(opt Options) (warnings []string, err error) {
	invalid := func(format string, args ...any) error {
		return errorf("Partition %s invalid: %s", p.Name, fmt.Sprintf(format, args...))
	}
	if len(p.Name) > nameLen {
		warnings = append(warnings, fmt.Sprintf("WARNING: Partition name '%s' is longer than 16 bytes and will be cut to '%s'", p.Name, p.Name[:nameLen]))
	}
	align := p.Type.alignment()
	if p.Offset%align != 0 {
		return warnings, invalid("Offset 0x%x is not aligned to 0x%x", p.Offset, align)
	}
	if p.Type == App {
		sizeAlign := uint32(0x1000)
		if opt.Secure == SecureV1 {
			sizeAlign = 0x10000
		}
		if p.Size%sizeAlign != 0 {
			return warnings, invalid("Size 0x%x is not aligned to 0x%x", p.Size, sizeAlign)
		}
	}
	if t, ok := valueOf(p.Name, typeNames()); ok && t != int(p.Type) {
		warnings = append(warnings, fmt.Sprintf(
			"WARNING: Partition has name '%s' which is a partition type, but does not match this partition's type (0x%x). Mistake in partition table?",
			p.Name, uint8(p.Type)))
	}
	if p.nameOfOtherSubtype(opt) {
		warnings = append(warnings, fmt.Sprintf(
			"WARNING: Partition has name '%s' which is a partition subtype, but this partition has non-matching type 0x%x and subtype 0x%x. Mistake in partition table?",
			p.Name, uint8(p.Type), uint8(p.Subtype)))
	}
	if p.Type == Data {
		switch {
		case (p.Subtype == DataOTA || p.Subtype == DataCoreDump) && p.Flags&Readonly != 0:
			return warnings, invalid("'%s' partition of type %d and subtype %d is always read-write and cannot be read-only",
				p.Name, p.Type, p.Subtype)
		case p.Subtype == DataNVS && p.Size < minNVSSize && p.Flags&Readonly == 0:
			return warnings, invalid("'%s' partition of type %d and subtype %d of this size (0x%x) must be flagged as 'readonly' (the size of read/write NVS has to be at least 0x%x)",
				p.Name, p.Type, p.Subtype, p.Size, minNVSSize)
		}
	}
	if p.End() > 1<<32 {
		return warnings, invalid("Offset 0x%x and size 0x%x go beyond 32 bits", p.Offset, p.Size)
	}
	return warnings, nil
}

func (t Type) alignment() uint32 {
	if t == App {
		return 0x10000
	}
	return 0x1000
}

// nameOfOtherSubtype tells whether the name is that of some subtype, and not
// of this partition's.
func (p Partition) nameOfOtherSubtype(opt Options) bool {
	if own, ok := valueOf(p.Name, subtypeNames(p.Type, opt.ExtraSubtypes)); ok && own == int(p.Subtype) {
		return false
	}
	for _, t := range []Type{App, Data, Bootloader, PartitionTable} {
		if _, ok := valueOf(p.Name, subtypeNames(t, opt.ExtraSubtypes)); ok {
			return true
		}
	}
	return false
}

func (t Table) checkNames(opt Options) error {
	count := make(map[string]int)
	for _, p := range t {
		count[p.Name]++
	}
	var twice []Partition
	for _, p := range t {
		if count[p.Name] > 1 {
			twice = append(twice, p)
		}
	}
	if len(twice) == 0 {
		return nil
	}
	slices.SortStableFunc(twice, func(a, b Partition) int { return cmp.Compare(a.Name, b.Name) })
	return errorf("Partition names must be unique: %s", rows(twice, opt))
}

func rows(list []Partition, opt Options) string {
	s := ""
	for i, p := range list {
		if i > 0 {
			s += " and "
		}
		s += strconv.Quote(p.row(opt))
	}
	return s
}

// fixed tells whether the partition is the bootloader or the table itself,
// which lie below every other.
func (p Partition) fixed() bool {
	return p.Type == Bootloader && p.Subtype == BootloaderPrimary || p.Type == PartitionTable && p.Subtype == TablePrimary
}

func (t Table) checkOverlap(opt Options) error {
	sorted := slices.Clone(t)
	slices.SortStableFunc(sorted, func(a, b Partition) int { return cmp.Compare(a.Offset, b.Offset) })
	for i, p := range sorted {
		if uint64(p.Offset) < opt.tableEnd() && !p.fixed() {
			return errorf("Partition offset 0x%x is below 0x%x", p.Offset, opt.tableEnd())
		}
		if i > 0 && uint64(p.Offset) < sorted[i-1].End() {
			last := sorted[i-1]
			return errorf("Partition at 0x%x overlaps 0x%x-0x%x", p.Offset, last.Offset, last.End()-1)
		}
	}
	return nil
}

func (t Table) checkOTAData(opt Options) error {
	for _, kind := range []struct {
		subtype Subtype
		name    string
		what    string
	}{
		{DataOTA, "otadata", `subtype="ota"(0)`},
		{DataTEEOTA, "TEE otadata", `subtype="tee_ota"(0x90)`},
	} {
		found := t.ByType(Data, kind.subtype)
		switch {
		case len(found) > 1:
			return errorf("Found multiple %s partitions. Only one partition can be defined with type=\"data\"(1) and %s: %s", kind.name, kind.what, rows(found, opt))
		case len(found) == 1 && found[0].Size != otaDataSize:
			return errorf("%s partition must have size = 0x2000: %s", kind.name, rows(found, opt))
		}
	}
	return nil
}

func (t Table) checkFlashSize(opt Options) error {
	if size := t.FlashSize(); opt.FlashSize != 0 && opt.FlashSize < size {
		return errorf("Partitions tables occupies %.1fMB of flash (%d bytes) which does not fit in configured flash size %dMB. Change the flash size in menuconfig under the 'Serial Flasher Config' menu.",
			float64(size)/(1<<20), size, opt.FlashSize>>20)
	}
	return nil
}
