package mosquitto

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/password"
)

// Plan is what a Mosquitto becomes.
type Plan struct {
	Policies []Policy
	Users    []User
	Settings []Setting // of berth serve, in order
	Notes    []Note

	arnPrefix string
}

// Policy is a policy to be made.
type Policy struct {
	Name     string `json:"policyName"`
	Document string `json:"policyDocument"`
}

// User is a user to be made.
type User struct {
	Name     string        `json:"userName"`
	Policies []string      `json:"policies"`
	Hash     password.Hash `json:"-"`
}

// Setting is a line of berth's configuration.
type Setting struct{ Name, Value string }

// Note is something that does not move as it is.
type Note struct {
	About string `json:"about"`
	Text  string `json:"text"` // what, and what to do
}

// Names of policies.
const (
	anonymousPolicy = "mosquitto-anonymous"
	everyonePolicy  = "mosquitto-users" // of users without rules of their own
	userPolicy      = "mosquitto-user-"
)

// NewPlan reads the files that a configuration names with read, whose errors end the planning, and lists
// folders with list. arnPrefix is that of the account whose policies are made, such as
// "arn:aws:iot:us-east-1:000000000000:".
func NewPlan(text, arnPrefix string, read func(path string) ([]byte, error), list func(dir string) ([]string, error)) (*Plan, error) {
	cfg, err := ParseConfig(text)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(cfg.Includes); i++ {
		if i == 64 {
			return nil, fmt.Errorf("include_dir: more than 64 folders")
		}
		files, err := list(cfg.Includes[i])
		if err != nil {
			return nil, fmt.Errorf("include_dir %s: %w", cfg.Includes[i], err)
		}
		sort.Strings(files)
		for _, name := range files {
			if !strings.HasSuffix(name, ".conf") {
				continue
			}
			b, err := read(filepath.Join(cfg.Includes[i], name))
			if err != nil {
				return nil, err
			}
			if err := cfg.Parse(string(b)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	p := &Plan{arnPrefix: arnPrefix}
	for _, n := range cfg.Notes {
		p.note("configuration", "%s", n)
	}
	main := p.listeners(cfg)
	p.limits(cfg)
	if err := p.identities(cfg, main, read); err != nil {
		return nil, err
	}
	p.rest(cfg)
	return p, nil
}

func (p *Plan) note(about, format string, args ...any) {
	p.Notes = append(p.Notes, Note{about, fmt.Sprintf(format, args...)})
}

func (p *Plan) set(name, value string) { p.Settings = append(p.Settings, Setting{name, value}) }

// listeners decides which listeners become berth's, and returns the one whose users and rules count.
func (p *Plan) listeners(cfg *Config) *Listener {
	var plain, tls *Listener
	p.set("semantics", "mqtt")
	for _, l := range cfg.Open() {
		about := fmt.Sprintf("listener %d", l.Port)
		o := l.Options
		address := net.JoinHostPort(l.Address, strconv.Itoa(l.Port))
		web := o["protocol"] == "websockets"
		secure := o["certfile"] != "" || o["keyfile"] != ""
		switch {
		case l.Port == 0:
			p.note(about, "a unix socket: berth has none; use the plain listener on 127.0.0.1")
		case o["psk_hint"] != "":
			p.note(about, "pre-shared keys: berth has none; give the devices certificates, or users with passwords over TLS")
		case web && secure:
			p.set("https", address)
			p.note(about, "becomes berth's HTTPS listener: MQTT over WebSocket is at the path /mqtt")
		case web:
			p.note(about, "WebSocket without TLS: use wss:// on berth's HTTPS listener, path /mqtt")
		case secure && tls == nil:
			tls = l
			p.set("mqtt", address)
		case !secure && plain == nil:
			plain = l
			p.set("mqtt-plain", address)
			if ip := net.ParseIP(l.Address); l.Address != "localhost" && (ip == nil || !ip.IsLoopback()) {
				p.set("allow-insecure", "true")
				p.note(about, "is without TLS and reachable from other machines: passwords can be read on the way, as they could be before")
			}
		default:
			p.note(about, "berth has one listener with TLS and one without: let its clients use the port of the other, or redirect this one")
		}
		if secure {
			p.note(about, "devices trust %s: give berth that certificate with berth domain create main --domain-name HOST --certificate %s --key %s, "+
				"or let the devices trust berth's ca.pem", or(o["cafile"], "the authority of "+o["certfile"]), o["certfile"], o["keyfile"])
		}
		if o["require_certificate"] == "true" {
			p.note(about, "clients have certificates of %s: register it with berth ca register %s, and a template or activation rule for its devices",
				or(o["cafile"], o["capath"]), or(o["cafile"], o["capath"]))
		}
		for _, k := range []string{"use_identity_as_username", "use_subject_as_username", "use_username_as_clientid", "mount_point", "crlfile", "maximum_qos", "max_qos",
			"max_connections", "http_dir", "bind_interface", "socket_domain", "ciphers", "tls_version"} {
			if v := o[k]; v != "" && v != "false" {
				p.note(about, "%s %s: not moved", k, v)
			}
		}
	}
	if plain == nil && tls == nil {
		return cfg.Open()[0]
	}
	main := plain
	if main == nil {
		main = tls
	}
	if cfg.PerListener && plain != nil && tls != nil {
		for _, k := range []string{"password_file", "acl_file"} {
			if plain.Options[k] != tls.Options[k] {
				p.note("per_listener_settings", "%s differs between listeners; berth's users and policies hold for all: those of listener %d were taken", k, main.Port)
			}
		}
	}
	return main
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// limits moves numbers.
func (p *Plan) limits(cfg *Config) {
	number := func(key, name string, most uint64, format func(n uint64) string) {
		v := cfg.Options[key]
		if v == "" {
			return
		}
		n, err := strconv.ParseUint(v, 10, 32)
		switch {
		case err != nil:
			p.note(key, "%.40q is not a number", v)
		case n == 0 || n > most:
			p.note(key, "%d: berth has no such limit; its own holds", n)
		default:
			p.set(name, format(n))
		}
	}
	plain := func(n uint64) string { return strconv.FormatUint(n, 10) }
	number("message_size_limit", "max-payload", 256<<20, plain)
	if cfg.Options["message_size_limit"] == "" {
		number("max_packet_size", "max-payload", 256<<20, plain)
	}
	number("max_inflight_messages", "inflight", 65535, plain)
	number("max_keepalive", "max-keep-alive", 65535, func(n uint64) string { return plain(n) + "s" })
	if v := cfg.Options["persistent_client_expiration"]; v != "" {
		if d, ok := Duration(v); ok {
			p.set("session-expiry", strconv.Itoa(int(d/time.Hour))+"h")
		} else {
			p.note("persistent_client_expiration", "%.40q is not a time", v)
		}
	}
	for _, k := range []string{"max_queued_messages", "max_queued_bytes", "max_inflight_bytes", "memory_limit"} {
		if v := cfg.Options[k]; v != "" {
			p.note(k, "%s: berth bounds queues at 100,000 messages for a client", v)
		}
	}
}

// identities turns users and rules into users and policies.
func (p *Plan) identities(cfg *Config, main *Listener, read func(string) ([]byte, error)) error {
	acl := &ACL{Users: make(map[string][]Rule)}
	everything := []Rule{{Access: Read | Write, Filter: "#"}}
	aclFile := cfg.Security(main, "acl_file")
	if aclFile != "" {
		b, err := read(aclFile)
		if err != nil {
			return fmt.Errorf("acl_file: %w", err)
		}
		if acl, err = ParseACL(string(b)); err != nil {
			return fmt.Errorf("acl_file %s: %w", aclFile, err)
		}
	} else {
		acl.Anonymous, acl.Patterns = everything, nil
	}
	clients := []string{"*"}
	if v := cfg.Options["clientid_prefixes"]; v != "" {
		clients = []string{literal.Replace(v) + "*"}
	}
	if cfg.Anonymous(main) {
		rules := slices.Clone(acl.Anonymous)
		for _, r := range acl.Patterns {
			if !strings.Contains(r.Filter, "%u") { // there is no user name
				rules = append(rules, r)
			}
		}
		if docs := p.write("anonymous clients", rules, clients); len(docs) > 1 {
			p.note(anonymousPolicy, "the rules take %d policies, and anonymous clients have one: shorten the list", len(docs))
		} else {
			p.Policies = append(p.Policies, Policy{anonymousPolicy, docs[0]})
			p.set("plain-policy", anonymousPolicy)
		}
		if len(p.settings("mqtt-plain")) == 0 {
			p.note("allow_anonymous", "with TLS, berth wants a certificate or a password of every client")
		}
	}
	file := cfg.Security(main, "password_file")
	if file == "" {
		if aclFile != "" && len(acl.Users) > 0 {
			p.note("acl_file", "there are rules for users, but no password_file: make the users with berth user put")
		}
		return nil
	}
	b, err := read(file)
	if err != nil {
		return fmt.Errorf("password_file: %w", err)
	}
	logins, err := ParsePasswords(string(b))
	if err != nil {
		return fmt.Errorf("password_file %s: %w", file, err)
	}
	var shared []string
	known := make(map[string]bool)
	for _, l := range logins {
		known[l.Name] = true
		if l.Err != nil {
			p.note("user "+l.Name, "not moved: %v", l.Err)
			continue
		}
		u := User{Name: l.Name, Hash: l.Hash}
		own := acl.Users[l.Name]
		switch {
		case aclFile == "" || len(own) == 0:
			if shared == nil {
				rules := acl.Patterns
				if aclFile == "" {
					rules = everything
				}
				shared = p.policies(everyonePolicy, p.write("users without rules of their own", rules, clients))
			}
			u.Policies = shared
		default:
			u.Policies = p.policies(userPolicy+policyName(l.Name), p.write("user "+l.Name, append(slices.Clone(own), acl.Patterns...), clients))
		}
		p.Users = append(p.Users, u)
	}
	for _, name := range acl.Order {
		if !known[name] {
			p.note("user "+name, "has rules and no password: not moved")
		}
	}
	return nil
}

func (p *Plan) settings(name string) []Setting {
	var out []Setting
	for _, s := range p.Settings {
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

// write turns rules into documents and notes what became wider.
func (p *Plan) write(about string, rules []Rule, clients []string) []string {
	t := translate(rules)
	for _, w := range t.wide {
		p.note(about, "%s", w)
	}
	return documents(t, p.arnPrefix, clients)
}

// policies names documents.
func (p *Plan) policies(name string, docs []string) []string {
	var names []string
	for i, doc := range docs {
		one := name
		if i > 0 {
			one += "-" + strconv.Itoa(i+1)
		}
		names = append(names, one)
		p.Policies = append(p.Policies, Policy{one, doc})
	}
	return names
}

var notInPolicyName = regexp.MustCompile(`[^\w+=,.@-]`)

// policyName is a user's name in the name of a policy.
func policyName(user string) string {
	clean := notInPolicyName.ReplaceAllString(user, "_")
	if clean == user && len(clean) <= 80 {
		return clean
	}
	sum := sha256.Sum256([]byte(user))
	return clean[:min(len(clean), 70)] + "." + hex.EncodeToString(sum[:4])
}

// moved are options that have been dealt with, or that mean nothing to berth.
var moved = map[string]bool{
	"password_file": true, "acl_file": true, "allow_anonymous": true, "clientid_prefixes": true, "message_size_limit": true, "max_packet_size": true, "max_inflight_messages": true,
	"max_keepalive": true, "persistent_client_expiration": true, "max_queued_messages": true, "max_queued_bytes": true, "max_inflight_bytes": true, "memory_limit": true,
	"user": true, "pid_file": true, "autosave_interval": true, "autosave_on_changes": true, "set_tcp_nodelay": true, "sys_interval": true, "connection_messages": true,
}

// rest names what does not move.
func (p *Plan) rest(cfg *Config) {
	for _, name := range cfg.Bridges {
		p.note("bridge "+name, "not moved: republish with a rule whose action goes to the other broker")
	}
	if cfg.Options["persistence"] == "true" {
		p.note("persistence", "retained messages and queued messages are not moved: berth always keeps its own; "+
			"take retained ones over with mosquitto_sub --retained-only and berth pub --retain")
	}
	delete(cfg.Options, "persistence")
	for _, k := range slices.Sorted(maps.Keys(cfg.Options)) {
		switch {
		case moved[k], strings.HasPrefix(k, "persistence"), strings.HasPrefix(k, "log_"):
		case strings.HasSuffix(k, "plugin"):
			p.note(k, "%s: not moved; berth decides with policies, users and custom authorizers", cfg.Options[k])
		default:
			p.note(k, "%s: not moved", cfg.Options[k])
		}
	}
}

// YAML is the configuration for berth serve --config.
func (p *Plan) YAML() string {
	var b strings.Builder
	b.WriteString("# Settings of berth serve, taken over from mosquitto.conf.\n")
	for _, s := range p.Settings {
		value := s.Value
		if strings.Contains(value, ":") {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, "%s: %s\n", s.Name, value)
	}
	return b.String()
}
