package realclients

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// migrationACL has rules of every sort.
const migrationACL = `topic read public/#
topic write inbox/+
user root
topic #
user anna
topic read house/#
topic write house/+/set
topic deny house/secret/#
user bert
topic readwrite lab/+/temp
topic read 100%c/*
user gone
topic #
pattern readwrite dev/%c/#
pattern read home/%u/+
`

// migrated are the logins of the folder; nobody is the anonymous client.
var migrated = map[string]string{"root": "r00t", "anna": "geheim", "bert": "s e c r e t", "cleo": "pw:with:colons"}

// mosquittoFolder makes a folder with configuration, users and rules, and returns its configuration.
func mosquittoFolder(t *testing.T, port int) string {
	t.Helper()
	dir := t.TempDir()
	passwd := program(t, "mosquitto_passwd", "apt-get install mosquitto")
	for i, name := range slices.Sorted(maps.Keys(migrated)) {
		args := []string{"-b", filepath.Join(dir, "passwd"), name, migrated[name]}
		if i == 0 {
			args = append([]string{"-c"}, args...)
		}
		if name == "bert" {
			args = append([]string{"-H", "sha512"}, args...)
		}
		if out, err := exec.Command(passwd, args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd %v: %v\n%s", args, err, out)
		}
	}
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npassword_file %s/passwd\nacl_file %s/acl\nuser root\n", port, dir, dir)
	for name, text := range map[string]string{"acl": migrationACL, "mosquitto.conf": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "mosquitto.conf")
}

// login are the options of a client: its user, after a colon its password if not the right one, after an
// at sign its client identifier.
func login(port int, who string) []string {
	who, id, _ := strings.Cut(who, "@")
	name, password, wrong := strings.Cut(who, ":")
	args := []string{"-h", "127.0.0.1", "-p", strconv.Itoa(port), "-V", "mqttv5", "-i", id}
	if name == "" {
		return args
	}
	if !wrong {
		password = migrated[name]
	}
	return append(args, "-u", name, "-P", password)
}

// listening is a mosquitto_sub that collects topics and payloads.
type listening struct {
	cmd   *exec.Cmd
	lines chan string
}

// hear subscribes to everything.
func hear(t *testing.T, port int, who string) *listening {
	t.Helper()
	args := append([]string{"-oL", program(t, "mosquitto_sub", installMosquitto), "-d", "-q", "1", "-t", "#", "-F", "got %t %p"}, login(port, who)...)
	l := &listening{exec.Command("stdbuf", args...), make(chan string, 1000)}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.cmd.Stderr = l.cmd.Stdout
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.cmd.Process.Kill()
		l.cmd.Wait()
	})
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			l.lines <- s.Text()
		}
		close(l.lines)
	}()
	l.until(t, who, "received SUBACK")
	return l
}

// until returns what came before a line that holds some words.
func (l *listening) until(t *testing.T, who, words string) (got []string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-l.lines:
			if !ok {
				t.Fatalf("%s: mosquitto_sub ended before %q; it had %q", who, words, got)
			}
			if strings.Contains(line, words) {
				return got
			}
			if m, ok := strings.CutPrefix(line, "got "); ok {
				got = append(got, m)
			}
		case <-deadline:
			t.Fatalf("%s: no %q; got %q", who, words, got)
		}
	}
}

