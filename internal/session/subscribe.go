package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
	"github.com/berth-iot/berth/topic"
)

// handleSubscribe adds subscriptions. The SUBACK of a persistent session is sent after they are on
// disk.
func (c *Conn) handleSubscribe(body []byte) error {
	var p mqtt.Subscribe
	if err := p.Decode(body, c.version); err != nil {
		return err
	}
	limits := &c.all.limits
	if limits.MaxFilters > 0 && len(p.Subscriptions) > limits.MaxFilters {
		c.all.refused(c.request, fmt.Sprintf("%d topic filters in one SUBSCRIBE, the limit is %d", len(p.Subscriptions), limits.MaxFilters))
		return disconnect(ClientError, mqtt.QuotaExceeded, "%d topic filters in one SUBSCRIBE", len(p.Subscriptions))
	}
	if c.pace != nil {
		if err := c.throttleSubscribe(); err != nil {
			return err
		}
	}
	var id uint32
	if p.Properties.Has(mqtt.PropSubscriptionID) {
		if !limits.SubscriptionIDs { // [MQTT-3.2.2.3.12]
			return disconnect(ClientError, mqtt.SubscriptionIDUnsupported, "subscription identifiers are not supported")
		}
		id = p.Properties.SubscriptionIDs[0]
	}
	ack := mqtt.Suback{PacketID: p.PacketID}
	type added struct {
		sub   mqtt.Subscription
		fresh bool
	}
	var retained []added
	var rows [][]any
	s := c.session
	for _, sub := range p.Subscriptions {
		code, err := c.subscribable(sub)
		if err != nil {
			return err
		}
		if code == mqtt.Success {
			sub.QoS = min(sub.QoS, limits.MaxQoS)
			rs := router.Subscription{QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished, ID: id}
			s.mu.Lock()
			if s.conn != c {
				s.mu.Unlock()
				return errEnded
			}
			_, exists := s.subscriptions.get(sub.Filter)
			if !exists && limits.MaxSubscriptions > 0 && s.subscriptions.len() >= limits.MaxSubscriptions {
				code = mqtt.QuotaExceeded
			} else {
				s.subscriptions.set(sub.Filter, rs)
				if s.place != nil && !exists {
					c.all.interest.Add(sub.Filter, s.place.lasting)
				}
				if s.persistent {
					rows = append(rows, subscriptionRow(s.id, sub.Filter, rs))
				}
			}
			s.mu.Unlock()
			if code == mqtt.Success {
				c.all.router.Subscribe(s, sub.Filter, rs)
				code = mqtt.ReasonCode(sub.QoS)
				retained = append(retained, added{sub, !exists})
			} else {
				c.all.refused(c.request, fmt.Sprintf("more than %d subscriptions", limits.MaxSubscriptions))
			}
		}
		ack.Codes = append(ack.Codes, code)
	}
	if err := c.durable(subscriptionTable, rows, false); err != nil {
		return err
	}
	c.acks = ack.Append(c.acks, mqtt.SUBACK, c.version)
	if len(retained) > 0 {
		filters := make([]string, len(retained))
		for i, a := range retained {
			filters[i] = a.sub.Filter
		}
		c.all.lifecycle.Subscribed(c.client(), filters)
	}
	for _, a := range retained {
		if a.sub.RetainHandling == 0 || a.sub.RetainHandling == 1 && a.fresh {
			c.sendRetained(a.sub, id)
		}
	}
	return nil
}

// subscribable decides over one topic filter; the error ends the connection.
func (c *Conn) subscribable(sub mqtt.Subscription) (mqtt.ReasonCode, error) {
	limits := &c.all.limits
	if err := limits.Topics.CheckFilter(sub.Filter); err != nil {
		c.all.refused(c.request, err.Error())
		if errors.Is(err, topic.ErrTooDeep) || errors.Is(err, topic.ErrTooLong) || c.version == mqtt.V5 {
			return mqtt.TopicFilterInvalid, nil
		}
		return 0, disconnect(ClientError, mqtt.TopicFilterInvalid, "%v", err)
	}
	_, filter, shared := topic.SplitShare(sub.Filter)
	if !shared {
		filter = sub.Filter
	} else if sub.NoLocal { // [MQTT-3.8.3-4]
		return 0, disconnect(ClientError, mqtt.ProtocolError, "No Local on a shared subscription")
	}
	if limits.Reserved && topic.Reserved(filter) && topic.ReservedUse(filter)&topic.Subscribe == 0 {
		c.all.refused(c.request, "subscription to the undefined reserved topic "+filter)
		return 0, disconnect(ClientError, mqtt.TopicFilterInvalid, "%q is reserved and clients may not subscribe to it", filter)
	}
	if sub.QoS > limits.MaxQoS && limits.Reserved {
		// AWS IoT sends no SUBACK for QoS 2.
		return 0, disconnect(ClientError, mqtt.QoSNotSupported, "QoS %d is not supported", sub.QoS)
	}
	if access := c.access.Load(); !access.Allows(policy.Subscribe, policy.KindTopicFilter, sub.Filter) {
		c.denied(access, policy.Subscribe, policy.KindTopicFilter, sub.Filter)
		return mqtt.NotAuthorized, nil
	}
	return mqtt.Success, nil
}

