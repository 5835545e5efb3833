package factory

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/securecert"
	"github.com/berth-iot/berth/esp/spiffs"
)

var errCrash = errors.New("crash")

// crash stops everything at one of the points that a run passes: before or after an effect.
type crash struct {
	mu   sync.Mutex
	at   int // 0 never
	seen int
}

func (c *crash) around(effect func() error) error {
	if c.point() {
		return errCrash
	}
	err := effect()
	if c.point() {
		return errCrash
	}
	return err
}

func (c *crash) point() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen++
	return c.at > 0 && c.seen >= c.at // dead is dead
}

// fakeCloud signs certificates and keeps what is attached to what.
type fakeCloud struct {
	*crash
	mu     sync.Mutex
	key    *ecdsa.PrivateKey
	certs  map[string]*fakeCert // by ARN
	things map[string]Thing
}

type fakeCert struct {
	Certificate
	public   crypto.PublicKey
	status   string
	things   []string
	policies []string
}

func newCloud() *fakeCloud {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &fakeCloud{crash: &crash{}, key: key, certs: make(map[string]*fakeCert), things: make(map[string]Thing)}
}

func (f *fakeCloud) do(effect func() error) error {
	return f.around(func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return effect()
	})
}

func (f *fakeCloud) Endpoint(context.Context) (string, error) { return "iot.example.com", nil }
func (f *fakeCloud) CA() []byte {
	return []byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
}
func (f *fakeCloud) CheckPolicies(_ context.Context, names []string) error { return nil }

func (f *fakeCloud) CreateThing(_ context.Context, t Thing) error {
	return f.do(func() error { f.things[t.Name] = t; return nil })
}

func (f *fakeCloud) sign(public crypto.PublicKey, status string) *fakeCert {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{SerialNumber: serial, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, f.key)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(der)
	id := hex.EncodeToString(sum[:])
	c := &fakeCert{Certificate: Certificate{id, "arn:aws:iot:r:a:cert/" + id, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}, public: public, status: status}
	f.certs[c.ARN] = c
	return c
}

func (f *fakeCloud) Issue(_ context.Context, csr string) (out *Certificate, err error) {
	err = f.do(func() error {
		block, _ := pem.Decode([]byte(csr))
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || request.CheckSignature() != nil {
			return errors.New("bad request")
		}
		c := f.sign(request.PublicKey, "ACTIVE")
		out = &c.Certificate
		return nil
	})
	return out, err
}

func (f *fakeCloud) IssueWithKey(context.Context) (out *Certificate, key string, err error) {
	err = f.do(func() error {
		text, err := makeKey(KeyECDSA)
		if err != nil {
			return err
		}
		signer, _, err := parseKey(text)
		if err != nil {
			return err
		}
		c := f.sign(signer.Public(), "INACTIVE")
		out, key = &c.Certificate, string(text)
		return nil
	})
	return out, key, err
}

func (f *fakeCloud) Register(_ context.Context, cert, _ string) (out *Certificate, err error) {
	err = f.do(func() error {
		sum := sha256.Sum256(derOf([]byte(cert)))
		id := hex.EncodeToString(sum[:])
		c := &fakeCert{Certificate: Certificate{id, "arn:aws:iot:r:a:cert/" + id, cert}, status: "ACTIVE"}
		f.certs[c.ARN] = c
		out = &c.Certificate
		return nil
	})
	return out, err
}

func (f *fakeCloud) Find(_ context.Context, public crypto.PublicKey, _ time.Time) (out *Certificate, err error) {
	err = f.do(func() error {
		for _, c := range f.certs {
			if c.public.(*ecdsa.PublicKey).Equal(public) {
				out = &c.Certificate
			}
		}
		return nil
	})
	return out, err
}

func (f *fakeCloud) Attach(_ context.Context, c *Certificate, thing string, policies []string) error {
	return f.do(func() error {
		have := f.certs[c.ARN]
		have.things, have.policies, have.status = []string{thing}, policies, "ACTIVE"
		return nil
	})
}

