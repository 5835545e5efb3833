package session

import (
	"iter"

	"github.com/berth-iot/berth/internal/router"
)

// subscriptions are those of one session, by filter. Most have one or a few: a slice takes a tenth of a
// map's memory. The zero value has none.
type subscriptions struct {
	list  []subscribed
	place map[string]int // from mappedFrom on: where each is
}

type subscribed struct {
	filter string
	router.Subscription
}

// mappedFrom is the number of subscriptions from which a map beats a scan.
const mappedFrom = 24

func (s *subscriptions) len() int { return len(s.list) }

func (s *subscriptions) find(filter string) int {
	if s.place != nil {
		if i, ok := s.place[filter]; ok {
			return i
		}
		return -1
	}
	for i := range s.list {
		if s.list[i].filter == filter {
			return i
		}
	}
	return -1
}

func (s *subscriptions) get(filter string) (sub router.Subscription, ok bool) {
	if i := s.find(filter); i >= 0 {
		return s.list[i].Subscription, true
	}
	return sub, false
}

func (s *subscriptions) set(filter string, sub router.Subscription) {
	if i := s.find(filter); i >= 0 {
		s.list[i].Subscription = sub
		return
	}
	if s.list == nil {
		s.list = make([]subscribed, 0, 1)
	}
	s.list = append(s.list, subscribed{filter, sub})
	switch {
	case s.place != nil:
		s.place[filter] = len(s.list) - 1
	case len(s.list) >= mappedFrom:
		s.place = make(map[string]int, 2*mappedFrom)
		for i := range s.list {
			s.place[s.list[i].filter] = i
		}
	}
}

// remove reports whether there was such a subscription.
func (s *subscriptions) remove(filter string) bool {
	i := s.find(filter)
	if i < 0 {
		return false
	}
	last := len(s.list) - 1
	s.list[i] = s.list[last]
	s.list[last] = subscribed{}
	if s.list = s.list[:last]; last == 0 {
		*s = subscriptions{}
	} else if s.place != nil {
		delete(s.place, filter)
		if i < last {
			s.place[s.list[i].filter] = i
		}
	}
	return true
}

// all are the subscriptions, in no order. They must not change meanwhile.
func (s *subscriptions) all() iter.Seq2[string, router.Subscription] {
	return func(yield func(string, router.Subscription) bool) {
		for i := range s.list {
			if !yield(s.list[i].filter, s.list[i].Subscription) {
				return
			}
		}
	}
}
