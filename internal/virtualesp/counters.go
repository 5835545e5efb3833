package virtualesp

import (
	"fmt"
	"maps"
	"sync"
)

// Counters is what went over the wire and into the flash.
type Counters struct {
	BytesIn         int            `json:"bytesIn"`  // from the host
	BytesOut        int            `json:"bytesOut"` // to the host
	Commands        int            `json:"commands"`
	ByCommand       map[string]int `json:"byCommand"`
	Failed          int            `json:"failed"`    // commands answered with an error
	BadFrames       int            `json:"badFrames"` // frames dropped
	Resets          int            `json:"resets"`
	SectorsErased   int            `json:"sectorsErased"`
	BytesProgrammed int            `json:"bytesProgrammed"`
}

// tally is the counters of a running chip.
type tally struct {
	mu sync.Mutex
	Counters
}

func (t *tally) add(f func(c *Counters)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.Counters)
}

func (t *tally) command(op byte, failed bool) {
	t.add(func(c *Counters) {
		if c.ByCommand == nil {
			c.ByCommand = map[string]int{}
		}
		c.Commands++
		c.ByCommand[commandName(op)]++
		if failed {
			c.Failed++
		}
	})
}

func (t *tally) copy(flash *Flash) Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.Counters
	c.ByCommand = maps.Clone(c.ByCommand)
	c.SectorsErased, c.BytesProgrammed = flash.Usage()
	return c
}

// Opcodes, with the names of esptool's documentation, "Serial Protocol".
const (
	opFlashBegin       = 0x02
	opFlashData        = 0x03
	opFlashEnd         = 0x04
	opMemBegin         = 0x05
	opMemEnd           = 0x06
	opMemData          = 0x07
	opSync             = 0x08
	opWriteReg         = 0x09
	opReadReg          = 0x0A
	opSPISetParams     = 0x0B
	opSPIAttach        = 0x0D
	opReadFlashSlow    = 0x0E
	opChangeBaudrate   = 0x0F
	opFlashDeflBegin   = 0x10
	opFlashDeflData    = 0x11
	opFlashDeflEnd     = 0x12
	opSPIFlashMD5      = 0x13
	opGetSecurityInfo  = 0x14
	opEraseFlash       = 0xD0
	opEraseRegion      = 0xD1
	opReadFlash        = 0xD2
	opRunUserCode      = 0xD3
	opFlashEncryptData = 0xD4
)

func commandName(op byte) string {
	names := map[byte]string{
		opFlashBegin: "FLASH_BEGIN", opFlashData: "FLASH_DATA", opFlashEnd: "FLASH_END",
		opMemBegin: "MEM_BEGIN", opMemEnd: "MEM_END", opMemData: "MEM_DATA", opSync: "SYNC",
		opWriteReg: "WRITE_REG", opReadReg: "READ_REG", opSPISetParams: "SPI_SET_PARAMS",
		opSPIAttach: "SPI_ATTACH", opReadFlashSlow: "READ_FLASH_SLOW", opChangeBaudrate: "CHANGE_BAUDRATE",
		opFlashDeflBegin: "FLASH_DEFL_BEGIN", opFlashDeflData: "FLASH_DEFL_DATA", opFlashDeflEnd: "FLASH_DEFL_END",
		opSPIFlashMD5: "SPI_FLASH_MD5", opGetSecurityInfo: "GET_SECURITY_INFO",
		opEraseFlash: "ERASE_FLASH", opEraseRegion: "ERASE_REGION", opReadFlash: "READ_FLASH",
		opRunUserCode: "RUN_USER_CODE", opFlashEncryptData: "FLASH_ENCRYPT_DATA",
	}
	if name, ok := names[op]; ok {
		return name
	}
	return fmt.Sprintf("0x%02X", op)
}
