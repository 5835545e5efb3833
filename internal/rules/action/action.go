// Package action holds the actions of rules: what is done with the result of a rule's statement
// (AWS IoT developer guide, "AWS IoT rule actions"). Each is a struct with the fields of AWS's API.
//
// The package delivers once and says how it went; queueing and retrying are the rules package's.
package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/berth-iot/berth/internal/hook"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/table"
	"github.com/berth-iot/berth/topic"
)

// Action is an action of a rule.
type Action interface {
	// Validate checks the fields as they are in the rule, where they may hold substitution templates.
	Validate() error
	// Destination names what fails and recovers as one, such as a host or a queue.
	Destination() string
	// Do delivers a message. Errors made by [Permanent] will not pass by waiting.
	Do(ctx context.Context, s *Services, m *Message) error
}

// Batcher is an Action whose destination takes many messages at once.
type Batcher interface {
	Action
	// Batch names what may go in one call: only deliveries with the same non-empty text are put
	// together. It is called on a filled-in action.
	Batch() string
	// BatchLimits returns the most messages and bytes of payload in one call, and how long the first
	// may wait for others; 0: only what waits anyway.
	BatchLimits() (messages, bytes int, linger time.Duration)
	// DoBatch delivers messages, each with its own filled-in action, and says how each went: nil or
	// len(list) errors.
	DoBatch(ctx context.Context, s *Services, list []Delivery) []error
}

// Delivery is a message with the action to be carried out for it.
type Delivery struct {
	Action  Action
	Message *Message
}

// Message is the result of a rule's statement.
type Message struct {
	Payload []byte
	Binary  bool  // not JSON
	Depth   uint8 // see router.Publication

	Rule string
	// ID is the delivery's own: no other action, rule or message has it, and every try and replay does.
	ID    string
	Time  time.Time // of the evaluation; the same in every try
	Topic string    // that the message was published to
	Thing string    // of the client: the one it has the certificate of, or its client identifier; may be empty
}

// Services is what actions work with. Its fields do not change.
type Services struct {
	Topics topic.Rules
	Lambda hook.Lambda
	HTTP   *http.Client
	AWS    *AWS
	Tables *table.Tables // of this server; may be nil
	// Confirmed reports whether an HTTP destination that covers a URL is enabled.
	Confirmed func(url string) bool
	// Publish hands a message to the router. It returns when that has taken it.
	Publish func(ctx context.Context, p *router.Publication) error
	// Connections are those of kafka, postgres and file; may be nil.
	Connections *Connections
}

// Kind is a kind of action.
type Kind struct {
	Name    string // in the API
	Failed  string // in the messages of error actions
	Outside bool   // works on something outside of this process
	New     func() Action
}

// Kinds lists the kinds of actions that there are.
func Kinds() []Kind {
	return []Kind{
		{"republish", "RepublishAction", false, func() Action { return new(Republish) }},
		{"http", "HttpAction", true, func() Action { return new(HTTP) }},
		{"lambda", "LambdaAction", true, func() Action { return new(Lambda) }},
		{"kafka", "KafkaAction", true, func() Action { return new(Kafka) }},
		{"postgres", "PostgresAction", true, func() Action { return new(Postgres) }},
		{"influx", "InfluxAction", true, func() Action { return new(Influx) }},
		{"openSearch", "OpenSearchAction", true, func() Action { return &OpenSearch{kind: "openSearch"} }},
		{"elasticsearch", "ElasticsearchAction", true, func() Action { return &OpenSearch{kind: "elasticsearch"} }},
		{"file", "FileAction", true, func() Action { return new(File) }},
		{"dynamoDB", "DynamoAction", true, func() Action { return new(DynamoDB) }},
		{"dynamoDBv2", "DynamoActionV2", true, func() Action { return new(DynamoDBv2) }},
		{"sqs", "SqsAction", true, func() Action { return new(SQS) }},
		{"sns", "SnsAction", true, func() Action { return new(SNS) }},
		{"s3", "S3Action", true, func() Action { return new(S3) }},
		{"kinesis", "KinesisAction", true, func() Action { return new(Kinesis) }},
		{"firehose", "FirehoseAction", true, func() Action { return new(Firehose) }},
		{"cloudwatchMetric", "CloudwatchMetricAction", true, func() Action { return new(CloudwatchMetric) }},
		{"cloudwatchAlarm", "CloudwatchAlarmAction", true, func() Action { return new(CloudwatchAlarm) }},
		{"cloudwatchLogs", "CloudwatchLogsAction", true, func() Action { return new(CloudwatchLogs) }},
		{"stepFunctions", "StepFunctionsAction", true, func() Action { return new(StepFunctions) }},
		{"iotEvents", "IotEventsAction", true, func() Action { return new(IoTEvents) }},
		{"iotAnalytics", "IotAnalyticsAction", true, func() Action { return new(IoTAnalytics) }},
		{"iotSiteWise", "IotSiteWiseAction", true, func() Action { return new(SiteWise) }},
		{"location", "LocationAction", true, func() Action { return new(Location) }},
		{"timestream", "TimestreamAction", true, func() Action { return new(Timestream) }},
		{"table", "TableAction", true, func() Action { return new(Table) }},
	}
}

// KindOf returns the kind with a name; false if there is none.
func KindOf(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// Unsupported says why berth does not have an action that AWS IoT has; "" for any other name.
func Unsupported(name string) string {
	if name == "salesforce" {
		return "the Salesforce IoT Cloud that it sends to is gone"
	}
	return ""
}

// Decode reads an action's fields. Fields that AWS does not have are left out, as AWS does.
func (k Kind) Decode(b []byte) (Action, error) {
	a := k.New()
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(a); err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, err)
	}
	return a, nil
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error as one that would come again.
func Permanent(err error) error { return permanent{err} }

// IsPermanent reports whether an error was marked by [Permanent].
func IsPermanent(err error) bool {
	p := permanent{}
	return errors.As(err, &p)
}

func refuse(format string, args ...any) error { return Permanent(fmt.Errorf(format, args...)) }

// required checks fields given as pairs of name and value.
func required(kind string, pairs ...string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return fmt.Errorf("%s: %s is missing", kind, pairs[i])
		}
	}
	return nil
}
