package realclients

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
)

// destination is a service that rules deliver to, as a process.
type destination struct {
	t    *testing.T
	args []string // but for the port
	dir  string   // that it runs in
	port string
	cmd  *exec.Cmd
}

// nodeService starts one of the services of node/destination.mjs.
func nodeService(t *testing.T, kind string) *destination {
	t.Helper()
	node := program(t, "node", "apt-get install nodejs npm")
	if _, err := os.Stat("node/node_modules/" + kind); err != nil {
		t.Fatalf("%s is missing; install it with: npm ci --prefix test/realclients/node", kind)
	}
	d := &destination{t: t, args: []string{node, "destination.mjs", kind, t.TempDir()}, dir: "node"}
	d.run()
	return d
}

// run starts it. Once known, the port stays the same.
func (d *destination) run() {
	d.t.Helper()
	args := d.args
	if d.port != "" {
		args = append(slices.Clone(args), d.port)
	}
	d.cmd = exec.Command(args[0], args[1:]...)
	d.cmd.Dir, d.cmd.Stderr = d.dir, new(output)
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(d.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if d.port = strings.TrimSpace(line); err != nil || d.port == "" {
		d.t.Fatalf("%v: %q %v\n%v", args, line, err, d.cmd.Stderr)
	}
}

// kill ends it as kill -9 does.
func (d *destination) kill() {
	if d.cmd.Process != nil {
		d.cmd.Process.Kill()
		d.cmd.Wait()
	}
}

func (d *destination) url() string { return "http://127.0.0.1:" + d.port }

// keys are what the destinations take, and so what berth has to sign with.
var keys = []string{"AWS_ACCESS_KEY_ID=S3RVER", "AWS_SECRET_ACCESS_KEY=S3RVER", "AWS_SESSION_TOKEN=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"}

// read runs the AWS CLI on a destination.
func (d *destination) read(c *cli, args ...string) map[string]any {
	d.t.Helper()
	cmd := exec.CommandContext(ctx(d.t, time.Minute), c.path, append(args, "--endpoint-url", d.url(), "--output", "json")...)
	cmd.Env = append(append(os.Environ(), keys...), "AWS_PAGER=", "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region)
	var stderr output
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	answer := make(map[string]any)
	if len(strings.TrimSpace(string(out))) > 0 {
		if err := json.Unmarshal(out, &answer); err != nil {
			d.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return answer
}

// TestRuleTutorial is the rule of every tutorial, made by the AWS CLI: what a device publishes becomes a
// row of DynamoDB, an object of S3 and a record of Kinesis, which the AWS CLI reads back.
func TestRuleTutorial(t *testing.T) {
	outside(t)
	t.Parallel()
	dynamo, kinesis, s3 := nodeService(t, "dynalite"), nodeService(t, "kinesalite"), nodeService(t, "s3rver")
	s := startWith(t, append(slices.Clone(keys), "AWS_ENDPOINT_URL_DYNAMODB="+dynamo.url(), "AWS_ENDPOINT_URL_KINESIS="+kinesis.url(), "AWS_ENDPOINT_URL_S3="+s3.url()))
	c := &cli{t: t, s: s, path: awsCLIs(t)[0]}
	dynamo.read(c, "dynamodb", "create-table", "--table-name", "echo", "--billing-mode", "PAY_PER_REQUEST",
		"--attribute-definitions", "AttributeName=id,AttributeType=S", "--key-schema", "AttributeName=id,KeyType=HASH")
	kinesis.read(c, "kinesis", "create-stream", "--stream-name", "echo", "--shard-count", "1")
	within(10*time.Second, func() bool {
		d, _ := kinesis.read(c, "kinesis", "describe-stream", "--stream-name", "echo")["StreamDescription"].(map[string]any)
		return d["StreamStatus"] == "ACTIVE"
	})

	role := `"roleArn":"arn:aws:iam::123456789012:role/rule"`
	c.do("iot", "create-topic-rule", "--rule-name", "Echo", "--topic-rule-payload", "file://"+write(t, "rule.json", []byte(
		`{"sql":"SELECT * FROM 'another/topic/echo'","awsIotSqlVersion":"2016-03-23","ruleDisabled":false,"actions":[
			{"dynamoDBv2":{`+role+`,"putItem":{"tableName":"echo"}}},
			{"kinesis":{`+role+`,"streamName":"echo","partitionKey":"${topic()}"}},
			{"s3":{`+role+`,"bucketName":"readings","key":"${topic()}/${id}"}}]}`)))
	c.want(c.do("iot", "get-topic-rule", "--rule-name", "Echo"), "rule.sql", "SELECT * FROM 'another/topic/echo'")
	payload := `{"id":"m1","temperature":21.50,"nested":{"on":true}}`
	c.do("iot-data", "publish", "--topic", "another/topic/echo", "--qos", "1", "--payload", "fileb://"+write(t, "payload", []byte(payload)))
	s.rule("Echo", func(v ruleState) bool { return v.Delivered == 3 && v.Waiting == 0 })

	row := dynamo.read(c, "dynamodb", "get-item", "--table-name", "echo", "--key", `{"id":{"S":"m1"}}`)
	c.want(row, "Item.temperature.N", "21.5")
	c.want(row, "Item.nested.M.on.BOOL", true)

	shard := kinesis.read(c, "kinesis", "get-shard-iterator", "--stream-name", "echo", "--shard-id", "shardId-000000000000", "--shard-iterator-type", "TRIM_HORIZON")
	records := kinesis.read(c, "kinesis", "get-records", "--shard-iterator", shard["ShardIterator"].(string))
	c.want(records, "Records", 1)
	c.want(records, "Records.0.PartitionKey", "another/topic/echo")
	c.want(records, "Records.0.Data", base64.StdEncoding.EncodeToString([]byte(payload)))

	object := filepath.Join(t.TempDir(), "object")
	s3.read(c, "s3api", "get-object", "--bucket", "readings", "--key", "another/topic/echo/m1", object)
	if b, err := os.ReadFile(object); err != nil || string(b) != payload {
		t.Errorf("%s %v", b, err)
	}
}

// ruleState is what berth rule stats tells of a rule.
type ruleState struct {
	Name      string `json:"ruleName"`
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
	Waiting   int64  `json:"waiting"`
	Dead      int64  `json:"dead"`
	LastError string `json:"lastError"`
}

// rule waits until the counters of a rule are as they should be.
func (s *server) rule(name string, ok func(v ruleState) bool) {
	s.t.Helper()
	var list []ruleState
	if !within(60*time.Second, func() bool {
		list = nil
		if err := json.Unmarshal([]byte(s.berth("rule", "stats", "--data", s.dir, "-o", "json")), &list); err != nil {
			s.t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(v ruleState) bool { return v.Name == name })
		return i >= 0 && ok(list[i])
	}) {
		s.t.Fatalf("the rule %s did not get there: %+v", name, list)
	}
}

// awsFake starts the stand-in for the services that nobody else imitates; accepted gives what it took.
func awsFake(t *testing.T) (d *destination, accepted func() map[string][]string) {
	t.Helper()
	dir := t.TempDir()
	binary, file := filepath.Join(dir, "awsfake"), filepath.Join(dir, "accepted")
	if out, err := exec.Command("go", "build", "-o", binary, "./awsfake").CombinedOutput(); err != nil {
		t.Fatalf("build awsfake: %v\n%s", err, out)
	}
	d = &destination{t: t, args: []string{binary, file}}
	d.run()
	return d, func() map[string][]string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string][]string)
		for line := range strings.Lines(string(b)) {
			var x struct{ Service, To, Body string }
			if err := json.Unmarshal([]byte(line), &x); err != nil {
				t.Fatal(err)
			}
			got[x.Service+" "+x.To] = append(got[x.Service+" "+x.To], x.Body)
		}
		return got
	}
}

func (d *destination) control(body string) {
	d.t.Helper()
	req, _ := http.NewRequest(http.MethodPut, d.url()+"/control", strings.NewReader(body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	resp.Body.Close()
}

// TestRuleServices sends to a process that checks signatures and forms, while it fails and is slow too.
func TestRuleServices(t *testing.T) {
	outside(t)
	t.Parallel()
	fake, accepted := awsFake(t)
	s := startWith(t, append(slices.Clone(keys), "AWS_ENDPOINT_URL="+fake.url()))
	c := &cli{t: t, s: s, path: awsCLIs(t)[0]}
	role, arn := `"roleArn":"arn:aws:iam::123456789012:role/rule"`, "arn:aws:"
	c.do("iot", "create-topic-rule", "--rule-name", "All", "--topic-rule-payload", "file://"+write(t, "rule.json", []byte(
		`{"sql":"SELECT n, get_secret('s', 'SecretString', 'user', 'r') AS user FROM 'n'","awsIotSqlVersion":"2016-03-23","actions":[
			{"sqs":{`+role+`,"queueUrl":"`+fake.url()+`/0/q"}},
			{"sns":{`+role+`,"targetArn":"`+arn+`sns:`+region+`:0:t"}},
			{"lambda":{"functionArn":"`+arn+`lambda:`+region+`:0:function:f"}},
			{"firehose":{`+role+`,"deliveryStreamName":"d","separator":"\n"}},
			{"cloudwatchMetric":{`+role+`,"metricNamespace":"n","metricName":"m","metricValue":"${n}","metricUnit":"None"}},
			{"cloudwatchAlarm":{`+role+`,"alarmName":"a","stateReason":"n is ${n}","stateValue":"ALARM"}},
			{"cloudwatchLogs":{`+role+`,"logGroupName":"g"}},
			{"stepFunctions":{`+role+`,"stateMachineName":"m","executionNamePrefix":"x-"}}]}`)))
	pub := s.publisher("c")
	const messages = 40
	if err := pub(0); err != nil {
		t.Fatal(err)
	}
	s.rule("All", func(v ruleState) bool { return v.Delivered == 8 })
	fake.control(`{"status":503}`) // the secret is remembered
	for i := 1; i < messages; i++ {
		if err := pub(i); err != nil {
			t.Fatal(err)
		}
	}
	fake.control(`{"delayMs":20}`)
	s.rule("All", func(v ruleState) bool { return v.Delivered == 8*messages && v.Waiting == 0 && v.Failed == 0 })
	got := accepted()
	for _, to := range []string{"sqs " + fake.url() + "/0/q", "sns " + arn + "sns:" + region + ":0:t", "lambda " + arn + "lambda:" + region + ":0:function:f", "firehose d",
		"monitoring n/m", "monitoring a", "logs g", "states " + arn + "states:" + region + ":" + account + ":stateMachine:m"} {
		have := make(map[string]bool)
		for _, b := range got[to] {
			have[b] = true
		}
		if len(have) != messages {
			t.Errorf("%s: %d of %d", to, len(have), messages)
		}
	}
	if b := got["logs g"]; len(b) == 0 || !strings.Contains(b[0], `"user":"u"`) {
		t.Errorf("%v", b)
	}
}

// publisher connects and publishes {"n":i} with QoS 1, connecting anew when it has to.
func (s *server) publisher(id string) func(i int) error {
	d := s.device(s.t, id, allowAll)
	var at *client.Client
	s.t.Cleanup(func() {
		if at != nil {
			at.Close(s.t.Context())
		}
	})
	return func(i int) error {
		if at != nil && at.Err() != nil {
			at.Close(ctx(s.t, time.Second))
			at = nil
		}
		if at == nil {
			config, err := d.tls(s)
			if err != nil {
				return err
			}
			if at, err = client.Dial(ctx(s.t, 5*time.Second), client.Options{Address: "127.0.0.1:" + strconv.Itoa(s.mqttPort), TLS: config, ClientID: id, CleanStart: true}); err != nil {
				at = nil
				return err
			}
		}
		_, err := at.Publish(ctx(s.t, 10*time.Second), client.Message{Topic: "n", QoS: 1, Payload: fmt.Appendf(nil, `{"id":"%s-%d","n":%d}`, id, i, i)})
		return err
	}
}

// TestRuleKilled kills DynamoDB and berth in turn under a load of QoS 1: every message that was
// acknowledged is a row.
func TestRuleKilled(t *testing.T) {
	outside(t)
	t.Parallel()
	dynamo := nodeService(t, "dynalite")
	s := startWith(t, append(slices.Clone(keys), "AWS_ENDPOINT_URL_DYNAMODB="+dynamo.url()))
	c := &cli{t: t, s: s, path: awsCLIs(t)[0]}
	dynamo.read(c, "dynamodb", "create-table", "--table-name", "rows", "--billing-mode", "PAY_PER_REQUEST",
		"--attribute-definitions", "AttributeName=id,AttributeType=S", "--key-schema", "AttributeName=id,KeyType=HASH")
	c.do("iot", "create-topic-rule", "--rule-name", "Rows", "--topic-rule-payload",
		`{"sql":"SELECT * FROM 'n'","awsIotSqlVersion":"2016-03-23","actions":[{"dynamoDBv2":{"roleArn":"r","putItem":{"tableName":"rows"}}}]}`)

	const writers = 4
	var acknowledged sync.Map
	var count atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range writers {
		id := "writer" + strconv.Itoa(w)
		publish := s.publisher(id)
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := publish(i); err != nil {
					time.Sleep(20 * time.Millisecond)
					continue
				}
				acknowledged.Store(id+"-"+strconv.Itoa(i), true)
				count.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		at := count.Load()
		if !within(30*time.Second, func() bool { return count.Load() >= at+n }) {
			t.Fatal("the writers do not get on")
		}
	}
	for range 4 {
		more(100)
		dynamo.kill()
		more(100) // acknowledged while the destination is gone
		s.kill()
		s.run()
		more(100)
		dynamo.run()
		more(50)
		s.kill()
		s.run()
	}
	close(stop)
	wg.Wait()
	s.rule("Rows", func(v ruleState) bool { return v.Waiting == 0 })
	rows := make(map[string]bool)
	for _, item := range dynamo.read(c, "dynamodb", "scan", "--table-name", "rows", "--projection-expression", "id")["Items"].([]any) {
		rows[item.(map[string]any)["id"].(map[string]any)["S"].(string)] = true
	}
	missing := 0
	acknowledged.Range(func(id, _ any) bool {
		if !rows[id.(string)] {
			missing++
		}
		return true
	})
	t.Logf("%d acknowledged, %d rows", count.Load(), len(rows))
	if missing > 0 {
		t.Errorf("%d of %d acknowledged messages are missing", missing, count.Load())
	}
	s.rule("Rows", func(v ruleState) bool { return v.Dead == 0 })
}
