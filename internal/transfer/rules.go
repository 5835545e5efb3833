package transfer

import (
	"context"
	"slices"
	"strings"
	"sync"
)

func readDestinations(ctx context.Context, r *reader) (map[string]object, error) {
	all, err := r.pages(ctx, "ListTopicRuleDestinations", nil, "destinationSummaries")
	if err != nil {
		return nil, err
	}
	out := make(map[string]object)
	for _, x := range all {
		d, _ := x.(object)
		o := pick(d, "status", "arn")
		name := str(obj(d, "httpUrlSummary"), "confirmationUrl")
		if name == "" {
			name, o["vpc"] = str(d, "arn"), true
		}
		out[name] = o
	}
	return out, nil
}

// sameDestination: whether it is confirmed is up to who listens there.
func sameDestination(_, _ object) bool { return true }

func refuseDestination(_ *writer, _ string, want object) string {
	if truth(want, "vpc") {
		return "it lies in a VPC of the source: make one in the target by hand"
	}
	return ""
}

func writeDestination(ctx context.Context, w *writer, url string, want, _ object) (string, error) {
	out, err := w.call(ctx, "CreateTopicRuleDestination", args{"destinationConfiguration": object{"httpUrlConfiguration": object{"confirmationUrl": url}}})
	if err != nil {
		return "", err
	}
	if status := str(want, "status"); status == "DISABLED" {
		_, err := w.call(ctx, "UpdateTopicRuleDestination", args{"arn": str(obj(out, "topicRuleDestination"), "arn"), "status": status})
		return "", err
	}
	return "the target has asked that address for confirmation: it must call the URL that it was sent", nil
}

func readRules(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListTopicRules", nil, "rules", "ruleName")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "GetTopicRule", args{"ruleName": name})
		if err != nil {
			return nil, err
		}
		o := pick(obj(out, "rule"), "sql", "description", "actions", "ruleDisabled", "awsIotSqlVersion", "errorAction")
		return r.tagged(ctx, o, str(out, "ruleArn"))
	})
}

// ownActions are actions that only berth has.
var ownActions = []string{"table", "file", "postgres", "mqtt"}

// refuseRule finds actions that AWS does not have.
func refuseRule(w *writer, _ string, want object) string {
	if !w.isAWS() {
		return ""
	}
	actions := objects(want, "actions")
	if e := obj(want, "errorAction"); e != nil {
		actions = append(actions, e)
	}
	for _, a := range actions {
		for name := range a {
			if slices.Contains(ownActions, name) {
				return "AWS does not have the action " + name + ": give the rule another one"
			}
		}
	}
	return ""
}

func writeRule(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	payload := pick(want, "sql", "description", "actions", "ruleDisabled", "awsIotSqlVersion", "errorAction")
	op := "CreateTopicRule"
	if have != nil {
		op = "ReplaceTopicRule"
	}
	if _, err := w.call(ctx, op, args{"ruleName": name, "": payload}); err != nil {
		return "", err
	}
	return "", w.tag(ctx, w.arn("rule/"+name), want, have)
}

// configs are the settings that jobs and job templates share.
var configs = []string{"description", "document", "presignedUrlConfig", "jobExecutionsRolloutConfig", "abortConfig", "timeoutConfig", "jobExecutionsRetryConfig",
	"maintenanceWindows", "destinationPackageVersions", "tags"}

func readJobTemplates(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListJobTemplates", nil, "jobTemplates", "jobTemplateId")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "DescribeJobTemplate", args{"jobTemplateId": name})
		if err != nil {
			return nil, err
		}
		return r.tagged(ctx, pick(out, append([]string{"documentSource"}, configs...)...), str(out, "jobTemplateArn"))
	})
}

// sameJob compares what was ordered, not how far it has come.
func sameJob(want, have object) bool {
	fields := func(o object) object {
		out := pick(o, append([]string{"targetSelection", "schedulingConfig"}, configs...)...)
		if text := str(out, "document"); text != "" {
			out["document"] = canonical(text)
		}
		return out
	}
	return equal(fields(want), fields(have))
}

func writeJobTemplate(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	if have != nil {
		return "", unchangeable("it differs and cannot be changed: delete it in the target, then run again")
	}
	in := args{"jobTemplateId": name, "description": str(want, "description")}
	for k, v := range want {
		if k != "tags" && (k != "documentSource" || str(want, "document") == "") {
			in[k] = v
		}
	}
	if _, err := w.call(ctx, "CreateJobTemplate", in); err != nil {
		return "", err
	}
	return "", w.tag(ctx, w.arn("jobtemplate/"+name), want, have)
}

func readJobs(ctx context.Context, r *reader) (map[string]object, error) {
	names, err := r.names(ctx, "ListJobs", args{"maxResults": 250}, "jobs", "jobId")
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, names, func(ctx context.Context, name string) (object, error) {
		out, err := r.call(ctx, "DescribeJob", args{"jobId": name})
		if err != nil {
			return nil, err
		}
		job := obj(out, "job")
		o := pick(job, append([]string{"status", "targets", "targetSelection", "namespaceId", "schedulingConfig"}, configs...)...)
		doc, err := r.call(ctx, "GetJobDocument", args{"jobId": name})
		if err != nil {
			return nil, err
		}
		if text := str(doc, "document"); text != "" {
			o["document"] = text
		}
		if str(o, "targetSelection") == "" {
			o["targetSelection"] = "SNAPSHOT"
		}
		if finished(str(o, "status")) {
			return r.tagged(ctx, o, str(job, "jobArn"))
		}
		executions, err := r.pages(ctx, "ListJobExecutionsForJob", args{"jobId": name, "maxResults": 250}, "executionSummaries")
		if err != nil && !lacking(err) {
			return nil, err
		}
		var open []string
		over := 0
		for _, x := range executions {
			e, _ := x.(object)
			switch str(obj(e, "jobExecutionSummary"), "status") {
			case "QUEUED", "IN_PROGRESS":
				open = append(open, str(e, "thingArn"))
			default:
				over++
			}
		}
		o["open"], o["over"] = list(open), over > 0
		return r.tagged(ctx, o, str(job, "jobArn"))
	})
}

