package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/files"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// bench is a service over a database of its own.
type bench struct {
	*Service
	t      testing.TB
	db     *store.DB
	files  *files.Files
	router *router.Router
	dir    string
	fetch  func(ctx context.Context, l Location) (io.ReadCloser, error)
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) open() {
	ctx := context.Background()
	var err error
	b.db = storetest.Open(b.t, b.dir)
	b.files, err = files.Open(ctx, b.db, b.dir+"/files", nil)
	b.check(err)
	b.router, err = router.New(ctx, topic.AWS, b.db)
	b.check(err)
	b.Service, err = Open(ctx, Config{Store: b.db, Router: b.router, Files: b.files, ARN: func(r string) string { return "arn:aws:iot:::" + r },
		Fetch: func(ctx context.Context, l Location) (io.ReadCloser, error) { return b.fetch(ctx, l) }})
	b.check(err)
	b.router.Own(b.Owner)
}

func (b *bench) close() {
	b.Service.Close()
	b.db.Close()
}

// put stores a file of n random bytes.
func (b *bench) put(name string, n int) []byte {
	b.t.Helper()
	content := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(content)
	_, err := b.files.Put(context.Background(), name, "", bytes.NewReader(content))
	b.check(err)
	return content
}

func own(id int, key string) File { return File{ID: id, Location: &Location{Bucket: Bucket, Key: key}} }

// device takes every message.
type device struct {
	t  testing.TB
	ch chan [2]string
}

func (d *device) Deliver(p *router.Publication, _ *router.Target) {
	d.ch <- [2]string{p.Topic, string(p.Payload)}
}
func (*device) Online() bool  { return true }
func (*device) Durable() bool { return false }

func (b *bench) device(thing string) *device {
	d := &device{b.t, make(chan [2]string, 1<<14)}
	for _, verb := range []string{"description", "data", "rejected"} {
		b.router.Subscribe(d, "$aws/things/"+thing+"/streams/+/"+verb+"/+", router.Subscription{})
	}
	return d
}

func (d *device) next() (string, string) {
	d.t.Helper()
	select {
	case m := <-d.ch:
		return m[0], m[1]
	case <-time.After(10 * time.Second):
		d.t.Fatal("no answer came")
		return "", ""
	}
}

func (b *bench) ask(thing, stream, verb, payload string) {
	b.router.Publish(&router.Publication{Topic: "$aws/things/" + thing + "/streams/" + stream + "/" + verb, Payload: []byte(payload)}, nil)
}

