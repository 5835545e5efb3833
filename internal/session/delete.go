package session

import "github.com/berth-iot/berth/mqtt"

// DeleteConnection ends the connection of a client and, if clean is set, its session. It reports
// whether there was either (AWS IoT data plane API reference, "DeleteConnection").
func (a *Sessions) DeleteConnection(clientID string, clean, preventWill bool) bool {
	if a.node != nil && !a.isHere(clientID) {
		return a.deleteElsewhere(disconnection{clientID, clean, preventWill})
	}
	return a.deleteHere(clientID, clean, preventWill)
}

// isHere reports whether this node of a cluster owns a session.
func (a *Sessions) isHere(clientID string) bool {
	a.mu.Lock()
	s := a.sessions[clientID]
	a.mu.Unlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place.here
}

func (a *Sessions) deleteHere(clientID string, clean, preventWill bool) bool {
	a.mu.Lock()
	s := a.sessions[clientID]
	a.mu.Unlock()
	if s == nil {
		return false
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.gone {
		return false
	}
	s.mu.Lock()
	c := s.conn
	if preventWill {
		s.will = nil
	}
	if clean {
		s.expiry = 0
	}
	s.mu.Unlock()
	if c != nil {
		c.end(ending{APIInitiated, mqtt.AdministrativeAction, "DeleteConnection"})
		a.detach(s, c)
	} else if clean {
		if err := a.discardState(s); err != nil {
			a.log.Error("delete session", "client_id", clientID, "error", err)
		}
		a.remove(s)
	}
	return true
}
