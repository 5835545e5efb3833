package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

// arnPlace is the beginning of ARNs: partition, region and account.
type arnPlace struct{ partition, region, account string }

func (p arnPlace) arn(resource string) string {
	return fmt.Sprintf("arn:%s:iot:%s:%s:%s", p.partition, p.region, p.account, resource)
}

// arns reads partition, region and account off the ARN of a thing.
func (s *site) arns(cmd *cobra.Command, api *iot.Client, thing string) (arnPlace, error) {
	out, err := api.DescribeThing(cmd.Context(), &iot.DescribeThingInput{ThingName: &thing})
	if err != nil {
		failed := apiError(fmt.Sprintf("describe thing %q", thing), err)
		if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
			failed = hinted(failed, "make it first: berth thing create "+thing)
		}
		return arnPlace{}, failed
	}
	parts := strings.SplitN(text(out.ThingArn), ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return arnPlace{}, fmt.Errorf("describe thing %q: its ARN %q has no region and account", thing, text(out.ThingArn))
	}
	return arnPlace{parts[1], parts[3], parts[4]}, nil
}

type leastDocument struct {
	Version   string
	Statement []leastStatement
}

type leastStatement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string]string `json:",omitempty"`
}

// leastPrivilege is a policy document that lets a device connect under its thing's name while its
// certificate is attached to that thing, and use the topics below THING/, its shadows and its jobs;
// and the topics given, in which * is allowed.
func leastPrivilege(p arnPlace, publish, subscribe []string) []byte {
	const thing = "${iot:Connection.Thing.ThingName}"
	own := []string{thing + "/*", "$aws/things/" + thing + "/shadow/*", "$aws/things/" + thing + "/jobs/*"}
	resources := func(kind string, topics, more []string) (list []string) {
		for _, t := range append(topics[:len(topics):len(topics)], more...) {
			list = append(list, p.arn(kind+"/"+t))
		}
		return list
	}
	doc := leastDocument{Version: "2012-10-17", Statement: []leastStatement{
		{
			Sid: "Connect", Effect: "Allow", Action: []string{"iot:Connect"},
			Resource:  []string{p.arn("client/" + thing)},
			Condition: map[string]map[string]string{"Bool": {"iot:Connection.Thing.IsAttached": "true"}},
		},
		{Sid: "Publish", Effect: "Allow", Action: []string{"iot:Publish"}, Resource: resources("topic", own, publish)},
		{Sid: "Receive", Effect: "Allow", Action: []string{"iot:Receive"}, Resource: resources("topic", own, subscribe)},
		{Sid: "Subscribe", Effect: "Allow", Action: []string{"iot:Subscribe"}, Resource: resources("topicfilter", own, subscribe)},
	}}
	b, _ := json.MarshalIndent(doc, "", "  ") // strings only: it cannot fail
	return b
}
