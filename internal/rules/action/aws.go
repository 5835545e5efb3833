package action

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"
)

// awsTimeout bounds one request to AWS.
const awsTimeout = 15 * time.Second

// AWS has the configuration of AWS clients: credentials, and the endpoints of the variables
// AWS_ENDPOINT_URL_…, from the environment or ~/.aws.
type AWS struct {
	Region  string // where nothing says otherwise
	Account string // in ARNs that are made of names
	// Fixed, if set, is the configuration of every region.
	Fixed *aws.Config

	mu      sync.Mutex
	regions map[string]aws.Config
}

// config returns the configuration of a region; "" is the usual one.
func (a *AWS) config(ctx context.Context, region string) (aws.Config, error) {
	if a == nil {
		return aws.Config{}, errors.New("no access to AWS is configured")
	}
	if a.Fixed != nil {
		return *a.Fixed, nil
	}
	if region == "" {
		region = a.Region
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if cfg, ok := a.regions[region]; ok {
		return cfg, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithEC2IMDSClientEnableState(imds.ClientDisabled),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(awsTimeout)))
	if err != nil {
		return cfg, fmt.Errorf("no access to AWS is configured: %w", err)
	}
	if a.regions == nil {
		a.regions = make(map[string]aws.Config)
	}
	a.regions[region] = cfg
	return cfg, nil
}

// regionOfARN returns the region in an ARN, or "".
func regionOfARN(arn string) string {
	if part := strings.SplitN(arn, ":", 6); len(part) == 6 {
		return part[3]
	}
	return ""
}

// regionOfQueue returns the region in the URL of a queue of AWS, or "".
func regionOfQueue(queue string) string {
	u, err := url.Parse(queue)
	if err != nil {
		return ""
	}
	host, ok := strings.CutPrefix(u.Hostname(), "sqs.")
	if region, rest, _ := strings.Cut(host, "."); ok && strings.HasPrefix(rest, "amazonaws.com") {
		return region
	}
	return ""
}

// ownEndpoint reports whether requests to a service go to something other than AWS.
func ownEndpoint(service string) bool {
	return os.Getenv("AWS_ENDPOINT_URL_"+service) != "" || os.Getenv("AWS_ENDPOINT_URL") != ""
}

// failure tells refusals of a service from what a later try may get over.
func failure(kind string, err error) error {
	if err == nil {
		return nil
	}
	var op *smithy.OperationError
	if errors.As(err, &op) {
		err = op.Err
	}
	var answer interface {
		error
		HTTPStatusCode() int
	}
	said := fmt.Errorf("%s: %w", kind, err)
	if errors.As(err, &answer) && answer.HTTPStatusCode() >= 400 && answer.HTTPStatusCode() < 500 && answer.HTTPStatusCode() != http.StatusTooManyRequests &&
		!retry.NewStandard().IsErrorRetryable(err) {
		return Permanent(said)
	}
	return said
}
