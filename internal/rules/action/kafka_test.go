package action

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func consume(t *testing.T, n int, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var list []*kgo.Record
	for len(list) < n {
		got := client.PollFetches(ctx)
		if err := got.Err(); err != nil {
			t.Fatal(err)
		}
		list = append(list, got.Records()...)
	}
	return list
}

func TestKafka(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "readings", "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	seeds := strings.Join(broker.ListenAddrs(), ",")
	s := connected(t, ConnectionConfig{})
	make := func(more, properties string) *Kafka {
		return decode(t, "kafka", fmt.Sprintf(`{"destinationArn":"arn:aws:iot:us-east-1:0:ruledestination/vpc/1","topic":"readings"%s,"clientProperties":{"bootstrap.servers":%q%s}}`, more, seeds, properties)).(*Kafka)
	}
	one := make(`,"key":"k1","partition":"2","headers":[{"key":"a","value":"1"},{"key":"a","value":"2"}]`, `,"acks":"1","compression.type":"gzip","security.protocol":"PLAINTEXT"`)
	if err := one.Do(t.Context(), s, message("1", `{"t":1}`)); err != nil {
		t.Fatal(err)
	}
	var list []Delivery
	for i := range 200 {
		a := make(fmt.Sprintf(`,"key":"k%d"`, i), "")
		if i%2 == 1 {
			a.Topic = "other"
		}
		if a.Batch() != make("", "").Batch() || a.Batch() == one.Batch() {
			t.Fatal("batches")
		}
		list = append(list, Delivery{a, message("", fmt.Sprint(i))})
	}
	list[7].Action.(*Kafka).Topic = ""
	for i, err := range list[0].Action.(*Kafka).DoBatch(t.Context(), s, list) {
		if (err != nil) != (i == 7) {
			t.Errorf("%d: %v", i, err)
		}
	}
	records := consume(t, 200, kgo.SeedBrokers(broker.ListenAddrs()...), kgo.ConsumeTopics("readings", "other"))
	found := false
	seen := map[string]bool{}
	for _, r := range records {
		if string(r.Value) == `{"t":1}` {
			found = r.Topic == "readings" && r.Partition == 2 && string(r.Key) == "k1" && len(r.Headers) == 2 && string(r.Headers[1].Value) == "2" && r.Timestamp.UnixMilli() == 1769860800000
			continue
		}
		seen[string(r.Value)] = string(r.Key) == "k"+string(r.Value)
	}
	if !found || len(seen) != 199 || !seen["3"] {
		t.Errorf("%v, %d records", found, len(seen))
	}
	if err := make(`,"partition":"9"`, "").Do(t.Context(), s, message("", "1")); err == nil {
		t.Error("a partition that there is not")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	away := decode(t, "kafka", `{"topic":"t","clientProperties":{"bootstrap.servers":"127.0.0.1:1"}}`)
	if err := away.Do(ctx, s, message("", "1")); err == nil || IsPermanent(err) {
		t.Errorf("without a broker: %v", err)
	}
}

func TestKafkaLogin(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "readings"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "u", "secret"), kfake.Superuser("PLAIN", "p", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	s := connected(t, ConnectionConfig{})
	do := func(properties string) error {
		a := decode(t, "kafka", fmt.Sprintf(`{"topic":"readings","clientProperties":{"bootstrap.servers":%q,"security.protocol":"SASL_PLAINTEXT",%s}}`, strings.Join(broker.ListenAddrs(), ","), properties))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return a.Do(ctx, s, message("", properties[:20]))
	}
	for _, good := range []string{`"sasl.mechanism":"SCRAM-SHA-512","sasl.scram.username":"u","sasl.scram.password":"secret"`,
		`"sasl.mechanism":"PLAIN","sasl.plain.username":"p","sasl.plain.password":"secret"`} {
		if err := do(good); err != nil {
			t.Error(err)
		}
	}
	if err := do(`"sasl.mechanism":"SCRAM-SHA-512","sasl.scram.username":"u","sasl.scram.password":"wrong"`); err == nil {
		t.Error("a wrong password passed")
	}
	consume(t, 2, kgo.SeedBrokers(broker.ListenAddrs()...), kgo.ConsumeTopics("readings"), kgo.SASL(scram.Auth{User: "u", Pass: "secret"}.AsSha512Mechanism()))
}

func TestKafkaTLS(t *testing.T) {
	t.Parallel()
	for _, bad := range []map[string]string{{"ssl.truststore": "/u3+7QAAAAI="}, {"ssl.truststore": "x"}, {"ssl.keystore": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}} {
		if _, err := kafkaTLS(bad); !IsPermanent(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