// behaviour makes the same calls against any broker and returns what came of each.
func behaviour(t *testing.T, port int) map[string]string {
	t.Helper()
	pub := program(t, "mosquitto_pub", installMosquitto)
	say := func(who, topic, payload string) error {
		return exec.CommandContext(ctx(t, 15*time.Second), pub, append(login(port, who), "-q", "1", "-t", topic, "-m", payload)...).Run()
	}
	out := make(map[string]string)

	// What gets through, as one sees who may read everything.
	root := hear(t, port, "root@root")
	calls := [][2]string{
		{"anna@a1", "house/kitchen/set"}, {"anna@a1", "house/kitchen/lamp/set"}, {"anna@a1", "house/kitchen"}, {"anna@a1", "house/secret/set"},
		{"anna@a1", "dev/a1/x/y"}, {"anna@a1", "dev/a1"}, {"anna@a1", "dev/a2/x"}, {"anna@a1", "public/x"}, {"anna@a1", "inbox/x"},
		{"bert@b1", "lab/1/temp"}, {"bert@b1", "lab/1/2/temp"}, {"bert@b1", "lab/temp"}, {"bert@b1", "house/1/set"},
		{"cleo@c1", "dev/c1/x"}, {"cleo@c1", "lab/1/temp"}, {"cleo@c1", "home/cleo/x"},
		{"@n1", "inbox/x"}, {"@n1", "inbox/x/y"}, {"@n1", "inbox"}, {"@n1", "public/x"}, {"@n1", "dev/n1/x"}, {"@n1", "dev/n2/x"},
		{"anna:wrong@a1", "dev/a1/x"}, {"gone:pw@g1", "dev/g1/x"}, {"anna:@a1", "dev/a1/x"},
	}
	for i, c := range calls {
		if err := say(c[0], c[1], "call"+strconv.Itoa(i)); err != nil {
			out[c[0]+" publishes "+c[1]] = "failed"
		}
	}
	if err := say("root@r2", "the/end", "end"); err != nil {
		t.Fatal(err)
	}
	through := root.until(t, "root", "got the/end end")
	for i, c := range calls {
		key := c[0] + " publishes " + c[1]
		if slices.Contains(through, c[1]+" call"+strconv.Itoa(i)) {
			out[key] = "through"
		} else if out[key] == "" || !strings.Contains(c[0], ":") {
			out[key] = "refused"
		}
	}

	// What each may read of what is said. The last topic is one that all of them may.
	topics := []string{"public/a", "public", "house/1", "house", "house/secret", "house/secret/1", "house/1/set", "lab/1/temp", "lab/1/2/temp",
		"home/anna/1", "home/anna/1/2", "home/cleo/1", "home/root", "dev/a1/1", "dev/b1", "100%c/*", "100b1/x", "100%c/x", "x"}
	for _, who := range []string{"anna@a1", "bert@b1", "cleo@c1", "@n1", "root@r3"} {
		l := hear(t, port, who)
		for _, topic := range topics {
			if err := say("root@r2", topic, "said"); err != nil {
				t.Fatal(err)
			}
		}
		_, id, _ := strings.Cut(who, "@")
		if err := say("root@r2", "dev/"+id+"/end", "end"); err != nil {
			t.Fatal(err)
		}
		got := l.until(t, who, "got dev/"+id+"/end end")
		slices.Sort(got)
		out[who+" reads"] = strings.ReplaceAll(strings.Join(got, ","), " said", "")
	}
	return out
}

// TestMosquittoMigration: the same calls have the same results with Mosquitto and with the berth that its
// folder was imported into.
func TestMosquittoMigration(t *testing.T) {
	t.Parallel()
	path := program(t, "mosquitto", "apt-get install mosquitto")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	conf := mosquittoFolder(t, port)
	broker := exec.Command(path, "-c", conf)
	log := new(output)
	broker.Stderr = log
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	defer broker.Wait()
	defer broker.Process.Kill()
	if !within(10*time.Second, func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		t.Fatalf("mosquitto did not start:\n%s", log.tail(20))
	}
	want := behaviour(t, port)
	for call, result := range map[string]string{
		"anna@a1 publishes house/kitchen/set": "through", "anna@a1 publishes house/secret/set": "refused", "anna:wrong@a1 publishes dev/a1/x": "failed",
		"cleo@c1 reads": "home/cleo/1", "@n1 reads": "public,public/a",
	} {
		if want[call] != result {
			t.Errorf("mosquitto: %s: %s, want %s", call, want[call], result)
		}
	}

	s := start(t, "--mqtt-plain", "127.0.0.1:0", "--plain-policy", "mosquitto-anonymous", "--semantics", "mqtt")
	yaml := filepath.Join(t.TempDir(), "berth.yaml")
	first := s.berth("import", "mosquitto", "--config", conf, "--data", s.dir, "--out", yaml)
	if strings.Count(first, " new") != 9 {
		t.Errorf("the import reports:\n%s", first)
	}
	if again := s.berth("import", "mosquitto", "--config", conf, "--data", s.dir, "--out", yaml); strings.Count(again, " same") != 9 {
		t.Errorf("the second import reports:\n%s", again)
	}
	if b, err := os.ReadFile(yaml); err != nil || !strings.Contains(string(b), "plain-policy: mosquitto-anonymous\n") ||
		!strings.Contains(string(b), fmt.Sprintf("mqtt-plain: \"127.0.0.1:%d\"\n", port)) {
		t.Errorf("configuration: %v\n%s", err, b)
	}
	have := behaviour(t, s.plainPort)
	for _, call := range slices.Sorted(maps.Keys(want)) {
		if have[call] != want[call] {
			t.Errorf("%s: %s with berth, %s with mosquitto", call, have[call], want[call])
		}
	}
	t.Logf("%d results compared", len(want))
}
