package action

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Lambda calls a function with the result.
type Lambda struct {
	FunctionARN string `json:"functionArn,omitempty"`
}

// Validate implements Action.
func (l *Lambda) Validate() error {
	if err := required("lambda", "functionArn", l.FunctionARN); err != nil {
		return err
	}
	if !strings.Contains(l.FunctionARN, "${") && !strings.Contains(l.FunctionARN, ":lambda:") {
		return refuse("lambda: %q is not the ARN of a function", l.FunctionARN)
	}
	return nil
}

// Destination implements Action.
func (l *Lambda) Destination() string { return l.FunctionARN }

// lambdaTimeout bounds a call. AWS does not wait for the function at all.
const lambdaTimeout = 30 * time.Second

// Do implements Action.
func (l *Lambda) Do(ctx context.Context, s *Services, m *Message) error {
	if m.Binary {
		return refuse("lambda: the result is not JSON")
	}
	if s.Lambda == nil {
		return refuse("lambda: no access to AWS Lambda is configured")
	}
	ctx, cancel := context.WithTimeout(ctx, lambdaTimeout)
	defer cancel()
	if _, err := s.Lambda.Invoke(ctx, l.FunctionARN, m.Payload); err != nil {
		return failure("lambda", fmt.Errorf("%s: %w", l.FunctionARN, err))
	}
	return nil
}
