package defender

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"
	"time"

	"github.com/berth-iot/berth/policy"
)

func TestHolds(t *testing.T) {
	t.Parallel()
	count, ports, addresses := Value{Count: pointer(int64(5))}, Value{Ports: &[]int{22, 80}}, Value{CIDRs: &[]string{"10.0.0.1", "2001:db8::1"}}
	for _, tc := range []struct {
		operator      string
		limit, value  Value
		holds, judged bool
	}{
		{"less-than", Value{Count: pointer(int64(5))}, count, false, true},
		{"less-than-equals", Value{Count: pointer(int64(5))}, count, true, true},
		{"greater-than", Value{Number: pointer(4.5)}, count, true, true},
		{"greater-than-equals", Value{Count: pointer(int64(6))}, count, false, true},
		{"less-than", Value{Count: pointer(int64(5))}, ports, true, false},
		{"in-port-set", Value{Ports: &[]int{22, 80, 443}}, ports, true, true},
		{"in-port-set", Value{Ports: &[]int{22}}, ports, false, true},
		{"not-in-port-set", Value{Ports: &[]int{23}}, ports, true, true},
		{"not-in-port-set", Value{Ports: &[]int{80}}, ports, false, true},
		{"in-port-set", Value{Ports: &[]int{}}, Value{Ports: &[]int{}}, true, true},
		{"in-cidr-set", Value{CIDRs: &[]string{"10.0.0.0/8", "2001:db8::/32"}}, addresses, true, true},
		{"in-cidr-set", Value{CIDRs: &[]string{"10.0.0.0/8"}}, addresses, false, true},
		{"not-in-cidr-set", Value{CIDRs: &[]string{"10.0.0.1"}}, addresses, false, true},
		{"not-in-cidr-set", Value{CIDRs: &[]string{"192.168.0.0/16"}}, addresses, true, true},
		{"in-set", Value{Strings: &[]string{"a", "b"}}, Value{Strings: &[]string{"a"}}, true, true},
		{"not-in-set", Value{Numbers: &[]float64{1, 2}}, Value{Numbers: &[]float64{2, 3}}, false, true},
		{"in-set", Value{Strings: &[]string{"a"}}, count, true, false},
	} {
		c := &Criteria{Operator: tc.operator, Value: &tc.limit}
		if err := (&Behavior{Name: "b", Metric: "m", Criteria: c}).Check(); err != nil {
			t.Errorf("%s: %v", tc.operator, err)
		}
		if holds, judged := c.Holds(tc.value); holds != tc.holds || judged != tc.judged {
			t.Errorf("%s %s of %s: %v %v", tc.operator, encode(tc.limit), encode(tc.value), holds, judged)
		}
	}
	ml := &Criteria{ML: &Confidence{"HIGH"}}
	if _, judged := ml.Holds(count); judged || ml.Kind() != mlKind {
		t.Error("a model was asked")
	}
	for _, bad := range []Behavior{{}, {Name: "a"}, {Name: "a", Metric: "aws:what"}, {Name: "a", Metric: "m", Criteria: &Criteria{}},
		{Name: "a", Metric: "m", Criteria: &Criteria{Operator: "like", Value: &count}}, {Name: "a", Metric: "m", Criteria: &Criteria{Operator: "in-port-set", Value: &count}},
		{Name: "a", Metric: "m", Criteria: &Criteria{Operator: "in-cidr-set", Value: &Value{CIDRs: &[]string{"x"}}}},
		{Name: "a", Metric: "m", Criteria: &Criteria{Operator: "less-than", Value: &count, Duration: 7}},
		{Name: "a", Metric: "m", Criteria: &Criteria{Operator: "less-than", Value: &count, ToAlarm: 11}}} {
		if bad.Check() == nil {
			t.Errorf("%+v passed", bad)
		}
	}
}

func TestStreak(t *testing.T) {
	t.Parallel()
	c := &Criteria{ToAlarm: 2, ToClear: 3}
	var s Streak
	active := false
	for i, step := range []struct {
		holds bool
		want  Outcome
	}{{false, Nothing}, {true, Nothing}, {false, Nothing}, {false, InAlarm}, {false, Still}, {true, Nothing}, {true, Nothing}, {false, Still}, {true, Nothing}, {true, Nothing}, {true, Cleared}, {true, Nothing}} {
		var got Outcome
		s, got = s.After(step.holds, active, c)
		active = active && got != Cleared || got == InAlarm
		if got != step.want {
			t.Errorf("step %d: %d, want %d", i, got, step.want)
		}
	}
	for range 20 {
		s, _ = s.After(false, true, &Criteria{})
	}
	if s.Bad != 10 {
		t.Error(s)
	}
}

