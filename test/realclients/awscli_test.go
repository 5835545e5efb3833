package realclients

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// contains reports whether text has all the words.
func contains(text string, words ...string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// awsCLIs are the AWS CLIs on this machine: that on the path and that of the system's packages.
func awsCLIs(t *testing.T) []string {
	t.Helper()
	found := []string{program(t, "aws", "apt-get install awscli")}
	if _, err := os.Stat("/usr/bin/aws"); err == nil && found[0] != "/usr/bin/aws" {
		found = append(found, "/usr/bin/aws")
	}
	return found
}

// readsEndpoints matches the versions that read AWS_ENDPOINT_URL_IOT: 1.29 and 2.13.
var readsEndpoints = regexp.MustCompile(`^aws-cli/(1\.(29|[3-9][0-9])|2\.(1[3-9]|[2-9][0-9]))\.`)

// cli is one AWS CLI against one server.
type cli struct {
	t        *testing.T
	s        *server
	path     string
	endpoint bool // it must be told where the server is
}

func (c *cli) command(args ...string) *exec.Cmd {
	args = append(args, "--output", "json")
	if c.endpoint {
		args = append(args, "--endpoint-url", c.s.env["AWS_ENDPOINT_URL_IOT"])
	}
	cmd := exec.CommandContext(ctx(c.t, time.Minute), c.path, args...)
	cmd.Env = c.s.environ("AWS_PAGER=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	return cmd
}

// do runs a command that must succeed and returns its answer.
func (c *cli) do(args ...string) map[string]any {
	c.t.Helper()
	var stderr bytes.Buffer
	cmd := c.command(args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	answer := make(map[string]any)
	if len(bytes.TrimSpace(out)) > 0 {
		if err := json.Unmarshal(out, &answer); err != nil {
			c.t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return answer
}

// fail runs a command that must fail with an exception.
func (c *cli) fail(exception string, args ...string) {
	c.t.Helper()
	out, err := c.command(args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "("+exception+")") {
		c.t.Errorf("aws %s: %v, want %s\n%s", strings.Join(args, " "), err, exception, out)
	}
}

// want compares one value of an answer, named by a path such as things.0.thingName.
func (c *cli) want(answer any, path string, want any) {
	c.t.Helper()
	at := answer
	for name := range strings.SplitSeq(path, ".") {
		switch v := at.(type) {
		case map[string]any:
			at = v[name]
		case []any:
			if len(v) == 0 {
				at = nil
			} else {
				at = v[0]
			}
		}
	}
	if list, ok := at.([]any); ok {
		if n, ok := want.(int); ok {
			at, want = float64(len(list)), float64(n)
		}
	}
	if n, ok := want.(int); ok {
		want = float64(n)
	}
	if at != want {
		all, _ := json.Marshal(answer)
		c.t.Errorf("%s is %v, want %v in %s", path, at, want, all)
	}
}

// TestAWSCLI prepares a device the way the AWS documentation does, and one call of each group.
func TestAWSCLI(t *testing.T) {
	outside(t)
	for _, path := range awsCLIs(t) {
		version, err := exec.Command(path, "--version").Output()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.Fields(string(version))[0], func(t *testing.T) {
			t.Parallel()
			testAWSCLI(&cli{t, start(t), path, !readsEndpoints.Match(version)})
		})
	}
}

func testAWSCLI(c *cli) {
	arn := "arn:aws:iot:" + region + ":" + account + ":"
	c.want(c.do("iot", "describe-endpoint", "--endpoint-type", "iot:Data-ATS"), "endpointAddress", "localhost")

	c.do("iot", "create-thing-type", "--thing-type-name", "Kettle", "--thing-type-properties", "thingTypeDescription=boils,searchableAttributes=floor")
	c.want(c.do("iot", "create-thing", "--thing-name", "kettle", "--thing-type-name", "Kettle", "--attribute-payload", `{"attributes":{"floor":"2"}}`), "thingArn", arn+"thing/kettle")
	c.do("iot", "create-thing", "--thing-name", "toaster")
	thing := c.do("iot", "describe-thing", "--thing-name", "kettle")
	c.want(thing, "version", 1)
	c.want(thing, "attributes.floor", "2")
	c.want(thing, "defaultClientId", "kettle")
	c.do("iot", "update-thing", "--thing-name", "kettle", "--attribute-payload", `{"attributes":{"room":"a"},"merge":true}`, "--expected-version", "1")
	c.fail("VersionConflictException", "iot", "update-thing", "--thing-name", "kettle", "--remove-thing-type", "--expected-version", "1")
	c.want(c.do("iot", "list-things", "--page-size", "1"), "things", 2)
	c.want(c.do("iot", "list-things", "--thing-type-name", "Kettle"), "things.0.attributes.room", "a")
	c.fail("ResourceAlreadyExistsException", "iot", "create-thing", "--thing-name", "kettle")
	c.fail("ResourceNotFoundException", "iot", "describe-thing", "--thing-name", "nothing")

	c.do("iot", "create-thing-group", "--thing-group-name", "house")
	c.want(c.do("iot", "create-thing-group", "--thing-group-name", "kitchen", "--parent-group-name", "house"), "thingGroupArn", arn+"thinggroup/kitchen")
	c.do("iot", "add-thing-to-thing-group", "--thing-group-name", "kitchen", "--thing-name", "kettle")
	c.want(c.do("iot", "list-things-in-thing-group", "--thing-group-name", "house", "--recursive"), "things.0", "kettle")
	c.want(c.do("iot", "describe-thing-group", "--thing-group-name", "kitchen"), "thingGroupMetadata.parentGroupName", "house")
	c.fail("InvalidRequestException", "iot", "delete-thing-group", "--thing-group-name", "house")
	c.do("iot", "create-billing-group", "--billing-group-name", "rent")
	c.do("iot", "add-thing-to-billing-group", "--billing-group-name", "rent", "--thing-name", "kettle")
	c.want(c.do("iot", "list-things-in-billing-group", "--billing-group-name", "rent"), "things.0", "kettle")

	dir := c.t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	made := c.do("iot", "create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile", cert, "--private-key-outfile", key)
	certARN, id := made["certificateArn"].(string), made["certificateId"].(string)
	c.want(c.do("iot", "describe-certificate", "--certificate-id", id), "certificateDescription.status", "ACTIVE")
	c.want(c.do("iot", "list-certificates"), "certificates.0.certificateId", id)
	c.want(c.do("iot", "create-policy", "--policy-name", "all", "--policy-document", "file://"+write(c.t, "policy.json", []byte(allowAll))), "policyVersionId", "1")
	c.fail("MalformedPolicyException", "iot", "create-policy", "--policy-name", "bad", "--policy-document", "{}")
	c.want(c.do("iot", "create-policy-version", "--policy-name", "all", "--policy-document", allowAll, "--set-as-default"), "isDefaultVersion", true)
	c.do("iot", "attach-policy", "--policy-name", "all", "--target", certARN)
	c.do("iot", "attach-thing-principal", "--thing-name", "kettle", "--principal", certARN)
	c.want(c.do("iot", "list-attached-policies", "--target", certARN), "policies.0.policyName", "all")
	c.want(c.do("iot", "list-targets-for-policy", "--policy-name", "all"), "targets.0", certARN)
	c.want(c.do("iot", "list-thing-principals", "--thing-name", "kettle"), "principals.0", certARN)
	c.want(c.do("iot", "list-principal-things", "--principal", certARN), "things.0", "kettle")
	c.want(c.do("iot", "get-effective-policies", "--principal", certARN), "effectivePolicies.0.policyName", "all")
	c.want(c.do("iot", "test-authorization", "--principal", certARN, "--auth-infos", "actionType=CONNECT,resources="+arn+"client/kettle"), "authResults.0.authDecision", "ALLOWED")
	c.fail("DeleteConflictException", "iot", "delete-policy", "--policy-name", "all")
	c.fail("CertificateStateException", "iot", "delete-certificate", "--certificate-id", id)

	c.do("iot", "tag-resource", "--resource-arn", arn+"thinggroup/house", "--tags", "Key=owner,Value=me")
	c.want(c.do("iot", "list-tags-for-resource", "--resource-arn", arn+"thinggroup/house"), "tags.0.Value", "me")
	c.do("iot", "untag-resource", "--resource-arn", arn+"thinggroup/house", "--tag-keys", "owner")

	c.do("iot-data", "publish", "--topic", "kettle/state", "--qos", "1", "--retain", "--payload", "fileb://"+write(c.t, "payload", []byte(`{"on":true}`)))
	kept := c.do("iot-data", "get-retained-message", "--topic", "kettle/state")
	c.want(kept, "payload", "eyJvbiI6dHJ1ZX0=")
	c.want(c.do("iot-data", "list-retained-messages"), "retainedTopics.0.topic", "kettle/state")

	// The device that all this prepared connects.
	if pub, err := exec.LookPath("mosquitto_pub"); err == nil {
		d := &device{cert: cert, key: key}
		if out, err := exec.Command(pub, c.s.mosquitto(d, "kettle", "-q", "1", "-t", "kettle/state", "-m", "x")...).CombinedOutput(); err != nil {
			c.t.Errorf("mosquitto_pub: %v\n%s", err, out)
		}
	}

	c.do("iot", "update-certificate", "--certificate-id", id, "--new-status", "INACTIVE")
	c.do("iot", "detach-thing-principal", "--thing-name", "kettle", "--principal", certARN)
	c.do("iot", "delete-certificate", "--certificate-id", id, "--force-delete")
	c.do("iot", "delete-policy-version", "--policy-name", "all", "--policy-version-id", "1")
	c.do("iot", "delete-policy", "--policy-name", "all")
	c.do("iot", "delete-thing", "--thing-name", "kettle")
	c.want(c.do("iot", "list-things"), "things", 1)
}
