package linux

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// NTP asks a server for the time by SNTP version 4 (RFC 4330). It satisfies link.TimeSource. The
// answer is not authenticated: it is good enough to check certificates with, not to prove anything.
type NTP struct {
	Server string // host:port; "" means pool.ntp.org:123
}

// ntpEpoch is the time of second 0 of NTP's era 0 in Unix time.
const ntpEpoch = -2208988800

// Time asks once.
func (n NTP) Time(ctx context.Context) (time.Time, error) {
	server := n.Server
	if server == "" {
		server = "pool.ntp.org:123"
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask %s for the time: %w", server, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var request [48]byte
	request[0] = 4<<3 | 3 // version 4, client
	began := time.Now()
	// The server returns it: who does not see the request cannot answer it.
	rand.Read(request[40:])
	if _, err := conn.Write(request[:]); err != nil {
		return time.Time{}, fmt.Errorf("ask %s for the time: %w", server, err)
	}
	var answer [128]byte
	size, err := conn.Read(answer[:])
	if err != nil {
		return time.Time{}, fmt.Errorf("ask %s for the time: %w", server, err)
	}
	t, err := readNTP(answer[:size], request[40:])
	if err != nil {
		return time.Time{}, fmt.Errorf("ask %s for the time: %w", server, err)
	}
	return t.Add(time.Since(began) / 2), nil
}

// readNTP reads an answer. token is what the request had as its transmit timestamp.
func readNTP(b, token []byte) (time.Time, error) {
	switch {
	case len(b) < 48:
		return time.Time{}, errors.New("the answer is too short")
	case b[0]&7 != 4 || string(b[24:32]) != string(token):
		return time.Time{}, errors.New("the answer is to another question")
	case b[0]>>6 == 3 || b[1] == 0 || b[1] > 15:
		return time.Time{}, errors.New("the server has no time itself")
	}
	seconds := int64(binary.BigEndian.Uint32(b[40:]))
	if seconds < 1<<31 {
		seconds += 1 << 32 // era 1 begins in 2036
	}
	nanos := int64(binary.BigEndian.Uint32(b[44:])) * 1e9 >> 32
	return time.Unix(seconds+ntpEpoch, nanos), nil
}
