package server_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/mqtt"
)

// otaDocument is the job document as a device reads it.
type otaDocument struct {
	OTA struct {
		Protocols []string
		Stream    string `json:"streamname"`
		Files     []struct {
			Path   string `json:"filepath"`
			Size   int    `json:"filesize"`
			ID     int    `json:"fileid"`
			Cert   string `json:"certfile"`
			URL    string `json:"update_data_url"`
			Scheme string `json:"auth_scheme"`
			ECDSA  []byte `json:"sig-sha256-ecdsa"`
			RSA    []byte `json:"sig-sha256-rsa"`
		}
	} `json:"afr_ota"`
}

// image stores n random bytes as a file.
func (f *fixture) image(name string, n int) []byte {
	f.t.Helper()
	content := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(content)
	f.api("PUT", "/berth/files/"+name, content, nil)
	return content
}

// update creates an OTA update of the file fw for one thing and waits until it is complete.
func (f *fixture) update(id, thing, protocol, signer string) {
	f.t.Helper()
	f.api("POST", "/otaUpdates/"+id, map[string]any{"targets": []string{"arn:aws:iot:us-east-1:000000000000:thing/" + thing}, "protocols": []string{protocol},
		"roleArn": "arn:aws:iam::000000000000:role/any", "files": []any{map[string]any{"fileName": "/fw.bin", "fileType": 2,
			"fileLocation": map[string]any{"s3Location": map[string]string{"bucket": "berth", "key": "fw"}},
			"codeSigning":  map[string]any{"startSigningJobParameter": map[string]string{"signingProfileName": signer}}}}}, nil)
	eventually(f.t, "the update", func() bool {
		var out struct {
			Info struct{ OtaUpdateStatus, AwsIotJobID string } `json:"otaUpdateInfo"`
		}
		f.api("GET", "/otaUpdates/"+id, nil, &out)
		return out.Info.OtaUpdateStatus == "CREATE_COMPLETE" && out.Info.AwsIotJobID == "AFR_OTA-"+id
	})
}

// job waits for the thing's next job and starts it.
func (c *conn) job(thing string) (id string, d otaDocument) {
	c.t.Helper()
	eventually(c.t, "the job", func() bool {
		c.pub(1, "$aws/things/"+thing+"/jobs/start-next", `{}`)
		var answer struct {
			Execution struct {
				JobID       string
				JobDocument otaDocument
			}
		}
		unmarshal(c.t, c.next().Payload, &answer)
		id, d = answer.Execution.JobID, answer.Execution.JobDocument
		return id != ""
	})
	return id, d
}

// dataBlock is one answer of a stream.
type dataBlock struct {
	F int    `json:"f"`
	L int    `json:"l"`
	I int    `json:"i"`
	P []byte `json:"p"`
}

// load fetches a file of a stream by bitmap, a few blocks at a time, as OTA libraries do.
func (c *conn) load(thing, stream, format string, id, size, blockSize int) []byte {
	c.t.Helper()
	prefix := "$aws/things/" + thing + "/streams/" + stream + "/"
	c.sub(0, prefix+"data/"+format, prefix+"rejected/"+format)
	content, blocks := make([]byte, size), (size+blockSize-1)/blockSize
	missing := make([]byte, (blocks+7)/8)
	for i := range blocks {
		missing[i/8] |= 1 << (i % 8)
	}
	for left := blocks; left > 0; {
		n := min(left, 8)
		request := fmt.Sprintf(`{"s":1,"f":%d,"l":%d,"n":%d,"b":"%x"}`, id, blockSize, n, missing)
		if format == "cbor" {
			b, err := cbor.Marshal(map[string]any{"c": "rdy", "f": id, "l": blockSize, "o": 0, "n": n, "b": missing})
			if err != nil {
				c.t.Fatal(err)
			}
			request = string(b)
		}
		c.pub(0, prefix+"get/"+format, request)
		for range n {
			m, decode := c.next(), json.Unmarshal
			if format == "cbor" {
				decode = cbor.Unmarshal
			}
			var b dataBlock
			if err := decode(m.Payload, &b); err != nil || m.Topic != prefix+"data/"+format || b.L != len(b.P) || missing[b.I/8]>>(b.I%8)&1 == 0 {
				c.t.Fatalf("%s %v %.200q", m.Topic, err, m.Payload)
			}
			copy(content[b.I*blockSize:], b.P)
			missing[b.I/8] &^= 1 << (b.I % 8)
			left--
		}
	}
	return content
}

