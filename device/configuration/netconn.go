package configuration

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// NetConn carries values over a stream of bytes: each is its channel (1 byte), its length (2 bytes, big
// endian) and itself. It stands for Bluetooth where there is none.
type NetConn struct {
	conn net.Conn
	in   *bufio.Reader
	size int
}

// NewNetConn returns a Conn whose values have at most size bytes; 0 means MinValue.
func NewNetConn(conn net.Conn, size int) *NetConn {
	return &NetConn{conn: conn, in: bufio.NewReader(conn), size: max(size, MinValue)}
}

func (c *NetConn) Size() int { return c.size }

func (c *NetConn) Send(channel Channel, value []byte) error {
	b := append(binary.BigEndian.AppendUint16([]byte{byte(channel)}, uint16(len(value))), value...)
	_, err := c.conn.Write(b)
	return err
}

// maxValue is the largest value that the Attribute Protocol knows (Bluetooth Core Specification, volume
// 3, part F, section 3.2.9).
const maxValue = 512

func (c *NetConn) Receive() (Channel, []byte, error) {
	var header [3]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(header[1:]))
	if n > maxValue || header[0] >= Channels {
		return 0, nil, fmt.Errorf("a value of %d bytes on channel %d: the other side speaks another protocol", n, header[0])
	}
	value := make([]byte, n)
	if _, err := io.ReadFull(c.in, value); err != nil {
		return 0, nil, err
	}
	return Channel(header[0]), value, nil
}

func (c *NetConn) Close() error { return c.conn.Close() }
