package virtualesp

import "time"

// Timing is how long things take. The zero value takes no time at all.
type Timing struct {
	// BaudRate makes bytes take ten bits each at the UART's rate, and WRITE_REG wait as
	// long as it is told.
	BaudRate bool
	// EraseSector and EraseBlock are for 4 and 64 KiB, ProgramPage for 256 bytes.
	EraseSector, EraseBlock, ProgramPage time.Duration
	// Hash is for the MD5 of 64 KiB.
	Hash time.Duration
}

// TypicalTiming is that of a common flash chip (W25Q32JV data sheet, typical values) behind
// a UART.
func TypicalTiming() Timing {
	return Timing{
		BaudRate:    true,
		EraseSector: 45 * time.Millisecond,
		EraseBlock:  150 * time.Millisecond,
		ProgramPage: 400 * time.Microsecond,
		Hash:        20 * time.Millisecond,
	}
}

// erasing is how long it takes to erase sectors, by blocks where they are aligned.
func (t Timing) erasing(offset, size uint32) time.Duration {
	var d time.Duration
	for size > 0 {
		step := uint32(SectorSize)
		if offset%BlockSize == 0 && size >= BlockSize {
			step = BlockSize
			d += t.EraseBlock
		} else {
			d += t.EraseSector
		}
		offset, size = offset+step, size-min(step, size)
	}
	return d
}

func (t Timing) programming(n int) time.Duration {
	return time.Duration((n+pageSize-1)/pageSize) * t.ProgramPage
}

func (t Timing) hashing(size uint32) time.Duration {
	return time.Duration(uint64(size) * uint64(t.Hash) / BlockSize)
}

// carrying is how long n bytes are on the wire.
func (t Timing) carrying(n, baud int) time.Duration {
	if !t.BaudRate {
		return 0
	}
	return time.Duration(n) * 10 * time.Second / time.Duration(max(baud, 1))
}
