package action

import (
	"context"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// SQS sends to a queue.
type SQS struct {
	RoleARN   string `json:"roleArn,omitempty"`
	QueueURL  string `json:"queueUrl,omitempty"`
	UseBase64 bool   `json:"useBase64,omitempty"`
}

// Validate implements Action.
func (q *SQS) Validate() error {
	if err := required("sqs", "roleArn", q.RoleARN, "queueUrl", q.QueueURL); err != nil {
		return err
	}
	if strings.HasSuffix(q.QueueURL, ".fifo") {
		return refuse("sqs: FIFO queues are not supported")
	}
	return nil
}

// Destination implements Action.
func (q *SQS) Destination() string { return q.QueueURL }

// Do implements Action.
func (q *SQS) Do(ctx context.Context, s *Services, m *Message) error {
	body := string(m.Payload)
	if q.UseBase64 {
		body = base64.StdEncoding.EncodeToString(m.Payload)
	} else if !utf8.ValidString(body) {
		return refuse("sqs: the result is not UTF-8; set useBase64")
	}
	cfg, err := s.AWS.config(ctx, regionOfQueue(q.QueueURL))
	if err != nil {
		return failure("sqs", err)
	}
	_, err = sqs.NewFromConfig(cfg).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.QueueURL, MessageBody: &body})
	return failure("sqs", err)
}
