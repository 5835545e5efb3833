package cluster

import (
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// natsServers are three NATS servers of one cluster. They reach each other through proxies, and name none
// of the others to their clients, who would go round the proxies of the nodes.
type natsServers struct {
	t       testing.TB
	options []*natsserver.Options
	routes  []*proxy // to the port for other servers of each

	mu      sync.Mutex
	servers []*natsserver.Server
}

func startNATSServers(t testing.TB) *natsServers {
	t.Helper()
	s := &natsServers{t: t, servers: make([]*natsserver.Server, 3)}
	for i := range s.servers {
		o := &natsserver.Options{ServerName: "nats" + strconv.Itoa(i), Host: "127.0.0.1", Port: freePort(t), NoLog: true, NoSigs: true, MaxPayload: 8 << 20}
		o.Cluster.Name, o.Cluster.Host, o.Cluster.Port, o.Cluster.NoAdvertise = "berth", "127.0.0.1", freePort(t), true
		own := net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Cluster.Port))
		route := startProxy(t, func() (net.Conn, error) { return net.Dial("tcp", own) })
		o.Cluster.Advertise = route.address()
		s.options, s.routes = append(s.options, o), append(s.routes, route)
	}
	for i, o := range s.options {
		for j, route := range s.routes {
			if j != i {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: route.address()})
			}
		}
	}
	for i := range s.servers {
		s.start(i)
	}
	t.Cleanup(func() {
		for i := range s.servers {
			s.end(i)
		}
	})
	s.await()
	return s
}

func (s *natsServers) address(i int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.options[i].Port))
}

func (s *natsServers) start(i int) {
	server, err := natsserver.NewServer(s.options[i].Clone())
	if err != nil {
		s.t.Error(err)
		return
	}
	s.mu.Lock()
	s.servers[i] = server
	s.mu.Unlock()
	server.Start()
	if !server.ReadyForConnections(10 * time.Second) {
		s.t.Error("NATS does not start")
	}
}

// end ends a server; its clients and the other servers find their connections closed.
func (s *natsServers) end(i int) {
	s.mu.Lock()
	server := s.servers[i]
	s.servers[i] = nil
	s.mu.Unlock()
	if server != nil {
		server.Shutdown()
		server.WaitForShutdown()
	}
}

// cutRoutes makes each server one of its own, or lets them find each other again.
func (s *natsServers) cutRoutes(torn bool) {
	for _, route := range s.routes {
		route.cut(torn)
		route.drop()
	}
}

// joined reports whether every server that runs has routes to all others that run.
func (s *natsServers) joined() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := 0
	for _, server := range s.servers {
		if server != nil {
			running++
		}
	}
	for _, server := range s.servers {
		if server != nil && server.NumRemotes() != running-1 {
			return false
		}
	}
	return true
}

func (s *natsServers) await() {
	s.t.Helper()
	eventually(s.t, "the NATS servers have found each other", s.joined)
}
