package realclients

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// moto starts moto's server and returns its port.
func moto(t *testing.T) string {
	t.Helper()
	outside(t)
	if exec.Command("python3", "-c", "import moto.server").Run() != nil {
		t.Skip("moto is missing; install it with: pip install 'moto[server]'")
	}
	cmd := exec.Command("python3", "moto_serve.py")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("moto did not start: %v", err)
	}
	return strings.TrimSpace(line)
}

// moved is a report of berth import or export.
type moved struct {
	Kinds []struct {
		Kind                                                string
		Found, New, Same, Changed, Kept, Impossible, Failed int
	}
}

func (m *moved) sum() (found, made, same, other int) {
	for _, k := range m.Kinds {
		found, made, same, other = found+k.Found, made+k.New, same+k.Same, other+k.Changed+k.Kept+k.Impossible+k.Failed
	}
	return found, made, same, other
}

// TestMoto moves an account from moto to berth, and back to another region of moto.
func TestMoto(t *testing.T) {
	t.Parallel()
	port := moto(t)
	s := start(t)
	away := append(os.Environ(), "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	seed := exec.CommandContext(ctx(t, time.Minute), "python3", "moto_seed.py", port)
	seed.Env = away
	pem, err := seed.Output()
	if err != nil {
		t.Fatalf("fill moto: %v", err)
	}
	move := func(direction, region string, more ...string) (m moved) {
		t.Helper()
		cmd := exec.CommandContext(ctx(t, time.Minute), berth, append([]string{direction, "aws", "--data", s.dir, "--region", region,
			"--endpoint-url", "http://127.0.0.1:" + port, "-o", "json"}, more...)...)
		cmd.Env = away
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		if err := json.Unmarshal(out, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, step := range []struct {
		direction, region string
		more              []string
		made, same        int
	}{
		{"import", "eu-west-1", []string{"--dry-run"}, 15, 0},
		{"import", "eu-west-1", nil, 15, 0},
		{"import", "eu-west-1", nil, 0, 15},
		{"export", "us-west-2", nil, 15, 0},
		{"export", "us-west-2", nil, 0, 15},
		{"export", "eu-west-1", nil, 0, 15}, // where it came from
	} {
		m := move(step.direction, step.region, step.more...)
		if found, made, same, other := m.sum(); found != 15 || made != step.made || same != step.same || other != 0 {
			t.Errorf("%s %s %v: found %d, new %d, same %d, other %d", step.direction, step.region, step.more, found, made, same, other)
		}
	}
	// The device's certificate is the one that it had.
	principals, err := s.iot.ListThingPrincipals(t.Context(), &iot.ListThingPrincipalsInput{ThingName: aws.String("lamp")})
	if err != nil || len(principals.Principals) != 1 {
		t.Fatalf("principals of lamp: %v, %v", principals, err)
	}
	_, id, _ := strings.Cut(principals.Principals[0], "cert/")
	cert, err := s.iot.DescribeCertificate(t.Context(), &iot.DescribeCertificateInput{CertificateId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if got := *cert.CertificateDescription.CertificatePem; strings.TrimSpace(got) != strings.TrimSpace(string(pem)) || cert.CertificateDescription.Status != "ACTIVE" {
		t.Errorf("the certificate is %s\n%s\nwant\n%s", cert.CertificateDescription.Status, got, pem)
	}
}
