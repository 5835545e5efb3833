package action

import (
	"context"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// SNS sends a push notification.
type SNS struct {
	TargetARN     string `json:"targetArn,omitempty"`
	RoleARN       string `json:"roleArn,omitempty"`
	MessageFormat string `json:"messageFormat,omitempty"` // RAW (default) or JSON
}

// Validate implements Action.
func (n *SNS) Validate() error {
	if err := required("sns", "targetArn", n.TargetARN, "roleArn", n.RoleARN); err != nil {
		return err
	}
	if f := n.MessageFormat; f != "" && f != "RAW" && f != "JSON" {
		return refuse("sns: messageFormat is %q, not RAW or JSON", f)
	}
	return nil
}

// Destination implements Action.
func (n *SNS) Destination() string { return n.TargetARN }

// Do implements Action.
func (n *SNS) Do(ctx context.Context, s *Services, m *Message) error {
	if !utf8.Valid(m.Payload) {
		return refuse("sns: the result is not UTF-8")
	}
	cfg, err := s.AWS.config(ctx, regionOfARN(n.TargetARN))
	if err != nil {
		return failure("sns", err)
	}
	in := &sns.PublishInput{TargetArn: &n.TargetARN, Message: aws.String(string(m.Payload))}
	if n.MessageFormat == "JSON" {
		in.MessageStructure = aws.String("json")
	}
	_, err = sns.NewFromConfig(cfg).Publish(ctx, in)
	return failure("sns", err)
}
