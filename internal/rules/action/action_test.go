package action

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/topic"
)

// cloud answers like AWS and remembers the last request.
type cloud struct {
	*httptest.Server
	request *http.Request
	body    string
	status  int
	answer  string
	calls   int
	handle  func(target string) (status int, answer string) // instead of status and answer
}

func newCloud(t *testing.T) (*cloud, *Services) {
	c := &cloud{status: 200, answer: "{}"}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		c.request, c.body = r, string(b)
		c.calls++
		if c.handle != nil {
			c.status, c.answer = c.handle(r.Header.Get("X-Amz-Target"))
		}
		w.WriteHeader(c.status)
		io.WriteString(w, c.answer)
	}))
	t.Cleanup(c.Close)
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &c.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }}
	return c, &Services{Topics: topic.AWS, HTTP: http.DefaultClient, Confirmed: func(string) bool { return true },
		AWS: &AWS{Region: "us-east-1", Account: "123456789012", Fixed: &cfg}}
}

func decode(t *testing.T, kind, fields string) Action {
	t.Helper()
	k, ok := KindOf(kind)
	if !ok {
		t.Fatal(kind)
	}
	a, err := k.Decode([]byte(fields))
	if err == nil {
		err = a.Validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestActions(t *testing.T) {
	t.Parallel()
	const dynamo = `"roleArn":"r","tableName":"t","hashKeyField":"id","hashKeyValue":"7","hashKeyType":"NUMBER"`
	for _, x := range []struct {
		kind, fields string
		path, target string
		words        []string // of the request's body
		answer       string
	}{
		{"dynamoDB", `{` + dynamo + `,"rangeKeyField":"at","rangeKeyValue":"x"}`, "/", "DynamoDB_20120810.PutItem",
			[]string{`"id":{"N":"7"}`, `"at":{"S":"x"}`, `"payload":{"M":{`, `"a":{"N":"1.50"}`, `"l":{"L":[{"BOOL":true},{"NULL":true}]}`}, ""},
		{"dynamoDB", `{` + dynamo + `,"operation":"UPDATE","payloadField":"p"}`, "/", "DynamoDB_20120810.UpdateItem", []string{`"#p":"p"`, `"Key":{"id":{"N":"7"}}`}, ""},
		{"dynamoDB", `{` + dynamo + `,"operation":"DELETE"}`, "/", "DynamoDB_20120810.DeleteItem", []string{`"Key":{"id":{"N":"7"}}`}, ""},
		{"dynamoDBv2", `{"roleArn":"r","putItem":{"tableName":"t"}}`, "/", "DynamoDB_20120810.PutItem", []string{`"TableName":"t"`, `"a":{"N":"1.50"}`, `"s":{"S":"x"}`}, ""},
		{"sqs", `{"roleArn":"r","queueUrl":"https://sqs.eu-west-1.amazonaws.com/0/q","useBase64":true}`, "", "AmazonSQS.SendMessage",
			[]string{`"MessageBody":"eyJhIjox`}, `{"MD5OfMessageBody":"","MessageId":"1"}`},
		{"sns", `{"roleArn":"r","targetArn":"arn:aws:sns:eu-west-1:0:t","messageFormat":"JSON"}`, "/", "", []string{"Action=Publish", "MessageStructure=json"},
			`<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`},
		{"s3", `{"roleArn":"r","bucketName":"b","key":"k/1"}`, "", "", []string{`"s":"x"`}, ""},
		{"kinesis", `{"roleArn":"r","streamName":"st","partitionKey":"k"}`, "/", "Kinesis_20131202.PutRecords",
			[]string{`"StreamName":"st"`, `"PartitionKey":"k"`, `"Data":"eyJhIjox`}, `{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1"}]}`},
		{"firehose", `{"roleArn":"r","deliveryStreamName":"d","separator":"\n"}`, "/", "Firehose_20150804.PutRecordBatch",
			[]string{`"DeliveryStreamName":"d"`, `"Data":"eyJhIjoxLjUwLCJzIjoieCIsImwiOlt0cnVlLG51bGxdfQo="`}, ""},
		{"cloudwatchMetric", `{"roleArn":"r","metricNamespace":"n","metricName":"m","metricValue":"21.5","metricUnit":"None","metricTimestamp":"1700000000"}`, "/", "",
			[]string{"Action=PutMetricData", "Namespace=n", "MetricData.member.1.MetricName=m", "MetricData.member.1.Value=21.5", "Timestamp=2023-11-14T22%3A13%3A20Z"}, "<PutMetricDataResponse/>"},
		{"cloudwatchAlarm", `{"roleArn":"r","alarmName":"a","stateReason":"hot","stateValue":"ALARM"}`, "/", "",
			[]string{"Action=SetAlarmState", "AlarmName=a", "StateReason=hot", "StateValue=ALARM"}, "<SetAlarmStateResponse/>"},
		{"cloudwatchLogs", `{"roleArn":"r","logGroupName":"g"}`, "/", "Logs_20140328.PutLogEvents",
			[]string{`"logGroupName":"g"`, `"logStreamName":"berth"`, `"message":"{\"a\":1.50`, `"timestamp":1700000000000`}, ""},
		{"stepFunctions", `{"roleArn":"r","stateMachineName":"m","executionNamePrefix":"p-"}`, "/", "AWSStepFunctions.StartExecution",
			[]string{`"arn:aws:states:us-east-1:123456789012:stateMachine:m"`, `"name":"p-delivery-1"`, `"input":"{\"a\"`}, ""},
		{"iotEvents", `{"roleArn":"r","inputName":"i","messageId":"m7"}`, "/inputs/messages", "",
			[]string{`"messageId":"m7"`, `"inputName":"i"`, `"payload":"eyJhIjox`, `"timeInMillis":1700000000000`}, ""},
		{"iotAnalytics", `{"roleArn":"r","channelArn":"arn:aws:iotanalytics:us-east-1:1:channel/c"}`, "/messages/batch", "",
			[]string{`"channelName":"c"`, `"messageId":"delivery-1"`, `"payload":"eyJhIjox`}, ""},
		{"iotSiteWise", `{"roleArn":"r","putAssetPropertyValueEntries":[{"propertyAlias":"/a/b","propertyValues":[{"value":{"doubleValue":"1.5"},"timestamp":{"timeInSeconds":"17","offsetInNanos":"5"},"quality":"good"}]}]}`,
			"/properties", "", []string{`"propertyAlias":"/a/b"`, `"doubleValue":1.5`, `"timeInSeconds":17`, `"offsetInNanos":5`, `"quality":"GOOD"`}, ""},
		{"location", `{"roleArn":"r","trackerName":"t","deviceId":"d","latitude":"52.5","longitude":"13.4","timestamp":{"value":"1700000000","unit":"SECONDS"}}`,
			"/tracking/v0/trackers/t/positions", "", []string{`"DeviceId":"d"`, `"Position":[13.4,52.5]`, `"SampleTime":"2023-11-14T22:13:20.000Z"`}, ""},
		{"http", `{"url":"URL/p","headers":[{"key":"x-a","value":"1"}]}`, "/p", "", []string{`"s":"x"`}, ""},
	} {
		t.Run(x.kind, func(t *testing.T) {
			t.Parallel()
			c, s := newCloud(t)
			if x.answer != "" {
				c.answer = x.answer
			}
			if x.kind == "s3" {
				// Names of buckets are part of the host otherwise, which only AWS answers for.
				s.AWS.Fixed.HTTPClient = &http.Client{Transport: redirect{c}}
			}
			a := decode(t, x.kind, strings.ReplaceAll(x.fields, "URL", c.URL))
			m := &Message{Payload: []byte(`{"a":1.50,"s":"x","l":[true,null]}`), Rule: "r", ID: "delivery-1", Time: time.UnixMilli(1700000000000)}
			err := a.Do(context.Background(), s, m)
			if x.kind == "sqs" && err != nil && strings.Contains(err.Error(), "checksum") {
				err = nil // the answer has none
			}
			if err != nil {
				t.Fatal(err)
			}
			if x.path != "" && c.request.URL.Path != x.path || c.request.Header.Get("X-Amz-Target") != x.target {
				t.Errorf("%s %s", c.request.URL, c.request.Header.Get("X-Amz-Target"))
			}
			for _, w := range x.words {
				if !strings.Contains(c.body, w) {
					t.Errorf("no %s in %s", w, c.body)
				}
			}
			for _, f := range []struct {
				status    int
				answer    string
				permanent bool
			}{
				{400, `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}`, true},
				{503, ``, false}, {429, ``, false},
			} {
				c.status, c.answer = f.status, f.answer
				if err := a.Do(context.Background(), s, m); err == nil || IsPermanent(err) != f.permanent {
					t.Errorf("status %d: %v", f.status, err)
				}
			}
			if strings.HasPrefix(x.kind, "dynamo") {
				c.status, c.answer = 400, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}`
				if err := a.Do(context.Background(), s, m); err == nil || IsPermanent(err) {
					t.Errorf("throttled: %v", err)
				}
			}
		})
	}
}

// redirect sends every request to one server.
type redirect struct{ to *cloud }

// RoundTrip implements http.RoundTripper.
func (r redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Host = strings.TrimPrefix(r.to.URL, "http://")
	return http.DefaultTransport.RoundTrip(req)
}

func TestRepublish(t *testing.T) {
	t.Parallel()
	s := &Services{Topics: topic.AWS}
	for _, x := range []struct {
		fields, topic string // topic is empty for a refusal
		depth         uint8
	}{
		{`{"topic":"a/b","qos":1}`, "a/b", 0},
		{`{"topic":"$$aws/things/t/shadow/update"}`, "$aws/things/t/shadow/update", 0},
		{`{"topic":"$aws/x"}`, "", 0},
		{`{"topic":"a/+"}`, "", 0},
		{`{"topic":""}`, "", 0},
		{`{"topic":"a","qos":"2"}`, "", 0},
		{`{"topic":"a","headers":{"correlationData":"*"}}`, "", 0},
		{`{"topic":"a","headers":{"messageExpiry":"soon"}}`, "", 0},
		{`{"topic":"a","headers":{"payloadFormatIndicator":"x"}}`, "", 0},
		{`{"topic":"a"}`, "", MaxDepth},
	} {
		var r Republish
		if err := json.Unmarshal([]byte(x.fields), &r); err != nil {
			t.Fatal(err)
		}
		p, err := r.Publication(s, &Message{Payload: []byte("x"), Depth: x.depth})
		if x.topic == "" {
			if !IsPermanent(err) {
				t.Errorf("%s: %v", x.fields, err)
			}
			continue
		}
		if err != nil || p.Topic != x.topic || p.Depth != x.depth+1 {
			t.Errorf("%s: %+v %v", x.fields, p, err)
		}
	}
	r := Republish{Topic: "a", QoS: &QoS{"1"}, Headers: &Headers{PayloadFormatIndicator: "UTF8_DATA", ContentType: "text/plain", ResponseTopic: "r",
		CorrelationData: "AQI=", MessageExpiry: "60", UserProperties: []Field{{"k", "v"}}}}
	p, err := r.Publication(s, &Message{})
	if err != nil {
		t.Fatal(err)
	}
	if p.QoS != 1 || p.Properties.PayloadFormat != 1 || p.Properties.ContentType != "text/plain" || p.Properties.ResponseTopic != "r" ||
		string(p.Properties.CorrelationData) != "\x01\x02" || p.Expires.IsZero() || p.Properties.User[0] != (mqtt.UserProperty{Key: "k", Value: "v"}) {
		t.Errorf("%+v", p)
	}
}
