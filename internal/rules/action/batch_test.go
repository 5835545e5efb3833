package action

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBatches: what a service refuses of a batch is told for each message.
func TestBatches(t *testing.T) {
	t.Parallel()
	const role = `"roleArn":"r",`
	for _, x := range []struct {
		name, kind, fields string
		payloads           []string
		answer             string
		calls              int
		outcome            string // for each message: . delivered, - refused, ~ failed
	}{
		{"kinesis", "kinesis", `{` + role + `"streamName":"s"}`, []string{"1", "2", "3"},
			`{"FailedRecordCount":1,"Records":[{"SequenceNumber":"1"},{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow"},{"SequenceNumber":"2"}]}`, 1, ".~."},
		{"firehose", "firehose", `{` + role + `"deliveryStreamName":"s"}`, []string{"1", "2"},
			`{"FailedPutCount":1,"RequestResponses":[{"RecordId":"1"},{"ErrorCode":"ServiceUnavailableException","ErrorMessage":"slow"}]}`, 1, ".~"},
		{"firehose elements", "firehose", `{` + role + `"deliveryStreamName":"s","batchMode":true}`, []string{`[1,2]`, `{"a":1}`, `[3]`},
			`{"FailedPutCount":1,"RequestResponses":[{"RecordId":"1"},{"ErrorCode":"ServiceUnavailableException"},{"RecordId":"1"}]}`, 1, "~-."},
		{"firehose many elements", "firehose", `{` + role + `"deliveryStreamName":"s","batchMode":true}`, []string{array(500), array(500), array(501)}, `{}`, 2, "..-"},
		{"sqs", "sqs", `{` + role + `"queueUrl":"https://sqs.eu-west-1.amazonaws.com/0/q"}`, []string{"a", "b\xff", "c", "d"},
			`{"Successful":[{"Id":"0","MessageId":"1","MD5OfMessageBody":"0cc175b9c0f1b6a831c399e269772661"}],"Failed":[{"Id":"2","Code":"InvalidMessageContents","SenderFault":true},{"Id":"3","Code":"InternalError","SenderFault":false}]}`, 1, ".--~"},
		{"logs", "cloudwatchLogs", `{` + role + `"logGroupName":"g","batchMode":true}`, []string{`[{"timestamp":2,"message":"b"}]`, `[{"timestamp":1,"message":"a"}]`, `[{"timestamp":3}]`},
			`{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":1}}`, 1, ".--"},
		{"metric", "cloudwatchMetric", `{` + role + `"metricNamespace":"n","metricName":"m","metricUnit":"None","metricValue":"NaN"}`, []string{"1"}, ``, 0, "-"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			c, s := newCloud(t)
			c.answer = x.answer
			a := decode(t, x.kind, x.fields)
			b, ok := a.(Batcher)
			if !ok || b.Batch() == "" {
				t.Fatal("no batches")
			}
			var list []Delivery
			for i, p := range x.payloads {
				list = append(list, Delivery{decode(t, x.kind, x.fields), &Message{Payload: []byte(p), ID: fmt.Sprint(i), Time: time.Unix(1, 0)}})
			}
			errs := b.DoBatch(context.Background(), s, list)
			if errs == nil {
				errs = make([]error, len(list))
			}
			got := ""
			for _, err := range errs {
				switch {
				case err == nil:
					got += "."
				case IsPermanent(err):
					got += "-"
				default:
					got += "~"
				}
			}
			if got != x.outcome || c.calls != x.calls {
				t.Errorf("%s, %d calls: %v", got, c.calls, errs)
			}
			c.status = http.StatusServiceUnavailable
			if x.calls > 0 {
				if errs := b.DoBatch(context.Background(), s, list[:1]); len(errs) != 1 || errs[0] == nil || IsPermanent(errs[0]) {
					t.Errorf("the service is down: %v", errs)
				}
			}
		})
	}
}

func array(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }

// TestLogStreamIsMade: the group must be there, the stream need not.
func TestLogStreamIsMade(t *testing.T) {
	t.Parallel()
	c, s := newCloud(t)
	made := false
	c.handle = func(target string) (int, string) {
		switch {
		case target == "Logs_20140328.CreateLogStream":
			made = true
		case !made:
			return 400, `{"__type":"ResourceNotFoundException","message":"The specified log stream does not exist."}`
		}
		return 200, `{}`
	}
	a := decode(t, "cloudwatchLogs", `{"roleArn":"r","logGroupName":"g"}`)
	if err := a.Do(context.Background(), s, &Message{Payload: []byte("x"), Time: time.Unix(1, 0)}); err != nil || !made {
		t.Error(err, made)
	}
}

// TestErrorForms reads errors as services write them.
func TestErrorForms(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ header, body, code, message string }{
		{"", `{"__type":"com.amazonaws.kinesis#ResourceNotFoundException","message":"no stream"}`, "ResourceNotFoundException", "no stream"},
		{"ValidationException:http://internal.amazon.com/", `{"message":"m"}`, "ValidationException", "m"},
		{"", `{"code":"ThrottlingException","Message":"m"}`, "ThrottlingException", "m"},
		{"", `<ErrorResponse><Error><Code>InvalidParameterValue</Code><Message>bad</Message></Error></ErrorResponse>`, "InvalidParameterValue", "bad"},
		{"", `gateway`, "", ""},
		{"", ``, "", ""},
	} {
		resp := &http.Response{StatusCode: 400, Header: http.Header{}}
		resp.Header.Set("X-Amzn-ErrorType", x.header)
		e := answerError(resp, []byte(x.body))
		if e.code != x.code || e.message != x.message || !strings.Contains(e.Error(), "400") {
			t.Errorf("%q: %+v", x.body, e)
		}
	}
}

func FuzzAnswerError(f *testing.F) {
	f.Add("a:b", []byte(`{"__type":"x#y","message":"m"}`))
	f.Add("", []byte(`<ErrorResponse><Error><Code>c</Code></Error></ErrorResponse>`))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		resp := &http.Response{StatusCode: 400, Header: http.Header{}}
		resp.Header["X-Amzn-Errortype"] = []string{header}
		answerError(resp, body)
	})
}

// TestMoments are the forms of timestamps.
func TestMoments(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(5)
	for _, x := range []struct {
		json string
		want int64 // nanoseconds; -1 for a refusal
	}{
		{`null`, 5e6}, {`""`, 5e6}, {`"1700000000000"`, 1700000000000e6}, {`{"value":"1700000000","unit":"SECONDS"}`, 1700000000e9},
		{`{"value":"1700000000.5","unit":"SECONDS"}`, 1700000000.5e9}, {`{"value":"1700000000000001","unit":"MICROSECONDS"}`, 1700000000000001e3},
		{`{"value":"1700000000000000001","unit":"NANOSECONDS"}`, 1700000000000000001}, {`"2023-11-14T22:13:20Z"`, 1700000000e9},
		{`"soon"`, -1}, {`"NaN"`, -1}, {`"1e400"`, -1}, {`{"value":"1","unit":"YEARS"}`, -1},
	} {
		var v *Timestamp
		if err := json.Unmarshal([]byte(x.json), &v); err != nil {
			t.Fatal(err)
		}
		at, err := v.time("table", now)
		if x.want < 0 && !IsPermanent(err) || x.want >= 0 && (err != nil || at.UnixNano() != x.want) {
			t.Errorf("%s: %d %v", x.json, at.UnixNano(), err)
		}
	}
}
