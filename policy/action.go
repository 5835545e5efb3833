package policy

import "strings"

// Action is an operation of the data plane that a policy can allow.
type Action uint8

// The actions that AWS IoT checks on devices and on callers of the data plane.
// (AWS IoT developer guide, "AWS IoT Core policy actions".)
const (
	Connect Action = iota
	Publish
	RetainPublish
	Subscribe
	Receive
	GetThingShadow
	UpdateThingShadow
	DeleteThingShadow
	ListNamedShadowsForThing
	GetRetainedMessage
	ListRetainedMessages
	DescribeJobExecution
	GetPendingJobExecutions
	StartNextPendingJobExecution
	UpdateJobExecution
	AssumeRoleWithCertificate
	DeleteConnection

	numActions = iota
)

// actionRow says how an action is spelled and which kind of resource it is
// asked about.
type actionRow struct {
	name  string
	lower string
	kind  Kind
}

var actions = [numActions]actionRow{
	Connect:                      {"iot:Connect", "iot:connect", KindClient},
	Publish:                      {"iot:Publish", "iot:publish", KindTopic},
	RetainPublish:                {"iot:RetainPublish", "iot:retainpublish", KindTopic},
	Subscribe:                    {"iot:Subscribe", "iot:subscribe", KindTopicFilter},
	Receive:                      {"iot:Receive", "iot:receive", KindTopic},
	GetThingShadow:               {"iot:GetThingShadow", "iot:getthingshadow", KindThing},
	UpdateThingShadow:            {"iot:UpdateThingShadow", "iot:updatethingshadow", KindThing},
	DeleteThingShadow:            {"iot:DeleteThingShadow", "iot:deletethingshadow", KindThing},
	ListNamedShadowsForThing:     {"iot:ListNamedShadowsForThing", "iot:listnamedshadowsforthing", KindThing},
	GetRetainedMessage:           {"iot:GetRetainedMessage", "iot:getretainedmessage", KindTopic},
	ListRetainedMessages:         {"iot:ListRetainedMessages", "iot:listretainedmessages", KindAny},
	DescribeJobExecution:         {"iot:DescribeJobExecution", "iot:describejobexecution", KindThing},
	GetPendingJobExecutions:      {"iot:GetPendingJobExecutions", "iot:getpendingjobexecutions", KindThing},
	StartNextPendingJobExecution: {"iot:StartNextPendingJobExecution", "iot:startnextpendingjobexecution", KindThing},
	UpdateJobExecution:           {"iot:UpdateJobExecution", "iot:updatejobexecution", KindThing},
	AssumeRoleWithCertificate:    {"iot:AssumeRoleWithCertificate", "iot:assumerolewithcertificate", KindRoleAlias},
	DeleteConnection:             {"iot:DeleteConnection", "iot:deleteconnection", KindClient},
}

// String returns the action as policies spell it, such as "iot:Connect".
func (a Action) String() string {
	if int(a) >= numActions {
		return "iot:?"
	}
	return actions[a].name
}

// Kind returns the kind of resource that the action is checked against:
// [KindTopicFilter] for Subscribe, for instance.
func (a Action) Kind() Kind {
	if int(a) >= numActions {
		return KindAny
	}
	return actions[a].kind
}

// ParseAction finds the action of that name in any case of letters. It takes
// no wildcards.
func ParseAction(name string) (Action, bool) {
	for i := range actions {
		if strings.EqualFold(actions[i].name, name) {
			return Action(i), true
		}
	}
	return 0, false
}

// actionSet is a set of actions, one bit each.
type actionSet uint32

const allActions = actionSet(1)<<numActions - 1

func (s actionSet) has(a Action) bool { return s>>a&1 != 0 }

// matchActions returns the actions that any of the patterns names. Case does
// not matter; * and ? are wildcards. An action that this package does not know
// adds nothing.
func matchActions(patterns []string) actionSet {
	var set actionSet
	for _, p := range patterns {
		if p == "*" {
			return allActions
		}
		t, _ := parseTemplate(strings.ToLower(p), templateMode{wild: true})
		pat, _, _ := t.resolve(nil)
		for i := range actions {
			if pat.match(actions[i].lower) {
				set |= 1 << i
			}
		}
	}
	return set
}

// Kind is the kind of a resource: the word after the account in its ARN.
type Kind uint8

// The kinds of resource. KindAny stands for the resource "*" of actions that
// have no resource of their own, such as iot:ListRetainedMessages; only
// Resource "*" permits those.
const (
	KindAny Kind = iota
	KindTopic
	KindTopicFilter
	KindClient
	KindThing
	KindRoleAlias

	numKinds = iota
)

var kinds = [numKinds]string{"*", "topic", "topicfilter", "client", "thing", "rolealias"}

// String returns the word as ARNs spell it; "*" for KindAny.
func (k Kind) String() string {
	if int(k) >= numKinds {
		return "?"
	}
	return kinds[k]
}

// ParseKind finds the kind of that name; "*" is KindAny.
func ParseKind(name string) (Kind, bool) {
	for i, k := range kinds {
		if k == name {
			return Kind(i), true
		}
	}
	return 0, false
}

// ParseResource splits a resource ARN into the part up to the account with its
// colon, as in [Context.ARNPrefix], the kind and the name. A lone "*" is
// KindAny with an empty name. The name may hold colons and slashes.
func ParseResource(arn string) (prefix string, kind Kind, name string, ok bool) {
	if arn == "*" {
		return "", KindAny, "", true
	}
	rest := arn
	for range 5 {
		i := strings.IndexByte(rest, ':')
		if i < 0 {
			return "", 0, "", false
		}
		rest = rest[i+1:]
	}
	word, name, found := strings.Cut(rest, "/")
	kind, known := ParseKind(word)
	if !found || !known || kind == KindAny || !strings.HasPrefix(arn, "arn:") {
		return "", 0, "", false
	}
	return arn[:len(arn)-len(rest)], kind, name, true
}

// resourceText is the full text that patterns are matched with.
func resourceText(prefix string, kind Kind, name string) string {
	if kind == KindAny {
		return "*"
	}
	return prefix + kind.String() + "/" + name
}