func (f *fakeCloud) Principals(_ context.Context, thing string) (all []string, err error) {
	err = f.do(func() error {
		for arn, c := range f.certs {
			if slices.Contains(c.things, thing) {
				all = append(all, arn)
			}
		}
		return nil
	})
	return all, err
}

func (f *fakeCloud) Revoke(_ context.Context, arn string) error {
	return f.do(func() error {
		c := f.certs[arn]
		c.status, c.things, c.policies = "REVOKED", nil, nil
		return nil
	})
}

// active returns the certificates that are in use.
func (f *fakeCloud) active() (all []*fakeCert) {
	for _, c := range f.certs {
		if c.status == "ACTIVE" {
			all = append(all, c)
		}
	}
	return all
}

// fakeBoard is a chip whose flash is a slice.
type fakeBoard struct {
	*crash
	mac       string
	flash     []byte
	protected string
	writes    int
}

func newBoard(mac string) *fakeBoard {
	b := &fakeBoard{crash: &crash{}, mac: mac, flash: bytes.Repeat([]byte{0xFF}, 4<<20)}
	table, err := testTable().Binary(partition.Options{})
	if err != nil {
		panic(err)
	}
	copy(b.flash[partition.DefaultOffset:], table)
	return b
}

func testTable() partition.Table {
	t, err := partition.ParseCSV([]byte("nvs,data,nvs,0x9000,0x6000\nfactory,app,factory,0x10000,1M\nstorage,data,spiffs,,0x10000\nfctry,data,nvs,,0x6000\nnvs_keys,data,nvs_keys,,0x1000\nesp_secure_cert,0x3F,,,0x2000\n"), partition.Options{})
	if err != nil {
		panic(err)
	}
	return t
}

func (b *fakeBoard) MAC() string                               { return b.mac }
func (b *fakeBoard) Chip() string                              { return "esp32c3" }
func (b *fakeBoard) FlashSize(context.Context) (uint32, error) { return uint32(len(b.flash)), nil }
func (b *fakeBoard) Protected() string                         { return b.protected }
func (b *fakeBoard) Run(context.Context) error                 { return nil }
func (b *fakeBoard) Close() error                              { return nil }
func (b *fakeBoard) Read(_ context.Context, a, n uint32) ([]byte, error) {
	return bytes.Clone(b.flash[a : a+n]), nil
}

func (b *fakeBoard) MD5(_ context.Context, a, n uint32) ([md5.Size]byte, error) {
	return md5.Sum(b.flash[a : a+n]), nil
}

func (b *fakeBoard) Write(_ context.Context, regions []Region, _ func(string, int, int)) (out []Written, err error) {
	for _, r := range regions {
		same := bytes.Equal(b.flash[r.Address:int(r.Address)+len(r.Data)], r.Data)
		if !same {
			b.writes++
			err := b.around(func() error { copy(b.flash[r.Address:], r.Data); return nil })
			if err != nil {
				return nil, err
			}
		}
		out = append(out, Written{r.Name, r.Address, len(r.Data), !same})
	}
	return out, nil
}

