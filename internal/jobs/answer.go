package jobs

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/berth-iot/berth/internal/plainjson"
)

const thingsPrefix = "$aws/things/"

// The bodies below are the messages of the jobs MQTT API, with AWS's names and in epoch seconds. A
// job document is a JSON object in them.

func marshal(v any) []byte {
	b, err := plainjson.Marshal(v)
	if err != nil {
		return []byte("{}")
	}
	return b
}

// rawDocument is a document as JSON; nil for none.
func rawDocument(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// fullExecution is an execution with its document.
type fullExecution struct {
	*DeviceExecution
	Document json.RawMessage `json:"jobDocument,omitempty"`
}

func full(e *DeviceExecution, document string) *fullExecution {
	if e == nil {
		return nil
	}
	return &fullExecution{e, rawDocument(document)}
}

// notice is the body of notify.
type notice struct {
	Timestamp int64       `json:"timestamp"`
	Jobs      noticedJobs `json:"jobs"`
}

type noticedJobs struct {
	InProgress []Summary `json:"IN_PROGRESS,omitempty"`
	Queued     []Summary `json:"QUEUED,omitempty"`
}

func (n notice) payload(string) []byte { return marshal(n) }

func notification(thing string, p pending, now time.Time) message {
	n := notice{Timestamp: now.Unix()}
	for _, e := range p[:min(len(p), maxNotified)] {
		if e.status == InProgress {
			n.Jobs.InProgress = append(n.Jobs.InProgress, e.summary())
		} else {
			n.Jobs.Queued = append(n.Jobs.Queued, e.summary())
		}
	}
	return message{topic: thingsPrefix + thing + "/jobs/notify", body: n}
}

// nextNotice is the body of notify-next.
type nextNotice struct {
	Timestamp int64
	Execution *DeviceExecution
}

func (n nextNotice) payload(document string) []byte {
	return marshal(struct {
		Timestamp int64          `json:"timestamp"`
		Execution *fullExecution `json:"execution,omitempty"`
	}{n.Timestamp, full(n.Execution, document)})
}

// token is a clientToken, echoed as it was sent.
type token struct {
	ClientToken string `json:"clientToken,omitempty"`
	Timestamp   int64  `json:"timestamp"`
}

type pendingAnswer struct {
	Pending
	token
}

func (a pendingAnswer) payload(string) []byte { return marshal(a) }

type executionAnswer struct {
	Execution *DeviceExecution
	token
}

func (a executionAnswer) payload(document string) []byte {
	return marshal(struct {
		Execution *fullExecution `json:"execution,omitempty"`
		token
	}{full(a.Execution, document), a.token})
}

type updateAnswer struct {
	State *ExecutionState
	token
}

func (a updateAnswer) payload(document string) []byte {
	return marshal(struct {
		State    *ExecutionState `json:"executionState,omitempty"`
		Document json.RawMessage `json:"jobDocument,omitempty"`
		token
	}{a.State, rawDocument(document), a.token})
}

// rejection is the answer to a request that is refused.
type rejection struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	State   *ExecutionState `json:"executionState,omitempty"`
	token
}

func (r rejection) payload(string) []byte { return marshal(r) }

// Codes of rejections (AWS IoT developer guide, "ErrorResponse").
const (
	codeInvalidTopic = "InvalidTopic"
	codeInvalidJSON  = "InvalidJson"
)

func reject(err error, t token) rejection {
	r := rejection{Code: "InternalError", Message: "an internal error occurred", token: t}
	for _, k := range []struct {
		kind error
		code string
	}{
		{errTopic, codeInvalidTopic},
		{errJSON, codeInvalidJSON},
		{ErrInvalid, "InvalidRequest"},
		{ErrTransition, "InvalidStateTransition"},
		{ErrVersionMismatch, "VersionMismatch"},
		{ErrTerminal, "TerminalStateReached"},
		{ErrThrottled, "RequestThrottled"},
	} {
		if errors.Is(err, k.kind) {
			r.Code, r.Message = k.code, err.Error()
		}
	}
	if notFound(err) {
		r.Code, r.Message = "ResourceNotFound", err.Error()
	}
	if refusal := (*Error)(nil); errors.As(err, &refusal) {
		r.State = refusal.State
	}
	return r
}
