package jobs

import (
	"encoding/json"
	"strings"

	"github.com/google/uuid"
)

// Kinds of events, as UpdateEventConfigurations names them.
const (
	kindJob       = "JOB"
	kindExecution = "JOB_EXECUTION"
)

// rawBody is a payload that is ready.
type rawBody []byte

func (b rawBody) payload(string) []byte { return b }

// jobEvent publishes that something has happened to a job (AWS IoT developer guide, "Jobs events").
// The moment is in seconds, the times of the job in milliseconds.
func (c *change) jobEvent(j *record, operation, status string) {
	if !c.cfg.Enabled(kindJob) {
		return
	}
	v := c.view(j)
	body := struct {
		EventType   string   `json:"eventType"`
		EventID     string   `json:"eventId"`
		Timestamp   int64    `json:"timestamp"`
		Operation   string   `json:"operation"`
		Job         string   `json:"jobId"`
		Status      string   `json:"status"`
		Selection   string   `json:"targetSelection"`
		Targets     []string `json:"targets"`
		Description string   `json:"description,omitempty"`
		Completed   int64    `json:"completedAt,omitempty"`
		Created     int64    `json:"createdAt"`
		Updated     int64    `json:"lastUpdatedAt"`
		Comment     string   `json:"comment,omitempty"`
		Counts      *Counts  `json:"jobProcessDetails,omitempty"`
	}{kindJob, uuid.NewString(), c.at.Unix(), operation, j.id, status, j.selection, v.Targets, j.definition.Description,
		millis(j.completed), millis(j.created), millis(c.at), j.comment, nil}
	if operation == "completed" {
		counts := j.counts
		body.Counts = &counts
	}
	c.out = append(c.out, message{topic: "$aws/events/job/" + j.id + "/" + operation, body: rawBody(marshal(body))})
}

// executionEvent publishes that an execution has ended or has been deleted.
func (c *change) executionEvent(e *execution, status string) {
	if !c.cfg.Enabled(kindExecution) {
		return
	}
	operation := strings.ToLower(status)
	body := struct {
		EventType string          `json:"eventType"`
		EventID   string          `json:"eventId"`
		Timestamp int64           `json:"timestamp"`
		Operation string          `json:"operation"`
		Job       string          `json:"jobId"`
		Thing     string          `json:"thingArn"`
		Status    string          `json:"status"`
		Details   json.RawMessage `json:"statusDetails,omitempty"`
	}{kindExecution, uuid.NewString(), c.at.Unix(), operation, e.job, c.cfg.Registry.ARN("thing/" + e.thing), status, rawDocument(e.details)}
	c.out = append(c.out, message{topic: "$aws/events/jobExecution/" + e.job + "/" + operation, body: rawBody(marshal(body))})
}
