package broker

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"github.com/berth-iot/berth/internal/session"
)

// subprotocols that clients of MQTT over WebSocket offer; the one offered is echoed.
var subprotocols = []string{"mqtt", "mqttv3.1", "mqttv3.1.1", "mqttv5.0"}

// ServeWebSocket upgrades a request to MQTT over WebSocket (MQTT 5.0 section 6) for a principal
// that has been authenticated.
func (b *Broker) ServeWebSocket(w http.ResponseWriter, r *http.Request, adm session.Admission) {
	var offered []string
	for _, h := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(h, ",") {
			if p = strings.TrimSpace(p); slices.Contains(subprotocols, p) {
				offered = append(offered, p)
			}
		}
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:    offered,
		CompressionMode: websocket.CompressionDisabled,
		// The signature or the client certificate authorizes, not the page the script came from.
		InsecureSkipVerify: true,
	})
	if err != nil {
		b.warn("WebSocket upgrade failed", "remote", r.RemoteAddr, "error", err)
		return
	}
	ws.SetReadLimit(-1) // packets are limited, frames may be of any size
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	// The connection outlives this handler; its end closes the context of the stream.
	ctx := context.WithoutCancel(r.Context())
	b.Sessions.Accept(ctx, newBlocking(websocket.NetConn(ctx, ws, websocket.MessageBinary), remote), adm)
}
