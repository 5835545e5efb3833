package shadow

import (
	"fmt"
	"strings"
	"testing"
)

// world is one shadow without a service: requests in, messages out.
type world struct {
	doc *Document
	now int64
}

func newWorld() *world { return &world{doc: &Document{}, now: 1700000000} }

// update returns the messages that an update request causes, as lines of "suffix payload".
func (w *world) update(payload string) string {
	var d draft
	if err := d.open(w.doc); err != nil {
		return "open: " + err.Error()
	}
	var out answers
	u, err := d.parseUpdate(payload)
	if err == nil {
		err = d.apply(&u, w.now, &out)
	}
	if err != nil {
		out.rejected(updateRejected, err, u.clientToken, w.now)
	}
	w.doc = d.document()
	return lines(&out)
}

func (w *world) get(payload string) string {
	var d draft
	if err := d.open(w.doc); err != nil {
		return "open: " + err.Error()
	}
	var out answers
	token, err := d.parseToken(payload, false)
	if err != nil {
		out.rejected(getRejected, err, token, w.now)
	} else {
		out.got(&d, token, w.now)
	}
	return lines(&out)
}

func lines(out *answers) string {
	var b strings.Builder
	for _, a := range out.list {
		fmt.Fprintf(&b, "%s %s\n", a.outcome.suffix(), out.payload(a))
	}
	return b.String()
}

