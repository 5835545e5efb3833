package ota

import (
	"encoding/json"
	"testing"
)

// FuzzUpdate checks that a request is refused or has what making the update relies on, and that its
// signatures make a job document that is JSON.
func FuzzUpdate(f *testing.F) {
	for _, s := range []string{
		`{"otaUpdateId":"u","targets":["t"],"files":[{"fileName":"a","fileLocation":{"s3Location":{"bucket":"berth","key":"k"}},"codeSigning":{"startSigningJobParameter":{"signingProfileName":"p","signingProfileParameter":{},"destination":{"s3Destination":{"prefix":"x"}}}}}]}`,
		`{"otaUpdateId":"u","protocols":["HTTP","MQTT"],"files":[{"fileName":"a","fileType":255,"fileLocation":{"stream":{"streamId":"S","fileId":3}},"codeSigning":{"customCodeSigning":{"signature":{"inlineDocument":"AQID"},"certificateChain":{"certificateName":"c"},"hashAlgorithm":"SHA256","signatureAlgorithm":"ECDSA"}}}]}`,
		`{"otaUpdateId":"u","files":[null,{}],"awsJobAbortConfig":{"abortCriteriaList":[]},"awsJobTimeoutConfig":null}`,
		`{"files":[{"fileName":"a","fileLocation":{"stream":null}}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var u Update
		if json.Unmarshal(body, &u) != nil || u.check() != nil {
			return
		}
		d := document{}
		d.OTA.Protocols, d.OTA.Stream = u.Protocols, u.stream()
		for _, file := range u.Files {
			if file.Location.Stream == nil && file.Location.S3 == nil {
				t.Fatal("a file without a location was taken")
			}
			out := documentFile{path: file.Name, kind: file.Type}
			if c := file.Signing; c != nil && c.Custom != nil {
				if err := (*Service)(nil).sign(t.Context(), &out, c, nil); err != nil || out.signature == "" {
					t.Fatal(out, err)
				}
			}
			d.OTA.Files = append(d.OTA.Files, out)
		}
		if text, err := d.text(); err != nil || !json.Valid([]byte(text)) {
			t.Fatalf("%s %v", text, err)
		}
	})
}
