package factory

import (
	"context"
	"crypto/md5"
	"encoding/hex"

	"github.com/berth-iot/berth/esp/serial"
)

// SerialBoard is a board on a serial line. It implements Board.
type SerialBoard struct{ *serial.Session }

// MAC implements Board.
func (b SerialBoard) MAC() string { return hex.EncodeToString(b.Session.MAC()) }

// Chip implements Board.
func (b SerialBoard) Chip() string { return b.Session.Chip().Target }

// Protected implements Board.
func (b SerialBoard) Protected() string {
	switch s := b.Security(); {
	case s.FlashEncryption:
		return "flash encryption is on"
	case s.SecureDownload:
		return "secure download mode is on"
	}
	return ""
}

// Read implements Board.
func (b SerialBoard) Read(ctx context.Context, address, size uint32) ([]byte, error) {
	return b.Session.Read(ctx, address, size, nil)
}

// MD5 implements Board.
func (b SerialBoard) MD5(ctx context.Context, address, size uint32) ([md5.Size]byte, error) {
	return b.Session.MD5(ctx, address, size)
}

// Write implements Board.
func (b SerialBoard) Write(ctx context.Context, regions []Region, progress func(name string, done, total int)) ([]Written, error) {
	var list []serial.Region
	for _, r := range regions {
		list = append(list, serial.Region{Name: r.Name, Address: r.Address, Data: r.Data})
	}
	done, err := b.Session.Write(ctx, list, serial.WriteOptions{OnlyChanged: true, Verify: true, Progress: func(p serial.Progress) {
		if p.Phase == serial.PhaseWrite {
			progress(p.Name, p.Done, p.Total)
		}
	}})
	var out []Written
	for _, w := range done {
		out = append(out, Written{Name: w.Region.Name, Address: w.Region.Address, Size: len(w.Region.Data), Changed: w.Bytes > 0})
	}
	return out, err
}

// Run implements Board.
func (b SerialBoard) Run(ctx context.Context) error { return b.Reset(ctx, serial.EndAuto) }
