package policy_test

import (
	"fmt"

	"github.com/berth-iot/berth/policy"
)

func Example() {
	doc, err := policy.Parse([]byte(`{
		"Version": "2012-10-17",
		"Statement": [
			{"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:us-east-1:000000000000:topic/dt/${iot:Connection.Thing.ThingName}/*"},
			{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:us-east-1:000000000000:topic/cmd/*"}
		]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	set := policy.Compile([]policy.Named{{Name: "lamps", Version: "1", Doc: doc}}, &policy.Context{
		ARNPrefix: "arn:aws:iot:us-east-1:000000000000:",
		ClientID:  "lamp-1",
		Thing:     &policy.Thing{Name: "lamp-1"},
	})
	fmt.Println(set.Allows(policy.Publish, policy.KindTopic, "dt/lamp-1/state"))
	fmt.Println(set.Allows(policy.Publish, policy.KindTopic, "dt/lamp-2/state"))
	fmt.Println(set.Explain(policy.Subscribe, policy.KindTopicFilter, "cmd/lamp-1"))
	// Output:
	// true
	// false
	// denied: no statement allows iot:Subscribe on topicfilter/cmd/lamp-1 (policies: lamps); policy "lamps" version 1 Statement[1] names topic/, but iot:Subscribe is checked against topicfilter/
}
