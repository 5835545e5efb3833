package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/serial"
	"github.com/berth-iot/berth/esp/spiffs"
	"github.com/berth-iot/berth/internal/factory"
	"github.com/berth-iot/berth/internal/virtualesp"
)

// factoryTable has room for an identity at 0x110000.
const factoryTable = "nvs,data,nvs,0x9000,0x6000\nfactory,app,factory,0x10000,1M\nstorage,data,spiffs,,0x10000\n"

// bench20 is a station with virtual boards, working on this server.
type bench20 struct {
	f      *fixture
	dir    string
	boards map[string]*virtualesp.Chip
	recipe *factory.Recipe
}

func (f *fixture) bench(recipe string) *bench20 {
	f.t.Helper()
	r, err := factory.ParseRecipe([]byte(recipe))
	if err != nil {
		f.t.Fatal(err)
	}
	return &bench20{f: f, dir: f.t.TempDir(), boards: make(map[string]*virtualesp.Chip), recipe: r}
}

// board plugs a virtual board in; its flash holds a partition table.
func (b *bench20) board(port, kind string, n byte, faults virtualesp.Faults) *virtualesp.Chip {
	b.f.t.Helper()
	c, ok := chip.ByTarget(kind)
	if !ok {
		b.f.t.Fatal(kind)
	}
	flash, err := virtualesp.NewFlash(4 << 20)
	if err != nil {
		b.f.t.Fatal(err)
	}
	table, err := partition.ParseCSV([]byte(factoryTable), partition.Options{})
	if err != nil {
		b.f.t.Fatal(err)
	}
	image, err := table.Binary(partition.Options{})
	if err != nil {
		b.f.t.Fatal(err)
	}
	if err := flash.Program(partition.DefaultOffset, image); err != nil {
		b.f.t.Fatal(err)
	}
	v, err := virtualesp.New(virtualesp.Config{Chip: c, Flash: flash, MAC: [6]byte{0xa0, 0xb1, 0xc2, 0xd3, 0xe4, n}, HoldBoot: true, Faults: faults})
	if err != nil {
		b.f.t.Fatal(err)
	}
	b.f.t.Cleanup(func() { v.Close() })
	b.boards[port] = v
	return v
}

func (b *bench20) open(ctx context.Context, port string) (factory.Board, error) {
	v := b.boards[port]
	if v == nil {
		return nil, errors.New("no board")
	}
	plug := func(context.Context) (serial.Port, error) {
		host, board := net.Pipe()
		go v.Serve(context.Background(), board) // until the host hangs up
		return host, nil
	}
	line, err := plug(ctx)
	if err != nil {
		return nil, err
	}
	s, err := serial.Open(ctx, line, serial.Options{Name: port, FlashSize: 4 << 20, Reopen: plug})
	if err != nil {
		return nil, err
	}
	return factory.SerialBoard{Session: s}, nil
}