// verify checks what a device received as firmware would: with the certificate of the signer.
func (f *fixture) verify(signer string, d otaDocument, got, want []byte) {
	f.t.Helper()
	var v struct{ CertificatePem string }
	f.api("GET", "/berth/signers/"+signer, nil, &v)
	block, _ := pem.Decode([]byte(v.CertificatePem))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		f.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		f.t.Error("the image is not the one that was sent")
	}
	algorithm, signature := x509.ECDSAWithSHA256, d.OTA.Files[0].ECDSA
	if signature == nil {
		algorithm, signature = x509.SHA256WithRSA, d.OTA.Files[0].RSA
	}
	if err := cert.CheckSignature(algorithm, got, signature); err != nil {
		f.t.Error(err)
	}
}

func (f *fixture) jobSucceeded(id string) {
	f.t.Helper()
	eventually(f.t, "the end of the job", func() bool {
		var out struct {
			Job struct {
				Status  string
				Process struct{ NumberOfSucceededThings int } `json:"jobProcessDetails"`
			}
		}
		f.api("GET", "/jobs/"+id, nil, &out)
		return out.Job.Status == "COMPLETED" && out.Job.Process.NumberOfSucceededThings == 1
	})
}

// TestOTA updates a device over MQTT in both formats, with the server restarted before the download,
// and over HTTPS.
func TestOTA(t *testing.T) {
	t.Parallel()
	f := start(t)
	image := f.image("fw", 100_001)
	f.api("POST", "/berth/signers/ec", map[string]string{}, nil)
	f.api("POST", "/berth/signers/rsa", map[string]string{"algorithm": "rsa-2048"}, nil)
	for _, tc := range []struct{ thing, protocol, format, signer string }{
		{"json", "MQTT", "json", "ec"}, {"cbor", "MQTT", "cbor", "rsa"}, {"http", "HTTP", "", "ec"},
	} {
		d := f.newDevice(tc.thing, allowAll)
		f.update(tc.thing+"-1", tc.thing, tc.protocol, tc.signer)
		f.restart()
		c := f.connect(d, tc.thing, mqtt.V311)
		id, document := c.job(tc.thing)
		if len(document.OTA.Files) != 1 || document.OTA.Files[0].Size != len(image) || document.OTA.Files[0].Cert != tc.signer+".crt.pem" {
			t.Fatalf("%+v", document)
		}
		file := document.OTA.Files[0]
		var got []byte
		if tc.protocol == "MQTT" {
			got = c.load(tc.thing, document.OTA.Stream, tc.format, file.ID, file.Size, 1024)
		} else {
			f.image("fw", 50) // a new version: the address stands for the one that was signed
			got = f.download(file.URL)
		}
		f.verify(tc.signer, document, got, image)
		c.pub(1, "$aws/things/"+tc.thing+"/jobs/"+id+"/update", `{"status":"SUCCEEDED","statusDetails":{"self_test":"accepted"}}`)
		c.next()
		f.jobSucceeded(id)
		c.bye()
	}
	f.api("DELETE", "/otaUpdates/json-1?deleteStream=true", nil, nil)
	eventually(t, "the deletion", func() bool {
		status, _ := f.request("GET", "/otaUpdates/json-1", nil)
		return status == 404
	})
}

