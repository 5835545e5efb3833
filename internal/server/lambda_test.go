package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

func TestLambda(t *testing.T) {
	t.Parallel()
	const function = "arn:aws:lambda:eu-west-1:000000000000:function:decide"
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/2015-03-31/functions/"+function+"/invocations" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
			w.WriteHeader(404)
			return
		}
		if string(body) == `{"fail":true}` {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
			io.WriteString(w, `{"errorMessage":"no"}`)
			return
		}
		w.Write(body)
	}))
	t.Cleanup(service.Close)
	l := &lambdas{regions: map[string]*lambda.Client{"eu-west-1": lambda.New(lambda.Options{Region: "eu-west-1", BaseEndpoint: aws.String(service.URL),
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})}}
	if out, err := l.Invoke(context.Background(), function, []byte(`{"a":1}`)); err != nil || string(out) != `{"a":1}` {
		t.Errorf("%s %v", out, err)
	}
	if _, err := l.Invoke(context.Background(), function, []byte(`{"fail":true}`)); err == nil || !strings.Contains(err.Error(), "Unhandled") {
		t.Error(err)
	}
	if _, err := l.Invoke(context.Background(), "arn:aws:lambda", nil); err == nil {
		t.Error("called half an ARN")
	}
}
