package shadow

// Error is a request that was refused. Code and Message are those that the AWS IoT developer guide
// lists under "Device Shadow error messages"; they are what a device reads on the rejected topic.
type Error struct {
	Code    int
	Message string
	// stamped says that the refusal carries a timestamp: it was judged against a document.
	stamped bool
}

func (e *Error) Error() string { return e.Message }

func invalid(message string) *Error { return &Error{Code: 400, Message: message} }

func errJSON() *Error        { return invalid("Invalid JSON") }
func errNoState() *Error     { return invalid("Missing required node: state") }
func errState() *Error       { return invalid("State node must be an object") }
func errDesired() *Error     { return invalid("Desired node must be an object") }
func errReported() *Error    { return invalid("Reported node must be an object") }
func errVersion() *Error     { return invalid("Invalid version") }
func errClientToken() *Error { return invalid("Invalid clientToken") }
func errInvalidNode() *Error { return invalid("State contains an invalid node") }
func errEncoding() *Error {
	return &Error{Code: 415, Message: "Unsupported documented encoding; supported encoding is UTF-8"}
}
func errTooLarge() *Error {
	return &Error{Code: 413, Message: "The payload exceeds the maximum size allowed"}
}
func errConflict() *Error  { return &Error{Code: 409, Message: "Version conflict", stamped: true} }
func errThrottled() *Error { return &Error{Code: 429, Message: "Too many requests"} }
func errInternal() *Error  { return &Error{Code: 500, Message: "Internal service failure"} }
func errNotFound(n ID) *Error {
	return &Error{Code: 404, Message: "No shadow exists with name: '" + n.label() + "'"}
}

// errTooDeep keeps AWS's words, which name another number than the eight levels that its quotas and
// its service allow.
func errTooDeep() *Error {
	return invalid("JSON contains too many levels of nesting; maximum is 6")
}
