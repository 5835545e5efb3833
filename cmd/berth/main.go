// Command berth is your own AWS IoT Core for ESP32 fleets.
package main

import (
	"os"
	_ "time/tzdata" // rules name time zones, which not every machine knows

	"github.com/berth-iot/berth/internal/cli"
)

func main() { os.Exit(cli.Run(os.Args[1:], os.Stdout, os.Stderr)) }
