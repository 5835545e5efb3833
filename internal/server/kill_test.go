package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/backup"
	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/mqtt"
)

// killChild is the variable that makes this test binary a server to be killed.
const killChild = "BERTH_TEST_KILL_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(killChild); text != "" {
		cfg := server.Defaults()
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			panic(err)
		}
		err := server.Run(context.Background(), cfg, slog.New(slog.DiscardHandler), func(server.Ready) { fmt.Println("ready") })
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if text := os.Getenv(backupChild); text != "" {
		cfg := server.Defaults()
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			panic(err)
		}
		if _, err := backup.Create(context.Background(), cfg.Source(), os.Getenv(backupFile), backup.Options{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// backupChild is the variable that makes this test binary a backup, to backupFile.
const (
	backupChild = "BERTH_TEST_BACKUP_CHILD"
	backupFile  = "BERTH_TEST_BACKUP_FILE"
)

// backupProcess starts a backup in a process of its own.
func backupProcess(t *testing.T, cfg server.Config, path string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), backupChild+"="+string(text), backupFile+"="+path)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// victim is a server process.
type victim struct {
	*fixture
	cmd *exec.Cmd
}

func (v *victim) start() {
	v.t.Helper()
	text, err := json.Marshal(v.cfg)
	if err != nil {
		v.t.Fatal(err)
	}
	os.Remove(filepath.Join(v.dir, "endpoint.json"))
	v.cmd = exec.Command(os.Args[0])
	v.cmd.Env = append(os.Environ(), killChild+"="+string(text))
	v.cmd.Stderr = os.Stderr
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	eventually(v.t, "the server is ready", func() bool {
		b, err := os.ReadFile(filepath.Join(v.dir, "endpoint.json"))
		return err == nil && json.Unmarshal(b, &v.Server.Ready) == nil
	})
}

func (v *victim) ready() bool {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", v.Ready.HTTPPort))
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (v *victim) kill() {
	v.cmd.Process.Kill()
	v.cmd.Wait()
}

// TestKill kills the server again and again under a writer that registers things and publishes to
// an offline persistent session. What was acknowledged must be there afterwards, in order.
func TestKill(t *testing.T) {
	t.Parallel()
	testKill(t, "", 20, nil)
}

// TestKillInPostgres is the same with the state in PostgreSQL.
func TestKillInPostgres(t *testing.T) {
	t.Parallel()
	var cluster postgrestest.Cluster
	t.Cleanup(cluster.Stop)
	testKill(t, cluster.Database(t), 10, nil)
}

// TestPostgresKilled kills PostgreSQL instead; the server stays.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	var cluster postgrestest.Cluster
	t.Cleanup(cluster.Stop)
	testKill(t, cluster.Database(t), 10, func() {
		cluster.Kill(t)
		cluster.Start(t)
	})
}

// testKill kills the server, or has strike do something else.
func testKill(t *testing.T, database string, rounds int, strike func()) {
	if testing.Short() {
		rounds = 3
	}
	v := &victim{fixture: &fixture{t: t, dir: t.TempDir(), cfg: server.Defaults(), Server: &server.Server{}}}
	v.cfg.Data, v.cfg.PlainPolicy, v.cfg.Semantics = v.dir, "plain", "mqtt"
	v.cfg.Database = database
	if database == "" {
		v.cfg.Database = storetest.URL(t, v.dir)
	}
	v.cfg.MQTT, v.cfg.HTTPS, v.cfg.HTTP, v.cfg.MQTTPlain = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	v.cfg.AdminKeyID, v.cfg.AdminSecret = adminID, adminSecret
	v.start()
	defer func() { v.kill() }()
	v.api("POST", "/policies/plain", map[string]string{"policyDocument": allowAll}, nil)
	s := v.connect(nil, "offline", mqtt.V311, persistent)
	s.sub(1, "q/#")
	s.bye()

	var things, messages []string // acknowledged
	retainedValue := ""
	next := 0
	for round := range rounds {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("thing-%d-%d", round, i)
				if v.tryCreate(name) {
					mu.Lock()
					things = append(things, name)
					mu.Unlock()
				}
			}
		})
		c, err := v.dial(nil, client.Options{ClientID: "writer", Version: mqtt.V311, CleanStart: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 8 { // several in flight
			wg.Go(func() {
				for {
					mu.Lock()
					n := next
					next++
					mu.Unlock()
					ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
					_, err := c.Publish(ctx, client.Message{Topic: "q/m", Payload: []byte(fmt.Sprint(n)), QoS: 1})
					cancel()
					if err != nil {
						return
					}
					mu.Lock()
					messages = append(messages, fmt.Sprint(n))
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			for i := 0; ; i++ {
				value := fmt.Sprint(round, "-", i)
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				_, err := c.Publish(ctx, client.Message{Topic: "state", Payload: []byte(value), QoS: 1, Retain: true})
				cancel()
				if err != nil {
					return
				}
				mu.Lock()
				retainedValue = value
				mu.Unlock()
			}
		})
		time.Sleep(time.Duration(30+17*round%100) * time.Millisecond)
		if strike != nil {
			strike()
		} else {
			v.kill()
		}
		close(stop)
		c.bye()
		wg.Wait()
		if strike == nil {
			v.start()
		} else {
			eventually(t, "the server is ready", v.ready)
		}
	}

	for _, name := range things {
		if status, body := v.request("GET", "/things/"+name, nil); status != 200 {
			t.Fatalf("acknowledged thing %s: %d %s", name, status, body)
		}
	}
	s = v.connect(nil, "offline", mqtt.V311, persistent)
	if !s.Connack().SessionPresent {
		t.Fatal("the session is gone")
	}
	got := make(map[string]bool)
	v.connect(nil, "end", mqtt.V311).pub(1, "q/end", "end")
	for m := s.next(); m.Topic != "q/end"; m = s.next() {
		got[string(m.Payload)] = true
	}
	for _, m := range messages {
		if !got[m] {
			t.Errorf("acknowledged message %s is missing", m)
		}
	}
	r := v.connect(nil, "r", mqtt.V311)
	r.sub(1, "state")
	var round, i, wantRound, wantI int
	fmt.Sscanf(retainedValue, "%d-%d", &wantRound, &wantI)
	fmt.Sscanf(string(r.next().Payload), "%d-%d", &round, &i)
	if round < wantRound || round == wantRound && i < wantI {
		t.Errorf("retained %d-%d, acknowledged %s", round, i, retainedValue)
	}
	t.Logf("%d kills: %d things and %d messages acknowledged, none missing; %d messages delivered", rounds, len(things), len(messages), len(got))
}
