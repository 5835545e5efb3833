package files

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Path is where Handler belongs: downloads are GET /files/NAME with version, expires and signature.
const Path = "/files/{name}"

// signature covers everything that an address says.
func (f *Files) signature(name string, version, expires int64) string {
	m := hmac.New(sha256.New, f.key)
	fmt.Fprintf(m, "%s\n%d\n%d", name, version, expires)
	return hex.EncodeToString(m.Sum(nil))
}

// Sign returns path and query of a version of a name, the latest for 0, good for some time.
// ErrNotFound.
func (f *Files) Sign(ctx context.Context, name string, version int64, good time.Duration) (string, error) {
	v, err := f.Get(ctx, name, version)
	if err != nil {
		return "", err
	}
	expires := f.now().Add(good).Unix()
	q := url.Values{"version": {strconv.FormatInt(v.Version, 10)}, "expires": {strconv.FormatInt(expires, 10)},
		"signature": {f.signature(name, v.Version, expires)}}
	return "/files/" + url.PathEscape(name) + "?" + q.Encode(), nil
}

// Handler hands files out to those with a signed address: 403 for a wrong or expired one, 404 for a
// file that has been deleted, 206 for ranges, 304 by ETag, which is the content's SHA-256.
func (f *Files) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, q := r.PathValue("name"), r.URL.Query()
		version, err := strconv.ParseInt(q.Get("version"), 10, 64)
		expires, err2 := strconv.ParseInt(q.Get("expires"), 10, 64)
		switch {
		case err != nil || err2 != nil || version < 1,
			!hmac.Equal([]byte(q.Get("signature")), []byte(f.signature(name, version, expires))):
			http.Error(w, "the signature of the address is not valid", http.StatusForbidden)
			return
		case f.now().Unix() >= expires:
			http.Error(w, "the address has expired", http.StatusForbidden)
			return
		}
		v, err := f.Get(r.Context(), name, version)
		if err != nil {
			fail(w, err)
			return
		}
		content, err := f.Open(v)
		if err != nil {
			fail(w, err)
			return
		}
		defer content.Close()
		w.Header().Set("ETag", `"`+v.SHA256+`"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", v.Created, content)
	})
}

func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, ErrNotFound) {
		http.Error(w, "the file does not exist any more", http.StatusNotFound)
		return
	}
	http.Error(w, "the file could not be read", http.StatusInternalServerError)
}
