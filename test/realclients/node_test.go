package realclients

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// sdkOptions is what node/client.mjs is told.
type sdkOptions struct {
	Version         int    `json:"version"`
	Host            string `json:"host"`
	Port            int    `json:"port"`
	CA              string `json:"ca"`
	ClientID        string `json:"clientId"`
	Cert            string `json:"cert,omitempty"`
	Key             string `json:"key,omitempty"`
	Region          string `json:"region,omitempty"`
	AccessKeyID     string `json:"accessKeyId,omitempty"`
	SecretAccessKey string `json:"secretAccessKey,omitempty"`
	Expect          string `json:"expect"`
}

// deviceSDK runs the script to its end; restart is called when it asks for one.
func deviceSDK(t *testing.T, o sdkOptions, restart func()) string {
	t.Helper()
	node := program(t, "node", "apt-get install nodejs npm")
	if _, err := os.Stat("node/node_modules/aws-iot-device-sdk-v2"); err != nil {
		t.Fatal("aws-iot-device-sdk-v2 is missing; install it with: npm ci --prefix test/realclients/node")
	}
	arg, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var stderr output
	cmd := exec.CommandContext(ctx(t, 2*time.Minute), node, "client.mjs", string(arg))
	cmd.Dir = "node"
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		said = append(said, lines.Text())
		if lines.Text() == "restart" {
			restart()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("client.mjs %s: %v\n%s\n%s", arg, err, strings.Join(said, "\n"), stderr.String())
	}
	return strings.Join(said, "\n")
}

// TestDeviceSDK runs the AWS IoT Device SDK for JavaScript v2: MQTT 3.1.1 and 5, over mutual TLS
// and over signed WebSockets.
func TestDeviceSDK(t *testing.T) {
	outside(t)
	for _, version := range []int{3, 5} {
		t.Run(fmt.Sprintf("mutual TLS/%d", version), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			arn := "arn:aws:iot:" + region + ":" + account + ":"
			d := s.device(t, "kettle", `{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Action":"iot:Connect","Resource":"`+arn+`client/kettle"},
				{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"`+arn+`topic/kettle/*"},
				{"Effect":"Allow","Action":"iot:Subscribe","Resource":"`+arn+`topicfilter/kettle/*"}]}`)
			o := sdkOptions{Version: version, Host: "localhost", Port: s.mqttPort, CA: s.ca(), ClientID: "kettle", Cert: d.cert, Key: d.key, Expect: "accepted"}
			deviceSDK(t, o, func() { s.kill(); s.run() })

			// MQTT on the HTTPS port, found by the application protocol that the SDK offers.
			o.Port = s.httpsPort
			deviceSDK(t, o, func() { s.kill(); s.run() })

			o.Port, o.ClientID, o.Expect = s.mqttPort, "toaster", "refused"
			if said := deviceSDK(t, o, nil); version == 5 && said != "refused 135" {
				t.Errorf("not the reason code of Not authorized: %s", said)
			}
			stranger := selfMade(t)
			o.Cert, o.Key, o.ClientID = stranger.cert, stranger.key, "kettle"
			deviceSDK(t, o, nil)
		})
		t.Run(fmt.Sprintf("signed WebSocket/%d", version), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			o := sdkOptions{Version: version, Host: "localhost", Port: s.httpsPort, CA: s.ca(), ClientID: "browser", Region: region,
				AccessKeyID: s.env["AWS_ACCESS_KEY_ID"], SecretAccessKey: s.env["AWS_SECRET_ACCESS_KEY"], Expect: "accepted"}
			deviceSDK(t, o, func() { s.kill(); s.run() })
			o.SecretAccessKey, o.Expect = strings.ToUpper(o.SecretAccessKey)+"x", "refused"
			deviceSDK(t, o, nil)
		})
	}
}
