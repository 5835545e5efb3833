package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// checkMQTT connects and subscribes as the device would. Nothing is published: that would be a message.
func (d *Doctor) checkMQTT(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	cfg := &tls.Config{Certificates: []tls.Certificate{*d.pair}, RootCAs: d.roots, ServerName: d.ServerName, Time: d.Clock}
	if d.ALPN != "" {
		cfg.NextProtos = []string{d.ALPN}
	}
	began := time.Now()
	c, err := client.Dial(ctx, client.Options{Address: d.address(), TLS: cfg, Version: mqtt.V311, ClientID: d.ClientID, CleanStart: true, KeepAlive: d.KeepAlive})
	if err != nil {
		fix := client.Hint(err)
		if d.Cloud == nil {
			fix += "; run this with access to the server's registry to learn which it is"
		}
		d.say("MQTT", Problem, fix, err.Error())
		return
	}
	defer c.Close(context.WithoutCancel(ctx))
	d.say("MQTT", OK, "", fmt.Sprintf("connected as %s after %v", d.ClientID, time.Since(began).Round(time.Millisecond)))
	for _, filter := range d.Subscribe {
		if _, err := c.Subscribe(ctx, mqtt.Subscription{Filter: filter, QoS: 1}); err != nil {
			d.say("subscribe", Problem, "allow iot:Subscribe on the topicfilter/ of it; iot:Receive alone, or topic/ instead of topicfilter/, is not enough", fmt.Sprintf("%s: %v", filter, err))
			if c.Err() != nil {
				return
			}
			continue
		}
		d.say("subscribe", OK, "", filter+" was granted")
	}
}

// Keep-alives in practice: AWS IoT takes 30 s to 20 min (service quotas), routers and mobile networks
// forget silent connections earlier than that.
const (
	longKeepAlive  = 4 * time.Minute
	leastKeepAlive = 30 * time.Second
	mostKeepAlive  = 20 * time.Minute
)

func (d *Doctor) checkKeepAlive() {
	k := d.KeepAlive
	switch {
	case k == 0:
		d.say("keep-alive", Warning, "set a keep-alive of 60 s, for example", "the keep-alive is off: the server uses its longest, and neither side notices a dead connection")
	case k > mostKeepAlive:
		d.say("keep-alive", Warning, "set it to 20 minutes at most", fmt.Sprintf("a keep-alive of %v is more than the server takes: it closes the connection after one and a half times 20 minutes of silence", k))
	case k > longKeepAlive:
		d.say("keep-alive", Warning, "60 s to 4 minutes hold a connection open through most of them", fmt.Sprintf("a keep-alive of %v is longer than many routers (NAT) and mobile networks remember a silent connection: messages to the device vanish until it speaks again", k))
	case k < leastKeepAlive:
		d.say("keep-alive", Warning, "set it to 30 s at least", fmt.Sprintf("a keep-alive of %v is less than the server honours: it reckons with 30 s", k))
	default:
		d.say("keep-alive", OK, "", fmt.Sprintf("a ping every %v of silence", k))
	}
}