func TestStreams(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	b.put("fw", 1000)
	v, err := b.CreateStream(ctx, NewStream{ID: "S", Description: "d", RoleARN: "r", Files: []File{own(0, "fw")}})
	if err != nil || v.Version != 1 || v.ARN != "arn:aws:iot:::stream/S" || v.Files[0].Object.Size != 1000 {
		t.Fatal(v, err)
	}
	bad := func(want error, err error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	create := func(id string, list ...File) error {
		_, err := b.CreateStream(ctx, NewStream{ID: id, Files: list})
		return err
	}
	bad(ErrExists, create("S", own(0, "fw")))
	bad(ErrInvalid, create("a b", own(0, "fw")))
	bad(ErrInvalid, create("x"))
	bad(ErrInvalid, create("x", make([]File, 51)...))
	bad(ErrInvalid, create("x", own(256, "fw")))
	bad(ErrInvalid, create("x", own(-1, "fw")))
	bad(ErrInvalid, create("x", own(1, "fw"), own(1, "fw")))
	bad(ErrInvalid, create("x", File{ID: 1}))
	bad(ErrInvalid, create("x", File{Location: &Location{Key: "fw"}}))
	bad(ErrInvalid, create("x", File{Location: &Location{Bucket: Bucket}}))
	bad(ErrInvalid, create("x", File{Location: &Location{Bucket: Bucket, Key: "fw", Version: "x"}}))
	bad(ErrNotFound, create("x", File{Location: &Location{Bucket: Bucket, Key: "fw", Version: "2"}}))
	bad(ErrNotFound, create("x", own(0, "nothing")))
	_, err = b.UpdateStream(ctx, "none", Changes{})
	bad(ErrNotFound, err)
	_, err = b.UpdateStream(ctx, "S", Changes{Files: []File{}})
	bad(ErrInvalid, err)
	bad(ErrNotFound, b.DeleteStream(ctx, "none"))

	text := "new"
	v, err = b.UpdateStream(ctx, "S", Changes{Description: &text, Files: []File{own(0, "fw"), own(255, "fw")}})
	if err != nil || v.Version != 2 || v.Description != "new" || len(v.Files) != 2 || v.RoleARN != "r" {
		t.Fatal(v, err)
	}
	for i := range 4 {
		b.check(create(fmt.Sprintf("L%d", i), own(0, "fw")))
	}
	for _, up := range []bool{true, false} {
		var got []string
		for token := ""; ; {
			list, next, err := b.ListStreams(ctx, 2, token, up)
			b.check(err)
			for _, v := range list {
				got = append(got, v.ID)
			}
			if token = next; token == "" {
				break
			}
		}
		if want := map[bool]string{true: "L0 L1 L2 L3 S", false: "S L3 L2 L1 L0"}[up]; strings.Join(got, " ") != want {
			t.Errorf("%v: %v", up, got)
		}
	}
	_, _, err = b.ListStreams(ctx, 251, "", true)
	bad(ErrInvalid, err)
	_, _, err = b.ListStreams(ctx, 1, "!", true)
	bad(ErrInvalid, err)
	b.check(b.DeleteStream(ctx, "S"))
	_, err = b.DescribeStream(ctx, "S")
	bad(ErrNotFound, err)
}

// TestObjects checks that objects of other buckets are brought here, a version of one only once.
func TestObjects(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	n := 0
	b.fetch = func(_ context.Context, l Location) (io.ReadCloser, error) {
		n++
		if l.Key == "secret" {
			return nil, refuse(ErrUnauthorized, "no")
		}
		return io.NopCloser(strings.NewReader(l.Bucket + l.Key + l.Version)), nil
	}
	for range 2 {
		o, err := b.Find(ctx, Location{"images", "dir/fw.bin", "v7"})
		if err != nil || o.Size != int64(len("imagesdir/fw.binv7")) || n != 1 {
			t.Fatal(o, err, n)
		}
	}
	if _, err := b.Find(ctx, Location{"images", "secret", ""}); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
}

// TestDelivery checks description, blocks and refusals on their topics.
func TestDelivery(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	content := b.put("fw", 600)
	_, err := b.CreateStream(ctx, NewStream{ID: "S", Description: "lamps", Files: []File{own(7, "fw")}})
	b.check(err)
	b.put("fw", 300) // a new version changes nothing for the stream
	d := b.device("T")
	const prefix = "$aws/things/T/streams/S/"
	want := func(topic, payload string) {
		t.Helper()
		if name, got := d.next(); name != prefix+topic || got != payload {
			t.Errorf("%s %s\nwant %s %s", name, got, topic, payload)
		}
	}
	b.ask("T", "S", "describe/json", `{"c":"a"}`)
	want("description/json", `{"c":"a","s":1,"d":"lamps","r":[{"f":7,"z":600}]}`)
	b.ask("T", "S", "describe/json", ``)
	want("description/json", `{"s":1,"d":"lamps","r":[{"f":7,"z":600}]}`)
	b.ask("T", "S", "describe/cbor", "\xa0")
	want("description/cbor", "\xa3\x61s\x01\x61d\x65lamps\x61r\x81\xa2\x61f\x07\x61z\x19\x02\x58")
	b.ask("T", "S", "get/json", `{"f":7,"l":256,"o":1}`)
	for i := int64(1); i < 3; i++ {
		blk := block{fileID: 7, id: i, data: content[i*256 : min(600, i*256+256)]}
		want("data/json", string(blk.append(formatJSON, nil)))
	}
	b.ask("T", "S", "get/cbor", string(toCBOR(t, `{"c":"rdy","f":7,"l":256,"o":2,"n":1,"b":"4d513d3d"}`)))
	blk := block{token: "rdy", fileID: 7, id: 2, data: content[512:]}
	want("data/cbor", string(blk.append(formatCBOR, nil)))
	b.ask("T", "S", "get/json", `{"c":"x","f":7,"l":1}`)
	want("rejected/json", `{"o":"BlockSizeOutOfBounds","m":"the block size 1 is not from 256 to 131072","c":"x"}`)
	b.ask("T", "S", "get/json", `{`)
	want("rejected/json", `{"o":"InvalidJson","m":"the payload is not valid JSON"}`)
	b.ask("T", "S", "get/cbor", `{`)
	want("rejected/cbor", "\xa2\x61o\x6bInvalidCbor\x61m\x78\x1dthe payload is not valid CBOR")
	b.ask("T", "S", "get/xml", ``)
	if name, got := d.next(); name != prefix+"rejected/json" || !strings.Contains(got, codeTopic) {
		t.Error(name, got)
	}
	b.ask("T", "S", "get/json", strings.Repeat(" ", maxPayload+1))
	if _, got := d.next(); !strings.Contains(got, codeRequest) {
		t.Error(got)
	}
	b.ask("T", "none", "describe/json", `{"c":"z"}`)
	if name, got := d.next(); name != "$aws/things/T/streams/none/rejected/json" || got != `{"o":"ResourceNotFound","m":"stream none does not exist","c":"z"}` {
		t.Error(name, got)
	}
	// A change is seen at once, an old version refused.
	_, err = b.UpdateStream(ctx, "S", Changes{})
	b.check(err)
	b.ask("T", "S", "get/json", `{"s":1,"f":7,"l":256}`)
	want("rejected/json", `{"o":"VersionMismatch","m":"the stream's version is 2, not 1"}`)
	b.check(b.files.Delete(ctx, "fw"))
	b.ask("T", "S", "get/json", `{"f":7,"l":256}`)
	want("rejected/json", `{"o":"ResourceNotFound","m":"the content of file 7 has been deleted"}`)
	b.check(b.DeleteStream(ctx, "S"))
	b.ask("T", "S", "describe/json", `{}`)
	want("rejected/json", `{"o":"ResourceNotFound","m":"stream S does not exist"}`)
	if c := b.Counts(); c.Blocks != 3 || c.Bytes != 256+88+88 || c.Rejected != 9 || c.Dropped != 0 {
		t.Errorf("%+v", c)
	}
}

// TestResume loads half a file, restarts the service and loads the rest by bitmap.
func TestResume(t *testing.T) {
	t.Parallel()
	const blocks, size = 40, 512
	ctx, b := context.Background(), newBench(t)
	content := b.put("fw", blocks*size-100)
	_, err := b.CreateStream(ctx, NewStream{ID: "S", Files: []File{own(0, "fw")}})
	b.check(err)
	got := make([]byte, len(content))
	missing := make([]byte, blocks/8)
	for i := range blocks {
		missing[i/8] |= 1 << (i % 8)
	}
	load := func(payload string, n int) {
		d := b.device("T")
		b.ask("T", "S", "get/json", payload)
		for range n {
			var m struct {
				I int64
				P []byte
			}
			_, text := d.next()
			b.check(json.Unmarshal([]byte(text), &m))
			copy(got[m.I*size:], m.P)
			missing[m.I/8] &^= 1 << (m.I % 8)
		}
	}
	load(`{"f":0,"l":512,"o":5,"n":9}`, 9)
	load(`{"f":0,"l":512,"b":"0x0200000080"}`, 2)
	b.close()
	b.open()
	load(fmt.Sprintf(`{"s":1,"f":0,"l":512,"b":"%x"}`, missing), blocks-11)
	if !bytes.Equal(got, content) || bytes.ContainsFunc(missing, func(r rune) bool { return r != 0 }) {
		t.Errorf("missing %x", missing)
	}
}

// TestBounds checks that a thing that floods loses requests and others do not.
func TestBounds(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	b.put("fw", 1<<20)
	_, err := b.CreateStream(ctx, NewStream{ID: "S", Files: []File{own(0, "fw")}})
	b.check(err)
	block := make(chan struct{})
	b.router.Subscribe(stuck{block}, "$aws/things/greedy/streams/S/data/json", router.Subscription{})
	for range 100 {
		b.ask("greedy", "S", "get/json", `{"f":0,"l":4096}`)
	}
	if n := b.Counts().Dropped; n != 100-maxWaiting {
		t.Errorf("%d requests dropped", n)
	}
	d := b.device("modest")
	b.ask("modest", "S", "get/json", `{"f":0,"l":4096,"n":1}`)
	d.next()
	close(block)
}

// stuck is a receiver that waits.
type stuck struct{ ready chan struct{} }

func (s stuck) Deliver(*router.Publication, *router.Target) { <-s.ready }
func (stuck) Online() bool                                  { return true }
func (stuck) Durable() bool                                 { return false }
