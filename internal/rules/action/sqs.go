package action

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
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

// Limits of SendMessageBatch (Amazon SQS API reference), payloads as they are or in base64.
const (
	sqsMessages = 10
	sqsBytes    = 256 << 10
)

// Batch implements Batcher.
func (q *SQS) Batch() string { return q.QueueURL }

// BatchLimits implements Batcher.
func (q *SQS) BatchLimits() (int, int, time.Duration) { return sqsMessages, sqsBytes / 4 * 3, 0 }

// body is the message as the queue takes it.
func (q *SQS) body(m *Message) (string, error) {
	if q.UseBase64 {
		return base64.StdEncoding.EncodeToString(m.Payload), nil
	}
	if !utf8.Valid(m.Payload) {
		return "", refuse("sqs: the result is not UTF-8; set useBase64")
	}
	return string(m.Payload), nil
}

// Do implements Action.
func (q *SQS) Do(ctx context.Context, s *Services, m *Message) error {
	body, err := q.body(m)
	if err != nil {
		return err
	}
	cfg, err := s.AWS.config(ctx, regionOfQueue(q.QueueURL))
	if err != nil {
		return failure("sqs", err)
	}
	_, err = sqs.NewFromConfig(cfg).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.QueueURL, MessageBody: &body})
	return failure("sqs", err)
}

// DoBatch implements Batcher.
func (q *SQS) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	in := &sqs.SendMessageBatchInput{QueueUrl: &q.QueueURL}
	for i, d := range list {
		body, err := d.Action.(*SQS).body(d.Message)
		if err != nil {
			errs[i] = err
			continue
		}
		id := strconv.Itoa(i)
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &body})
	}
	if len(in.Entries) == 0 {
		return errs
	}
	fail := func(err error) []error {
		for _, e := range in.Entries {
			i, _ := strconv.Atoi(*e.Id)
			errs[i] = err
		}
		return errs
	}
	cfg, err := s.AWS.config(ctx, regionOfQueue(q.QueueURL))
	if err != nil {
		return fail(failure("sqs", err))
	}
	out, err := sqs.NewFromConfig(cfg).SendMessageBatch(ctx, in)
	if err != nil {
		return fail(failure("sqs", err))
	}
	for _, f := range out.Failed {
		if i, err := strconv.Atoi(aws.ToString(f.Id)); err == nil && i >= 0 && i < len(errs) {
			errs[i] = refused("sqs", aws.ToString(f.Code), aws.ToString(f.Message), f.SenderFault)
		}
	}
	return errs
}