func recipe(t testing.TB, text string) *Recipe {
	t.Helper()
	r, err := ParseRecipe([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// line is a station with its journal, which can be restarted.
type line struct {
	t     testing.TB
	dir   string
	cloud *fakeCloud
	cfg   Config
	ports map[string]*fakeBoard
}

func newLineOf(t testing.TB, recipeText string) *line {
	l := &line{t: t, dir: t.TempDir(), cloud: newCloud(), ports: make(map[string]*fakeBoard)}
	l.cfg = Config{Recipe: recipe(t, recipeText), Cloud: l.cloud, Open: func(_ context.Context, port string) (Board, error) {
		if b := l.ports[port]; b != nil {
			return b, nil
		}
		return nil, errors.New("no board")
	}}
	return l
}

// run opens the journal anew, as after a crash, and prepares the board on a port.
func (l *line) run(port string) (*Result, error) {
	l.t.Helper()
	var out *Result
	var err error
	l.with(func(s *Station) { out, err = s.Prepare(context.Background(), port, nil) })
	return out, err
}

func (l *line) with(fn func(s *Station)) {
	l.t.Helper()
	j, err := OpenJournal(context.Background(), l.dir, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	defer j.Close()
	l.cfg.Journal = j
	s, err := New(context.Background(), l.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	defer s.Close()
	fn(s)
}

// check fails unless the board has the only certificate of its thing, ACTIVE, with its key.
func (l *line) check(b *fakeBoard, r *Result) {
	l.t.Helper()
	var mine []*fakeCert
	for _, c := range l.cloud.active() {
		if slices.Contains(c.things, r.Thing) {
			mine = append(mine, c)
		}
	}
	if len(mine) != 1 || mine[0].ID != r.CertificateID || strings.Join(mine[0].policies, ",") != strings.Join(l.cfg.Recipe.Policies, ",") {
		l.t.Fatalf("thing %s has %d ACTIVE certificates: %+v", r.Thing, len(mine), mine)
	}
	p, _ := testTable().ByName("storage")
	image, err := spiffs.Read(b.flash[p.Offset:p.End()], spiffs.DefaultConfig())
	if err != nil {
		l.t.Fatal(err)
	}
	get := func(name string) []byte {
		o, ok := image.Open("/" + name)
		if !ok {
			l.t.Fatalf("no file %s", name)
		}
		data, err := o.Data()
		if err != nil {
			l.t.Fatal(err)
		}
		return data
	}
	if string(get("certificate.pem.crt")) != mine[0].PEM {
		l.t.Error("the flash holds another certificate")
	}
	if _, err := tls.X509KeyPair(get("certificate.pem.crt"), get("private.pem.key")); err != nil {
		l.t.Error(err)
	}
	keys, err := filepath.Glob(filepath.Join(l.dir, "keys", "*"))
	if err != nil || len(keys) > 0 {
		l.t.Errorf("keys left: %v %v", keys, err)
	}
}

const spiffsRecipe = "preset: aws-spiffs\nthing: lamp-{mac}\npolicies: [lamps]\nattributes: {mac: '{mac:}'}\n"

func TestPrepare(t *testing.T) {
	t.Parallel()
	l := newLineOf(t, spiffsRecipe)
	b := newBoard("a0b1c2d3e4f5")
	l.ports["p"] = b
	out, err := l.run("p")
	if err != nil {
		t.Fatal(err)
	}
	l.check(b, out)
	if out.Thing != "lamp-a0b1c2d3e4f5" || out.Step != StepDone || out.Again || l.cloud.things[out.Thing].Attributes["mac"] != "a0:b1:c2:d3:e4:f5" {
		t.Errorf("%+v", out)
	}
	// Again: nothing is written, nothing issued.
	writes, certs := b.writes, len(l.cloud.certs)
	again, err := l.run("p")
	if err != nil || !again.Again || b.writes != writes || len(l.cloud.certs) != certs {
		t.Errorf("again %+v %v", again, err)
	}
	// A board that lost its identity is not given another one unasked.
	copy(b.flash[again.Address:], make([]byte, 4096))
	if _, err := l.run("p"); !errors.Is(err, ErrDone) || Fix(err) == "" {
		t.Errorf("lost its identity: %v", err)
	}
	l.cfg.Reissue = true
	out, err = l.run("p")
	if err != nil {
		t.Fatal(err)
	}
	l.check(b, out)
	if out.CertificateID == again.CertificateID || l.cloud.certs[again.ARN].status != "REVOKED" {
		t.Error("the old certificate is in use")
	}
}

// TestCrashAnywhere cuts a run off before and after everything it does to cloud and board, once for
// each, and lets the next run finish, for first certificates and for second ones.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	for _, reissue := range []bool{false, true} {
		points := 0
		for at := 1; ; at++ {
			l := newLineOf(t, spiffsRecipe)
			b := newBoard("a0b1c2d3e4f5")
			l.ports["p"] = b
			if reissue {
				if _, err := l.run("p"); err != nil {
					t.Fatal(err)
				}
				l.cfg.Reissue = true
			}
			c := &crash{at: at}
			l.cloud.crash, b.crash = c, c
			if _, err := l.run("p"); err == nil {
				break // beyond the last point
			} else if !errors.Is(err, errCrash) {
				t.Fatalf("point %d: %v", at, err)
			}
			points++
			l.cloud.crash, b.crash = &crash{}, &crash{}
			l.cfg.Reissue = false // a board that was begun is finished without being told so
			out, err := l.run("p")
			if err != nil {
				t.Fatalf("after a crash at point %d: %v", at, err)
			}
			if out.Again { // the crash came before the old certificate was given up
				l.cfg.Reissue = true
				if out, err = l.run("p"); err != nil {
					t.Fatal(err)
				}
			}
			l.check(b, out)
			if n := len(l.cloud.active()); n != 1 {
				t.Errorf("after a crash at point %d: %d ACTIVE certificates", at, n)
			}
		}
		if points < 10 {
			t.Errorf("only %d points", points)
		}
	}
}

// TestServerKey: a certificate whose key is lost in a crash is never ACTIVE.
func TestServerKey(t *testing.T) {
	t.Parallel()
	for at := 1; ; at++ {
		l := newLineOf(t, spiffsRecipe+"issue: server-key\n")
		b := newBoard("a0b1c2d3e4f5")
		l.ports["p"] = b
		c := &crash{at: at}
		l.cloud.crash, b.crash = c, c
		_, err := l.run("p")
		if err == nil {
			break
		}
		l.cloud.crash, b.crash = &crash{}, &crash{}
		out, err := l.run("p")
		if err != nil {
			t.Fatalf("after a crash at point %d: %v", at, err)
		}
		l.check(b, out)
		if n := len(l.cloud.active()); n != 1 {
			t.Errorf("after a crash at point %d: %d ACTIVE certificates", at, n)
		}
	}
}

// TestManyBoards prepares boards on many ports at once; each fails now and then.
func TestManyBoards(t *testing.T) {
	t.Parallel()
	l := newLineOf(t, spiffsRecipe)
	const n = 20
	var done sync.WaitGroup
	results := make([]*Result, n)
	for i := range n {
		b := newBoard(fmt.Sprintf("a0b1c2d3e4%02x", i))
		b.crash.at = i % 3 // 0 never
		l.ports[fmt.Sprint(i)] = b
	}
	l.with(func(s *Station) {
		for i := range n {
			done.Go(func() {
				for range 2 {
					var err error
					if results[i], err = s.Prepare(context.Background(), fmt.Sprint(i), nil); err == nil {
						return
					}
					l.ports[fmt.Sprint(i)].crash.at = 0
				}
			})
		}
		done.Wait()
	})
	for i := range n {
		if results[i].Step != StepDone {
			t.Fatalf("%+v", results[i].Record)
		}
		l.check(l.ports[fmt.Sprint(i)], results[i])
	}
	if len(l.cloud.active()) != n {
		t.Errorf("%d ACTIVE certificates", len(l.cloud.active()))
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	l := newLineOf(t, spiffsRecipe)
	b := newBoard("a0b1c2d3e4f5")
	l.ports["p"] = b
	b.protected = "flash encryption is on"
	if _, err := l.run("p"); !errors.Is(err, ErrBoard) || len(l.cloud.certs) != 0 {
		t.Error(err)
	}
	b.protected = ""
	copy(b.flash[partition.DefaultOffset:], bytes.Repeat([]byte{0xFF}, 0xC00))
	if _, err := l.run("p"); !errors.Is(err, ErrBoard) || Fix(err) == "" || len(l.cloud.certs) != 0 {
		t.Error("without a table: ", err)
	}
	l.cfg.Recipe = recipe(t, "thing: x\nidentity: {address: 0x400000, size: 0x10000, format: spiffs, files: {a: certificate}}")
	if _, err := l.run("p"); !errors.Is(err, ErrBoard) || !strings.Contains(err.Error(), "0x400000") || len(l.cloud.certs) != 0 {
		t.Error("beyond the flash: ", err)
	}
	// A thing that somebody else has given a certificate.
	l = newLineOf(t, spiffsRecipe)
	b = newBoard("a0b1c2d3e4f5")
	l.ports["p"] = b
	c := l.cloud.sign(&l.cloud.key.PublicKey, "ACTIVE")
	c.things = []string{"lamp-a0b1c2d3e4f5"}
	if _, err := l.run("p"); !errors.Is(err, ErrDone) {
		t.Error(err)
	}
	l.cfg.Reissue = true
	out, err := l.run("p")
	if err != nil {
		t.Fatal(err)
	}
	l.check(b, out)
	if _, err := l.run("none"); err == nil {
		t.Error("prepared nothing")
	}
	// Two boards, one name.
	l = newLineOf(t, "preset: aws-spiffs\nthing: the-only-one\n")
	l.ports["1"], l.ports["2"] = newBoard("a0b1c2d3e4f5"), newBoard("a0b1c2d3e4f6")
	if _, err := l.run("1"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.run("2"); !errors.Is(err, ErrRecipe) || Fix(err) == "" {
		t.Error(err)
	}
}

// TestSerials gives boards numbers of a list, some of them before they are plugged in.
func TestSerials(t *testing.T) {
	t.Parallel()
	l := newLineOf(t, "preset: aws-spiffs\nthing: kettle-{serial}\n")
	l.cfg.Serials = []string{"001", "002", "003"}
	l.with(func(s *Station) {
		if n, err := s.Ahead(context.Background(), 2); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	})
	if len(l.cloud.active()) != 2 {
		t.Fatal("nothing issued ahead")
	}
	var things []string
	for i := range 4 {
		port := fmt.Sprint(i)
		l.ports[port] = newBoard(fmt.Sprintf("a0b1c2d3e4%02x", i))
		out, err := l.run(port)
		if i == 3 {
			if !errors.Is(err, ErrRecipe) {
				t.Error(err)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			l.check(l.ports[port], out) // no key is left when the last one is done
		}
		things = append(things, out.Thing)
	}
	if strings.Join(things, " ") != "kettle-001 kettle-002 kettle-003" || len(l.cloud.active()) != 3 {
		t.Errorf("%v, %d certificates", things, len(l.cloud.active()))
	}
}

// TestOwnCA needs no cloud.
func TestOwnCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := makeKey(KeyECDSA)
	if err != nil {
		t.Fatal(err)
	}
	signer, _, err := parseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "line 1"}, NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), "ca.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := newLineOf(t, "preset: esp-secure-cert\nissue: own-ca\nown-ca: {certificate: "+filepath.Join(dir, "ca.pem")+", key: "+filepath.Join(dir, "ca.key")+"}\n")
	l.cfg.Cloud, l.cfg.Root, l.cfg.Endpoint = nil, []byte(l.cloud.CA()), "iot.example.com"
	b := newBoard("a0b1c2d3e4f5")
	l.ports["p"] = b
	out, err := l.run("p")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := testTable().ByName("esp_secure_cert")
	entries, problems, err := securecert.Read(b.flash[p.Offset:p.End()])
	if err != nil || len(problems) > 0 || len(entries) != 3 {
		t.Fatal(entries, problems, err)
	}
	cert, err := x509.ParseCertificate(derOf([]byte(out.PEM)))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	// Later, with a network, the boards are registered; a second time there is nothing left to do.
	for _, want := range []int{1, 0} {
		l.with(func(s *Station) {
			n := 0
			if err := Register(context.Background(), l.cfg.Recipe, l.cfg.Journal, l.cloud, func(_ *Record, err error) {
				if n++; err != nil {
					t.Error(err)
				}
			}); err != nil || n != want {
				t.Errorf("registered %d, %v", n, err)
			}
		})
	}
	if c := l.cloud.active(); len(c) != 1 || c[0].PEM != out.PEM || c[0].things[0] != out.Thing {
		t.Errorf("%+v", c)
	}
	if err := cert.CheckSignatureFrom(ca); err != nil || cert.Subject.CommonName != "a0b1c2d3e4f5" || cert.NotAfter.After(ca.NotAfter) {
		t.Errorf("%v %v", cert.Subject, err)
	}
}

// TestNVS writes an encrypted NVS partition and its keys.
func TestNVS(t *testing.T) {
	t.Parallel()
	keys, err := nvs.GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "keys.bin")
	if err := os.WriteFile(name, keys.AppendPartition(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLineOf(t, "preset: factory-nvs\nidentity: {nvs-keys: "+name+", nvs-keys-partition: nvs_keys}\n")
	b := newBoard("a0b1c2d3e4f5")
	l.ports["p"] = b
	out, err := l.run("p")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := testTable().ByName("fctry")
	image, err := nvs.Read(b.flash[p.Offset:p.End()], &keys)
	if err != nil {
		t.Fatal(err)
	}
	if cert, ok := image.Lookup("aws", "cert"); !ok || cert != out.PEM {
		t.Errorf("certificate %v", cert)
	}
	if thing, _ := image.Lookup("aws", "thing"); thing != "a0b1c2d3e4f5" {
		t.Errorf("thing %v", thing)
	}
	if bytes.Contains(b.flash, []byte("BEGIN CERTIFICATE")) {
		t.Error("the flash holds the certificate in the clear")
	}
	p, _ = testTable().ByName("nvs_keys")
	if got, err := nvs.ParseKeys(b.flash[p.Offset:p.End()]); err != nil || got != keys {
		t.Errorf("keys %v", err)
	}
}

func TestRecipeErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"preset: none":                                                              "aws-spiffs",
		"thing: a\ncolour: red":                                                     "colour",
		"preset: aws-spiffs\nkey: dsa":                                              "dsa",
		"preset: aws-spiffs\nissue: magic":                                          "magic",
		"preset: aws-spiffs\nissue: own-ca":                                         "CA",
		"preset: aws-spiffs\nthing: '{colour}'":                                     "{colour}",
		"thing: a":                                                                  "format",
		"identity: {format: spiffs, files: {a: certificate}}":                       "partition",
		"identity: {format: spiffs, partition: p}":                                  "nothing",
		"identity: {format: nvs, partition: p, files: {a: certificate}}":            "namespace/key",
		"identity: {format: spiffs, partition: p, files: {a: colour}}":              "colour",
		"identity: {format: spiffs, address: 1, size: 0x1000, files: {a: thing}}":   "0x1000",
		"identity: {format: secure-cert, partition: p, files: {cert: certificate}}": "device-cert",
		"identity: {format: spiffs, partition: p, nvs-keys: k, files: {a: thing}}":  "nvs",
		"[": "recipe",
	} {
		if _, err := ParseRecipe([]byte(text)); !errors.Is(err, ErrRecipe) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseRecipe(f *testing.F) {
	for _, s := range []string{spiffsRecipe, "preset: factory-nvs\nissue: server-key\n", "identity: {format: spiffs, partition: p, files: {a: 'text:{mac}'}}", "- 1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecipe([]byte(text))
		if err != nil {
			return
		}
		// What was accepted can be followed or is refused with an error.
		_, _ = r.image(0x6000, &contents{board: &board{mac: "a0b1c2d3e4f5"}, certificate: []byte("c"), key: []byte("k")})
	})
}
