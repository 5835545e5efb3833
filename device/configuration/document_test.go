package configuration

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	d, err := Parse(lamp.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lamp, d); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(lamp, Document{}.Over(lamp)); diff != "" {
		t.Error(diff)
	}
	if got := (Document{Endpoint: "other"}).Over(lamp); got.Endpoint != "other" || got.Thing != "lamp" {
		t.Errorf("%+v", got)
	}
	for text, want := range map[string]string{
		`[]`:                             "no JSON object",
		`{}`:                             "it is empty",
		`{"wlan":{}}`:                    `"wlan" is not known`,
		`{"wifi":{"password":"abc"}}`:    "password has 8 to 64 characters; wifi: ssid has 1 to 32 bytes",
		`{"endpoint":"https://a"}`:       "want host or host:port",
		`{"certificate":"-----BEGIN C"}`: "certificate, key and thing belong together",
		`{"ca":"MIIB"}`:                  "ca is not PEM",
		`{"application":[1]}`:            "application: want a JSON object",
		`{"claim":{"key":"x"}}`:          "claim: certificate and key belong together",
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrDocument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(lamp.Append(nil)))
	f.Add(`{"template":{"parameters":{"a":1}},"application":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse([]byte(text))
		if err != nil {
			return
		}
		again, err := Parse(d.Append(nil))
		if err != nil {
			t.Fatalf("%s: %v", d.Append(nil), err)
		}
		if diff := cmp.Diff(d.Append(nil), again.Append(nil)); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzService: whatever comes on any channel, nothing is taken.
func FuzzService(f *testing.F) {
	for c := range byte(Channels) {
		f.Add(c, []byte(`{"share":"BA==","confirm":"AA==","session":1}`))
		f.Add(c, []byte{})
	}
	f.Fuzz(func(t *testing.T, c byte, b []byte) {
		d := newDevice(t, nil)
		if a := d.Handle(Channel(c%Channels), b); len(a) > MaxMessage {
			t.Errorf("an answer of %d bytes", len(a))
		}
		if len(d.documents()) > 0 {
			t.Error("taken")
		}
	})
}

// FuzzAnswers: whatever a device answers, who configures does not break and believes nothing.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"salt":"AAAAAAAAAAA=","iterations":1000}`), []byte(`{"session":1,"share":"BA==","confirm":"AA=="}`))
	f.Add([]byte(`{"protocol":1,"salt":"AAAAAAAAAAA=","iterations":1000}`), []byte(`{"error":"no","wait":99}`))
	f.Fuzz(func(t *testing.T, status, session []byte) {
		fixed := &scripted{answers: []received{{Status, status}, {Session, session}, {Session, session}, {Configuration, session}, {Result, session}}}
		if _, err := Configure(t.Context(), fixed, label, lamp, nil); err == nil {
			t.Error("believed")
		}
	})
}
