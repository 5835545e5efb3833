package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/iotsql"
)

// askTimeout is how long a function may ask something outside (developer guide, "aws_lambda").
const askTimeout = 2 * time.Second

func (s *Service) ask() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.run, askTimeout)
}

func (s *Service) thingShadow(thing, name, _ string) ([]byte, error) {
	if s.cfg.Shadows == nil {
		return nil, errors.New("there are no shadows")
	}
	ctx, cancel := s.ask()
	defer cancel()
	return s.cfg.Shadows.Get(ctx, shadow.ID{Thing: thing, Shadow: name})
}

func (s *Service) registryData(api, thing, _ string) ([]byte, error) {
	ctx, cancel := s.ask()
	defer cancel()
	switch api {
	case "DescribeThing":
		t, err := s.cfg.Registry.DescribeThing(ctx, thing)
		if err != nil {
			return nil, err
		}
		attributes := t.Attributes
		if attributes == nil {
			attributes = map[string]string{}
		}
		return json.Marshal(struct {
			ClientID     string            `json:"defaultClientId"`
			Name         string            `json:"thingName"`
			ID           string            `json:"thingId"`
			ARN          string            `json:"thingArn"`
			Type         string            `json:"thingTypeName,omitempty"`
			Attributes   map[string]string `json:"attributes"`
			Version      int64             `json:"version"`
			BillingGroup string            `json:"billingGroupName,omitempty"`
		}{t.Name, t.Name, t.ID, t.ARN, t.Type, attributes, t.Version, t.BillingGroup})
	case "ListThingGroupsForThing":
		groups, _, err := s.cfg.Registry.ListThingGroupsForThing(ctx, thing, registry.Page{})
		if err != nil {
			return nil, err
		}
		type group struct {
			Name string `json:"groupName"`
			ARN  string `json:"groupArn"`
		}
		list := []group{}
		for _, g := range groups {
			list = append(list, group(g))
		}
		return json.Marshal(map[string]any{"thingGroups": list})
	}
	return nil, fmt.Errorf("get_registry_data: %q is not DescribeThing or ListThingGroupsForThing", api)
}

func (s *Service) lambda(function string, input []byte) ([]byte, error) {
	if s.cfg.Lambda == nil {
		return nil, errors.New("no access to AWS Lambda is configured")
	}
	ctx, cancel := s.ask()
	defer cancel()
	return s.cfg.Lambda.Invoke(ctx, function, input)
}

func (s *Service) dynamoDB(table string, keys []iotsql.Key, _ string) ([]byte, error) {
	ctx, cancel := s.ask()
	defer cancel()
	byName := make(map[string][]byte)
	for _, k := range keys {
		byName[k.Name] = k.Value
	}
	return s.services.AWS.GetItem(ctx, table, byName)
}

// objects remembers the descriptors and schemas that were read.
type objects struct {
	mu   sync.Mutex
	read map[string]object
}

type object struct {
	value any
	until time.Time
}

const (
	objectAge  = 15 * time.Minute
	maxObjects = 256
)

func (s *Service) object(kind, bucket, key string, parse func(b []byte) (any, error)) (any, error) {
	name := kind + " " + bucket + "/" + key
	now := s.now()
	s.objects.mu.Lock()
	o, ok := s.objects.read[name]
	s.objects.mu.Unlock()
	if ok && now.Before(o.until) {
		return o.value, nil
	}
	if s.cfg.Object == nil {
		return nil, errors.New("no access to S3 is configured")
	}
	ctx, cancel := s.ask()
	defer cancel()
	b, err := s.cfg.Object(ctx, bucket, key)
	if err != nil {
		return nil, err
	}
	v, err := parse(b)
	if err != nil {
		return nil, err
	}
	s.objects.mu.Lock()
	defer s.objects.mu.Unlock()
	if s.objects.read == nil || len(s.objects.read) >= maxObjects {
		s.objects.read = make(map[string]object)
	}
	s.objects.read[name] = object{v, now.Add(objectAge)}
	return v, nil
}

func (s *Service) descriptors(bucket, key string) (*iotsql.Descriptors, error) {
	v, err := s.object("proto", bucket, key, func(b []byte) (any, error) { return iotsql.ParseDescriptors(b) })
	d, _ := v.(*iotsql.Descriptors)
	return d, err
}

func (s *Service) avroSchema(bucket, key string) (*iotsql.AvroSchema, error) {
	v, err := s.object("avro", bucket, key, func(b []byte) (any, error) { return iotsql.ParseAvroSchema(b) })
	d, _ := v.(*iotsql.AvroSchema)
	return d, err
}
