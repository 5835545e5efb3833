# What TestMoto moves; the port of moto is the only argument. Prints the PEM of the certificate.
import json
import sys

import boto3

where = dict(endpoint_url="http://127.0.0.1:" + sys.argv[1], region_name="eu-west-1")
iot, data = boto3.client("iot", **where), boto3.client("iot-data", **where)
prefix = "arn:aws:iot:eu-west-1:123456789012:"
role = "arn:aws:iam::123456789012:role/x"

iot.create_thing_type(thingTypeName="bulb")
iot.create_billing_group(billingGroupName="house")
iot.create_thing(thingName="lamp", thingTypeName="bulb", attributePayload={"attributes": {"room": "x"}}, billingGroupName="house")
iot.create_thing_group(thingGroupName="site")
iot.create_thing_group(thingGroupName="floor", parentGroupName="site")
iot.add_thing_to_thing_group(thingGroupName="floor", thingName="lamp")
cert = iot.create_keys_and_certificate(setAsActive=True)
iot.attach_thing_principal(thingName="lamp", principal=cert["certificateArn"])
statement = {"Effect": "Allow", "Action": "iot:*", "Resource": prefix + "*"}
iot.create_policy(policyName="all", policyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
iot.attach_policy(policyName="all", target=cert["certificateArn"])
iot.create_job(jobId="first", targets=[prefix + "thing/lamp"], document='{"a":1}')
iot.create_job_template(jobTemplateId="usual", document='{"a":1}', description="d")
iot.create_role_alias(roleAlias="camera", roleArn=role)
iot.create_topic_rule(ruleName="copy", topicRulePayload={"sql": "SELECT * FROM 'a'", "actions": [{"republish": {"roleArn": role, "topic": "b"}}]})
data.update_thing_shadow(thingName="lamp", payload=json.dumps({"state": {"desired": {"on": True}}}))
print(cert["certificatePem"], end="")
