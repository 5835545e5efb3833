package ota

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// Image is what a job document says about an image (AWS IoT Core's job documents for FreeRTOS OTA,
// "afr_ota").
type Image struct {
	Path      string
	Size      int64
	URL       string // of an HTTPS download, "" for none
	Stream    string // of a download over MQTT, "" for none
	FileID    int64
	Algorithm string // of the signature, such as "sha256-ecdsa"; "" for none
	Signature []byte
}

// ErrNotOTA is returned for a document of another kind of job.
var ErrNotOTA = errors.New("not an OTA job")

// Parse reads a job document. Exactly one file is understood.
func Parse(document []byte) (Image, error) {
	v, err := jsondoc.Parse(document)
	if err != nil {
		return Image{}, fmt.Errorf("OTA job: %w", err)
	}
	o := v.Get("afr_ota")
	if !o.IsObject() {
		return Image{}, ErrNotOTA
	}
	var files []jsondoc.Value
	o.Get("files").Elements(func(f jsondoc.Value) { files = append(files, f) })
	if len(files) != 1 || !files[0].IsObject() {
		return Image{}, fmt.Errorf("OTA job: %d files, want one", len(files))
	}
	f := files[0]
	img := Image{Path: f.Get("filepath").Text(), URL: f.Get("update_data_url").Text()}
	img.Size, _ = f.Get("filesize").Int()
	img.FileID, _ = f.Get("fileid").Int()
	o.Get("protocols").Elements(func(p jsondoc.Value) {
		if p.Text() == "MQTT" {
			img.Stream = o.Get("streamname").Text()
		}
	})
	for _, m := range f.Members() {
		if algorithm, ok := strings.CutPrefix(m.Key, "sig-"); ok {
			if img.Signature, err = base64.StdEncoding.DecodeString(m.Value.Text()); err != nil {
				return Image{}, errors.New("OTA job: the signature is not base64")
			}
			img.Algorithm = algorithm
		}
	}
	switch {
	case img.Size <= 0 || img.Size > 1<<31:
		return Image{}, fmt.Errorf("OTA job: an image of %d bytes", img.Size)
	case img.URL == "" && img.Stream == "":
		return Image{}, errors.New("OTA job: neither an address nor a stream")
	case strings.ContainsAny(img.Stream, "/+#"):
		return Image{}, errors.New("OTA job: the stream's name is not one")
	}
	return img, nil
}
