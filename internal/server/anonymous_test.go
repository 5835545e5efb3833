package server_test

import (
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// TestPlainPolicyChanges: a change of the policy of plain connections holds for those that are there.
func TestPlainPolicyChanges(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := f.connect(nil, "c", mqtt.V5)
	c.pub(1, "t", "x")
	f.api("POST", "/policies/plain/version?setAsDefault=true", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`}, nil)
	eventually(t, "the changed policy holds", func() bool { return c.tryPub(1, "t") == mqtt.NotAuthorized })
}