// station opens the journal and calls fn with a station.
func (b *bench20) station(fn func(s *factory.Station)) {
	f := b.f
	f.t.Helper()
	j, err := factory.OpenJournal(context.Background(), b.dir, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	defer j.Close()
	root, err := os.ReadFile(filepath.Join(f.dir, "ca.pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	api := iot.New(iot.Options{Region: "us-east-1", BaseEndpoint: aws.String(fmt.Sprintf("http://127.0.0.1:%d", f.Ready.HTTPPort)),
		Credentials: credentials.NewStaticCredentialsProvider(adminID, adminSecret, ""), HTTPClient: &http.Client{}})
	s, err := factory.New(context.Background(), factory.Config{Recipe: b.recipe, Journal: j, Open: b.open,
		Cloud: &factory.AWS{API: api, Host: "localhost", Root: root}})
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	fn(s)
}

// identity reads what a board would read of its flash at its start.
func identity(t testing.TB, v *virtualesp.Chip) (cert tls.Certificate, ca []byte) {
	t.Helper()
	b := make([]byte, 0x10000)
	if _, err := v.Flash().ReadAt(b, 0x110000); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	image, err := spiffs.Read(b, spiffs.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Verify(); err != nil {
		t.Error(err)
	}
	file := func(name string) []byte {
		o, ok := image.Open(name)
		if !ok {
			t.Fatalf("no file %s", name)
		}
		data, err := o.Data()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	cert, err = tls.X509KeyPair(file("/certificate.pem.crt"), file("/private.pem.key"))
	if err != nil {
		t.Fatal(err)
	}
	return cert, file("/aws-root-ca.pem")
}

// TestStation prepares twenty boards at once over serial lines that lose and spoil bytes, reset and
// unplug their boards, and stops and restarts the server meanwhile. Each board ends with one ACTIVE
// certificate, the policy, its thing, and can connect with what is in its flash.
func TestStation(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("POST", "/policies/boards", map[string]string{"policyDocument": allowAll}, nil)
	b := f.bench("preset: aws-spiffs\nthing: board-{mac}\npolicies: [boards]\n")
	const n = 20
	kinds := []string{"esp32", "esp32c3", "esp32s3", "esp32s2", "esp32c6"}
	for i := range n {
		faults := virtualesp.Faults{Seed: uint64(i)}
		switch i % 5 {
		case 1:
			faults.Drop = 0.0002
		case 2:
			faults.Flip = 0.0002
		case 3:
			faults.ResetAtCommand = 20 + i
		case 4:
			faults.UnplugAfterBytes = 300 + 50*i
		}
		b.board(fmt.Sprint(i), kinds[i%len(kinds)], byte(i), faults)
	}
	// Runs until every board is done; a board that failed is tried again, as a person would.
	pending := n
	for try := 0; pending > 0; try++ {
		if try == 10 {
			t.Fatalf("%d boards are not done after %d tries", pending, try)
		}
		var lanes sync.WaitGroup
		var mu sync.Mutex
		pending = 0
		b.station(func(s *factory.Station) {
			for i := range n {
				lanes.Go(func() {
					out, err := s.Prepare(context.Background(), fmt.Sprint(i), nil)
					if err != nil || out.Step != factory.StepDone {
						mu.Lock()
						pending++
						mu.Unlock()
						t.Logf("try %d, board %d: %v", try, i, err)
					}
				})
			}
			lanes.Wait()
		})
	}
	var list struct {
		Certificates []struct{ CertificateID, Status string }
	}
	f.api("GET", "/certificates?pageSize=100", nil, &list)
	active := 0
	for _, c := range list.Certificates {
		if c.Status == "ACTIVE" {
			active++
		}
	}
	if active != n {
		t.Errorf("%d ACTIVE certificates for %d boards", active, n)
	}
	for i := range n {
		cert, ca := identity(t, b.boards[fmt.Sprint(i)])
		thing := fmt.Sprintf("board-a0b1c2d3e4%02x", i)
		var principals struct{ Principals []string }
		f.api("GET", "/things/"+thing+"/principals", nil, &principals)
		if len(principals.Principals) != 1 {
			t.Errorf("%s has %v", thing, principals.Principals)
		}
		roots := x509.NewCertPool()
		if want, err := os.ReadFile(filepath.Join(f.dir, "ca.pem")); err != nil || !bytes.Equal(ca, want) || !roots.AppendCertsFromPEM(ca) {
			t.Errorf("%s trusts something else: %v", thing, err)
		}
		c := f.connect(&device{cert: cert}, thing, 4)
		c.sub(1, thing+"/hello")
		c.pub(1, thing+"/hello", "from the factory")
		c.want(thing+"/hello", "from the factory")
		c.bye()
	}
	if keys, err := filepath.Glob(filepath.Join(b.dir, "keys", "*")); err != nil || len(keys) > 0 {
		t.Errorf("keys left at the station: %v %v", keys, err)
	}
}
