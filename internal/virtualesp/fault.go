package virtualesp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Faults is what goes wrong. The zero value is a chip and a cable without fault. The same
// Seed and the same bytes give the same faults.
type Faults struct {
	Seed uint64
	// Drop and Flip are how likely a byte is lost and a bit of it is flipped, 0 to 1, in
	// either direction.
	Drop, Flip float64
	// ResetAfterBytes resets the chip once it has got so many bytes, ResetAtCommand
	// instead of carrying out that command, counted from 1; 0 never does. Each happens
	// once.
	ResetAfterBytes, ResetAtCommand int
	// UnplugAfterBytes and UnplugAtCommand close the connection likewise.
	UnplugAfterBytes, UnplugAtCommand int
	// Worn are addresses in flash sectors that ignore erasing and programming.
	Worn []uint32
	Security
}

// ErrFault means a fault that cannot be read.
var ErrFault = errors.New("unknown fault")

// Add reads one or more faults from text, separated by commas, such as
// "drop=0.001,reset-at-command=40,worn=0x10000,secure-boot". See FaultNames.
func (f *Faults) Add(text string) error {
	for _, one := range strings.Split(text, ",") {
		name, value, hasValue := strings.Cut(strings.TrimSpace(one), "=")
		number := func(into *int) error {
			n, err := strconv.ParseUint(value, 0, 31)
			if err != nil {
				return fmt.Errorf("fault %q: want a number: %w", one, ErrFault)
			}
			*into = int(n)
			return nil
		}
		probability := func(into *float64) error {
			p, err := strconv.ParseFloat(value, 64)
			if err != nil || !(p >= 0 && p <= 1) {
				return fmt.Errorf("fault %q: want a probability from 0 to 1: %w", one, ErrFault)
			}
			*into = p
			return nil
		}
		flag := func(into *bool) error {
			if hasValue {
				return fmt.Errorf("fault %q takes no value: %w", name, ErrFault)
			}
			*into = true
			return nil
		}
		var err error
		switch name {
		case "seed":
			var n int
			err = number(&n)
			f.Seed = uint64(n)
		case "drop":
			err = probability(&f.Drop)
		case "flip":
			err = probability(&f.Flip)
		case "reset-after-bytes":
			err = number(&f.ResetAfterBytes)
		case "reset-at-command":
			err = number(&f.ResetAtCommand)
		case "unplug-after-bytes":
			err = number(&f.UnplugAfterBytes)
		case "unplug-at-command":
			err = number(&f.UnplugAtCommand)
		case "worn":
			var n int
			err = number(&n)
			f.Worn = append(f.Worn, uint32(n))
		case "secure-boot":
			err = flag(&f.SecureBoot)
		case "flash-encryption":
			err = flag(&f.FlashEncryption)
		case "secure-download":
			err = flag(&f.SecureDownload)
		default:
			err = fmt.Errorf("fault %q: want one of %s: %w", name, strings.Join(FaultNames(), ", "), ErrFault)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FaultNames returns what Add knows.
func FaultNames() []string {
	return []string{
		"seed=N", "drop=P", "flip=P", "reset-after-bytes=N", "reset-at-command=N", "unplug-after-bytes=N",
		"unplug-at-command=N", "worn=ADDRESS", "secure-boot", "flash-encryption", "secure-download",
	}
}

// noise is one direction of a bad cable.
type noise struct {
	drop, flip float64
	random     *rand.Rand
}

func (f Faults) noise(direction uint64) *noise {
	return &noise{f.Drop, f.Flip, rand.New(rand.NewPCG(f.Seed, direction))}
}

// over returns what arrives of p. It may change p.
func (n *noise) over(p []byte) []byte {
	if n.drop == 0 && n.flip == 0 {
		return p
	}
	kept := p[:0]
	for _, b := range p {
		if n.random.Float64() < n.drop {
			continue
		}
		if n.random.Float64() < n.flip {
			b ^= 1 << n.random.IntN(8)
		}
		kept = append(kept, b)
	}
	return kept
}

// garble returns what p becomes at a wrong baud rate.
func (n *noise) garble(p []byte) []byte {
	for i := range p {
		p[i] = byte(n.random.Uint32()) | 1
	}
	return p
}
