package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// lambdas calls AWS Lambda functions, or what AWS_ENDPOINT_URL_LAMBDA names, with the AWS credentials
// of the environment or of ~/.aws. It implements hook.Lambda.
type lambdas struct {
	mu      sync.Mutex
	regions map[string]*lambda.Client
}

// Invoke implements hook.Lambda. function is the ARN of a function, perhaps with a version.
func (l *lambdas) Invoke(ctx context.Context, function string, request []byte) ([]byte, error) {
	parts := strings.SplitN(function, ":", 5) // arn:aws:lambda:REGION:…
	if len(parts) < 5 {
		return nil, fmt.Errorf("%s is not the ARN of a function", function)
	}
	client, err := l.client(ctx, parts[3])
	if err != nil {
		return nil, err
	}
	out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: request})
	if err != nil {
		return nil, err
	}
	if out.FunctionError != nil {
		return nil, fmt.Errorf("the function failed (%s): %.200s", *out.FunctionError, out.Payload)
	}
	return out.Payload, nil
}

func (l *lambdas) client(ctx context.Context, region string) (*lambda.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.regions[region]; c != nil {
		return c, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	if err == nil {
		_, err = cfg.Credentials.Retrieve(ctx)
	}
	if err != nil {
		return nil, errors.New("no access to AWS Lambda is configured: the server has no AWS credentials")
	}
	if l.regions == nil {
		l.regions = make(map[string]*lambda.Client)
	}
	l.regions[region] = lambda.NewFromConfig(cfg)
	return l.regions[region], nil
}
