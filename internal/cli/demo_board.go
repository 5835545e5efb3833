package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/internal/factory"
	"github.com/berth-iot/berth/internal/firmware"
	"github.com/berth-iot/berth/internal/virtualesp"
)

// The boards' flash: the partition table of an ESP-IDF project with updates over the air.
const (
	demoTable = "nvs,data,nvs,0x9000,0x6000\notadata,data,ota,0xf000,0x2000\nota_0,app,ota_0,0x20000,1M\nota_1,app,ota_1,0x120000,1M\n" +
		"storage,data,spiffs,0x220000,0x10000\n"
	demoApp      = 0x20000
	demoStorage  = 0x220000
	demoPatience = 40 * time.Second
	demoDevices  = "demo-devices"
)

// demoBoard is a virtual chip with its application.
type demoBoard struct {
	d      *demo
	esp    *virtualesp.Chip
	board  *firmware.Board
	thing  string
	joined string // how, for the table

	mu    sync.Mutex
	boots []string
}

// newBoard makes a board whose flash is erased.
func (d *demo) newBoard(template identity.Template) (*demoBoard, error) {
	flash, err := virtualesp.NewFlash(4 << 20)
	if err != nil {
		return nil, err
	}
	esp, err := virtualesp.New(virtualesp.Config{Flash: flash, HoldBoot: true})
	if err != nil {
		return nil, err
	}
	b := &demoBoard{d: d, esp: esp}
	b.board = firmware.New(firmware.Config{Flash: flash, MAC: esp.MAC(), Template: template, Roots: d.site.roots,
		Endpoint: fmt.Sprintf("localhost:%d", d.at.MQTTPort), Booted: func(boot virtualesp.Boot) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.boots = append(b.boots, boot.String())
		}})
	return b, nil
}

// build is what the firmware's build folder would hold: the partition table and version 1.0.0.
func (d *demo) build() (partition.Table, []factory.Region, error) {
	table, err := partition.ParseCSV([]byte(demoTable), partition.Options{})
	if err != nil {
		return nil, nil, err
	}
	image, err := table.Binary(partition.Options{})
	if err != nil {
		return nil, nil, err
	}
	app, err := d.app("1.0.0", "")
	return table, []factory.Region{{Name: "partition table", Address: partition.DefaultOffset, Data: image}, {Name: "application", Address: demoApp, Data: app}}, err
}

// app is an application that takes updates with the demo's signature only.
func (d *demo) app(version, selfTest string) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&d.signing.PublicKey)
	if err != nil {
		return nil, err
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return firmware.Build(chip.ESP32C3, appimage.Description{ProjectName: "kettle", Version: version}, firmware.Program{SigningKey: key, SelfTest: selfTest})
}

func (b *demoBoard) close() {
	b.board.Close()
	b.esp.Close()
}

// lastBoot is what the bootloader did last.
func (b *demoBoard) lastBoot() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.boots) == 0 {
		return ""
	}
	return b.boots[len(b.boots)-1]
}

func (b *demoBoard) mac() string {
	mac := b.esp.MAC()
	return net.HardwareAddr(mac[:]).String()
}

// demoState is what a board reports.
type demoState struct {
	Light    string
	Firmware struct{ Version, Slot string }
}

// reported waits until the shadow says what is wanted.
func (b *demoBoard) reported(ctx context.Context, want func(demoState) bool) (s demoState, err error) {
	var out struct{ State struct{ Reported demoState } }
	err = until(ctx, "the shadow of "+b.thing, func() bool {
		out.State.Reported = demoState{}
		return b.thing != "" && b.d.site.own(ctx, "GET", "/things/"+b.thing+"/shadow", nil, &out) == nil && want(out.State.Reported)
	})
	return out.State.Reported, err
}

