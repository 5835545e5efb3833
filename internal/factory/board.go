package factory

import (
	"context"
	"crypto/md5"
)

// Board is a chip in download mode. It is used by one goroutine.
type Board interface {
	// MAC returns 12 lower-case hexadecimal digits.
	MAC() string
	// Chip returns the name of the chip's kind, such as esp32c3.
	Chip() string
	// FlashSize returns the size of the flash in bytes.
	FlashSize(ctx context.Context) (uint32, error)
	// Protected says in words why plain data must not be written, or returns "".
	Protected() string
	// Read reads flash.
	Read(ctx context.Context, address, size uint32) ([]byte, error)
	// Write writes the regions that differ and verifies each by its MD5 on the chip.
	Write(ctx context.Context, regions []Region, progress func(name string, done, total int)) ([]Written, error)
	// MD5 asks the chip for the MD5 of its flash.
	MD5(ctx context.Context, address, size uint32) ([md5.Size]byte, error)
	// Run resets the chip into the application.
	Run(ctx context.Context) error
	Close() error
}

// Region is what belongs at an address of the flash.
type Region struct {
	Name    string `json:"name"`
	Address uint32 `json:"address"`
	Data    []byte `json:"-"`
}

// Written says what became of a region.
type Written struct {
	Name    string `json:"name"`
	Address uint32 `json:"address"`
	Size    int    `json:"size"`
	Changed bool   `json:"changed"` // it was written; otherwise the flash held it already
}

// Open opens the board on a port. Its error says what is wrong with the port or the board.
type Open func(ctx context.Context, port string) (Board, error)
