package ota

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/codesign"
	"github.com/berth-iot/berth/internal/files"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/seal"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/internal/stream"
	"github.com/berth-iot/berth/topic"
)

// bench is everything that an update needs, over a database of its own. The worker runs only after
// start.
type bench struct {
	*Service
	t        testing.TB
	dir      string
	db       *store.DB
	files    *files.Files
	jobs     *jobs.Service
	streams  *stream.Service
	profiles *codesign.Profiles
}

const thingARN = "arn:aws:iot:us-east-1:000000000000:thing/T"

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	_, err := seal.Open(b.dir, true)
	b.check(err)
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
	b.db = storetest.Open(b.t, b.dir)
	reg, err := registry.Open(ctx, b.db, registry.Config{})
	b.check(err)
	reg.CreateThing(ctx, registry.NewThing{Name: "T"})
	r, err := router.New(ctx, topic.AWS, b.db)
	b.check(err)
	b.files, err = files.Open(ctx, b.db, b.dir+"/files", nil)
	b.check(err)
	b.jobs, err = jobs.Open(ctx, jobs.Config{Store: b.db, Router: r, Registry: reg})
	b.check(err)
	b.streams, err = stream.Open(ctx, stream.Config{Store: b.db, Router: r, Files: b.files, ARN: reg.ARN})
	b.check(err)
	b.profiles, err = codesign.Open(ctx, b.db, b.dir, nil)
	b.check(err)
	b.Service, err = Open(ctx, Config{Store: b.db, Jobs: b.jobs, Streams: b.streams, Profiles: b.profiles, ARN: reg.ARN,
		Address: func(l stream.Location) string { return "https://s3/" + l.Bucket + "/" + l.Key }})
	b.check(err)
}

func (b *bench) close() {
	b.Service.Close()
	b.streams.Close()
	b.jobs.Close()
	b.db.Close()
}

func (b *bench) put(name, content string) {
	_, err := b.files.Put(context.Background(), name, "", strings.NewReader(content))
	b.check(err)
}

// settled waits for the worker.
func (b *bench) settled(id string) *Update {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		u, err := b.GetUpdate(context.Background(), id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		b.check(err)
		if !strings.HasSuffix(string(u.Status), "_PENDING") && !strings.HasSuffix(string(u.Status), "_PROGRESS") {
			return u
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s is still %s", id, u.Status)
		}
	}
}

func firmware(s *CodeSigning) File {
	kind := 7
	return File{Name: "/app.bin", Type: &kind, Location: &FileLocation{S3: &stream.Location{Bucket: stream.Bucket, Key: "fw"}}, Signing: s}
}

func signed(profile string) *CodeSigning { return &CodeSigning{Start: &StartSigning{Profile: profile}} }

func custom(text string) *CodeSigning {
	c := &CodeSigning{}
	if err := json.Unmarshal([]byte(text), &c.Custom); err != nil {
		panic(err)
	}
	return c
}

