package lifecycle

import (
	"errors"
	"sync"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
)

// Registry publishes events of the registry and returns when they have reached their subscribers or
// the queues of those who are away.
func (e *Events) Registry(list []registry.Event) error {
	var mu sync.Mutex
	var failure error
	var outstanding sync.WaitGroup
	origin := &router.Origin{Protocol: "service"}
	for _, ev := range list {
		outstanding.Add(1)
		e.router.Publish(&router.Publication{Topic: ev.Topic, Payload: ev.Payload, QoS: 1, Origin: origin}, func(err error) {
			mu.Lock()
			failure = errors.Join(failure, err)
			mu.Unlock()
			outstanding.Done()
		})
	}
	outstanding.Wait()
	return failure
}
