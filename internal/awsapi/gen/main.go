// Command gen writes docs/compatibility.md from the table of operations and the handlers there are.
package main

import (
	"fmt"
	"os"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/awsapi/fleetindex"
	"github.com/berth-iot/berth/internal/awsapi/iot"
	"github.com/berth-iot/berth/internal/awsapi/iotauthn"
	"github.com/berth-iot/berth/internal/awsapi/iotcommands"
	"github.com/berth-iot/berth/internal/awsapi/iotdata"
	"github.com/berth-iot/berth/internal/awsapi/iotdefender"
	"github.com/berth-iot/berth/internal/awsapi/iotjobs"
	"github.com/berth-iot/berth/internal/awsapi/iotlogging"
	"github.com/berth-iot/berth/internal/awsapi/iotota"
	"github.com/berth-iot/berth/internal/awsapi/iotpackages"
	"github.com/berth-iot/berth/internal/awsapi/iotrules"
)

//go:generate go run . ../../../docs/compatibility.md

// page is the page as it should be. Every plane has its line here.
func page() []byte {
	return awsapi.Compatibility(
		iot.Operations(iot.Config{}),
		iotrules.Operations(nil),
		iotauthn.Operations(iotauthn.Config{}),
		iotdata.Operations(iotdata.Config{}),
		iotjobs.ControlOperations(iotjobs.Config{}),
		fleetindex.Operations(fleetindex.Config{}),
		iotjobs.DataOperations(iotjobs.Config{}),
		iotota.Operations(iotota.Config{}),
		iotcommands.ControlOperations(nil),
		iotcommands.DataOperations(nil),
		iotpackages.Operations(nil),
		iotdefender.Operations(nil),
		iotlogging.Operations(nil),
	)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], page(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
