package server_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/mqtt"
)

// TestPrivateKeyIsNotStored: a key made for a device goes to the connection that asked and nowhere
// else, not even to the queue of a persistent session that is slow or leaves.
func TestPrivateKeyIsNotStored(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) { c.Database = "" }) // the file can be looked through
	r := f.raw()
	r.send(connectPacket("newborn", func(c *mqtt.Connect) { c.CleanStart = false }))
	r.wantType(mqtt.CONNACK)
	r.send((&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: "$aws/certificates/create/json/accepted", QoS: 1}}}).Append(nil, mqtt.V311))
	r.wantType(mqtt.SUBACK)
	r.send((&mqtt.Publish{QoS: 1, PacketID: 1, Topic: []byte("$aws/certificates/create/json"), Payload: []byte("{}")}).Append(nil, mqtt.V311))
	for got := false; !got; {
		h, body, err := r.packet()
		if err != nil {
			t.Fatal(err)
		}
		if got = h.Type() == mqtt.PUBLISH; got && !bytes.Contains(body, []byte("PRIVATE KEY")) {
			t.Fatalf("no private key in %s", body)
		}
	}
	time.Sleep(500 * time.Millisecond) // longer than a receiver may hold a publisher up: then messages are stored
	r.Close()                          // without an acknowledgement
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(f.dir, "berth.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "PRIVATE KEY") {
			t.Errorf("%s holds a private key", filepath.Base(name))
		}
	}
}
