package serial_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/berth-iot/berth/esp/serial"
)

// Write one partition of a board behind a port server, and only if it differs.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := net.Dial("tcp", "bench-3.example:5555")
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := serial.Open(ctx, conn, serial.Options{Name: "bench 3", Chip: "esp32c3", FlashSize: 4 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	image := make([]byte, 64<<10)
	written, err := s.Write(ctx, []serial.Region{{Name: "identity", Address: 0x310000, Data: image}},
		serial.WriteOptions{OnlyChanged: true, Verify: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.MAC(), written[0].Bytes, "bytes written")
}
