package action

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Kafka writes a record to a topic (AWS IoT developer guide, "Apache Kafka").
type Kafka struct {
	DestinationARN   string            `json:"destinationArn,omitempty"` // of a VPC; berth needs none
	Topic            string            `json:"topic,omitempty"`
	Key              string            `json:"key,omitempty"`
	Partition        string            `json:"partition,omitempty"`
	Headers          []Field           `json:"headers,omitempty"`
	ClientProperties map[string]string `json:"clientProperties,omitempty"`
}

// kafkaTimeout bounds the delivery of a record, with the client's own tries.
const kafkaTimeout = 15 * time.Second

// kafkaProperties are the client properties of AWS, with the values that there are if not any will do.
// Beyond AWS, security.protocol may be without TLS.
var kafkaProperties = map[string][]string{
	"bootstrap.servers": nil, "acks": {"0", "1", "all", "-1"}, "compression.type": {"none", "gzip", "snappy", "lz4", "zstd"},
	"security.protocol": {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"},
	"key.serializer":    nil, "value.serializer": nil,
	"ssl.truststore": nil, "ssl.truststore.password": nil, "ssl.keystore": nil, "ssl.keystore.password": nil, "ssl.key.password": nil,
	"sasl.mechanism": {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}, "sasl.plain.username": nil, "sasl.plain.password": nil,
	"sasl.scram.username": nil, "sasl.scram.password": nil,
}

// Validate implements Action.
func (k *Kafka) Validate() error {
	if err := required("kafka", "topic", k.Topic, "clientProperties.bootstrap.servers", k.ClientProperties["bootstrap.servers"]); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(k.ClientProperties)) {
		value := k.ClientProperties[name]
		allowed, known := kafkaProperties[name]
		switch {
		case !known:
			return refuse("kafka: client property %.80q is not supported", name)
		case allowed != nil && !slices.Contains(allowed, value) && !strings.Contains(value, "${"):
			return refuse("kafka: %s is %.80q, not one of %s", name, value, strings.Join(allowed, ", "))
		}
	}
	if strings.HasPrefix(k.ClientProperties["security.protocol"], "SASL_") && k.ClientProperties["sasl.mechanism"] == "" {
		return required("kafka", "clientProperties.sasl.mechanism", "")
	}
	if len(k.Headers) > 100 {
		return refuse("kafka: more than 100 headers")
	}
	if _, err := k.partition(); err != nil && !strings.Contains(k.Partition, "${") {
		return err
	}
	return nil
}

func (k *Kafka) partition() (int32, error) {
	if k.Partition == "" {
		return -1, nil
	}
	n, err := strconv.ParseUint(k.Partition, 10, 31)
	if err != nil {
		return 0, refuse("kafka: partition is %.80q, not a number", k.Partition)
	}
	return int32(n), nil
}

// Destination implements Action.
func (k *Kafka) Destination() string { return k.ClientProperties["bootstrap.servers"] }

// Batch implements Batcher: one client takes records for any topic.
func (k *Kafka) Batch() string {
	b, _ := json.Marshal([]any{k.ClientProperties, k.Partition != ""})
	return string(b)
}

// BatchLimits implements Batcher.
func (k *Kafka) BatchLimits() (messages, bytes int, linger time.Duration) { return 500, 1 << 20, 0 }

// Do implements Action.
func (k *Kafka) Do(ctx context.Context, s *Services, m *Message) error {
	return k.DoBatch(ctx, s, []Delivery{{k, m}})[0]
}

// DoBatch implements Batcher.
func (k *Kafka) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	all := func(err error) []error {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if s.Connections == nil {
		return all(Permanent(errNoConnections))
	}
	places := make(map[*kgo.Record]int, len(list))
	records := make([]*kgo.Record, 0, len(list))
	for i, d := range list {
		r, err := d.Action.(*Kafka).record(d.Message)
		if err != nil {
			errs[i] = err
			continue
		}
		places[r] = i
		records = append(records, r)
	}
	// Not RecordDeliveryTimeout, which counts from the record's time: that is the message's.
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	err := s.Connections.kafka.use(ctx, k.Batch(), k.open, func(client *kgo.Client) error {
		for _, r := range client.ProduceSync(ctx, records...) {
			errs[places[r.Record]] = kafkaFailure(r.Err)
		}
		return nil
	})
	if err != nil {
		return all(err)
	}
	return errs
}

