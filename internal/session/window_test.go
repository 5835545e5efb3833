package session

import (
	"math/rand/v2"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// TestWindow compares the window with a map under a random schedule that wraps the identifiers.
func TestWindow(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var w window
	model := map[uint16]int64{}
	var order []uint16
	seq := int64(0)
	for range 300_000 {
		if !w.full(100) && r.IntN(2) == 0 {
			seq++
			id, place := w.add(delivery{seq: seq})
			if _, used := model[id]; used || id == 0 {
				t.Fatalf("identifier %d is in use", id)
			}
			if place.state != published || place.seq != seq {
				t.Fatal("the place is not the delivery's")
			}
			model[id] = seq
			order = append(order, id)
		} else if len(order) > 0 {
			i := 0
			if r.IntN(4) == 0 { // out of order
				i = r.IntN(len(order))
			}
			id := order[i]
			order = append(order[:i], order[i+1:]...)
			d := w.find(id)
			if d == nil || d.seq != model[id] {
				t.Fatalf("identifier %d: %+v, want seq %d", id, d, model[id])
			}
			w.acknowledge(d)
			delete(model, id)
			if w.find(id) != nil {
				t.Fatalf("identifier %d is found after its acknowledgement", id)
			}
		}
		if w.open != len(model) {
			t.Fatalf("%d open, want %d", w.open, len(model))
		}
	}
	var last int64
	w.each(func(id uint16, d *delivery) {
		if d.seq <= last || model[id] != d.seq {
			t.Errorf("identifier %d has seq %d after %d", id, d.seq, last)
		}
		last = d.seq
	})
	if w.find(0) != nil {
		t.Error("identifier 0 is found")
	}
}

func TestOwedInOrder(t *testing.T) {
	t.Parallel()
	var o owed
	a, b, c := o.add(1, 1), o.add(2, 2), o.add(3, 1)
	if out := o.settle(c, mqtt.Success, mqtt.V5, nil); len(out) != 0 {
		t.Errorf("the third was acknowledged first: %x", out)
	}
	if out := o.settle(a, mqtt.NotAuthorized, mqtt.V5, nil); string(out) != "\x40\x03\x00\x01\x87" {
		t.Errorf("first: %x", out)
	}
	if out := o.settle(b, mqtt.Success, mqtt.V5, nil); string(out) != "\x50\x02\x00\x02\x40\x02\x00\x03" {
		t.Errorf("second and third: %x", out)
	}
	if out := o.settle(b, mqtt.Success, mqtt.V5, nil); len(out) != 0 || o.len() != 0 {
		t.Errorf("settled twice: %x, %d owed", out, o.len())
	}
	n := o.add(4, 1)
	if out := o.settle(n, mqtt.UnspecifiedError, mqtt.V311, nil); len(out) != 0 {
		t.Errorf("MQTT 3.1.1 was told of a failure as success: %x", out)
	}
}

func TestInput(t *testing.T) {
	t.Parallel()
	var in Input
	fill := func(s string) {
		n := copy(in.Space(), s)
		if n < len(s) {
			t.Fatalf("no room for %d bytes", len(s))
		}
		in.Filled(n)
	}
	fill("abc")
	in.consume(1)
	in.Idle() // holds bytes: stays
	if string(in.bytes()) != "bc" {
		t.Fatalf("%q", in.bytes())
	}
	in.room(100_000) // larger than the pooled buffer
	if string(in.bytes()) != "bc" || len(in.Space()) < 100_000-2 {
		t.Fatalf("%q with room for %d", in.bytes(), len(in.Space()))
	}
	in.consume(2)
	in.Idle()
	if in.buf != nil {
		t.Error("an empty buffer is kept")
	}
	in.room(10)
	if len(in.Space()) == 0 {
		t.Error("no space")
	}
}
