package action

import (
	"context"
	"time"

	"github.com/google/uuid"
)

var kinesisService = &service{"Kinesis", "kinesis", "kinesis", "Kinesis_20131202", json11}

// Limits of PutRecords (Kinesis Data Streams API reference). Partition keys count too, so that some of
// the 5 MiB is left to them.
const (
	kinesisRecords = 500
	kinesisBytes   = 4 << 20
	kinesisKey     = 256
)

// Kinesis writes the result to a data stream.
type Kinesis struct {
	RoleARN      string `json:"roleArn,omitempty"`
	StreamName   string `json:"streamName,omitempty"`
	PartitionKey string `json:"partitionKey,omitempty"` // default a random one
}

// Validate implements Action.
func (k *Kinesis) Validate() error {
	return required("kinesis", "roleArn", k.RoleARN, "streamName", k.StreamName)
}

// Destination implements Action.
func (k *Kinesis) Destination() string { return k.StreamName }

// Batch implements Batcher.
func (k *Kinesis) Batch() string { return k.StreamName }

// BatchLimits implements Batcher.
func (k *Kinesis) BatchLimits() (int, int, time.Duration) { return kinesisRecords, kinesisBytes, 0 }

// Do implements Action.
func (k *Kinesis) Do(ctx context.Context, s *Services, m *Message) error { return single(ctx, s, k, m) }

// DoBatch implements Batcher. Records that a shard had no room for come back alone.
func (k *Kinesis) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	type record struct {
		Data []byte
		Key  string `json:"PartitionKey"`
	}
	in := struct {
		StreamName string
		Records    []record
	}{StreamName: k.StreamName}
	for _, d := range list {
		key := d.Action.(*Kinesis).PartitionKey
		if key == "" {
			key = uuid.NewString()
		}
		if len(key) > kinesisKey {
			key = key[:kinesisKey]
		}
		in.Records = append(in.Records, record{d.Message.Payload, key})
	}
	var out struct {
		FailedRecordCount int
		Records           []struct{ ErrorCode, ErrorMessage string }
	}
	if err := s.AWS.ask(ctx, kinesisService, "PutRecords", in, &out); err != nil {
		return same(len(list), failure("kinesis", err))
	}
	if out.FailedRecordCount == 0 {
		return nil
	}
	errs := make([]error, len(list))
	for i, r := range out.Records {
		if i < len(errs) && r.ErrorCode != "" {
			errs[i] = refused("kinesis", r.ErrorCode, r.ErrorMessage, false)
		}
	}
	return errs
}
