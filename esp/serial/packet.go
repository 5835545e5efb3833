package serial

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Operations of the loaders: "Serial Protocol" in Espressif's esptool documentation.
const (
	opFlashBegin      = 0x02
	opFlashData       = 0x03
	opFlashEnd        = 0x04
	opMemBegin        = 0x05
	opMemEnd          = 0x06
	opMemData         = 0x07
	opSync            = 0x08
	opWriteReg        = 0x09
	opReadReg         = 0x0A
	opSPISetParams    = 0x0B
	opSPIAttach       = 0x0D
	opReadFlashSlow   = 0x0E // ROM of ESP32 and later, 64 bytes at most
	opChangeBaudrate  = 0x0F
	opFlashDeflBegin  = 0x10
	opFlashDeflData   = 0x11
	opSPIFlashMD5     = 0x13
	opGetSecurityInfo = 0x14
	opEraseFlash      = 0xD0 // stub only, as the rest
	opEraseRegion     = 0xD1
	opReadFlash       = 0xD2
)

func opName(op byte) string {
	switch op {
	case opFlashBegin:
		return "FLASH_BEGIN"
	case opFlashData:
		return "FLASH_DATA"
	case opFlashEnd:
		return "FLASH_END"
	case opMemBegin:
		return "MEM_BEGIN"
	case opMemEnd:
		return "MEM_END"
	case opMemData:
		return "MEM_DATA"
	case opSync:
		return "SYNC"
	case opWriteReg:
		return "WRITE_REG"
	case opReadReg:
		return "READ_REG"
	case opSPISetParams:
		return "SPI_SET_PARAMS"
	case opSPIAttach:
		return "SPI_ATTACH"
	case opReadFlashSlow:
		return "READ_FLASH_SLOW"
	case opChangeBaudrate:
		return "CHANGE_BAUDRATE"
	case opFlashDeflBegin:
		return "FLASH_DEFL_BEGIN"
	case opFlashDeflData:
		return "FLASH_DEFL_DATA"
	case opSPIFlashMD5:
		return "SPI_FLASH_MD5"
	case opGetSecurityInfo:
		return "GET_SECURITY_INFO"
	case opEraseFlash:
		return "ERASE_FLASH"
	case opEraseRegion:
		return "ERASE_REGION"
	case opReadFlash:
		return "READ_FLASH"
	}
	return fmt.Sprintf("operation 0x%02x", op)
}

// request is one command to a loader.
type request struct {
	op       byte
	data     []byte
	checksum byte // of the payload of a data command, else 0
}

const packetHeader = 8

func (r request) append(dst []byte) []byte {
	dst = append(dst, 0, r.op)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(r.data)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.checksum))
	return append(dst, r.data...)
}

// response is one answer; data includes the status bytes until status takes them off.
type response struct {
	op    byte
	value uint32
	data  []byte
}

var errNotResponse = errors.New("not an answer of a loader")

// decodeResponse reads one frame; data is a part of it.
func decodeResponse(frame []byte) (response, error) {
	if len(frame) < packetHeader || frame[0] != 1 {
		return response{}, errNotResponse
	}
	size := int(binary.LittleEndian.Uint16(frame[2:]))
	if size != len(frame)-packetHeader {
		return response{}, fmt.Errorf("%w: %d bytes of data where %d are announced", errNotResponse, len(frame)-packetHeader, size)
	}
	return response{op: frame[1], value: binary.LittleEndian.Uint32(frame[4:]), data: frame[packetHeader:]}, nil
}

// status takes the status bytes off the end of the data: 4 of a ROM since ESP32, 2 of ESP8266's
// ROM and of a stub. A failure comes as a *StatusError.
func (r response) status(length int) (response, error) {
	if len(r.data) < length {
		// A ROM answers a command that it does not know with two status bytes only.
		if len(r.data) < 2 {
			return r, fmt.Errorf("%w: %s: no status", errNotResponse, opName(r.op))
		}
		length = len(r.data)
	}
	at := len(r.data) - length
	failed, code := r.data[at], r.data[at+1]
	r.data = r.data[:at]
	if failed != 0 {
		return r, &StatusError{Operation: opName(r.op), Code: code}
	}
	return r, nil
}

// StatusError is a loader's refusal of one command.
type StatusError struct {
	Operation string // such as FLASH_DEFL_DATA
	Code      byte   // 0x05 and up from a ROM, 0xC0 and up from a stub
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: the chip answered error 0x%02x (%s)", e.Operation, e.Code, statusText(e.Code))
}

const (
	codeInvalid      = 0x05
	codeFailed       = 0x06
	codeChecksum     = 0x07
	codeFlashWrite   = 0x08
	codeStubLength   = 0xC0
	codeStubChecksum = 0xC1
	codeStubSPI      = 0xC4
	codeStubUnlock   = 0xC5
)

func statusText(code byte) string {
	switch code {
	case codeInvalid:
		return "invalid message"
	case codeFailed:
		return "failed to act"
	case codeChecksum, codeStubChecksum:
		return "checksum"
	case codeFlashWrite:
		return "flash write"
	case 0x09:
		return "flash read"
	case 0x0A:
		return "flash read length"
	case 0x0B, 0xC7:
		return "deflate"
	case 0x0C:
		return "Adler-32"
	case 0x0D:
		return "deflate parameter"
	case codeStubLength:
		return "data length"
	case 0xC2:
		return "block size"
	case 0xC3:
		return "invalid command"
	case codeStubSPI:
		return "SPI operation failed"
	case codeStubUnlock:
		return "flash could not be unlocked"
	case 0xC6:
		return "not in flash mode"
	case 0xC8:
		return "not enough data"
	case 0xC9:
		return "too much data"
	case 0xFF:
		return "command not implemented"
	}
	return "unknown"
}

// words packs 32-bit words, little endian.
func words(list ...uint32) []byte {
	b := make([]byte, 0, 4*len(list))
	for _, w := range list {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// dataRequest is a FLASH_DATA, FLASH_DEFL_DATA or MEM_DATA: length, sequence number, two zero
// words and the block, whose bytes are summed up by exclusive or, from 0xEF.
func dataRequest(op byte, sequence int, block []byte) request {
	sum := byte(0xEF)
	for _, b := range block {
		sum ^= b
	}
	return request{op: op, data: append(words(uint32(len(block)), uint32(sequence), 0, 0), block...), checksum: sum}
}

// syncRequest is a SYNC: its 32 bytes of 0x55 let the chip measure the baud rate.
func syncRequest() request {
	data := []byte{0x07, 0x07, 0x12, 0x20}
	for range 32 {
		data = append(data, 0x55)
	}
	return request{op: opSync, data: data}
}
