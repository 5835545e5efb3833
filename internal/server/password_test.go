package server_test

import (
	"testing"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/mqtt"
)

// TestPasswordUsers: users log in with and without TLS, are ruled by their policies as these are now, and
// lose their connections with their accounts.
func TestPasswordUsers(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) { c.PlainPolicy = "anyone" })
	f.api("POST", "/policies/users", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"` + arn + `topic/home/${berth:UserName}/*"}]}`}, nil)
	anna := func(id string, change ...func(*client.Options)) client.Options {
		o := client.Options{ClientID: id, CleanStart: true, UserName: "anna", Password: []byte("geheim")}
		for _, c := range change {
			c(&o)
		}
		return o
	}
	if _, err := f.dial(nil, anna("early")); code(err) != mqtt.NotAuthorized {
		t.Errorf("before there are users: %v", err)
	}
	f.api("PUT", "/berth/users/anna", map[string]any{"password": "geheim", "policies": []string{"users", "not-there"}}, nil)
	for name, c := range map[string]struct {
		change func(*client.Options)
		want   mqtt.ReasonCode
	}{
		"wrong password":    {func(o *client.Options) { o.Password = []byte("x") }, mqtt.BadUserNameOrPassword},
		"no password":       {func(o *client.Options) { o.Password = nil }, mqtt.BadUserNameOrPassword},
		"unknown":           {func(o *client.Options) { o.UserName = "bert" }, mqtt.BadUserNameOrPassword},
		"3.1.1":             {func(o *client.Options) { o.Version, o.Password = mqtt.V311, []byte("x") }, 4},
		"anonymous, denied": {func(o *client.Options) { o.UserName, o.Password = "", nil }, mqtt.NotAuthorized},
	} {
		if _, err := f.dial(nil, anna("c", c.change)); code(err) != c.want {
			t.Errorf("%s without TLS: %v, want %#x", name, err, c.want)
		}
		if _, err := f.login(anna("c", c.change)); code(err) != c.want {
			t.Errorf("%s with TLS: %v, want %#x", name, err, c.want)
		}
	}
	plain, err := f.dial(nil, anna("plain"))
	if err != nil {
		t.Fatal(err)
	}
	secure, err := f.login(anna("secure"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*conn{plain, secure} {
		if got := c.tryPub(1, "home/anna/x"); got != 0 && got != mqtt.NoMatchingSubscribers {
			t.Errorf("publish to the user's own topic: %#x", got)
		}
		if got := c.tryPub(1, "home/bert/x"); got != mqtt.NotAuthorized {
			t.Errorf("publish to another's topic: %#x", got)
		}
	}
	f.api("POST", "/policies/users/version?setAsDefault=true", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`}, nil)
	eventually(t, "the changed policy holds", func() bool { return plain.tryPub(1, "home/anna/x") == mqtt.NotAuthorized })
	f.api("DELETE", "/berth/users/anna", nil, nil)
	for _, c := range []*conn{plain, secure} {
		select {
		case <-c.Done():
		case <-t.Context().Done():
			t.Error("a removed user stays connected")
		}
	}
	if status, _ := f.request("DELETE", "/berth/users/anna", nil); status != 404 {
		t.Errorf("delete again: %d", status)
	}
	if status, _ := f.request("PUT", "/berth/users/anna", map[string]any{"policies": []string{"users"}}); status != 400 {
		t.Errorf("a new user without password: %d", status)
	}
}

// TestGuessedPasswords: who guesses waits, even with the right one at last; other users do not.
func TestGuessedPasswords(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("POST", "/policies/users", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`}, nil)
	for _, name := range []string{"anna", "bert"} {
		f.api("PUT", "/berth/users/"+name, map[string]any{"password": "geheim", "policies": []string{"users"}}, nil)
	}
	try := func(user, password string) mqtt.ReasonCode {
		c, err := f.login(client.Options{ClientID: "c-" + user, CleanStart: true, UserName: user, Password: []byte(password)})
		if err == nil {
			c.Close(t.Context())
		}
		return code(err)
	}
	for range 12 {
		try("anna", "guess")
	}
	if got := try("anna", "geheim"); got != mqtt.BadUserNameOrPassword {
		t.Errorf("after many guesses the right password: %#x", got)
	}
	if got := try("bert", "geheim"); got != mqtt.Success {
		t.Errorf("another user: %#x", got)
	}
}
