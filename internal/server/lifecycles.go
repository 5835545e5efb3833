package server

import "github.com/berth-iot/berth/internal/session"

// lifecycles tells several listeners what clients do.
type lifecycles []session.Lifecycle

func (l lifecycles) Connected(c session.Client) {
	for _, x := range l {
		x.Connected(c)
	}
}

func (l lifecycles) ConnectFailed(c session.Client) {
	for _, x := range l {
		x.ConnectFailed(c)
	}
}

func (l lifecycles) Disconnected(c session.Client, reason session.DisconnectReason) {
	for _, x := range l {
		x.Disconnected(c, reason)
	}
}

func (l lifecycles) Subscribed(c session.Client, filters []string) {
	for _, x := range l {
		x.Subscribed(c, filters)
	}
}

func (l lifecycles) Unsubscribed(c session.Client, filters []string) {
	for _, x := range l {
		x.Unsubscribed(c, filters)
	}
}