func (k *Kafka) record(m *Message) (*kgo.Record, error) {
	if k.Topic == "" {
		return nil, required("kafka", "topic", "")
	}
	r := &kgo.Record{Topic: k.Topic, Value: m.Payload, Timestamp: m.Time}
	if k.Key != "" {
		r.Key = []byte(k.Key)
	}
	var err error
	if r.Partition, err = k.partition(); err != nil {
		return nil, err
	}
	for _, h := range k.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: []byte(h.Value)})
	}
	return r, nil
}

// kafkaFailure tells what Kafka refuses from what a later try may get over.
func kafkaFailure(err error) error {
	var said *kerr.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said) && !said.Retriable:
		return Permanent(fmt.Errorf("kafka: %w", err))
	}
	return fmt.Errorf("kafka: %w", err)
}

// open makes the client of these properties. It does not wait for a connection.
func (k *Kafka) open() (*kgo.Client, error) {
	p := k.ClientProperties
	opts := []kgo.Opt{kgo.SeedBrokers(strings.Split(strings.ReplaceAll(p["bootstrap.servers"], " ", ""), ",")...), kgo.ClientID("berth"),
		kgo.ProduceRequestTimeout(kafkaTimeout), kgo.ProducerLinger(0), kgo.UnknownTopicRetries(1),
		kgo.DialTimeout(5 * time.Second), kgo.ConnIdleTimeout(time.Minute)}
	switch p["acks"] {
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	}
	if codec, ok := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[p["compression.type"]]; ok {
		opts = append(opts, kgo.ProducerBatchCompression(codec))
	}
	if k.Partition != "" {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	protocol := p["security.protocol"]
	if strings.HasSuffix(protocol, "SSL") {
		cfg, err := kafkaTLS(p)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(cfg))
	}
	if strings.HasPrefix(protocol, "SASL_") {
		var how sasl.Mechanism
		login := scram.Auth{User: p["sasl.scram.username"], Pass: p["sasl.scram.password"]}
		switch p["sasl.mechanism"] {
		case "PLAIN":
			how = saslplain.Auth{User: p["sasl.plain.username"], Pass: p["sasl.plain.password"]}.AsMechanism()
		case "SCRAM-SHA-256":
			how = login.AsSha256Mechanism()
		case "SCRAM-SHA-512":
			how = login.AsSha512Mechanism()
		default:
			return nil, refuse("kafka: sasl.mechanism is %.80q, not PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", p["sasl.mechanism"])
		}
		opts = append(opts, kgo.SASL(how))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, refuse("kafka: %w", err)
	}
	return client, nil
}

// kafkaTLS reads the stores, which are PEM here, as it is or in base64; those of Java are refused.
func kafkaTLS(p map[string]string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if text := p["ssl.truststore"]; text != "" {
		b, err := pemOf("ssl.truststore", text)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(b) {
			return nil, refuse("kafka: ssl.truststore has no certificate")
		}
	}
	if text := p["ssl.keystore"]; text != "" {
		b, err := pemOf("ssl.keystore", text)
		if err != nil {
			return nil, err
		}
		cert, err := tls.X509KeyPair(b, b)
		if err != nil {
			return nil, refuse("kafka: ssl.keystore: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

func pemOf(name, text string) ([]byte, error) {
	b := []byte(text)
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text)); err == nil {
		b = raw
	}
	if block, _ := pem.Decode(b); block == nil {
		return nil, refuse("kafka: %s is not PEM (certificates and key as text, or that in base64)", name)
	}
	return b, nil
}
