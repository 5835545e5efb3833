// Command awsfake stands for those services of AWS that nobody else imitates: it checks the signature
// and the form of each request, and keeps what it accepted.
//
//	awsfake FILE [ADDRESS]
//
// prints its port. FILE gets a line of JSON for every message accepted, before the answer:
// {"service": …, "to": …, "body": …}. PUT /control takes {"status": 503} to fail with, 0 for none, and
// {"delayMs": 1000} to be slow.
package main

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-iot/berth/sigv4"
)

// The access key that requests must be signed with.
const (
	accessKeyID = "S3RVER"
	secretKey   = "S3RVER"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: awsfake FILE [ADDRESS]")
	}
	address := "127.0.0.1:0"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	file, err := os.OpenFile(os.Args[1], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	f := &fake{file: file, verifier: sigv4.Verifier{Secret: func(id string) (string, bool) { return secretKey, id == accessKeyID }}}
	log.Fatal(http.Serve(l, f))
}

// record is a line of the file.
type record struct {
	Service string `json:"service"`
	To      string `json:"to"`
	Body    string `json:"body"`
}

type fake struct {
	verifier sigv4.Verifier
	mu       sync.Mutex
	file     *os.File
	control  control
}

type control struct {
	Status  int `json:"status"`
	DelayMs int `json:"delayMs"`
}

