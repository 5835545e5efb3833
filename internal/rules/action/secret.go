package action

import (
	"context"
	"encoding/base64"
	"fmt"
)

var secretsService = &service{"Secrets Manager", "secretsmanager", "secretsmanager", "secretsmanager", json11}

// Secret reads a secret of AWS Secrets Manager; kind is SecretString, or SecretBinary, which comes in
// base64.
func (a *AWS) Secret(ctx context.Context, id, kind string) (string, error) {
	var out struct {
		SecretString *string
		SecretBinary []byte
	}
	if err := a.ask(ctx, secretsService, "GetSecretValue", map[string]string{"SecretId": id}, &out); err != nil {
		return "", fmt.Errorf("secret %q: %w", id, err)
	}
	switch {
	case kind == "SecretString" && out.SecretString != nil:
		return *out.SecretString, nil
	case kind == "SecretBinary" && out.SecretBinary != nil:
		return base64.StdEncoding.EncodeToString(out.SecretBinary), nil
	}
	return "", fmt.Errorf("secret %q has no %s", id, kind)
}
