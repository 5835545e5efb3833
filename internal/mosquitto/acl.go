package mosquitto

import (
	"fmt"
	"strings"
)

// Access is what a rule is about.
type Access uint8

// Bits of Access.
const (
	Read Access = 1 << iota
	Write
	Deny // both, whatever else allows
)

// Rule allows or denies topics.
type Rule struct {
	Access  Access
	Filter  string // a topic filter; of a pattern with %c and %u
	Pattern bool
	Line    int
}

// ACL is an access control list.
type ACL struct {
	Anonymous []Rule            // before any user
	Users     map[string][]Rule // by user name
	Order     []string          // of their first appearance
	Patterns  []Rule            // of everybody
}

// ParseACL reads an access control list: lines of user NAME, topic [ACCESS] FILTER, pattern [ACCESS]
// FILTER, and comments.
func ParseACL(text string) (*ACL, error) {
	a := &ACL{Users: make(map[string][]Rule)}
	user, named := "", false
	for i, line := range strings.Split(text, "\n") {
		if i == maxLines {
			return nil, fmt.Errorf("more than %d lines", maxLines)
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value := cut(line)
		if value == "" {
			return nil, fmt.Errorf("line %d: %.40q has no value", i+1, key)
		}
		switch key {
		case "user":
			user, named = value, true
			if _, known := a.Users[user]; !known {
				a.Users[user] = nil
				a.Order = append(a.Order, user)
			}
		case "topic", "pattern":
			rule := Rule{Access: Read | Write, Filter: value, Pattern: key == "pattern", Line: i + 1}
			if word, rest := cut(value); rest != "" {
				switch word {
				case "read":
					rule.Access, rule.Filter = Read, rest
				case "write":
					rule.Access, rule.Filter = Write, rest
				case "readwrite":
					rule.Filter = rest
				case "deny":
					rule.Access, rule.Filter = Deny, rest
				}
			}
			if err := checkFilter(rule.Filter); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			switch {
			case rule.Pattern:
				a.Patterns = append(a.Patterns, rule)
			case named:
				a.Users[user] = append(a.Users[user], rule)
			default:
				a.Anonymous = append(a.Anonymous, rule)
			}
		default:
			return nil, fmt.Errorf("line %d: %.40q is none of user, topic, pattern", i+1, key)
		}
	}
	return a, nil
}

// checkFilter finds filters that no topic could match [MQTT-4.7.1-2] [MQTT-4.7.1-3].
func checkFilter(filter string) error {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case level == "#" && i == len(levels)-1, level == "+":
		case strings.ContainsAny(level, "+#"):
			return fmt.Errorf("%.100q is not a topic filter", filter)
		}
	}
	return nil
}
