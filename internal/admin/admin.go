// Package admin is berth's own small REST interface beside AWS's, under /berth/: access keys,
// denials, files that devices download, code-signing keys, users with passwords, server certificates, tables of readings,
// what the console shows beyond AWS's operations, and the question whether a client would be allowed
// something. Requests are signed like those to AWS, or come through the console.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/cluster"
	"github.com/berth-iot/berth/internal/codesign"
	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/domain"
	"github.com/berth-iot/berth/internal/files"
	"github.com/berth-iot/berth/internal/password"
	"github.com/berth-iot/berth/internal/presence"
	"github.com/berth-iot/berth/internal/provisioning"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/rules"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/table"
	"github.com/berth-iot/berth/internal/trend"
	"github.com/berth-iot/berth/policy"
)

// Config is what the interface works on.
type Config struct {
	Keys         *accesskey.Keys
	Denials      *denial.Log
	Authority    session.Authority
	Registry     *registry.Registry
	Files        *files.Files
	Provisioning *provisioning.Service
	Profiles     *codesign.Profiles
	Domains      *domain.Domains
	Users        *password.Users
	Tables       *table.Tables
	Rules        *rules.Service
	Presence     *presence.Log
	Trend        *trend.History
	Talkers      func(n int) []session.Talker
	Server       Server
	Cluster      *cluster.Node // nil without a cluster
	CA           []byte        // PEM, of the authority that clients trust
	// AuditLog returns up to n entries with numbers below before, 0 for the latest, whose path begins
	// with path.
	AuditLog     func(ctx context.Context, n int, before int64, path string) (any, error)
	Authenticate func(r *http.Request, body []byte) (awsapi.Caller, error)
	// AuthenticateHash is Authenticate for a body that is read later and has this SHA-256.
	AuthenticateHash func(r *http.Request, hash string) (awsapi.Caller, error)
	// Changed is called after every answer that may have changed something; may be nil.
	Changed func(r *http.Request, caller awsapi.Caller, operation string, body []byte, status int)
}

// Handler serves /berth/.
type Handler struct {
	Config
	mux   *http.ServeMux
	reads map[string]bool // patterns of requests that change nothing
}

