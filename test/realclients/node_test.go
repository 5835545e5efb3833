package realclients

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// sdkOptions is what the scripts under node/ are told; each says what it needs.
type sdkOptions struct {
	Version         int    `json:"version"`
	Host            string `json:"host"`
	Port            int    `json:"port"`
	CA              string `json:"ca"`
	ClientID        string `json:"clientId"`
	Cert            string `json:"cert,omitempty"`
	Key             string `json:"key,omitempty"`
	Region          string `json:"region,omitempty"`
	AccessKeyID     string `json:"accessKeyId,omitempty"`
	SecretAccessKey string `json:"secretAccessKey,omitempty"`
	Expect          string `json:"expect,omitempty"`
	Service         string `json:"service,omitempty"`
	TemplateName    string `json:"templateName,omitempty"`
	CSR             string `json:"csr,omitempty"`
	CSRKey          string `json:"csrKey,omitempty"`
	Dir             string `json:"dir,omitempty"`
}

// deviceSDK runs a script to its end; asked is called for each line it prints.
func deviceSDK(t *testing.T, script string, o sdkOptions, asked func(line string)) string {
	t.Helper()
	node := program(t, "node", "apt-get install nodejs npm")
	if _, err := os.Stat("node/node_modules/aws-iot-device-sdk-v2"); err != nil {
		t.Fatal("aws-iot-device-sdk-v2 is missing; install it with: npm ci --prefix test/realclients/node")
	}
	arg, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var stderr output
	cmd := exec.CommandContext(ctx(t, 2*time.Minute), node, script, string(arg))
	cmd.Dir = "node"
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		said = append(said, lines.Text())
		asked(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", script, arg, err, strings.Join(said, "\n"), stderr.String())
	}
	return strings.Join(said, "\n")
}

// restart restarts the server when a script asks for it.
func (s *server) restart(line string) {
	if line == "restart" {
		s.kill()
		s.run()
	}
}

// TestDeviceSDK runs the AWS IoT Device SDK for JavaScript v2: MQTT 3.1.1 and 5, over mutual TLS
// and over signed WebSockets.
func TestDeviceSDK(t *testing.T) {
	outside(t)
	for _, version := range []int{3, 5} {
		t.Run(fmt.Sprintf("mutual TLS/%d", version), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			arn := "arn:aws:iot:" + region + ":" + account + ":"
			d := s.device(t, "kettle", `{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Action":"iot:Connect","Resource":"`+arn+`client/kettle"},
				{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"`+arn+`topic/kettle/*"},
				{"Effect":"Allow","Action":"iot:Subscribe","Resource":"`+arn+`topicfilter/kettle/*"}]}`)
			o := sdkOptions{Version: version, Host: "localhost", Port: s.mqttPort, CA: s.ca(), ClientID: "kettle", Cert: d.cert, Key: d.key, Expect: "accepted"}
			deviceSDK(t, "client.mjs", o, s.restart)

			// MQTT on the HTTPS port, found by the application protocol that the SDK offers.
			o.Port = s.httpsPort
			deviceSDK(t, "client.mjs", o, s.restart)

			o.Port, o.ClientID, o.Expect = s.mqttPort, "toaster", "refused"
			if said := deviceSDK(t, "client.mjs", o, s.restart); version == 5 && said != "refused 135" {
				t.Errorf("not the reason code of Not authorized: %s", said)
			}
			stranger := selfMade(t)
			o.Cert, o.Key, o.ClientID = stranger.cert, stranger.key, "kettle"
			deviceSDK(t, "client.mjs", o, s.restart)
		})
		t.Run(fmt.Sprintf("signed WebSocket/%d", version), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			o := sdkOptions{Version: version, Host: "localhost", Port: s.httpsPort, CA: s.ca(), ClientID: "browser", Region: region,
				AccessKeyID: s.env["AWS_ACCESS_KEY_ID"], SecretAccessKey: s.env["AWS_SECRET_ACCESS_KEY"], Expect: "accepted"}
			deviceSDK(t, "client.mjs", o, s.restart)
			o.SecretAccessKey, o.Expect = strings.ToUpper(o.SecretAccessKey)+"x", "refused"
			deviceSDK(t, "client.mjs", o, s.restart)
		})
	}
}