// until asks again and again.
func until(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// station prepares a board as a factory does.
func (d *demo) station(ctx context.Context, b *demoBoard, recipe string) (*factory.Result, error) {
	r, err := factory.ParseRecipe([]byte(recipe))
	if err != nil {
		return nil, err
	}
	journal, err := factory.OpenJournal(ctx, filepath.Join(d.dir, "station-"+strings.ReplaceAll(b.mac(), ":", "")), nil)
	if err != nil {
		return nil, err
	}
	defer journal.Close()
	table, firmware, err := d.build()
	if err != nil {
		return nil, err
	}
	station, err := factory.New(ctx, factory.Config{Recipe: r, Table: table, Firmware: firmware, Journal: journal, Cloud: &factory.AWS{API: d.api, Host: d.site.host, Root: d.site.caPEM},
		Open: func(ctx context.Context, port string) (factory.Board, error) {
			host, board := net.Pipe()
			go b.esp.Serve(context.WithoutCancel(ctx), board) // until the station hangs up
			s, err := serial.Open(ctx, host, serial.Options{Name: port, FlashSize: 4 << 20})
			if err != nil {
				return nil, err
			}
			return factory.SerialBoard{Session: s}, nil
		}})
	if err != nil {
		return nil, err
	}
	defer station.Close()
	out, err := station.Prepare(ctx, "virtual board", nil)
	if err != nil {
		return nil, err
	}
	b.thing = out.Thing
	return out, nil
}

// boards tells how three boards join the fleet, and how one is updated.
func (d *demo) boards(ctx context.Context) ([]*demoBoard, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	var err error
	if d.signing, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if err := d.site.own(ctx, "POST", "/policies/"+demoDevices, map[string]string{
		"policyDocument": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`}, nil); err != nil {
		return nil, err
	}

	d.step("A board on the factory bench: a virtual ESP32-C3 whose flash is empty")
	began := time.Now()
	one, err := d.newBoard(identity.Template{})
	if err != nil {
		return nil, err
	}
	all := []*demoBoard{one}
	out, err := d.station(ctx, one, "preset: aws-spiffs\nthing: kettle-{mac}\npolicies: ["+demoDevices+"]\n")
	if err != nil {
		return all, err
	}
	one.joined = "factory station"
	wire := one.esp.Counters()
	d.say("MAC %s → thing %s, key made at the station, certificate %.16s…, policy, all attached", out.MAC, out.Thing, out.CertificateID)
	d.say("partition table, application and SPIFFS partition written and verified by MD5: %d bytes sent in %d commands, %v, PASS", wire.BytesIn, wire.Commands, time.Since(began).Round(time.Millisecond))

	d.step("It starts from its flash, with the device library inside")
	one.board.PowerOn()
	state, err := one.reported(ctx, func(s demoState) bool { return s.Firmware.Version == "1.0.0" })
	if err != nil {
		return all, err
	}
	d.say("bootloader: %s", one.lastBoot())
	d.say("connected with the certificate in its flash; shadow: version %s in %s", state.Firmware.Version, state.Firmware.Slot)
	if err := d.site.own(ctx, "POST", "/things/"+one.thing+"/shadow", json.RawMessage(`{"state":{"desired":{"light":"on"}}}`), nil); err != nil {
		return all, err
	}
	if state, err = one.reported(ctx, func(s demoState) bool { return s.Light == "on" }); err != nil {
		return all, err
	}
	d.say(`desired {"light":"on"}  →  reported {"light":%q}`, state.Light)

	type arrival struct {
		board *demoBoard
		told  []string
		err   error
	}
	ways := []func(context.Context) (*demoBoard, []string, error){d.claimBoard, d.ownCABoard}
	arrivals := make([]chan arrival, len(ways))
	for i, way := range ways {
		arrivals[i] = make(chan arrival, 1)
		go func() {
			b, told, err := way(ctx)
			arrivals[i] <- arrival{b, told, err}
		}()
	}
	updates := d.updates(ctx, one)
	for i, title := range []string{"Meanwhile a second board joins by a claim certificate that the whole fleet shares", "And a third with a certificate of the maker's own CA, made without a network"} {
		a := <-arrivals[i]
		if a.board != nil {
			all = append(all, a.board)
		}
		if updates == nil && a.err == nil {
			d.step("%s", title)
			for _, line := range a.told {
				d.say("%s", line)
			}
			continue
		}
		if updates == nil {
			updates = a.err
		}
	}
	return all, updates
}

// updates rolls two images out: one whose self-test fails, and a good one.
func (d *demo) updates(ctx context.Context, b *demoBoard) error {
	d.step("An update over the air: version 1.1.0, whose self-test fails on purpose")
	reason, err := d.update(ctx, b, "1.1.0", "the sensor does not answer", "FAILED")
	if err != nil {
		return err
	}
	state, err := b.reported(ctx, func(s demoState) bool { return s.Firmware.Version == "1.0.0" })
	if err != nil {
		return err
	}
	d.say("the job ended FAILED: %s", reason)
	d.say("version %s runs again, from %s", state.Firmware.Version, state.Firmware.Slot)

	d.step("And version 1.2.0")
	if _, err := d.update(ctx, b, "1.2.0", "", "SUCCEEDED"); err != nil {
		return err
	}
	if state, err = b.reported(ctx, func(s demoState) bool { return s.Firmware.Version == "1.2.0" }); err != nil {
		return err
	}
	d.say("the job ended SUCCEEDED; bootloader: %s", b.lastBoot())
	d.say("shadow: version %s in %s, the light is %s as before", state.Firmware.Version, state.Firmware.Slot, state.Light)
	return nil
}

// update rolls an image out to one thing and returns why its job ended as it did.
func (d *demo) update(ctx context.Context, b *demoBoard, version, selfTest, want string) (reason string, err error) {
	image, err := d.app(version, selfTest)
	if err != nil {
		return "", err
	}
	name := "kettle-" + strings.ReplaceAll(version, ".", "-")
	if err := d.site.send(ctx, "PUT", "/berth/files/"+name, "application/octet-stream", image, nil); err != nil {
		return "", err
	}
	digest := sha256.Sum256(image)
	signature, err := ecdsa.SignASN1(rand.Reader, d.signing, digest[:])
	if err != nil {
		return "", err
	}
	target := arnPlace{"aws", d.at.Region, d.at.Account}.arn("thing/" + b.thing)
	if err := d.site.own(ctx, "POST", "/otaUpdates/"+name, map[string]any{
		"targets": []string{target}, "protocols": []string{"MQTT"}, "roleArn": "arn:aws:iam::" + d.at.Account + ":role/ota",
		"files": []any{map[string]any{"fileName": "/firmware.bin",
			"fileLocation": map[string]any{"s3Location": map[string]string{"bucket": "berth", "key": name}},
			"codeSigning": map[string]any{"customCodeSigning": map[string]any{
				"signature":        map[string]string{"inlineDocument": base64.StdEncoding.EncodeToString(signature)},
				"certificateChain": map[string]string{"certificateName": "kettle"}, "hashAlgorithm": "SHA256", "signatureAlgorithm": "ECDSA"}}}}}, nil); err != nil {
		return "", err
	}
	d.say("%d bytes, signed; the device downloads them over MQTT into its other slot", len(image))
	var out struct {
		Execution struct {
			Status        string
			StatusDetails struct{ DetailsMap map[string]string }
		}
	}
	err = until(ctx, "the update to "+version, func() bool {
		if d.site.own(ctx, "GET", "/things/"+b.thing+"/jobs/AFR_OTA-"+name, nil, &out) != nil {
			return false
		}
		return out.Execution.Status == "SUCCEEDED" || out.Execution.Status == "FAILED" || out.Execution.Status == "REJECTED"
	})
	reason = out.Execution.StatusDetails.DetailsMap["reason"]
	if err == nil && out.Execution.Status != want {
		err = fmt.Errorf("the update to %s ended %s and should have ended %s: %s", version, out.Execution.Status, want, reason)
	}
	return reason, err
}