// New returns the handler for /berth/.
func New(cfg Config) *Handler {
	h := &Handler{cfg, http.NewServeMux(), make(map[string]bool)}
	h.handle("GET /berth/access-keys", true, h.listKeys)
	h.handle("POST /berth/access-keys", false, h.createKey)
	h.handle("POST /berth/access-keys/{id}/disable", false, h.enableKey(false))
	h.handle("POST /berth/access-keys/{id}/enable", false, h.enableKey(true))
	h.handle("DELETE /berth/access-keys/{id}", false, h.deleteKey)
	h.handle("GET /berth/denials", true, h.denials)
	h.handle("POST /berth/explain", true, h.explain)
	h.handle("GET /berth/files", true, h.listFiles)
	h.handle("GET /berth/files/{name}", true, h.getFile)
	h.handle("DELETE /berth/files/{name}", false, h.deleteFile)
	h.mux.HandleFunc("PUT /berth/files/{name}", h.putFile)
	h.handle("GET /berth/signers", true, h.listSigners)
	h.handle("GET /berth/signers/{name}", true, h.getSigner)
	h.handle("POST /berth/signers/{name}", false, h.createSigner)
	h.handle("DELETE /berth/signers/{name}", false, h.deleteSigner)
	h.handle("POST /berth/signers/{name}/signatures", false, h.sign)
	h.handle("GET /berth/cacertificates/{id}/activation", true, h.activation)
	h.handle("PUT /berth/cacertificates/{id}/activation", false, h.setActivation)
	h.handle("DELETE /berth/cacertificates/{id}/activation", false, h.removeActivation)
	h.handle("POST /berth/server-certificates", false, h.addServerCertificate)
	h.handle("GET /berth/registration-tasks/{id}/results", true, h.report(false))
	h.handle("GET /berth/registration-tasks/{id}/errors", true, h.report(true))
	h.handle("GET /berth/users", true, h.listUsers)
	h.handle("PUT /berth/users/{name}", false, h.putUser)
	h.handle("DELETE /berth/users/{name}", false, h.deleteUser)
	h.tables()
	h.handle("GET /berth/rules", true, h.ruleStats)
	h.handle("POST /berth/rules/test", true, h.dryRun)
	h.handle("GET /berth/rules/{name}/dead-letters", true, h.deadLetters)
	h.handle("POST /berth/rules/{name}/replay", false, h.replay)
	h.mux.HandleFunc("GET /berth/rules/{name}/tail", h.tailRule) // authorises by itself: its answer is a stream
	h.reads["GET /berth/rules/{name}/tail"] = true
	h.handle("GET /berth/server", true, h.server)
	h.handle("GET /berth/cluster", true, h.cluster)
	h.handle("GET /berth/fleet", true, h.fleet)
	h.handle("GET /berth/talkers", true, h.talkers)
	h.handle("GET /berth/expiring-certificates", true, h.expiring)
	h.handle("GET /berth/connections", true, h.connections)
	h.handle("GET /berth/audit-log", true, h.auditLog)
	h.handle("POST /berth/identity-images", true, h.identityImage)
	h.handle("GET /berth/qr", true, h.qrCode)
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Lookup returns the pattern that a request matches and whether such requests change nothing.
func (h *Handler) Lookup(r *http.Request) (pattern string, reads bool) {
	_, pattern = h.mux.Handler(r)
	return pattern, h.reads[pattern]
}

// maxBody is the largest request in bytes.
const maxBody = 64 << 10

// handle adds a route; those that only read are open to the read-only role.
func (h *Handler) handle(pattern string, reads bool, do func(ctx context.Context, r *http.Request, body []byte) (any, error)) {
	h.reads[pattern] = reads
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var caller awsapi.Caller
		var body []byte
		answer, err := func() (any, error) {
			var err error
			if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
				return nil, awsapi.Invalid("the body could not be read: %v", err)
			}
			if caller, err = h.Authenticate(r, body); err != nil {
				return nil, err
			}
			if caller.Role != awsapi.RoleAdmin && !(reads && caller.Role == awsapi.RoleReadOnly) {
				return nil, errNotAdmin()
			}
			return do(r.Context(), r, body)
		}()
		w.Header().Set("Content-Type", "application/json")
		status := http.StatusOK
		defer func() {
			if h.Changed != nil && !reads && caller.AccessKeyID != "" {
				h.Changed(r, caller, pattern, body, status)
			}
		}()
		if err != nil {
			e := toException(err)
			status = e.Status
			w.Header().Set("x-amzn-ErrorType", e.Type)
			w.WriteHeader(e.Status)
			answer = map[string]string{"message": e.Message}
		}
		if lines, ok := answer.(ndjson); ok {
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.Write(lines)
			return
		}
		if b, ok := answer.(binary); ok {
			w.Header().Set("Content-Type", b.kind)
			w.Write(b.data)
			return
		}
		json.NewEncoder(w).Encode(answer)
	})
}

func errNotAdmin() error {
	return &awsapi.Error{Type: "AccessDeniedException", Status: http.StatusForbidden, Message: "this needs an access key of the admin role"}
}

func toException(err error) *awsapi.Error {
	for _, e := range []*awsapi.Error{fileException(err), signerException(err), tableException(err), ruleException(err)} {
		if e != nil {
			return e
		}
	}
	switch {
	case errors.Is(err, accesskey.ErrNotFound):
		return &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: err.Error()}
	case errors.Is(err, accesskey.ErrInvalid):
		return &awsapi.Error{Type: "InvalidRequestException", Status: 400, Message: err.Error()}
	}
	return awsapi.ErrorOf(err)
}

func decode(body []byte, v any) error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return awsapi.Invalid("the body is not the JSON expected: %v", err)
	}
	return nil
}

type key struct {
	AccessKeyID     string     `json:"accessKeyId"`
	SecretAccessKey string     `json:"secretAccessKey,omitempty"`
	Role            string     `json:"role"`
	Enabled         bool       `json:"enabled"`
	CreatedAt       time.Time  `json:"createdAt"`
	LastUsedAt      *time.Time `json:"lastUsedAt,omitempty"`
}

func keyOf(k accesskey.Key) key {
	out := key{AccessKeyID: k.ID, Role: k.Role, Enabled: k.Enabled, CreatedAt: k.Created}
	if !k.LastUsed.IsZero() {
		out.LastUsedAt = &k.LastUsed
	}
	return out
}

func (h *Handler) listKeys(ctx context.Context, _ *http.Request, _ []byte) (any, error) {
	keys, err := h.Keys.List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]key, len(keys))
	for i, k := range keys {
		list[i] = keyOf(k)
	}
	return map[string]any{"accessKeys": list}, nil
}

// createKey answers with the secret, this once.
func (h *Handler) createKey(ctx context.Context, _ *http.Request, body []byte) (any, error) {
	var in struct {
		Role string `json:"role"`
	}
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	k, err := h.Keys.Create(ctx, in.Role)
	if err != nil {
		return nil, err
	}
	out := keyOf(k)
	out.SecretAccessKey = k.Secret
	return out, nil
}

