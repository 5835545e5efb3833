package admin

import (
	"context"
	"net/http"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/password"
)

// NewUser makes or changes a user with a password.
type NewUser struct {
	Password string `json:"password,omitempty"`
	// Hash stands for the password, as in Mosquitto's password files; with neither, a user that is there
	// keeps the one it has.
	Hash     string   `json:"hash,omitempty"`
	Policies []string `json:"policies"`
}

func (h *Handler) listUsers(context.Context, *http.Request, []byte) (any, error) {
	return map[string]any{"users": h.Users.List()}, nil
}

func (h *Handler) putUser(ctx context.Context, r *http.Request, body []byte) (any, error) {
	var in NewUser
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	var hash password.Hash
	switch {
	case in.Password != "" && in.Hash != "":
		return nil, awsapi.Invalid("password and hash exclude each other")
	case in.Password != "":
		hash = password.NewHash([]byte(in.Password))
	case in.Hash != "":
		var err error
		if hash, err = password.ParseHash(in.Hash); err != nil {
			return nil, awsapi.Invalid("hash: %v", err)
		}
	default:
		if _, err := h.Users.Get(name); err != nil {
			return nil, awsapi.Invalid("user %q is new and needs a password", name)
		}
		return h.Users.SetPolicies(ctx, name, in.Policies)
	}
	return h.Users.Put(ctx, name, hash, in.Policies)
}

func (h *Handler) deleteUser(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	return struct{}{}, h.Users.Delete(ctx, r.PathValue("name"))
}