// TestConversation is the life of a shadow in the order of the AWS IoT developer guide, "Using
// shadows": an app asks, a device reports, fields and sections go.
func TestConversation(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for _, step := range []struct{ name, send, want string }{
		{"first update", `{"state":{"desired":{"color":"RED","engine":{"on":true}}},"clientToken":"tok"}`,
			`/update/accepted {"state":{"desired":{"color":"RED","engine":{"on":true}}},"metadata":{"desired":{"color":{"timestamp":1700000001},"engine":{"on":{"timestamp":1700000001}}}},"version":1,"timestamp":1700000001,"clientToken":"tok"}
/update/delta {"version":1,"timestamp":1700000001,"state":{"color":"RED","engine":{"on":true}},"metadata":{"color":{"timestamp":1700000001},"engine":{"on":{"timestamp":1700000001}}},"clientToken":"tok"}
/update/documents {"previous":{"state":{},"metadata":{},"version":0},"current":{"state":{"desired":{"color":"RED","engine":{"on":true}}},"metadata":{"desired":{"color":{"timestamp":1700000001},"engine":{"on":{"timestamp":1700000001}}}},"version":1},"timestamp":1700000001,"clientToken":"tok"}
`},
		{"partial report", `{"state":{"reported":{"color":"RED","engine":{"on":false},"rpm":[1,2.50]}}}`,
			`/update/accepted {"state":{"reported":{"color":"RED","engine":{"on":false},"rpm":[1,2.50]}},"metadata":{"reported":{"color":{"timestamp":1700000002},"engine":{"on":{"timestamp":1700000002}},"rpm":[{"timestamp":1700000002},{"timestamp":1700000002}]}},"version":2,"timestamp":1700000002}
/update/delta {"version":2,"timestamp":1700000002,"state":{"engine":{"on":true}},"metadata":{"engine":{"on":{"timestamp":1700000001}}}}
/update/documents {"previous":{"state":{"desired":{"color":"RED","engine":{"on":true}}},"metadata":{"desired":{"color":{"timestamp":1700000001},"engine":{"on":{"timestamp":1700000001}}}},"version":1},"current":{"state":{"desired":{"color":"RED","engine":{"on":true}},"reported":{"color":"RED","engine":{"on":false},"rpm":[1,2.50]}},"metadata":{"desired":{"color":{"timestamp":1700000001},"engine":{"on":{"timestamp":1700000001}}},"reported":{"color":{"timestamp":1700000002},"engine":{"on":{"timestamp":1700000002}},"rpm":[{"timestamp":1700000002},{"timestamp":1700000002}]}},"version":2},"timestamp":1700000002}
`},
		{"settled, with the right version", `{"state":{"reported":{"engine":{"on":true}}},"version":2}`,
			`/update/accepted {"state":{"reported":{"engine":{"on":true}}},"metadata":{"reported":{"engine":{"on":{"timestamp":1700000003}}}},"version":3,"timestamp":1700000003}
/update/documents {"previous":{"state":{"desired":{"color":"RED","engine":{"on":true}},"reported":{"color":"RED","engine":{"on":false},"rpm":[1,2.50]}},"metadata":{"desired":{"color":{"timestamp":1700000001},"engine":{"on":{"timestamp":1700000001}}},"reported":{"color":{"timestamp":1700000002},"engine":{"on":{"timestamp":1700000002}},"rpm":[{"timestamp":1700000002},{"timestamp":1700000002}]}},"version":2},"current":{"state":{"desired":{"color":"RED","engine":{"on":true}},"reported":{"color":"RED","engine":{"on":true},"rpm":[1,2.50]}},"metadata":{"desired":{"color":{"timestamp":1700000001},"engine":{"on":{"timestamp":1700000001}}},"reported":{"color":{"timestamp":1700000002},"engine":{"on":{"timestamp":1700000003}},"rpm":[{"timestamp":1700000002},{"timestamp":1700000002}]}},"version":3},"timestamp":1700000003}
`},
		{"wrong version", `{"state":{"reported":{"color":"BLUE"}},"version":2,"clientToken":"t2"}`,
			`/update/rejected {"code":409,"message":"Version conflict","timestamp":1700000004,"clientToken":"t2"}
`},
		{"null deletes, a section too, and objects left empty", `{"state":{"desired":null,"reported":{"engine":{"on":null},"color":null,"absent":null}}}`,
			`/update/accepted {"state":{"desired":null,"reported":{"engine":{"on":null},"color":null,"absent":null}},"metadata":{"desired":{"timestamp":1700000005},"reported":{"engine":{"on":{"timestamp":1700000005}},"color":{"timestamp":1700000005},"absent":{"timestamp":1700000005}}},"version":4,"timestamp":1700000005}
/update/documents {"previous":{"state":{"desired":{"color":"RED","engine":{"on":true}},"reported":{"color":"RED","engine":{"on":true},"rpm":[1,2.50]}},"metadata":{"desired":{"color":{"timestamp":1700000001},"engine":{"on":{"timestamp":1700000001}}},"reported":{"color":{"timestamp":1700000002},"engine":{"on":{"timestamp":1700000003}},"rpm":[{"timestamp":1700000002},{"timestamp":1700000002}]}},"version":3},"current":{"state":{"reported":{"rpm":[1,2.50]}},"metadata":{"reported":{"rpm":[{"timestamp":1700000002},{"timestamp":1700000002}]}},"version":4},"timestamp":1700000005}
`},
		{"state null", `{"state":null}`,
			`/update/accepted {"state":null,"metadata":{},"version":5,"timestamp":1700000006}
/update/documents {"previous":{"state":{"reported":{"rpm":[1,2.50]}},"metadata":{"reported":{"rpm":[{"timestamp":1700000002},{"timestamp":1700000002}]}},"version":4},"current":{"state":{},"metadata":{},"version":5},"timestamp":1700000006}
`},
	} {
		w.now++
		if got := w.update(step.send); got != step.want {
			t.Errorf("%s\n got %s\nwant %s", step.name, got, step.want)
		}
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.update(`{"state":{"desired":{"a":1,"b":2},"reported":{"b":3,"c":4}}}`)
	want := `/get/accepted {"state":{"desired":{"a":1,"b":2},"reported":{"b":3,"c":4},"delta":{"a":1,"b":2}},"metadata":{"desired":{"a":{"timestamp":1700000000},"b":{"timestamp":1700000000}},"reported":{"b":{"timestamp":1700000000},"c":{"timestamp":1700000000}}},"version":1,"timestamp":1700000000,"clientToken":"x"}
`
	if got := w.get(`{"clientToken":"x"}`); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := w.get(`nonsense`); got != "/get/rejected {\"code\":400,\"message\":\"Invalid JSON\"}\n" {
		t.Errorf("got %s", got)
	}
}

func nested(levels int) string {
	return strings.Repeat(`{"k":`, levels) + "1" + strings.Repeat("}", levels)
}

func TestRejected(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 65)
	for _, tc := range []struct {
		name, send string
		code       int
		message    string
	}{
		{"empty", ``, 400, "Invalid JSON"},
		{"text", `hello`, 400, "Invalid JSON"},
		{"array", `[]`, 400, "Invalid JSON"},
		{"trailing", `{"state":{}} x`, 400, "Invalid JSON"},
		{"cut", `{"state":{"desired":{"a":1`, 400, "Invalid JSON"},
		{"leading zero", `{"state":{"desired":{"a":01}}}`, 400, "Invalid JSON"},
		{"control character", "{\"state\":{\"desired\":{\"a\":\"\n\"}}}", 400, "Invalid JSON"},
		{"no state", `{}`, 400, "Missing required node: state"},
		{"state is a string", `{"state":"on"}`, 400, "State node must be an object"},
		{"desired is an array", `{"state":{"desired":[]}}`, 400, "Desired node must be an object"},
		{"reported is a number", `{"state":{"reported":7}}`, 400, "Reported node must be an object"},
		{"version is a string", `{"state":{},"version":"1"}`, 400, "Invalid version"},
		{"version is negative", `{"state":{},"version":-1}`, 400, "Invalid version"},
		{"version has a fraction", `{"state":{},"version":1.5}`, 400, "Invalid version"},
		{"client token is a number", `{"state":{},"clientToken":1}`, 400, "Invalid clientToken"},
		{"client token of 65 bytes", `{"state":{},"clientToken":"` + long + `"}`, 400, "Invalid clientToken"},
		{"nine levels", `{"state":{"desired":` + nested(9) + `}}`, 400, "JSON contains too many levels of nesting; maximum is 6"},
		{"very deep", strings.Repeat("[", 4000), 400, "JSON contains too many levels of nesting; maximum is 6"},
		{"null in an array", `{"state":{"desired":{"a":[1,null]}}}`, 400, "State contains an invalid node"},
		{"null deep in an array", `{"state":{"desired":{"a":[{"b":[null]}]}}}`, 400, "State contains an invalid node"},
		{"version of a shadow that is not there", `{"state":{},"version":1}`, 409, "Version conflict"},
		{"not UTF-8", "{\"state\":{\"desired\":{\"a\":\"\xff\"}}}", 415, "Unsupported documented encoding; supported encoding is UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			got := w.update(tc.send)
			want := fmt.Sprintf(`/update/rejected {"code":%d,"message":%q`, tc.code, tc.message)
			if !strings.HasPrefix(got, want) {
				t.Errorf("got %s\nwant %s", got, want)
			}
			if w.doc.Version != 0 || w.doc.Live {
				t.Errorf("the document changed: %+v", w.doc)
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, send, state string }{
		{"eight levels", `{"state":{"desired":` + nested(8) + `}}`, `{"desired":` + nested(8) + `}`},
		{"client token of 64 bytes", `{"state":{},"clientToken":"` + strings.Repeat("x", 64) + `"}`, `{}`},
		{"64 bytes with escapes", `{"state":{},"clientToken":"` + strings.Repeat(`\u00e9`, 32) + `"}`, `{}`},
		{"unknown keys", `{"state":{"desired":{"a":1},"delta":{"b":1},"x":2},"enabled":null,"y":[null]}`, `{"desired":{"a":1}}`},
		{"large and exact numbers", `{"state":{"desired":{"a":9007199254740993,"b":0.1000,"c":-1E+400,"d":12345678901234567890123}}}`,
			`{"desired":{"a":9007199254740993,"b":0.1000,"c":-1E+400,"d":12345678901234567890123}}`},
		{"the last of equal keys", `{"state":{"desired":{"a":{"x":1},"b":1,"a":{"y":2}}}}`, `{"desired":{"b":1,"a":{"y":2}}}`},
		{"the last of many equal keys", `{"state":{"desired":{` + strings.Repeat(`"a":1,`, 40) + `"a":2}}}`, `{"desired":{"a":2}}`},
		{"escaped keys are keys", `{"state":{"desired":{"\u0061":1,"a":2}}}`, `{"desired":{"a":2}}`},
		{"strings are written anew", `{"state":{"desired":{"a":"\u00e9\/\n\u001f\"\\\ud83d\ude00"}}}`, `{"desired":{"a":"é/\n\u001f\"\\😀"}}`},
		{"half a surrogate pair stays", `{"state":{"desired":{"a":"\uD83Dx"}}}`, `{"desired":{"a":"\ud83dx"}}`},
		{"empty sections are none", `{"state":{"desired":{},"reported":{"a":null}}}`, `{}`},
		{"an empty object stays", `{"state":{"desired":{"a":{}}}}`, `{"desired":{"a":{}}}`},
		{"an object of nulls is none", `{"state":{"desired":{"a":{"b":{"c":null}},"d":1}}}`, `{"desired":{"d":1}}`},
		{"white space goes", " {\"state\" : { \"desired\"\n:\t{ \"a\" : [ 1 , 2 ] } } } ", `{"desired":{"a":[1,2]}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			if got := w.update(tc.send); !strings.HasPrefix(got, "/update/accepted ") {
				t.Fatalf("got %s", got)
			}
			if w.doc.State != tc.state || w.doc.Version != 1 {
				t.Errorf("state %s, want %s; version %d", w.doc.State, tc.state, w.doc.Version)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, before, patch, after string }{
		{"objects merge", `{"a":{"x":1,"y":2},"b":3}`, `{"a":{"y":4,"z":5}}`, `{"a":{"x":1,"y":4,"z":5},"b":3}`},
		{"arrays replace", `{"a":[1,2,3]}`, `{"a":[4]}`, `{"a":[4]}`},
		{"value becomes object", `{"a":1,"b":2}`, `{"a":{"x":1}}`, `{"a":{"x":1},"b":2}`},
		{"object becomes value", `{"a":{"x":1},"b":2}`, `{"a":1}`, `{"a":1,"b":2}`},
		{"object becomes array", `{"a":{"x":1}}`, `{"a":[{"x":1}]}`, `{"a":[{"x":1}]}`},
		{"empty object changes nothing", `{"a":{"x":1}}`, `{"a":{}}`, `{"a":{"x":1}}`},
		{"value becomes nothing", `{"a":1,"b":2}`, `{"a":{"x":null}}`, `{"b":2}`},
		{"order does not matter", `{"a":1,"b":2,"c":3,"d":4}`, `{"d":null,"a":5,"c":null,"b":6}`, `{"a":5,"b":6}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.update(`{"state":{"reported":` + tc.before + `}}`)
			w.update(`{"state":{"reported":` + tc.patch + `}}`)
			if want := `{"reported":` + tc.after + `}`; w.doc.State != want {
				t.Errorf("got %s, want %s", w.doc.State, want)
			}
		})
	}
}

func TestDelta(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ desired, reported, delta string }{
		{`{"a":1}`, `{"a":1}`, ``},
		{`{"a":1}`, `{"a":1.0}`, ``},
		{`{"a":100}`, `{"a":1e2}`, ``},
		{`{"a":-0.5}`, `{"a":-5E-1}`, ``},
		{`{"a":0}`, `{"a":-0.0}`, ``},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, `{"a":9007199254740993}`},
		{`{"a":1}`, `{"a":"1"}`, `{"a":1}`},
		{`{"a":true}`, `{"a":"true"}`, `{"a":true}`},
		{`{"a":1}`, `{"b":1}`, `{"a":1}`},
		{`{"a":{"x":1,"y":2}}`, `{"a":{"y":2,"x":3,"z":4}}`, `{"a":{"x":1}}`},
		{`{"a":{"x":{"p":1}}}`, `{"a":{"x":{"p":2}}}`, `{"a":{"x":{"p":1}}}`},
		{`{"a":{"x":1}}`, `{"a":7}`, `{"a":{"x":1}}`},
		{`{"a":[1,2]}`, `{"a":[2,1]}`, `{"a":[1,2]}`},
		{`{"a":[{"x":1,"y":2}]}`, `{"a":[{"y":2,"x":1}]}`, ``},
		{`{"a":[1]}`, `{"a":[1,2]}`, `{"a":[1]}`},
		{`{"a":{}}`, `{"a":{"x":1}}`, ``},
		{`{"a":{}}`, `{"b":1}`, `{"a":{}}`},
		{`{"a":1,"b":2,"c":3}`, `{"c":3,"b":0,"a":1}`, `{"b":2}`},
	} {
		w := newWorld()
		got := w.update(`{"state":{"desired":` + tc.desired + `,"reported":` + tc.reported + `}}`)
		_, rest, found := strings.Cut(got, `/update/delta {"version":1,"timestamp":1700000000,"state":`)
		delta, _, _ := strings.Cut(rest, `,"metadata"`)
		if delta != tc.delta || found != (tc.delta != "") {
			t.Errorf("desired %s reported %s: delta %q, want %q", tc.desired, tc.reported, delta, tc.delta)
		}
	}
}

