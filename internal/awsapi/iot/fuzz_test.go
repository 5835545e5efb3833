package iot_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/awsapi/iot"
)

// FuzzOperation sends any body, query and label to any operation of the control plane: whatever
// comes, the answer is never an internal failure.
func FuzzOperation(f *testing.F) {
	a := newAPI(f)
	done := iot.Operations(iot.Config{}).Handlers
	operations := slices.DeleteFunc(awsapi.Operations(), func(op awsapi.Operation) bool {
		// Making keys is slow and takes no outside bytes.
		return op.Service != awsapi.IoT || done[op.Name] == nil || op.Name == "CreateKeysAndCertificate"
	})
	bodies := []string{``, `{`, `[]`, `{"attributePayload":{"attributes":{"a":"b"},"merge":true}}`,
		`{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[]}"}`, `{"target":"arn:aws:iot:us-east-1:000000000000:cert/x"}`,
		`{"authInfos":[{"actionType":"PUBLISH","resources":["*"]}]}`, `{"resourceArn":"arn:aws:iot:us-east-1:000000000000:policy/p","tags":[{"Key":"a"}]}`,
		`{"thingGroupName":"g","thingArn":"arn:aws:iot:us-east-1:000000000000:thing/"}`, `{"thingGroupProperties":null}`, `{"certificatePem":"-----BEGIN CERTIFICATE-----"}`}
	for i := range operations {
		f.Add(i, "name", "maxResults=1&nextToken=AA==", bodies[i%len(bodies)])
	}
	f.Fuzz(func(t *testing.T, n int, label, query, body string) {
		op := operations[(n%len(operations)+len(operations))%len(operations)]
		path := op.Path
		for {
			before, rest, ok := strings.Cut(path, "{")
			if !ok {
				break
			}
			_, after, _ := strings.Cut(rest, "}")
			path = before + label + after
			if strings.Contains(label, "{") {
				return
			}
		}
		req, err := http.NewRequest(op.Method, a.url+path+"?"+query, strings.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAADMIN00000000000/20260101/us-east-1/iot/aws4_request")
		for _, name := range []string{"x-amzn-principal", "x-amzn-iot-principal", "x-amzn-iot-policy"} {
			req.Header.Set(name, strings.Map(func(c rune) rune {
				if c < ' ' || c == 0x7f {
					return -1
				}
				return c
			}, label))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode == http.StatusInternalServerError {
			t.Errorf("%s %q %q: %s", op.Name, path, body, text)
		}
	})
}