func TestScheduleNext(t *testing.T) {
	t.Parallel()
	day := func(s string) time.Time {
		d, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, tc := range []struct {
		c           Schedule
		after, want string
	}{
		{Schedule{Frequency: "DAILY"}, "2024-02-28 23:59", "2024-02-29 00:00"},
		{Schedule{Frequency: "DAILY"}, "2024-02-29 00:00", "2024-03-01 00:00"},
		{Schedule{Frequency: "WEEKLY", Weekday: "MON"}, "2024-03-04 00:00", "2024-03-11 00:00"},
		{Schedule{Frequency: "MONTHLY", Day: "31"}, "2024-01-31 12:00", "2024-02-29 00:00"},
		{Schedule{Frequency: "MONTHLY", Day: "LAST"}, "2023-02-01 00:00", "2023-02-28 00:00"},
		{Schedule{Frequency: "MONTHLY", Day: "5"}, "2024-12-31 12:00", "2025-01-05 00:00"},
	} {
		tc.c.Name = "a"
		if got := tc.c.Next(day(tc.after)); tc.c.check() != nil || !got.Equal(day(tc.want)) {
			t.Errorf("%+v after %s: %v", tc.c, tc.after, got)
		}
	}
	c := Schedule{Frequency: "BIWEEKLY", Weekday: "FRI"}
	first := c.Next(day("2024-03-04 00:00"))
	if second := c.Next(first); second.Sub(first) != 14*24*time.Hour || first.Weekday() != time.Friday {
		t.Errorf("%v, %v", first, second)
	}
	for _, bad := range []Schedule{{Name: "a"}, {Name: "a", Frequency: "DAILY", Day: "1"}, {Name: "a", Frequency: "WEEKLY"}, {Name: "a", Frequency: "WEEKLY", Weekday: "DAY"}, {Name: "a", Frequency: "MONTHLY", Day: "32"}, {Name: "a b", Frequency: "DAILY"}} {
		if bad.check() == nil {
			t.Errorf("%+v passed", bad)
		}
	}
}

func TestPermissive(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:iot:us-east-1:000000000000:"
	for _, tc := range []struct {
		action, resource, condition string
		bad                         bool
	}{
		{"iot:*", "*", "", true},
		{"*", "*", "", true},
		{"iot:CreateThing", "*", "", false},
		{"iot:Connect", arn + "client/*", "", true},
		{"iot:Connect", arn + "client/${iot:ClientId}", "", true},
		{"iot:Connect", arn + "client/${iot:ClientId}", `,"Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"true"}}`, false},
		{"iot:Connect", arn + "client/${iot:Connection.Thing.ThingName}", "", false},
		{"iot:Connect", arn + "client/lamp-*", "", false},
		{"iot:Publish", arn + "topic/*", "", true},
		{"iot:Publish", arn + "topic/$aws/things/*", "", true},
		{"iot:Publish", arn + "topic/$aws/things/*/shadow/update", "", true},
		{"iot:Publish", arn + "topic/$aws/things/${iot:Connection.Thing.ThingName}/shadow/*", "", false},
		{"iot:Publish", arn + "topic/sensors/*", "", false},
		{"iot:Subscribe", arn + "topicfilter/$aws/things/+/shadow/update", "", true},
		{"iot:Subscribe", arn + "topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/jobs/*", "", false},
		{"iot:Sub*", arn + "topicfilter/#", "", true},
		{"iot:GetThingShadow", arn + "thing/*", "", true},
		{"iot:UpdateThingShadow", arn + "thing/${iot:Connection.Thing.ThingName}", "", false},
		{"iot:UpdateJobExecution", arn + "*", "", true},
	} {
		d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + tc.action + `","Resource":"` + tc.resource + `"` + tc.condition + `}]}`))
		if err != nil {
			t.Fatalf("%s on %s: %v", tc.action, tc.resource, err)
		}
		if got := permissive(d); (got != "") != tc.bad {
			t.Errorf("%s on %s%s: %q", tc.action, tc.resource, tc.condition, got)
		}
	}
}

func TestCoppersmith(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 1024+1024)
	if err != nil {
		t.Fatal(err)
	}
	if coppersmith(key.N) {
		t.Error("an ordinary key is called vulnerable")
	}
	// A modulus of the form that the library makes: a power of 65537 modulo the product of the primes.
	product := big.NewInt(1)
	for _, p := range primes {
		product.Mul(product, big.NewInt(p))
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), product)
	n.Add(n, new(big.Int).Mul(product, big.NewInt(98765)))
	if !coppersmith(n) {
		t.Error("a marked modulus is not found")
	}
}
