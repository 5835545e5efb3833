package policy

import (
	"net/netip"
	"testing"
)

func TestConditions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		condition string
		want      bool
	}{
		{`{}`, true},
		{`{"StringEquals":{"iot:ClientId":"lamp-1"}}`, true},
		{`{"StringEquals":{"IOT:CLIENTID":["x","lamp-1"]}}`, true},
		{`{"StringEquals":{"iot:ClientId":"LAMP-1"}}`, false},
		{`{"StringEquals":{"iot:ClientId":"lamp-*"}}`, false},
		{`{"StringEquals":{"iot:ClientId":[]}}`, false},
		{`{"StringNotEquals":{"iot:ClientId":[]}}`, true},
		{`{"StringEquals":{"berth:None":"x"}}`, false},
		{`{"StringEqualsIfExists":{"berth:None":"x"}}`, true},
		{`{"StringEqualsIfExists":{"iot:ClientId":"x"}}`, false},
		{`{"StringNotEquals":{"iot:ClientId":["x","lamp-1"]}}`, false},
		{`{"StringNotEquals":{"iot:ClientId":["x","y"]}}`, true},
		{`{"StringNotEquals":{"berth:None":"x"}}`, true},
		{`{"StringEqualsIgnoreCase":{"iot:ClientId":"LAMP-1"}}`, true},
		{`{"StringNotEqualsIgnoreCase":{"iot:ClientId":"LAMP-1"}}`, false},
		{`{"StringLike":{"iot:ClientId":"lamp-?"}}`, true},
		{`{"StringLike":{"iot:ClientId":"*x*"}}`, false},
		{`{"StringNotLike":{"iot:ClientId":"lamp-*"}}`, false},
		{`{"StringEquals":{"iot:ClientId":"${iot:Connection.Thing.ThingName}"}}`, true},
		{`{"StringNotEquals":{"iot:ClientId":"${iot:Nothing}"}}`, false},
		{`{"StringEquals":{"iot:ClientId":["${iot:Nothing}","lamp-1"]}}`, true},
		{`{"StringLike":{"berth:Site":"${*}"}}`, false},
		// AND across operators and keys.
		{`{"StringEquals":{"iot:ClientId":"lamp-1","berth:Site":"north"}}`, true},
		{`{"StringEquals":{"iot:ClientId":"lamp-1","berth:Site":"south"}}`, false},
		{`{"StringEquals":{"iot:ClientId":"lamp-1"},"Bool":{"iot:Connection.Thing.IsAttached":"false"}}`, false},
		{`{"NumericEquals":{"berth:Rank":"7.0"}}`, true},
		{`{"NumericEquals":{"berth:Rank":7}}`, true},
		{`{"NumericNotEquals":{"berth:Rank":7}}`, false},
		{`{"NumericLessThan":{"berth:Rank":7}}`, false},
		{`{"NumericLessThanEquals":{"berth:Rank":7}}`, true},
		{`{"NumericGreaterThan":{"berth:Rank":["8","6"]}}`, true},
		{`{"NumericGreaterThanEquals":{"berth:Rank":8}}`, false},
		{`{"NumericGreaterThan":{"berth:Site":0}}`, false},
		{`{"DateEquals":{"aws:CurrentTime":"2026-03-01T12:00:00Z"}}`, true},
		{`{"DateEquals":{"aws:CurrentTime":"2026-03-01T13:00:00+01:00"}}`, true},
		{`{"DateNotEquals":{"aws:CurrentTime":"2026-03-01T12:00:00Z"}}`, false},
		{`{"DateLessThan":{"aws:CurrentTime":"2026-03-02"}}`, true},
		{`{"DateLessThanEquals":{"aws:CurrentTime":"2026-02"}}`, false},
		{`{"DateGreaterThan":{"aws:EpochTime":"1700000000"}}`, true},
		{`{"DateGreaterThanEquals":{"aws:CurrentTime":"2026-03-01T12:00Z"}}`, true},
		{`{"Bool":{"iot:Connection.Thing.IsAttached":["true"]}}`, true},
		{`{"Bool":{"iot:Connection.Thing.IsAttached":true}}`, true},
		{`{"Bool":{"iot:Connection.Thing.IsAttached":"false"}}`, false},
		{`{"BinaryEquals":{"berth:Key":"AQID"}}`, true},
		{`{"BinaryEquals":{"berth:Key":"AQIE"}}`, false},
		{`{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`, true},
		{`{"IpAddress":{"aws:SourceIp":["198.51.100.0/24","192.0.2.7"]}}`, true},
		{`{"IpAddress":{"aws:SourceIp":"2001:db8::/32"}}`, false},
		{`{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`, false},
		{`{"NotIpAddress":{"aws:SourceIp":"198.51.100.0/24"}}`, true},
		{`{"ArnEquals":{"iot:LastWillTopic":"ARN:topic/will"}}`, true},
		{`{"ArnEquals":{"iot:LastWillTopic":"arn:aws:iot:*:*:topic/*"}}`, true},
		{`{"ArnLike":{"iot:LastWillTopic":"arn:*:topic/will"}}`, false},
		{`{"ArnLike":{"iot:LastWillTopic":"*"}}`, true},
		{`{"ArnNotEquals":{"iot:LastWillTopic":"ARN:topic/will"}}`, false},
		{`{"ArnNotLike":{"iot:LastWillTopic":"ARN:topic/other*"}}`, true},
		{`{"ArnEquals":{"iot:LastWillTopic":"ARN:topic/${iot:Connection.Thing.ThingName}/will"}}`, false},
		{`{"Null":{"iot:ClientId":"false"}}`, true},
		{`{"Null":{"iot:ClientId":"true"}}`, false},
		{`{"Null":{"berth:None":"true"}}`, true},
		{`{"Null":{"iot:Certificate.SerialNumber":"false"}}`, false},
		{`{"ForAllValues:StringEquals":{"berth:Tags":["a","b","c"]}}`, true},
		{`{"ForAllValues:StringEquals":{"berth:Tags":["a"]}}`, false},
		{`{"ForAllValues:StringEquals":{"berth:None":["a"]}}`, true},
		{`{"ForAnyValue:StringEquals":{"berth:Tags":["b","x"]}}`, true},
		{`{"ForAnyValue:StringEquals":{"berth:Tags":["x"]}}`, false},
		{`{"ForAnyValue:StringEquals":{"berth:None":["x"]}}`, false},
		{`{"ForAnyValue:StringEqualsIfExists":{"berth:None":["x"]}}`, true},
		{`{"ForAllValues:StringNotEquals":{"berth:Tags":["x"]}}`, true},
		{`{"ForAllValues:StringNotEquals":{"berth:Tags":["a"]}}`, false},
		{`{"ForAnyValue:StringNotEquals":{"berth:Tags":["a"]}}`, true},
		{`{"ForAnyValue:StringLike":{"berth:Tags":["?"]}}`, true},
		{`{"StringEquals":{"berth:Tags":"b"}}`, true},
		{`{"StringNotEquals":{"berth:Tags":"b"}}`, false},
	}
	ctx := base()
	ctx.LastWillTopic = arn + "topic/will"
	ctx.Extra["berth:Key"] = []string{"AQID"}
	for _, tt := range tests {
		set := compile(t, ctx, statement(`"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":`+tt.condition))
		if got := set.Allows(Connect, KindClient, "c"); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.condition, got, tt.want)
		}
		check(t, set, Connect, KindClient, "c", tt.want)
	}
}