// TestSizeLimit fills a document to its last byte over several updates.
func TestSizeLimit(t *testing.T) {
	t.Parallel()
	w := newWorld()
	half := strings.Repeat("x", 4000)
	w.update(`{"state":{"desired":{"a":"` + half + `"}}}`)
	rest := MaxDocument - len(`{"a":"`+half+`"}`) - len(`{"b":""}`)
	before := w.doc.State
	if got := w.update(`{"state":{"reported":{"b":"` + strings.Repeat("y", rest+1) + `"}},"clientToken":"big"}`); got != `/update/rejected {"code":413,"message":"The payload exceeds the maximum size allowed","clientToken":"big"}`+"\n" {
		t.Errorf("got %.200s", got)
	}
	if w.doc.State != before || w.doc.Version != 1 {
		t.Error("a refused update changed the document")
	}
	if got := w.update(`{"state":{"reported":{"b":"` + strings.Repeat("y", rest) + `"}}}`); !strings.HasPrefix(got, "/update/accepted") {
		t.Errorf("got %.200s", got)
	}
	if w.doc.Version != 2 {
		t.Errorf("version %d", w.doc.Version)
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"$aws/things/T/shadow/get":                                      "{T } 0 true",
		"$aws/things/T/shadow/update":                                   "{T } 1 true",
		"$aws/things/T/shadow/name/S/delete":                            "{T S} 2 true",
		"$aws/things/T/shadow/name/$package/get":                        "{T $package} 0 true",
		"$aws/things/T/shadow/update/accepted":                          "false",
		"$aws/things/T/shadow/name/update":                              "false",
		"$aws/things/T/shadow/name//update":                             "false",
		"$aws/things/T U/shadow/update":                                 "false",
		"$aws/things/" + strings.Repeat("t", 129) + "/shadow/get":       "false",
		"$aws/things/T/shadow/name/" + strings.Repeat("s", 65) + "/get": "false",
		"$aws/things/T/jobs/get":                                        "false",
		"things/T/shadow/get":                                           "false",
	} {
		id, op, ok := parseTopic(name)
		got := fmt.Sprint(ok)
		if ok {
			got = fmt.Sprint(id, " ", op, " ", ok)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