func (h *Handler) enableKey(enabled bool) func(context.Context, *http.Request, []byte) (any, error) {
	return func(ctx context.Context, r *http.Request, _ []byte) (any, error) {
		return struct{}{}, h.Keys.SetEnabled(ctx, r.PathValue("id"), enabled)
	}
}

func (h *Handler) deleteKey(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	return struct{}{}, h.Keys.Delete(ctx, r.PathValue("id"))
}

func (h *Handler) denials(_ context.Context, r *http.Request, _ []byte) (any, error) {
	n := 50
	if s := r.URL.Query().Get("max"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			return nil, awsapi.Invalid("max is %q, not a number above 0", s)
		}
	}
	return map[string]any{"denials": h.Denials.Latest(n, r.URL.Query().Get("clientId")), "total": h.Denials.Total()}, nil
}

// Question asks whether a client would be allowed something.
type Question struct {
	CertificateID string `json:"certificateId"` // or
	ThingName     string `json:"thingName"`     // any certificate attached to it
	ClientID      string `json:"clientId"`      // default: the thing name
	Action        string `json:"action"`        // "iot:Publish", or "publish"
	Resource      string `json:"resource"`      // a topic, topic filter or client identifier; default for connect: the client identifier
}

// Answer says yes or no and why.
type Answer struct {
	Allowed    bool     `json:"allowed"`
	Reason     string   `json:"reason"`
	Policy     string   `json:"policy,omitempty"`
	Statement  string   `json:"statement,omitempty"`
	Explicit   bool     `json:"explicit"`
	NearMisses []string `json:"nearMisses,omitempty"`
	Missing    []string `json:"missingContextValues,omitempty"`
	Principal  string   `json:"certificateId"`
	ClientID   string   `json:"clientId"`
	Action     string   `json:"action"`
	Resource   string   `json:"resource"`
}

func (h *Handler) explain(ctx context.Context, _ *http.Request, body []byte) (any, error) {
	var q Question
	if err := decode(body, &q); err != nil {
		return nil, err
	}
	action, ok := policy.ParseAction(q.Action)
	if !ok {
		if action, ok = policy.ParseAction("iot:" + q.Action); !ok {
			return nil, awsapi.Invalid("action %q is not one of iot:Connect, iot:Publish, iot:Subscribe, iot:Receive, iot:RetainPublish and their like", q.Action)
		}
	}
	if q.ClientID == "" {
		q.ClientID = q.ThingName
	}
	if q.Resource == "" && action == policy.Connect {
		q.Resource = q.ClientID
	}
	if q.Resource == "" {
		return nil, awsapi.Invalid("resource is missing: name the topic, topic filter or client identifier")
	}
	ids := []string{q.CertificateID}
	if q.CertificateID == "" {
		if q.ThingName == "" {
			return nil, awsapi.Invalid("name a certificateId or a thingName")
		}
		var err error
		if ids, err = h.certificatesOf(ctx, q.ThingName); err != nil {
			return nil, err
		}
	}
	var last Answer
	for _, id := range ids {
		last = Answer{Principal: id, ClientID: q.ClientID, Action: action.String(), Resource: action.Kind().String() + "/" + q.Resource}
		access, err := h.Authority.Access(ctx, &session.Request{Principal: session.Principal{Kind: session.Certificate, ID: id}, ClientID: q.ClientID})
		if errors.Is(err, session.ErrRefused) {
			last.Reason = err.Error()
			continue
		}
		if err != nil {
			return nil, err
		}
		d := access.Explain(action, action.Kind(), q.Resource)
		last.Allowed, last.Explicit, last.Reason = d.Allowed, d.Explicit, d.String()
		last.Policy, last.NearMisses, last.Missing = d.Policy, d.NearMisses, d.MissingContextValues
		if d.Policy != "" {
			last.Statement = d.Sid
			if last.Statement == "" {
				last.Statement = strconv.Itoa(d.Statement)
			}
		}
		if d.Allowed {
			break
		}
	}
	return last, nil
}

func (h *Handler) certificatesOf(ctx context.Context, thing string) ([]string, error) {
	attached, _, err := h.Registry.ListThingPrincipals(ctx, thing, "", registry.Page{})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, a := range attached {
		if id, ok := h.Registry.CertificateOf(a.Name); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: fmt.Sprintf("thing %q has no certificate attached: attach one with AttachThingPrincipal", thing)}
	}
	return ids, nil
}
