package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/files"
)

// File is a stored file as the interface shows it.
type File struct {
	Name      string    `json:"name"`
	Version   int64     `json:"version"`
	SHA256    string    `json:"sha256"`
	Size      int64     `json:"size"`
	CreatedAt time.Time `json:"createdAt"`
}

func fileOf(v *files.File) File { return File{v.Name, v.Version, v.SHA256, v.Size, v.Created} }

// uploadTime is how long an upload may take.
const uploadTime = 15 * time.Minute

// putFile stores the body. The request must be signed with the body's hash, so that who asks is known
// before the body is taken.
func (h *Handler) putFile(w http.ResponseWriter, r *http.Request) {
	v, err := func() (*files.File, error) {
		sum := r.Header.Get("X-Amz-Content-Sha256")
		if len(sum) != 64 {
			return nil, awsapi.Invalid("sign the body and give its SHA-256 in x-amz-content-sha256")
		}
		caller, err := h.AuthenticateHash(r, sum)
		if err != nil {
			return nil, err
		}
		if caller.Role != awsapi.RoleAdmin {
			return nil, errNotAdmin()
		}
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadTime))
		return h.Files.Put(r.Context(), r.PathValue("name"), sum, http.MaxBytesReader(w, r.Body, files.MaxSize+1))
	}()
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := toException(err)
		w.Header().Set("x-amzn-ErrorType", e.Type)
		w.WriteHeader(e.Status)
		json.NewEncoder(w).Encode(map[string]string{"message": e.Message})
		return
	}
	json.NewEncoder(w).Encode(fileOf(v))
}

func (h *Handler) getFile(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	v, err := h.Files.Get(ctx, r.PathValue("name"), 0)
	if err != nil {
		return nil, err
	}
	return fileOf(v), nil
}

func (h *Handler) listFiles(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
	list, err := h.Files.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]File, len(list))
	for i, v := range list {
		out[i] = fileOf(v)
	}
	return map[string]any{"files": out}, nil
}

func (h *Handler) deleteFile(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	return struct{}{}, h.Files.Delete(ctx, r.PathValue("name"))
}

func fileException(err error) *awsapi.Error {
	switch {
	case errors.Is(err, files.ErrNotFound):
		return &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: err.Error()}
	case errors.Is(err, files.ErrName), errors.Is(err, files.ErrHash):
		return &awsapi.Error{Type: "InvalidRequestException", Status: 400, Message: err.Error()}
	case errors.Is(err, files.ErrTooLarge):
		return &awsapi.Error{Type: "RequestEntityTooLargeException", Status: 413, Message: err.Error()}
	}
	return nil
}
