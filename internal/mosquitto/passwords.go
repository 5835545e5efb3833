package mosquitto

import (
	"fmt"
	"strings"

	"github.com/berth-iot/berth/internal/password"
)

// Login is a user of a password file. Err says why the hash cannot be used.
type Login struct {
	Name string
	Hash password.Hash
	Err  error
}

// ParsePasswords reads a password file: lines of NAME:HASH, and comments. Of a name that comes twice the
// last one counts.
func ParsePasswords(text string) ([]Login, error) {
	var logins []Login
	at := make(map[string]int)
	for i, line := range strings.Split(text, "\n") {
		if i == maxLines {
			return nil, fmt.Errorf("more than %d lines", maxLines)
		}
		line = strings.TrimRight(line, "\r\n\t ")
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("line %d is not NAME:HASH", i+1)
		}
		l := Login{Name: name}
		l.Hash, l.Err = password.ParseHash(hash)
		if j, twice := at[name]; twice {
			logins[j] = l
			continue
		}
		at[name] = len(logins)
		logins = append(logins, l)
	}
	return logins, nil
}
