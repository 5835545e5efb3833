package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/esp/spiffs"
	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/factory"
	"github.com/berth-iot/berth/internal/virtualesp"
	"github.com/berth-iot/berth/mqtt"
)

// The board's flash: where the partition table of an ESP-IDF project puts its identity.
const (
	demoTable    = "nvs,data,nvs,0x9000,0x6000\nfactory,app,factory,0x10000,1M\nstorage,data,spiffs,,0x10000\n"
	demoIdentity = 0x110000
	demoSize     = 0x10000
)

// board prepares a virtual ESP32 as a factory does, and lets it talk with what is in its flash.
func (d *demo) board(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d.step("A board on the factory bench: a virtual ESP32-C3, its flash holds a partition table and nothing else")
	kind, _ := chip.ByTarget("esp32c3")
	flash, err := virtualesp.NewFlash(4 << 20)
	if err != nil {
		return err
	}
	table, err := partition.ParseCSV([]byte(demoTable), partition.Options{})
	if err != nil {
		return err
	}
	image, err := table.Binary(partition.Options{})
	if err != nil {
		return err
	}
	if err := flash.Program(partition.DefaultOffset, image); err != nil {
		return err
	}
	esp, err := virtualesp.New(virtualesp.Config{Chip: kind, Flash: flash, HoldBoot: true})
	if err != nil {
		return err
	}
	defer esp.Close()

	recipe, err := factory.ParseRecipe([]byte("preset: aws-spiffs\nthing: board-{mac}\npolicies: [board]\n"))
	if err != nil {
		return err
	}
	if err := d.site.own(ctx, "POST", "/policies/board", map[string]string{
		"policyDocument": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`}, nil); err != nil {
		return err
	}
	journal, err := factory.OpenJournal(ctx, filepath.Join(d.dir, "station"), nil)
	if err != nil {
		return err
	}
	defer journal.Close()
	station, err := factory.New(ctx, factory.Config{Recipe: recipe, Journal: journal, Cloud: &factory.AWS{API: d.api, Host: d.site.host, Root: d.site.caPEM},
		Open: func(ctx context.Context, port string) (factory.Board, error) {
			host, board := net.Pipe()
			go esp.Serve(context.WithoutCancel(ctx), board) // until the station hangs up
			s, err := serial.Open(ctx, host, serial.Options{Name: port, FlashSize: 4 << 20})
			if err != nil {
				return nil, err
			}
			return factory.SerialBoard{Session: s}, nil
		}})
	if err != nil {
		return err
	}
	defer station.Close()
	began := time.Now()
	out, err := station.Prepare(ctx, "virtual board", nil)
	if err != nil {
		return err
	}
	wire := esp.Counters()
	d.say("MAC %s → thing %s, key made here, certificate %.16s…, policy, all attached", out.MAC, out.Thing, out.CertificateID)
	d.say("written into the SPIFFS partition and verified by MD5: %d bytes sent in %d commands, %v, PASS", wire.BytesIn, wire.Commands, time.Since(began).Round(time.Millisecond))

	cert, err := boardIdentity(flash)
	if err != nil {
		return err
	}
	dev, err := client.Dial(ctx, client.Options{
		Address: net.JoinHostPort("localhost", strconv.Itoa(d.at.MQTTPort)), Version: mqtt.V311, ClientID: out.Thing, CleanStart: true,
		TLS: &tls.Config{RootCAs: d.site.roots, Certificates: []tls.Certificate{cert}, ServerName: "localhost"},
	})
	if err != nil {
		return fmt.Errorf("connect with the identity in the board's flash: %w", err)
	}
	defer dev.Close(context.WithoutCancel(ctx))
	if _, err := dev.Publish(ctx, client.Message{Topic: "$aws/things/" + out.Thing + "/shadow/update", Payload: []byte(`{"state":{"reported":{"firmware":"1.0"}}}`), QoS: 1}); err != nil {
		return err
	}
	d.say("with what is in its flash it connects over mutual TLS and reports its shadow")
	return nil
}

// boardIdentity reads certificate and key as firmware would.
func boardIdentity(flash *virtualesp.Flash) (tls.Certificate, error) {
	b := make([]byte, demoSize)
	if _, err := flash.ReadAt(b, demoIdentity); err != nil {
		return tls.Certificate{}, err
	}
	image, err := spiffs.Read(b, spiffs.DefaultConfig())
	if err != nil {
		return tls.Certificate{}, err
	}
	var files [2][]byte
	for i, name := range []string{"/certificate.pem.crt", "/private.pem.key"} {
		o, ok := image.Open(name)
		if !ok {
			return tls.Certificate{}, fmt.Errorf("the flash holds no %s", name)
		}
		if files[i], err = o.Data(); err != nil {
			return tls.Certificate{}, err
		}
	}
	return tls.X509KeyPair(files[0], files[1])
}
