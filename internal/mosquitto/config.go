// Package mosquitto reads what configures an Eclipse Mosquitto broker, its configuration, access control
// list and password file, and turns that into berth's policies, users and configuration.
//
// The formats are those of the manual pages mosquitto.conf(5) and mosquitto_passwd(1) of Mosquitto 2.0.
package mosquitto

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Config is a configuration as it was written.
type Config struct {
	PerListener bool // per_listener_settings
	// Listeners has the default listener first, which holds the settings before any "listener" line, and is
	// opened only if it has a port or there is no other.
	Listeners []*Listener
	Options   map[string]string // of the whole broker: the last value of each
	Bridges   []string          // names of connection sections
	Includes  []string          // folders of include_dir
	Notes     []string          // what could not be read
}

// Listener is one listener.
type Listener struct {
	Port    int // 0 for the default listener without one; for a unix socket
	Address string
	Options map[string]string
	Line    int
}

// perListener are the options that belong to a listener.
var perListener = map[string]bool{
	"bind_interface": true, "cafile": true, "capath": true, "certfile": true, "keyfile": true, "crlfile": true, "ciphers": true, "ciphers_tls1.3": true,
	"require_certificate": true, "use_identity_as_username": true, "use_subject_as_username": true, "use_username_as_clientid": true,
	"protocol": true, "mount_point": true, "max_connections": true, "maximum_qos": true, "max_qos": true, "max_topic_alias": true, "http_dir": true, "websockets_headers_size": true,
	"psk_hint": true, "tls_version": true, "tls_engine": true, "tls_keyform": true, "dhparamfile": true, "socket_domain": true,
	"allow_anonymous": true, "password_file": true, "acl_file": true, "psk_file": true, "allow_zero_length_clientid": true, "auto_id_prefix": true, "plugin": true, "auth_plugin": true,
}

// ofSecurity are those that hold for all listeners unless per_listener_settings is true.
var ofSecurity = map[string]bool{"allow_anonymous": true, "password_file": true, "acl_file": true, "psk_file": true,
	"allow_zero_length_clientid": true, "auto_id_prefix": true, "plugin": true, "auth_plugin": true}

// maxLines bounds a file.
const maxLines = 1_000_000

// ParseConfig reads a configuration; further files are read into the same Config with Parse.
func ParseConfig(text string) (*Config, error) {
	c := &Config{Options: make(map[string]string), Listeners: []*Listener{{Options: make(map[string]string)}}}
	return c, c.Parse(text)
}

// Parse reads a file after those before it.
func (c *Config) Parse(text string) error {
	current, bridge := c.Listeners[len(c.Listeners)-1], false
	for i, line := range strings.Split(text, "\n") {
		if i == maxLines {
			return fmt.Errorf("more than %d lines", maxLines)
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value := cut(line)
		switch {
		case key == "listener":
			l := &Listener{Options: make(map[string]string), Line: i + 1}
			port, address := cut(value)
			n, err := strconv.Atoi(port)
			if err != nil || n < 0 || n > 65535 {
				return fmt.Errorf("line %d: listener: %q is not a port", i+1, port)
			}
			l.Port, l.Address = n, address
			c.Listeners = append(c.Listeners, l)
			current, bridge = l, false
		case key == "connection":
			c.Bridges = append(c.Bridges, value)
			bridge = true
		case bridge && bridgeOption(key):
		case key == "port":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 65535 {
				return fmt.Errorf("line %d: port: %q is not a port", i+1, value)
			}
			c.Listeners[0].Port, c.Listeners[0].Line = n, i+1
		case key == "bind_address":
			c.Listeners[0].Address = value
		case key == "include_dir":
			c.Includes = append(c.Includes, value)
		case key == "per_listener_settings":
			c.PerListener = value == "true"
		case perListener[key] && !(ofSecurity[key] && !c.PerListener):
			current.Options[key] = value
		case value == "" && key != "clientid_prefixes":
			c.Notes = append(c.Notes, fmt.Sprintf("line %d: %s has no value", i+1, key))
		default:
			c.Options[key] = value
		}
	}
	return nil
}

// bridgeOption reports whether an option after a connection line is one of the bridge.
func bridgeOption(key string) bool {
	for _, prefix := range []string{"bridge_", "remote_", "local_", "notification", "start_type", "try_private", "keepalive_interval", "idle_timeout",
		"restart_timeout", "round_robin", "threshold", "topic", "address", "cleansession", "clientid", "username", "password", "addresses"} {
		if strings.HasPrefix(key, prefix) && key != "password_file" && key != "clientid_prefixes" {
			return true
		}
	}
	return false
}

// cut parts a line at its first blanks.
func cut(line string) (key, value string) {
	i := strings.IndexFunc(line, unicode.IsSpace)
	if i < 0 {
		return line, ""
	}
	return line[:i], strings.TrimSpace(line[i:])
}

// Open are the listeners that Mosquitto opens.
func (c *Config) Open() []*Listener {
	open := c.Listeners[1:]
	if c.Listeners[0].Port != 0 {
		return c.Listeners
	}
	if len(open) == 0 { // local only
		l := *c.Listeners[0]
		l.Port, l.Address = 1883, "127.0.0.1"
		return []*Listener{&l}
	}
	return open
}

// Security returns an option of a listener that may be one of the whole broker, "" for none.
func (c *Config) Security(l *Listener, key string) string {
	if c.PerListener {
		return l.Options[key]
	}
	return c.Options[key]
}

// Anonymous reports whether clients without user name may connect: by default only if there is no
// listener in the configuration.
func (c *Config) Anonymous(l *Listener) bool {
	if v := c.Security(l, "allow_anonymous"); v != "" {
		return v == "true"
	}
	return len(c.Listeners) == 1 && c.Listeners[0].Port == 0
}

// Duration reads a time such as 14d; h, d, w, m (30 days) and y (365 days) are known.
func Duration(text string) (time.Duration, bool) {
	if text == "" {
		return 0, false
	}
	units := map[byte]time.Duration{'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'm': 30 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}
	unit, ok := units[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 16)
	if !ok || err != nil || n == 0 || n > 1<<63/uint64(unit) {
		return 0, false
	}
	return time.Duration(n) * unit, time.Duration(n)*unit > 0
}
