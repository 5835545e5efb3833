package console

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/accesskey"
)

func address(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return a.Addr().Unmap()
}

// credentials are the console's password, or an access key with its secret.
type credentials struct {
	Password        string `json:"password"`
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// check returns who has the credentials, or "".
func (c *Console) check(in credentials) (who, role, proof string, err error) {
	if in.AccessKeyID != "" {
		key, ok := c.cfg.Keys.Lookup(in.AccessKeyID)
		if !ok {
			key.Secret = "" // compared all the same
		}
		if !equal(key.Secret, in.SecretAccessKey) || !ok {
			return "", "", "", nil
		}
		c.cfg.Keys.Used(key.ID)
		return key.ID, roleOf(key.Role), fingerprint(key.Secret), nil
	}
	want, err := password(c.cfg.Data)
	if err != nil {
		return "", "", "", err
	}
	if in.Password == "" || identifier(in.Password) != hex.EncodeToString(want[:]) {
		return "", "", "", nil
	}
	return PasswordUser, Admin, fingerprint(hex.EncodeToString(want[:])), nil
}

func fingerprint(secret string) string { return identifier("console proof " + secret)[:32] }

func roleOf(keyRole string) string {
	if keyRole == accesskey.Admin {
		return Admin
	}
	return Viewer
}

// stands looks again at what a session was made with: a key may have been disabled or replaced, or
// the password changed.
func (c *Console) stands(s *session) (role string, ok bool) {
	if s.who != PasswordUser {
		key, ok := c.cfg.Keys.Lookup(s.who)
		return roleOf(key.Role), ok && fingerprint(key.Secret) == s.proof
	}
	sum, err := password(c.cfg.Data)
	return Admin, err == nil && fingerprint(hex.EncodeToString(sum[:])) == s.proof
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	if err := c.origins.Check(r); err != nil {
		fail(w, http.StatusForbidden, "CrossOriginException", "the request came from another site's page")
		return
	}
	now := c.cfg.Now()
	if wait := c.throttle.Wait(address(r), "", now); wait > 0 {
		seconds := int(wait.Round(time.Second)/time.Second) + 1
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		fail(w, http.StatusTooManyRequests, "TooManyRequestsException", fmt.Sprintf("too many failed attempts: try again in %d s", seconds))
		return
	}
	var in credentials
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&in); err != nil {
		fail(w, http.StatusBadRequest, "InvalidRequestException", "the body is not the JSON expected")
		return
	}
	who, role, proof, err := c.check(in)
	if err != nil {
		c.cfg.Log.Error("console sign-in", "error", err)
		fail(w, http.StatusInternalServerError, "InternalFailureException", "the server could not read its console password; its log says why")
		return
	}
	if who == "" {
		c.throttle.Failed(address(r), "", now)
		c.cfg.Log.Warn("console sign-in refused", "remote", r.RemoteAddr)
		message := "this is not the console password: it is in the file " + PasswordFile + " of the server's data folder"
		if in.AccessKeyID != "" {
			message = "no enabled access key has this identifier and secret"
		}
		fail(w, http.StatusForbidden, "SignInException", message)
		return
	}
	c.throttle.Succeeded(address(r), "")
	s, token, err := c.sessions.begin(r.Context(), who, role, proof)
	if err != nil {
		c.cfg.Log.Error("console sign-in", "error", err)
		fail(w, http.StatusInternalServerError, "InternalFailureException", "the session could not be stored")
		return
	}
	c.cookie(w, r, token, longestTime)
	c.note(r.Context(), entry{Who: who, Role: role, Source: address(r).String(), Operation: "SignIn", Method: r.Method, Path: r.URL.Path, Status: 200})
	answer(w, c.state(r, s, token))
}

// cookie sets the session's cookie, or removes it if age is negative.
func (c *Console) cookie(w http.ResponseWriter, r *http.Request, token string, age time.Duration) {
	cookie := &http.Cookie{Name: plainCookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(age / time.Second)}
	if r.TLS != nil {
		cookie.Name, cookie.Secure = secureCookie, true
	}
	http.SetCookie(w, cookie)
}

// state is what a page knows of its session.
type state struct {
	SignedIn bool   `json:"signedIn"`
	User     string `json:"user,omitempty"`
	Role     string `json:"role,omitempty"`
	CSRF     string `json:"csrfToken,omitempty"`
	Ends     int64  `json:"endsAt,omitempty"`  // milliseconds since 1970
	Address  string `json:"address,omitempty"` // that the request came from
}

func (c *Console) state(r *http.Request, s *session, token string) state {
	return state{true, s.who, s.currentRole(), csrf(token), s.ends().UnixMilli(), address(r).String()}
}

func (c *Console) describe(w http.ResponseWriter, r *http.Request) {
	s, token := c.sessions.of(r)
	if s == nil {
		answer(w, state{})
		return
	}
	answer(w, c.state(r, s, token))
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request, s *session) {
	c.sessions.end(s)
	c.cookie(w, r, "", -time.Second)
	c.note(r.Context(), entry{Who: s.who, Role: s.role, Source: address(r).String(), Operation: "SignOut", Method: r.Method, Path: r.URL.Path, Status: 200})
	answer(w, state{})
}