func finished(status string) bool {
	return status == "COMPLETED" || status == "CANCELED" || status == "DELETION_IN_PROGRESS"
}

// refuseJob: a job that has ended would begin again.
func refuseJob(_ *writer, name string, want object) string {
	switch {
	case finished(str(want, "status")):
		return "it is " + str(want, "status") + ": making it anew would run it again; its executions stay in the source"
	case strings.HasPrefix(name, "AFR_OTA-"):
		return "it belongs to an OTA update: make the update anew, with berth ota create"
	case truth(want, "over") && str(want, "targetSelection") != "CONTINUOUS" && len(strs(want, "open")) == 0:
		return "all of its things are done"
	}
	return ""
}

func remarkJob(want object) string {
	switch {
	case truth(want, "over") && str(want, "targetSelection") == "CONTINUOUS":
		return "things that are done with it in the source get it again: finished executions cannot be made"
	case truth(want, "over"):
		return "only for the things that are not done with it; their executions begin as QUEUED"
	}
	return ""
}

// writeJob orders a job from those that are not done with it in the source.
func writeJob(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	if have != nil {
		_, err := w.call(ctx, "UpdateJob", args{"jobId": name, "description": want["description"], "presignedUrlConfig": want["presignedUrlConfig"],
			"jobExecutionsRolloutConfig": want["jobExecutionsRolloutConfig"], "abortConfig": want["abortConfig"], "timeoutConfig": want["timeoutConfig"],
			"jobExecutionsRetryConfig": want["jobExecutionsRetryConfig"]})
		if err != nil {
			return "", err
		}
		if err := w.tag(ctx, w.arn("job/"+name), want, have); err != nil {
			return "", err
		}
		if canonical(str(want, "document")) != canonical(str(have, "document")) || str(want, "targetSelection") != str(have, "targetSelection") {
			return "", unchangeable("its document or target selection differs and cannot be changed: delete it in the target, then run again")
		}
		return "", nil
	}
	in := args{"jobId": name}
	for _, k := range append([]string{"targets", "targetSelection", "namespaceId", "schedulingConfig"}, configs...) {
		if v := want[k]; v != nil && k != "tags" && k != "maintenanceWindows" {
			in[k] = v
		}
	}
	if truth(want, "over") && str(want, "targetSelection") != "CONTINUOUS" {
		in["targets"] = want["open"]
	}
	if _, err := w.call(ctx, "CreateJob", in); err != nil {
		return "", err
	}
	return "", w.tag(ctx, w.arn("job/"+name), want, have)
}

// classic stands for the shadow without a name.
const classic = "(classic)"

// readShadows reads what shadows desire and report, as "THING SHADOW".
func readShadows(ctx context.Context, r *reader) (map[string]object, error) {
	things, err := r.allThings(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]object)
	var mu sync.Mutex
	_, err = r.describe(ctx, thingNames(things), func(ctx context.Context, thing string) (object, error) {
		names, err := r.everything(ctx, "ListNamedShadowsForThing", args{"thingName": thing}, "results")
		if err != nil && !is(err, "ResourceNotFoundException") {
			return nil, err
		}
		for _, name := range append([]string{classic}, names...) {
			in := args{"thingName": thing}
			if name != classic {
				in["?name"] = name
			}
			doc, err := r.call(ctx, "GetThingShadow", in)
			if is(err, "ResourceNotFoundException") {
				continue
			}
			if err != nil {
				return nil, err
			}
			mu.Lock()
			out[thing+" "+name] = sections(obj(doc, "state"))
			mu.Unlock()
		}
		return nil, nil
	})
	return out, err
}

// sections leaves out the delta, which follows from the others.
func sections(state object) object {
	out := make(object)
	for _, name := range []string{"desired", "reported"} {
		if v := state[name]; v != nil {
			out[name] = v
		}
	}
	return out
}

func writeShadow(ctx context.Context, w *writer, name string, want, have object) (string, error) {
	thing, shadow, _ := strings.Cut(name, " ")
	in := args{"thingName": thing, "": object{"state": difference(want, have)}}
	if shadow != classic {
		in["?name"] = shadow
	}
	_, err := w.call(ctx, "UpdateThingShadow", in)
	return "", err
}

// difference is what must be sent to make have the same as want: null removes.
func difference(want, have object) object {
	out := make(object)
	for k, v := range want {
		if w, ok := v.(object); ok {
			h, _ := have[k].(object)
			if d := difference(w, h); len(d) > 0 || h == nil {
				out[k] = d
			}
			continue
		}
		out[k] = v
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			out[k] = nil
		}
	}
	return out
}

// isAWS reports whether the account is at AWS itself.
func (a *Account) isAWS() bool { return a.cfg.Base != a.data }