// TestDocuments checks the job document for each protocol and kind of signature.
func TestDocuments(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	b.put("fw", "firmware")
	_, err := b.profiles.Create(ctx, "lamp", codesign.RSA2048, "/cert.pem")
	b.check(err)
	mine := custom(`{"signature":{"inlineDocument":"AQID"},"certificateChain":{"certificateName":"mine.pem"},"hashAlgorithm":"SHA256","signatureAlgorithm":"ECDSA"}`)
	kind := 1
	elsewhere := File{Name: "b", Type: &kind, Location: &FileLocation{Stream: &StreamFile{"S", 9}}, Signing: mine}
	_, err = b.streams.CreateStream(ctx, stream.NewStream{ID: "S", Files: []stream.File{{ID: 9, Location: &stream.Location{Bucket: stream.Bucket, Key: "fw"}}}})
	b.check(err)
	for _, tc := range []struct {
		id   string
		u    Update
		want string // STREAM and SIG stand for what differs each time
	}{
		{"mqtt", Update{Files: []File{firmware(mine)}},
			`{"afr_ota":{"protocols":["MQTT"],"streamname":"STREAM","files":[{"filepath":"/app.bin","filesize":8,"fileid":0,"certfile":"mine.pem","fileType":7,"sig-sha256-ecdsa":"AQID"}]}}`},
		{"http", Update{Protocols: []string{HTTP}, Files: []File{firmware(mine)}},
			`{"afr_ota":{"protocols":["HTTP"],"files":[{"filepath":"/app.bin","filesize":8,"fileid":0,"certfile":"mine.pem","fileType":7,"update_data_url":"${aws:iot:s3-presigned-url:berth://fw?versionId=1}","auth_scheme":"aws.s3.presigned","sig-sha256-ecdsa":"AQID"}]}}`},
		{"both", Update{Protocols: []string{MQTT, HTTP}, Files: []File{firmware(nil), firmware(mine)}},
			`{"afr_ota":{"protocols":["MQTT","HTTP"],"streamname":"STREAM","files":[{"filepath":"/app.bin","filesize":8,"fileid":0,"fileType":7,"update_data_url":"${aws:iot:s3-presigned-url:berth://fw?versionId=1}","auth_scheme":"aws.s3.presigned"},{"filepath":"/app.bin","filesize":8,"fileid":1,"certfile":"mine.pem","fileType":7,"update_data_url":"${aws:iot:s3-presigned-url:berth://fw?versionId=1}","auth_scheme":"aws.s3.presigned","sig-sha256-ecdsa":"AQID"}]}}`},
		{"existing", Update{Files: []File{elsewhere}},
			`{"afr_ota":{"protocols":["MQTT"],"streamname":"S","files":[{"filepath":"b","filesize":8,"fileid":9,"certfile":"mine.pem","fileType":1,"sig-sha256-ecdsa":"AQID"}]}}`},
		{"profile", Update{Files: []File{firmware(signed("lamp"))}},
			`{"afr_ota":{"protocols":["MQTT"],"streamname":"STREAM","files":[{"filepath":"/app.bin","filesize":8,"fileid":0,"certfile":"/cert.pem","fileType":7,"sig-sha256-rsa":"SIG"}]}}`},
	} {
		tc.u.ID, tc.u.Targets = tc.id, []string{thingARN}
		made, err := b.CreateUpdate(ctx, tc.u)
		if err != nil || made.Status != CreatePending {
			t.Fatal(tc.id, made, err)
		}
		u := b.settled(tc.id)
		if u.Status != CreateComplete {
			t.Errorf("%s: %+v", tc.id, u.Failure)
			continue
		}
		got, err := b.jobs.GetJobDocument(ctx, "AFR_OTA-"+tc.id, false)
		b.check(err)
		if s := u.Files[0].Location.Stream; s != nil && strings.Contains(tc.want, "STREAM") {
			v, err := b.streams.DescribeStream(ctx, s.StreamID)
			if err != nil || v.Version != 1 || len(v.Files) != len(u.Files) {
				t.Errorf("%s: stream %+v %v", tc.id, v, err)
			}
			got = strings.Replace(got, s.StreamID, "STREAM", 1)
		}
		if at := strings.Index(got, `"sig-sha256-rsa":"`); at >= 0 {
			got = got[:at] + `"sig-sha256-rsa":"SIG"}]}}`
		}
		if got != tc.want {
			t.Errorf("%s: %s\nwant %s", tc.id, got, tc.want)
		}
	}
	if list, next, err := b.ListUpdates(ctx, CreateComplete, 3, ""); err != nil || len(list) != 3 || next == "" {
		t.Error(list, next, err)
	} else if list, next, err := b.ListUpdates(ctx, CreateComplete, 3, next); err != nil || len(list) != 2 || next != "" {
		t.Error(list, next, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	b.put("fw", "firmware")
	base := func() Update {
		return Update{ID: "u", Targets: []string{thingARN}, Files: []File{firmware(nil)}}
	}
	number := 256
	for name, tc := range map[string]struct {
		change func(u *Update)
		want   error
	}{
		"long id":        {func(u *Update) { u.ID = strings.Repeat("x", MaxID+1) }, ErrInvalid},
		"id":             {func(u *Update) { u.ID = "a b" }, ErrInvalid},
		"description":    {func(u *Update) { u.Description = "\n" }, ErrInvalid},
		"protocol":       {func(u *Update) { u.Protocols = []string{"FTP"} }, ErrInvalid},
		"protocol twice": {func(u *Update) { u.Protocols = []string{MQTT, MQTT} }, ErrInvalid},
		"selection":      {func(u *Update) { u.Selection = "ALL" }, ErrInvalid},
		"expiry":         {func(u *Update) { u.Presigned = &jobs.PresignedURL{ExpiresInSeconds: 59} }, ErrInvalid},
		"rollout":        {func(u *Update) { u.Rollout = &jobs.Rollout{MaximumPerMinute: new(int64(-1))} }, jobs.ErrInvalid},
		"abort":          {func(u *Update) { u.Abort = &Abort{} }, jobs.ErrInvalid},
		"timeout":        {func(u *Update) { u.Timeout = &jobs.Timeout{InProgressMinutes: new(int64(10081))} }, jobs.ErrInvalid},
		"additional":     {func(u *Update) { u.Additional = map[string]string{"k": strings.Repeat("x", 4097)} }, ErrInvalid},
		"no targets":     {func(u *Update) { u.Targets = nil }, jobs.ErrInvalid},
		"target":         {func(u *Update) { u.Targets[0] += "x" }, registry.ErrNotFound},
		"no files":       {func(u *Update) { u.Files = nil }, ErrInvalid},
		"file name":      {func(u *Update) { u.Files[0].Name = "" }, ErrInvalid},
		"file type":      {func(u *Update) { u.Files[0].Type = &number }, ErrInvalid},
		"no location":    {func(u *Update) { u.Files[0].Location = nil }, ErrInvalid},
		"no stream":      {func(u *Update) { u.Files[0].Location = &FileLocation{Stream: &StreamFile{}} }, ErrInvalid},
		"both": {func(u *Update) {
			u.Files = append(u.Files, File{Name: "b", Location: &FileLocation{Stream: &StreamFile{"S", 1}}})
		}, ErrInvalid},
		"signer job":   {func(u *Update) { u.Files[0].Signing = &CodeSigning{SignerJobID: "x"} }, ErrInvalid},
		"no signing":   {func(u *Update) { u.Files[0].Signing = &CodeSigning{} }, ErrInvalid},
		"no profile":   {func(u *Update) { u.Files[0].Signing = signed("") }, ErrInvalid},
		"profile":      {func(u *Update) { u.Files[0].Signing = signed("none") }, codesign.ErrNotFound},
		"no signature": {func(u *Update) { u.Files[0].Signing = custom(`{}`) }, ErrInvalid},
		"algorithm": {func(u *Update) {
			u.Files[0].Signing = custom(`{"signature":{"inlineDocument":"AQID"},"hashAlgorithm":"a\"b","signatureAlgorithm":"x"}`)
		}, ErrInvalid},
	} {
		u := base()
		tc.change(&u)
		if _, err := b.CreateUpdate(ctx, u); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := b.CreateUpdate(ctx, base())
	b.check(err)
	if _, err := b.CreateUpdate(ctx, base()); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	// What is only found out later fails the update, and says why.
	u := base()
	u.ID = "later"
	u.Files[0].Location.S3.Key = "none"
	_, err = b.CreateUpdate(ctx, u)
	b.check(err)
	if u := b.settled("later"); u.Status != CreateFailed || u.Failure.Code != "ResourceNotFoundException" {
		t.Errorf("%+v %+v", u, u.Failure)
	}
	_, _, err = b.ListUpdates(ctx, "x", 0, "")
	_, _, err2 := b.ListUpdates(ctx, "", 0, "!")
	for _, err := range []error{err, err2} {
		if !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	b.put("fw", "firmware")
	for _, all := range []bool{false, true} {
		_, err := b.CreateUpdate(ctx, Update{ID: "u", Targets: []string{thingARN}, Files: []File{firmware(nil)}})
		b.check(err)
		streamID := b.settled("u").Files[0].Location.Stream.StreamID
		if err := b.DeleteUpdate(ctx, "u", all, false); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
		b.check(b.DeleteUpdate(ctx, "u", all, true))
		if u := b.settled("u"); u != nil {
			t.Fatalf("%+v %+v", u, u.Failure)
		}
		if _, err := b.streams.DescribeStream(ctx, streamID); (err != nil) != all {
			t.Errorf("%v: %v", all, err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if _, err := b.jobs.DescribeJob(ctx, "AFR_OTA-u"); errors.Is(err, jobs.ErrNotFound) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the job is still there")
			}
		}
	}
	if err := b.DeleteUpdate(ctx, "u", true, true); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestResume puts an update back to each point at which a crash can leave it, and checks that it is
// completed with one stream and one job.
func TestResume(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	b.put("fw", "firmware")
	_, err := b.profiles.Create(ctx, "lamp", "", "")
	b.check(err)
	_, err = b.CreateUpdate(ctx, Update{ID: "u", Targets: []string{thingARN}, Files: []File{firmware(signed("lamp"))}})
	b.check(err)
	b.settled("u")
	document, err := b.jobs.GetJobDocument(ctx, "AFR_OTA-u", false)
	b.check(err)
	for _, tc := range []struct {
		name, undo      string
		noJob, noStream bool
		same            bool // the document stays
	}{
		{"taken in", `UPDATE ota_update SET status = 'CREATE_PENDING', document = ''`, true, true, false},
		{"stream made", `UPDATE ota_update SET status = 'CREATE_IN_PROGRESS', document = ''`, true, false, false},
		{"signed", `UPDATE ota_update SET status = 'CREATE_IN_PROGRESS'`, true, false, true},
		{"job made", `UPDATE ota_update SET status = 'CREATE_IN_PROGRESS'`, false, false, true},
	} {
		u, err := b.GetUpdate(ctx, "u")
		b.check(err)
		if tc.noStream {
			b.check(b.streams.DeleteStream(ctx, u.Files[0].Location.Stream.StreamID))
		}
		if tc.noJob {
			b.check(b.jobs.DeleteJob(ctx, "AFR_OTA-u", true))
			for {
				if _, err := b.jobs.DescribeJob(ctx, "AFR_OTA-u"); errors.Is(err, jobs.ErrNotFound) {
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		b.check(b.db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(tc.undo)
			return err
		}))
		b.close()
		b.open()
		if u := b.settled("u"); u.Status != CreateComplete {
			t.Fatalf("%s: %s %+v", tc.name, u.Status, u.Failure)
		}
		again, err := b.jobs.GetJobDocument(ctx, "AFR_OTA-u", false)
		b.check(err)
		if (again == document) != tc.same {
			t.Errorf("%s: %s\nbefore %s", tc.name, again, document)
		}
		document = again
		if list, _, err := b.streams.ListStreams(ctx, 0, "", true); err != nil || len(list) != 1 || list[0].Version != 1 || !bytes.Contains([]byte(document), []byte(list[0].ID)) {
			t.Errorf("%s: streams %v %v", tc.name, list, err)
		}
		if list, _, err := b.jobs.ListJobs(ctx, jobs.Filter{}, jobs.Page{}); err != nil || len(list) != 1 {
			t.Errorf("%s: jobs %v %v", tc.name, list, err)
		}
	}
}

// TestForeignJob checks that a job of the same name that another made is neither taken nor deleted.
func TestForeignJob(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), newBench(t)
	b.put("fw", "firmware")
	_, err := b.CreateUpdate(ctx, Update{ID: "u", Targets: []string{thingARN}, Files: []File{firmware(nil)}})
	b.check(err)
	b.settled("u")
	b.check(b.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE ota_update SET status = 'CREATE_IN_PROGRESS', document = '{"other":1}'`)
		return err
	}))
	b.attend()
	if u := b.settled("u"); u.Status != CreateFailed || u.Failure.Code != "ResourceAlreadyExistsException" {
		t.Errorf("%+v %+v", u, u.Failure)
	}
	b.check(b.DeleteUpdate(ctx, "u", true, true))
	if b.settled("u") != nil {
		t.Error("the update is still there")
	}
	if _, err := b.jobs.DescribeJob(ctx, "AFR_OTA-u"); err != nil {
		t.Error(err)
	}
}