// TestServiceClients runs the device SDK's clients for shadows, jobs and provisioning, both
// generations of them, over MQTT 3.1.1 and 5.
func TestServiceClients(t *testing.T) {
	outside(t)
	s := start(t)
	arn := "arn:aws:iot:" + region + ":" + account + ":"
	// thing is a device that may use its own reserved topics only.
	thing := func(t *testing.T, name, service string) *device {
		return s.device(t, name, `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"iot:Connect","Resource":"`+arn+`client/${iot:Connection.Thing.ThingName}"},
			{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"`+arn+`topic/$aws/things/${iot:Connection.Thing.ThingName}/`+service+`/*"},
			{"Effect":"Allow","Action":"iot:Subscribe","Resource":"`+arn+`topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/`+service+`/*"}]}`)
	}
	run := func(t *testing.T, version int, name, service string, d *device, o sdkOptions, asked func(string)) {
		o.Version, o.Host, o.Port, o.CA, o.ClientID, o.Cert, o.Key, o.Service = version, "localhost", s.mqttPort, s.ca(), name, d.cert, d.key, service
		deviceSDK(t, "services.mjs", o, asked)
	}
	ignore := func(string) {}
	for _, version := range []int{3, 5} {
		t.Run(fmt.Sprintf("shadow/%d", version), func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("shadow-%d", version)
			run(t, version, name, "shadow", thing(t, name, "shadow"), sdkOptions{}, ignore)
		})
		t.Run(fmt.Sprintf("jobs/%d", version), func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("jobs-%d", version)
			d := thing(t, name, "jobs")
			run(t, version, name, "jobs", d, sdkOptions{}, func(line string) {
				if id, ok := strings.CutPrefix(line, "create "); ok {
					document := `{"operation":"` + id + `"}`
					if _, err := s.iot.CreateJob(ctx(t, time.Minute), &iot.CreateJobInput{JobId: aws.String(id + "-" + name), Targets: []string{arn + "thing/" + name}, Document: &document}); err != nil {
						t.Error(err)
					}
				}
			})
			for id, status := range map[string]types.JobExecutionStatus{"update-1": types.JobExecutionStatusSucceeded, "update-2": types.JobExecutionStatusFailed} {
				out, err := s.iot.DescribeJobExecution(ctx(t, time.Minute), &iot.DescribeJobExecutionInput{JobId: aws.String(id + "-" + name), ThingName: &name})
				if err != nil {
					t.Fatal(err)
				}
				if out.Execution.Status != status {
					t.Errorf("%s is %s", id, out.Execution.Status)
				}
			}
		})
	}
	t.Run("identity", func(t *testing.T) {
		t.Parallel()
		body := `{"Parameters":{"SerialNumber":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
			"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Fn::Join":["",["fleet-",{"Ref":"SerialNumber"}]]}}},
			"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"ACTIVE"}},
			"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"fleet-device"}}},
			"DeviceConfiguration":{"url":"https://example.com"}}`
		s.policy(t, "fleet-device", allowAll)
		if _, err := s.iot.CreateProvisioningTemplate(ctx(t, time.Minute), &iot.CreateProvisioningTemplateInput{TemplateName: aws.String("fleet"), TemplateBody: &body,
			ProvisioningRoleArn: aws.String("arn:aws:iam::" + account + ":role/provision"), Enabled: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
		claim := s.device(t, "factory", `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
			{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["`+arn+`topic/$aws/certificates/create*","`+arn+`topic/$aws/provisioning-templates/fleet/provision/*"]},
			{"Effect":"Allow","Action":"iot:Subscribe","Resource":["`+arn+`topicfilter/$aws/certificates/create*","`+arn+`topicfilter/$aws/provisioning-templates/fleet/provision/*"]}]}`)
		for _, version := range []int{3, 5} {
			key, csr := signingRequest(t)
			run(t, version, fmt.Sprintf("factory-%d", version), "identity", claim, sdkOptions{TemplateName: "fleet", CSR: csr, CSRKey: key, Dir: t.TempDir()}, ignore)
		}
	})
}
