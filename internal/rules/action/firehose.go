package action

import (
	"context"
	"slices"
	"time"
)

var firehoseService = &service{"Firehose", "firehose", "firehose", "Firehose_20150804", json11}

// Limits of PutRecordBatch (Amazon Data Firehose API reference).
const (
	firehoseRecords = 500
	firehoseBytes   = 4 << 20
)

// Firehose writes the result to a delivery stream.
type Firehose struct {
	RoleARN            string `json:"roleArn,omitempty"`
	DeliveryStreamName string `json:"deliveryStreamName,omitempty"`
	Separator          string `json:"separator,omitempty"` // after each record: comma, tab, \n or \r\n
	BatchMode          bool   `json:"batchMode,omitempty"` // an array is a record for each element
}

// Validate implements Action.
func (f *Firehose) Validate() error {
	if !slices.Contains([]string{"", ",", "\t", "\n", "\r\n"}, f.Separator) {
		return refuse("firehose: separator is %q, not a comma, a tab, \\n or \\r\\n", f.Separator)
	}
	return required("firehose", "roleArn", f.RoleARN, "deliveryStreamName", f.DeliveryStreamName)
}

// Destination implements Action.
func (f *Firehose) Destination() string { return f.DeliveryStreamName }

// Batch implements Batcher.
func (f *Firehose) Batch() string { return f.DeliveryStreamName }

// BatchLimits implements Batcher.
func (f *Firehose) BatchLimits() (int, int, time.Duration) { return firehoseRecords, firehoseBytes, 0 }

// Do implements Action.
func (f *Firehose) Do(ctx context.Context, s *Services, m *Message) error {
	return single(ctx, s, f, m)
}

type firehoseRecord struct{ Data []byte }

// DoBatch implements Batcher. A message in batchMode of which one record fails is sent again whole.
func (f *Firehose) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	var records []parcel[firehoseRecord]
	add := func(i int, data []byte, separator string) {
		data = append(slices.Clip(data), separator...)
		records = append(records, parcel[firehoseRecord]{firehoseRecord{data}, len(data), i})
	}
	for i, d := range list {
		a := d.Action.(*Firehose)
		if !a.BatchMode {
			add(i, d.Message.Payload, a.Separator)
			continue
		}
		parts, err := elements("firehose", d.Message, firehoseRecords)
		errs[i] = err
		for _, p := range parts {
			add(i, p, a.Separator)
		}
	}
	return parcels(records, firehoseRecords, firehoseBytes, errs, func(records []firehoseRecord) []error {
		var out struct {
			FailedPutCount   int
			RequestResponses []struct{ ErrorCode, ErrorMessage string }
		}
		err := s.AWS.ask(ctx, firehoseService, "PutRecordBatch",
			map[string]any{"DeliveryStreamName": f.DeliveryStreamName, "Records": records}, &out)
		if err != nil || out.FailedPutCount == 0 {
			return same(len(records), failure("firehose", err))
		}
		each := make([]error, len(records))
		for i, r := range out.RequestResponses {
			if i < len(each) && r.ErrorCode != "" {
				each[i] = refused("firehose", r.ErrorCode, r.ErrorMessage, false)
			}
		}
		return each
	})
}