// download loads a signed address in ranges, as OTA libraries do.
func (f *fixture) download(address string) []byte {
	f.t.Helper()
	cfg := f.tls(nil)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
	defer client.CloseIdleConnections()
	var got []byte
	for len(got) < 100_001 {
		r, err := http.NewRequest("GET", address, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", len(got), len(got)+40_000))
		res, err := client.Do(r)
		if err != nil {
			f.t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusPartialContent {
			f.t.Fatal(res.Status, err)
		}
		got = append(got, b...)
	}
	return got
}

// TestStreamPolicies checks that policies decide who may ask and who may have the blocks.
func TestStreamPolicies(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.image("fw", 1000)
	f.api("POST", "/streams/S", map[string]any{"roleArn": "arn:aws:iam::000000000000:role/any", "files": []any{
		map[string]any{"fileId": 3, "s3Location": map[string]string{"bucket": "berth", "key": "fw"}}}}, nil)
	d := f.newDevice("T", only("$aws/things/T/streams/S/data/*"))
	c := f.connect(d, "T", mqtt.V5)
	c.sub(1, "$aws/things/T/streams/S/data/json", "$aws/things/T/streams/S/rejected/json", "$aws/things/T/streams/S/description/json")
	c.pub(1, "$aws/things/T/streams/S/get/json", `{"f":3,"l":1024}`)
	if m := c.next(); m.QoS != 1 || m.Topic != "$aws/things/T/streams/S/data/json" {
		t.Errorf("%+v", m)
	}
	c.pub(1, "$aws/things/T/streams/S/describe/json", `{}`)
	eventually(t, "the refusal to receive", func() bool { return bytes.Contains([]byte(f.denials()), []byte("description/json")) })
	c.quiet()
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/streams/none", 404}, {"DELETE", "/streams/none", 404}, {"GET", "/otaUpdates/none", 404}, {"DELETE", "/otaUpdates/none", 404},
		{"GET", "/streams?maxResults=251", 400}, {"GET", "/otaUpdates?otaUpdateStatus=x", 400}, {"POST", "/streams/S", 400}, {"POST", "/otaUpdates/u", 400},
		{"DELETE", "/berth/signers/none", 404}, {"POST", "/berth/signers/none/signatures", 404},
	} {
		if status, body := f.request(tc.method, tc.path, nil); status != tc.status {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, status, body)
		}
	}
}

// BenchmarkStream measures how fast devices load a file of 4 MiB in blocks of 4096 bytes, 32 per
// request, each asking for the next when it has the last.
func BenchmarkStream(b *testing.B) {
	const size, blockSize, batch = 4 << 20, 4096, 32
	for _, devices := range []int{1, 100} {
		b.Run(fmt.Sprintf("devices=%d", devices), func(b *testing.B) {
			f := start(b)
			image := f.image("fw", size)
			f.api("POST", "/streams/S", map[string]any{"roleArn": "arn:aws:iam::000000000000:role/any", "files": []any{
				map[string]any{"fileId": 0, "s3Location": map[string]string{"bucket": "berth", "key": "fw"}}}}, nil)
			var clients []*conn
			for i := range devices {
				c := f.connect(nil, fmt.Sprintf("d%d", i), mqtt.V311)
				c.sub(0, fmt.Sprintf("$aws/things/d%d/streams/S/data/cbor", i))
				clients = append(clients, c)
			}
			b.SetBytes(int64(devices * size))
			for b.Loop() {
				var all sync.WaitGroup
				for i, c := range clients {
					all.Go(func() {
						sum := sha256.New()
						for at := 0; at < size/blockSize; at += batch {
							request, _ := cbor.Marshal(map[string]int{"f": 0, "l": blockSize, "o": at, "n": batch})
							c.pub(0, fmt.Sprintf("$aws/things/d%d/streams/S/get/cbor", i), string(request))
							for range batch {
								m := <-c.ch
								sum.Write(m.Payload[len(m.Payload)-blockSize:])
							}
						}
						if want := sha256.Sum256(image); !bytes.Equal(sum.Sum(nil), want[:]) {
							b.Error("the image is not the one that was sent")
						}
					})
				}
				all.Wait()
			}
			b.ReportMetric(float64(time.Second)/float64(b.Elapsed())*float64(b.N*devices), "files/s")
		})
	}
}