var errForm = errors.New("the request is not as the service wants it")

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == "/control" {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.control = control{}
		if err := json.Unmarshal(body, &f.control); err != nil {
			w.WriteHeader(400)
		}
		return
	}
	f.mu.Lock()
	now := f.control
	f.mu.Unlock()
	time.Sleep(time.Duration(now.DelayMs) * time.Millisecond)
	if now.Status != 0 {
		w.WriteHeader(now.Status)
		return
	}
	who, err := f.verifier.Verify(r, body)
	if err != nil {
		w.Header().Set("X-Amzn-ErrorType", "InvalidSignatureException")
		w.WriteHeader(403)
		fmt.Fprintf(w, `{"message":%q}`, err)
		return
	}
	answer, list, err := accept(who.Service, r, body)
	if err == nil {
		err = f.keep(list)
	}
	if err != nil {
		w.Header().Set("X-Amzn-ErrorType", "ValidationException")
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"message":%q}`, err)
		return
	}
	io.WriteString(w, answer)
}

func (f *fake) keep(list []record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []byte
	for _, x := range list {
		b, err := json.Marshal(x)
		if err != nil {
			return err
		}
		lines = append(append(lines, b...), '\n')
	}
	_, err := f.file.Write(lines)
	return err
}

// accept reads a request of a service; it returns the answer and what to keep.
func accept(service string, r *http.Request, body []byte) (answer string, list []record, err error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	one := func(answer, to, body string) (string, []record, error) {
		if to == "" || body == "" {
			return "", nil, errForm
		}
		return answer, []record{{service, to, body}}, nil
	}
	switch service {
	case "sqs":
		return queue(operation, body)
	case "firehose":
		return firehose(operation, body)
	case "logs":
		return logs(operation, body)
	case "lambda":
		rest, found := strings.CutPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/")
		name, call, _ := strings.Cut(rest, "/")
		if name, _ = url.PathUnescape(name); !found || call != "invocations" || !json.Valid(body) {
			return "", nil, errForm
		}
		return one(`{}`, name, string(body))
	case "states":
		var in struct{ StateMachineArn, Name, Input string }
		if json.Unmarshal(body, &in) != nil || operation != "StartExecution" || in.Name == "" || !json.Valid([]byte(in.Input)) {
			return "", nil, errForm
		}
		return one(`{"executionArn":"arn","startDate":1}`, in.StateMachineArn, in.Input)
	case "secretsmanager":
		return `{"Name":"s","SecretString":"{\"user\":\"u\"}"}`, nil, nil
	case "sns", "monitoring":
		in, err := url.ParseQuery(string(body))
		if err != nil {
			return "", nil, err
		}
		return query(in, one)
	}
	return "", nil, fmt.Errorf("no service %q", service)
}

// query reads requests of the query protocol.
func query(in url.Values, one func(answer, to, body string) (string, []record, error)) (string, []record, error) {
	envelope := func(name, inner string) string {
		return "<" + name + "Response><" + name + "Result>" + inner + "</" + name + "Result></" + name + "Response>"
	}
	switch action := in.Get("Action"); action {
	case "Publish":
		return one(envelope(action, "<MessageId>1</MessageId>"), in.Get("TargetArn"), in.Get("Message"))
	case "PutMetricData":
		answer, list := envelope(action, ""), []record(nil)
		for i := 1; in.Has("MetricData.member." + strconv.Itoa(i) + ".MetricName"); i++ {
			p := "MetricData.member." + strconv.Itoa(i) + "."
			if _, err := strconv.ParseFloat(in.Get(p+"Value"), 64); err != nil {
				return "", nil, err
			}
			if _, err := time.Parse(time.RFC3339, in.Get(p+"Timestamp")); err != nil {
				return "", nil, err
			}
			list = append(list, record{"monitoring", in.Get("Namespace") + "/" + in.Get(p+"MetricName"), in.Get(p + "Value")})
		}
		return answer, list, nil
	case "SetAlarmState":
		return one(envelope(action, ""), in.Get("AlarmName"), in.Get("StateValue")+" "+in.Get("StateReason"))
	}
	return "", nil, errForm
}

func queue(operation string, body []byte) (string, []record, error) {
	var in struct {
		QueueURL    string `json:"QueueUrl"`
		MessageBody string
		Entries     []struct{ ID, MessageBody string }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return "", nil, err
	}
	type sent struct {
		ID  string `json:"Id,omitempty"`
		MD5 string `json:"MD5OfMessageBody"`
		Msg string `json:"MessageId"`
	}
	sum := func(text string) string {
		s := md5.Sum([]byte(text))
		return hex.EncodeToString(s[:])
	}
	switch operation {
	case "SendMessage":
		b, err := json.Marshal(sent{"", sum(in.MessageBody), "1"})
		return string(b), []record{{"sqs", in.QueueURL, in.MessageBody}}, err
	case "SendMessageBatch":
		if n := len(in.Entries); n == 0 || n > 10 {
			return "", nil, fmt.Errorf("%d entries", n)
		}
		var out struct{ Successful []sent }
		var list []record
		for _, e := range in.Entries {
			out.Successful = append(out.Successful, sent{e.ID, sum(e.MessageBody), "1"})
			list = append(list, record{"sqs", in.QueueURL, e.MessageBody})
		}
		b, err := json.Marshal(out)
		return string(b), list, err
	}
	return "", nil, errForm
}

func firehose(operation string, body []byte) (string, []record, error) {
	var in struct {
		DeliveryStreamName string
		Records            []struct{ Data []byte }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return "", nil, err
	}
	if n := len(in.Records); operation != "PutRecordBatch" || n == 0 || n > 500 || in.DeliveryStreamName == "" {
		return "", nil, errForm
	}
	var list []record
	for _, x := range in.Records {
		list = append(list, record{"firehose", in.DeliveryStreamName, string(x.Data)})
	}
	return `{"FailedPutCount":0,"RequestResponses":[` + strings.TrimSuffix(strings.Repeat(`{"RecordId":"1"},`, len(list)), ",") + `]}`, list, nil
}

func logs(operation string, body []byte) (string, []record, error) {
	var in struct {
		LogGroupName, LogStreamName string
		LogEvents                   []struct {
			Timestamp int64
			Message   string
		}
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return "", nil, err
	}
	if operation != "PutLogEvents" || in.LogGroupName == "" || in.LogStreamName == "" || len(in.LogEvents) == 0 {
		return "", nil, errForm
	}
	var list []record
	for i, e := range in.LogEvents {
		if i > 0 && e.Timestamp < in.LogEvents[i-1].Timestamp || e.Message == "" {
			return "", nil, errors.New("events are not in the order of time")
		}
		list = append(list, record{"logs", in.LogGroupName, e.Message})
	}
	return `{"nextSequenceToken":"1"}`, list, nil
}