func subscriptionRow(clientID, filter string, s router.Subscription) []any {
	return []any{clientID, filter, s.QoS, s.NoLocal, s.RetainAsPublished, s.ID}
}

// durable writes rows and waits for the commit, after flushing what others wait for.
func (c *Conn) durable(t *store.Table, rows [][]any, remove bool) error {
	if len(rows) == 0 {
		return nil
	}
	c.flushBatch()
	done := make(chan error, 1)
	if remove {
		c.all.db.Delete(t, rows, func(err error) { done <- err })
	} else {
		c.all.db.Put(t, rows, func(err error) { done <- err })
	}
	if err := <-done; err != nil {
		c.all.log.Error("write subscriptions", "client_id", c.request.ClientID, "error", err)
		return disconnect(ServerError, mqtt.UnspecifiedError, "subscriptions could not be written")
	}
	if c.all.node != nil && !remove {
		// From the acknowledgement on, messages that other nodes take are kept for the session.
		c.all.node.Sync(context.Background())
	}
	return nil
}

// sendRetained sends the retained messages of a new subscription.
func (c *Conn) sendRetained(sub mqtt.Subscription, id uint32) {
	if _, _, shared := topic.SplitShare(sub.Filter); shared {
		return
	}
	if topic.Wild(sub.Filter) && !c.all.limits.RetainedForWild {
		return
	}
	s := c.session
	for _, m := range c.all.router.RetainedMatching(sub.Filter) {
		var ids []uint32
		if id != 0 {
			ids = []uint32{id}
		}
		qos := min(m.QoS, sub.QoS)
		s.mu.Lock()
		switch {
		case !s.mayReceive(c, m.Topic):
		case qos == 0:
			// The SUBACK goes first: it is still among this batch's acknowledgements.
			c.append(c.acks)
			c.acks = c.acks[:0]
			c.appendMessage(m, 0, true, false, 0, ids)
			c.sent++
		default:
			c.append(c.acks)
			c.acks = c.acks[:0]
			d := delivery{message: m, qos: qos, retain: true, ids: ids}
			if s.persistent {
				s.seq++
				d.seq = s.seq
			}
			if s.backlog > 0 {
				s.backlog++
				s.store(&d)
				break
			}
			s.loaded = s.seq
			s.queue.push(d)
			s.pump()
		}
		s.mu.Unlock()
	}
}

// handleUnsubscribe removes subscriptions.
func (c *Conn) handleUnsubscribe(body []byte) error {
	var p mqtt.Unsubscribe
	if err := p.Decode(body, c.version); err != nil {
		return err
	}
	ack := mqtt.Suback{PacketID: p.PacketID}
	var rows [][]any
	var removed []string
	s := c.session
	for _, filter := range p.Filters {
		if filter == "" { // [MQTT-4.7.3-1]
			return disconnect(ClientError, mqtt.TopicFilterInvalid, "empty topic filter")
		}
		s.mu.Lock()
		exists := s.subscriptions.remove(filter)
		if exists && s.place != nil && s.conn == c {
			c.all.interest.Remove(filter, s.place.lasting)
		}
		if exists && s.persistent {
			rows = append(rows, []any{s.id, filter})
		}
		s.mu.Unlock()
		code := mqtt.Success
		if !exists {
			code = mqtt.NoSubscriptionExisted
		} else {
			c.all.router.Unsubscribe(s, filter)
			removed = append(removed, filter)
		}
		ack.Codes = append(ack.Codes, code)
	}
	if err := c.durable(subscriptionTable, rows, true); err != nil {
		return err
	}
	c.acks = ack.Append(c.acks, mqtt.UNSUBACK, c.version)
	if len(removed) > 0 {
		c.all.lifecycle.Unsubscribed(c.client(), removed)
	}
	return nil
}
