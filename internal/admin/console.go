package admin

import (
	"context"
	"net/http"
	"strconv"

	"rsc.io/qr"

	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/spiffs"
	"github.com/berth-iot/berth/internal/awsapi"
)

// Server returns where the server can be reached.
type Server func() any

// binary is an answer that is not JSON.
type binary struct {
	kind string
	data []byte
}

// server answers with where the server can be reached and the authority that clients trust.
func (h *Handler) server(context.Context, *http.Request, []byte) (any, error) {
	return map[string]any{"server": h.Server(), "certificateAuthorityPem": string(h.CA)}, nil
}

// most reads how many entries a query asks for.
func most(r *http.Request) (int, error) {
	s := r.URL.Query().Get("max")
	if s == "" {
		return 50, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1000 {
		return 0, awsapi.Invalid("max is %q, not a number from 1 to 1000", s)
	}
	return n, nil
}

// connections answers with the latest connects and disconnects, of all clients or of one.
func (h *Handler) connections(_ context.Context, r *http.Request, _ []byte) (any, error) {
	n, err := most(r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"events": h.Presence.Latest(n, r.URL.Query().Get("name"))}, nil
}

func (h *Handler) auditLog(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	n, err := most(r)
	if err != nil {
		return nil, err
	}
	before := int64(0)
	if s := r.URL.Query().Get("before"); s != "" {
		if before, err = strconv.ParseInt(s, 10, 64); err != nil {
			return nil, awsapi.Invalid("before is %q, not the number of an entry", s)
		}
	}
	return h.AuditLog(ctx, n, before, r.URL.Query().Get("path"))
}

// IdentityImage asks for a flash partition with a device's files. For NVS a name is NAMESPACE/KEY and
// the contents become a string.
type IdentityImage struct {
	Format string            `json:"format"` // "spiffs" or "nvs"
	Size   int               `json:"size"`   // bytes
	Files  map[string]string `json:"files"`
}

// maxImage is the largest partition made, in bytes; the SPIFFS partition of Arduino's default table
// has 1.4 MiB.
const maxImage = 4 << 20

// identityImage makes a partition and keeps nothing of it.
func (h *Handler) identityImage(_ context.Context, _ *http.Request, body []byte) (any, error) {
	var in IdentityImage
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	if in.Size < 4096 || in.Size > maxImage || in.Size%4096 != 0 {
		return nil, awsapi.Invalid("size is %d, not a multiple of 4096 up to %d", in.Size, maxImage)
	}
	var image []byte
	var err error
	switch in.Format {
	case "spiffs":
		image, err = spiffs.Build(spiffs.DefaultConfig(), in.Size, spiffsFiles(in.Files))
	case "nvs":
		image, err = nvs.Build(in.Size, nvs.Options{}, nvsEntries(in.Files))
	default:
		return nil, awsapi.Invalid("format is %q, not spiffs or nvs", in.Format)
	}
	if err != nil {
		return nil, awsapi.Invalid("the files do not make a %s partition of %d bytes: %v", in.Format, in.Size, err)
	}
	return binary{"application/octet-stream", image}, nil
}

// maxQR is the longest text of a QR code, in bytes.
const maxQR = 512

// qrCode answers with a PNG.
func (h *Handler) qrCode(_ context.Context, r *http.Request, _ []byte) (any, error) {
	text := r.URL.Query().Get("text")
	if text == "" || len(text) > maxQR {
		return nil, awsapi.Invalid("text must have 1 to %d bytes", maxQR)
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, err
	}
	return binary{"image/png", code.PNG()}, nil
}