func TestMappedAddress(t *testing.T) {
	t.Parallel()
	ctx := base()
	ctx.SourceIP = netip.MustParseAddr("::ffff:192.0.2.7")
	set := compile(t, ctx, statement(`"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`))
	check(t, set, Connect, KindClient, "c", true)
}

// The patterns of the developer guide for iot:ConnectAttributes.
func TestConnectAttributes(t *testing.T) {
	t.Parallel()
	features := [][]string{nil, {PersistentConnect}, {LastWill}, {PersistentConnect, LastWill}}
	tests := []struct {
		what, effect, condition string
		want                    [4]bool // for each of features
	}{
		{"both may be used", "Allow", `{"ForAllValues:StringEquals":{"iot:ConnectAttributes":["PersistentConnect","LastWill"]}}`, [4]bool{true, true, true, true}},
		{"one may be used", "Allow", `{"ForAllValues:StringEquals":{"iot:ConnectAttributes":["PersistentConnect"]}}`, [4]bool{true, true, false, false}},
		{"no features", "Allow", `{"ForAllValues:StringEquals":{"iot:ConnectAttributes":[]}}`, [4]bool{true, false, false, false}},
		{"anything but persistent", "Allow", `{"ForAllValues:StringNotEquals":{"iot:ConnectAttributes":["PersistentConnect"]}}`, [4]bool{true, false, true, false}},
		{"persistent denied", "Deny", `{"ForAnyValue:StringEquals":{"iot:ConnectAttributes":["PersistentConnect"]}}`, [4]bool{true, false, true, false}},
		{"persistent is mandatory", "Allow", `{"ForAnyValue:StringEquals":{"iot:ConnectAttributes":["PersistentConnect"]}}`, [4]bool{false, true, false, true}},
		{"no condition", "Allow", `{}`, [4]bool{true, true, true, true}},
	}
	for _, tt := range tests {
		docs := []string{statement(`"Effect":"` + tt.effect + `","Action":"iot:Connect","Resource":"ARN:client/*","Condition":` + tt.condition)}
		if tt.effect == "Deny" {
			docs = append(docs, statement(`"Effect":"Allow","Action":"iot:Connect","Resource":"*"`))
		}
		for i, f := range features {
			ctx := base()
			ctx.ConnectAttributes = f
			if got := compile(t, ctx, docs...).Allows(Connect, KindClient, "c"); got != tt.want[i] {
				t.Errorf("%s, CONNECT with %v: %v, want %v", tt.what, f, got, tt.want[i])
			}
		}
	}
}
