package awsapi

import (
	"net/http"
	"net/url"
	"strings"
)

// endpoint is an operation with its handler, nil where there is none yet.
type endpoint struct {
	Operation
	handler Handler
}

// route is a node of the tree of path segments.
type route struct {
	static map[string]*route
	label  *route                 // takes any one segment
	greedy map[string][]*endpoint // by method: takes the rest of the path
	ends   map[string][]*endpoint // by method: the path ends here
}

// segments splits an escaped path; a slash at its end counts for nothing.
func segments(path string) []string {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

func (n *route) add(end *endpoint) {
	for _, s := range segments(end.Path) {
		switch {
		case strings.HasSuffix(s, "+}"):
			if n.greedy == nil {
				n.greedy = make(map[string][]*endpoint)
			}
			n.greedy[end.Method] = append(n.greedy[end.Method], end)
			return
		case strings.HasPrefix(s, "{"):
			if n.label == nil {
				n.label = new(route)
			}
			n = n.label
		default:
			if n.static == nil {
				n.static = make(map[string]*route)
			}
			if n.static[s] == nil {
				n.static[s] = new(route)
			}
			n = n.static[s]
		}
	}
	if n.ends == nil {
		n.ends = make(map[string][]*endpoint)
	}
	n.ends[end.Method] = append(n.ends[end.Method], end)
}

// find returns the operation that a method and an escaped path mean for a caller, with the values
// of its labels, unescaped.
func (n *route) find(method, path string, caller Caller) (*endpoint, map[string]string, error) {
	raw := strings.Split(strings.TrimPrefix(path, "/"), "/")
	plain := make([]string, len(raw))
	for i, s := range raw {
		var err error
		if plain[i], err = url.PathUnescape(s); err != nil {
			return nil, nil, invalid("the path is not validly escaped: %v", err)
		}
		if err := storable(plain[i]); err != nil {
			return nil, nil, err
		}
	}
	known := false
	ends, values := n.match(method, plain, nil, &known)
	if ends == nil {
		if known {
			return nil, nil, &Error{Type: "MethodNotAllowedException", Status: http.StatusMethodNotAllowed, Message: "method " + method + " is not allowed on " + path}
		}
		return nil, nil, &Error{Type: "UnknownOperationException", Status: http.StatusNotFound, Message: "no operation has the path " + path}
	}
	end := choose(ends, caller)
	vars := make(map[string]string)
	for _, s := range segments(end.Path) {
		if strings.HasPrefix(s, "{") {
			vars[strings.TrimSuffix(s[1:len(s)-1], "+")], values = values[0], values[1:]
		}
	}
	return end, vars, nil
}

// match walks down, fixed segments before labels before the rest of a path.
func (n *route) match(method string, path, values []string, known *bool) ([]*endpoint, []string) {
	if len(path) == 0 || len(path) == 1 && path[0] == "" {
		*known = *known || n.ends != nil
		if ends := n.ends[method]; ends != nil {
			return ends, values
		}
	}
	if len(path) == 0 {
		return nil, nil
	}
	if next := n.static[path[0]]; next != nil {
		if ends, v := next.match(method, path[1:], values, known); ends != nil {
			return ends, v
		}
	}
	if n.label != nil && path[0] != "" {
		if ends, v := n.label.match(method, path[1:], append(values[:len(values):len(values)], path[0]), known); ends != nil {
			return ends, v
		}
	}
	if rest := strings.Join(path, "/"); n.greedy != nil && rest != "" {
		*known = true
		if ends := n.greedy[method]; ends != nil {
			return ends, append(values[:len(values):len(values)], rest)
		}
	}
	return nil, nil
}

// choose tells apart the three paths that the control plane and the jobs data plane share: by the
// service the caller signed for; without a signature they are a device's.
func choose(ends []*endpoint, caller Caller) *endpoint {
	if len(ends) == 1 {
		return ends[0]
	}
	want := IoT
	switch {
	case caller.Service == "iot-jobs-data", caller.Service == "iotdata", caller.Service == "iotdevicegateway",
		caller.Device() && caller.Name() != "":
		want = IoTJobsData
	}
	for _, end := range ends {
		if end.Service == want {
			return end
		}
	}
	return ends[0]
}
