package configuration

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// A sealed message: identifier of the session (4 bytes), counter (8 bytes, big endian), ciphertext and
// tag. The key is HKDF-SHA256 of the exchange's key with the sender's label; the nonce is four zero
// bytes and the counter, which grows with every message of a sender; identifier and channel are
// authenticated with it.
const (
	sealHeader   = 12
	sealOverhead = sealHeader + 16
	labelDevice  = "berth configuration from device"
	labelPeer    = "berth configuration to device"
)

// errSealed is returned for a message that was not sealed with the session's key, or came before.
var errSealed = errors.New("the message does not belong to the session")

// seal is one side of an established session.
type seal struct {
	id       uint32
	out, in  cipher.AEAD
	sent     uint64
	received [Channels]uint64 // channels overtake one another
}

func newSeal(key []byte, id uint32, device bool) (*seal, error) {
	s := &seal{id: id}
	out, in := labelPeer, labelDevice
	if device {
		out, in = in, out
	}
	for _, half := range []struct {
		label string
		aead  *cipher.AEAD
	}{{out, &s.out}, {in, &s.in}} {
		k, err := hkdf.Key(sha256.New, key, nil, half.label, 32)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, err
		}
		if *half.aead, err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *seal) close(c Channel, plain []byte) []byte {
	s.sent++
	b := binary.BigEndian.AppendUint32(nil, s.id)
	b = binary.BigEndian.AppendUint64(b, s.sent)
	return s.out.Seal(b, nonce(s.sent), plain, additional(s.id, c))
}

func (s *seal) open(c Channel, b []byte) ([]byte, error) {
	if len(b) < sealOverhead || binary.BigEndian.Uint32(b) != s.id {
		return nil, errSealed
	}
	counter := binary.BigEndian.Uint64(b[4:])
	if counter <= s.received[c] {
		return nil, errSealed
	}
	plain, err := s.in.Open(nil, nonce(counter), b[sealHeader:], additional(s.id, c))
	if err != nil {
		return nil, errSealed
	}
	s.received[c] = counter
	return plain, nil
}

func nonce(counter uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 4, 12), counter) }

func additional(id uint32, c Channel) []byte {
	return append(binary.BigEndian.AppendUint32(nil, id), byte(c))
}

// binary64 and bytes64 carry bytes in JSON as base64.
func binary64(b []byte) jsondoc.Value {
	return jsondoc.String(base64.StdEncoding.EncodeToString(b))
}

func bytes64(v jsondoc.Value) ([]byte, bool) {
	b, err := base64.StdEncoding.DecodeString(v.Text())
	return b, err == nil && len(b) > 0
}
