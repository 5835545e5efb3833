"""boto3 against what lies on reserved topics: shadows, jobs, provisioning, events.

Operations and parameters that this boto3 does not know are skipped by name.
"""
import datetime
import json
import os
import sys
import tempfile
import time
import unittest

import boto3

from boto3_case import ALLOW, ARN, Case, data, iot, jobs, openssl

ROLE = "arn:aws:iam::123456789012:role/role"


def read(answer):
    return json.loads(answer["payload"].read())


def until(what, ready, patience=20):
    """Waits for something that a server does in its own time, and returns it."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


class Shadows(Case):
    def update(self, thing, **document):
        return read(data.update_thing_shadow(thingName=thing, payload=json.dumps(document)))

    def test_life(self):
        self.refused("ResourceNotFoundException", data.get_thing_shadow, thingName="s1")
        made = self.update("s1", state={"desired": {"on": True, "list": [1, 2]}, "reported": {"on": False}}, clientToken="t")
        self.assertEqual((made["version"], made["clientToken"]), (1, "t"))
        self.assertEqual(set(made), {"state", "metadata", "version", "timestamp", "clientToken"})
        whole = read(data.get_thing_shadow(thingName="s1"))
        self.assertEqual(whole["state"]["delta"], {"on": True, "list": [1, 2]})
        self.update("s1", state={"desired": {"on": None, "list": [3]}}, version=1)
        whole = read(data.get_thing_shadow(thingName="s1"))
        self.assertEqual(whole["state"], {"desired": {"list": [3]}, "reported": {"on": False}, "delta": {"list": [3]}})
        self.refused("ConflictException", data.update_thing_shadow, thingName="s1", payload=json.dumps({"state": {"desired": {}}, "version": 1}))
        gone = read(data.delete_thing_shadow(thingName="s1"))
        self.assertEqual(gone["version"], 2)
        self.refused("ResourceNotFoundException", data.delete_thing_shadow, thingName="s1")
        self.assertEqual(self.update("s1", state={"reported": {"a": 1}})["version"], 3)  # versions go on

    def test_named(self):
        for name in ["b", "a", "c"]:
            data.update_thing_shadow(thingName="s2", shadowName=name, payload=json.dumps({"state": {"reported": {"name": name}}}))
        page = data.list_named_shadows_for_thing(thingName="s2", pageSize=2)
        rest = data.list_named_shadows_for_thing(thingName="s2", pageSize=2, nextToken=page["nextToken"])
        self.assertEqual(page["results"] + rest["results"], ["a", "b", "c"])
        self.assertEqual(read(data.get_thing_shadow(thingName="s2", shadowName="b"))["state"], {"reported": {"name": "b"}})
        self.refused("ResourceNotFoundException", data.get_thing_shadow, thingName="s2")
        data.delete_thing_shadow(thingName="s2", shadowName="b")
        self.assertEqual(data.list_named_shadows_for_thing(thingName="s2")["results"], ["a", "c"])

    def test_refused(self):
        nested = {"x": 1}
        for _ in range(8):
            nested = {"x": nested}
        for payload in ["", "{", "[]", '{"state": 1}', '{"state": {"desired": 1}}', json.dumps({"state": {"desired": nested}}),
                        json.dumps({"state": {"desired": {}}, "clientToken": "t" * 65}), '{"state":{"desired":{}},"version":"1"}']:
            self.refused("InvalidRequestException", data.update_thing_shadow, thingName="s3", payload=payload)
        self.refused("RequestEntityTooLargeException", data.update_thing_shadow, thingName="s3",
                     payload=json.dumps({"state": {"desired": {"x": "y" * 8193}}}))
        self.refused("ResourceNotFoundException", data.get_thing_shadow, thingName="s3")  # nothing came of it


class Jobs(Case):
    def make(self, job, *targets, **more):
        for target in targets:
            iot.create_thing(thingName=target)
        return iot.create_job(jobId=job, targets=[ARN + "thing/" + t for t in targets],
                              document=json.dumps({"do": job}), **more)

    def status(self, job):
        return iot.describe_job(jobId=job)["job"]["status"]

    def queued(self, job, thing):
        return until(f"{job} of {thing}", lambda: [e for e in iot.list_job_executions_for_thing(thingName=thing)["executionSummaries"] if e["jobId"] == job])

    def test_device(self):
        self.make("j1", "d1", description="first")
        self.queued("j1", "d1")
        pending = jobs.get_pending_job_executions(thingName="d1")
        self.assertEqual([e["jobId"] for e in pending["queuedJobs"]], ["j1"])
        self.assertEqual(pending["inProgressJobs"], [])
        e = jobs.start_next_pending_job_execution(thingName="d1", statusDetails={"step": "1"})["execution"]
        self.assertEqual((e["jobId"], e["status"], json.loads(e["jobDocument"])), ("j1", "IN_PROGRESS", {"do": "j1"}))
        self.refused("InvalidRequestException", jobs.update_job_execution, jobId="j1", thingName="d1", status="QUEUED")
        self.refused("VersionConflictException", jobs.update_job_execution, jobId="j1", thingName="d1", status="SUCCEEDED", expectedVersion=99)
        done = jobs.update_job_execution(jobId="j1", thingName="d1", status="SUCCEEDED", expectedVersion=e["versionNumber"],
                                         statusDetails={"v": "2"}, includeJobExecutionState=True, includeJobDocument=True)
        self.assertEqual((done["executionState"]["status"], done["executionState"]["statusDetails"]["v"]), ("SUCCEEDED", "2"))
        self.refused("InvalidStateTransitionException", jobs.update_job_execution, jobId="j1", thingName="d1", status="IN_PROGRESS")
        self.refused("TerminalStateException", jobs.describe_job_execution, jobId="j1", thingName="d1")
        self.refused("ResourceNotFoundException", jobs.describe_job_execution, jobId="none", thingName="d1")
        until("completion", lambda: self.status("j1") == "COMPLETED")
        details = iot.describe_job(jobId="j1")["job"]["jobProcessDetails"]
        self.assertEqual(details["numberOfSucceededThings"], 1)
        self.assertIsInstance(iot.describe_job(jobId="j1")["job"]["completedAt"], datetime.datetime)

    def test_cancel_and_delete(self):
        self.make("j2", "d2a", "d2b")
        self.queued("j2", "d2a"), self.queued("j2", "d2b")
        jobs.start_next_pending_job_execution(thingName="d2a")
        self.refused("InvalidStateTransitionException", iot.cancel_job_execution, jobId="j2", thingName="d2a")
        iot.cancel_job_execution(jobId="j2", thingName="d2b")
        self.refused("InvalidStateTransitionException", iot.delete_job, jobId="j2")
        iot.cancel_job(jobId="j2", force=True, comment="enough")
        until("cancellation", lambda: self.status("j2") == "CANCELED")
        self.assertEqual(iot.describe_job(jobId="j2")["job"]["comment"], "enough")
        self.assertEqual({e["jobExecutionSummary"]["status"] for e in iot.list_job_executions_for_job(jobId="j2")["executionSummaries"]}, {"CANCELED"})
        iot.delete_job(jobId="j2", force=True)
        until("deletion", lambda: "j2" not in [j["jobId"] for j in iot.list_jobs()["jobs"]])

    def test_group(self):
        iot.create_thing_group(thingGroupName="jg")
        iot.create_job(jobId="j3", targets=[ARN + "thinggroup/jg"], document="{}", targetSelection="CONTINUOUS")
        iot.create_thing(thingName="d3")
        iot.add_thing_to_thing_group(thingGroupName="jg", thingName="d3")
        self.queued("j3", "d3")
        iot.remove_thing_from_thing_group(thingGroupName="jg", thingName="d3")
        until("removal", lambda: iot.describe_job_execution(jobId="j3", thingName="d3")["execution"]["status"] == "REMOVED")

    def test_template(self):
        made = iot.create_job_template(jobTemplateId="t1", description="d", document='{"a":"${aws:iot:parameter:x}"}')
        self.assertEqual(made["jobTemplateArn"], ARN + "jobtemplate/t1")
        self.assertEqual([t["jobTemplateId"] for t in iot.list_job_templates()["jobTemplates"]], ["t1"])
        self.assertEqual(iot.describe_job_template(jobTemplateId="t1")["description"], "d")
        self.assertIn("AWS-Reboot", [t["templateName"] for t in iot.list_managed_job_templates()["managedJobTemplates"]])
        iot.delete_job_template(jobTemplateId="t1")
        self.refused("ResourceNotFoundException", iot.describe_job_template, jobTemplateId="t1")

    def test_tags(self):
        iot.create_thing(thingName="d5")
        made = iot.create_job(jobId="j5", targets=[ARN + "thing/d5"], document="{}", tags=[{"Key": "k", "Value": "v"}])
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["jobArn"])["tags"], [{"Key": "k", "Value": "v"}])
        iot.tag_resource(resourceArn=made["jobArn"], tags=[{"Key": "k", "Value": "w"}])
        iot.delete_job(jobId="j5", force=True)
        until("deletion", lambda: "j5" not in [j["jobId"] for j in iot.list_jobs()["jobs"]])
        self.refused("ResourceNotFoundException", iot.list_tags_for_resource, resourceArn=made["jobArn"])
        made = iot.create_job(jobId="j5", targets=[ARN + "thing/d5"], document="{}")
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["jobArn"])["tags"], [])

    def test_refused(self):
        iot.create_thing(thingName="d4")
        target = [ARN + "thing/d4"]
        self.refused("InvalidRequestException", iot.create_job, jobId="j4", targets=target)
        self.refused("InvalidRequestException", iot.create_job, jobId="j4", targets=target, document="not json")
        self.refused("ResourceNotFoundException", iot.create_job, jobId="j4", targets=[ARN + "thing/unknown"], document="{}")
        self.refused("ResourceNotFoundException", iot.describe_job, jobId="j4")
        iot.create_job(jobId="j4", targets=target, document="{}")
        self.refused("ResourceAlreadyExistsException", iot.create_job, jobId="j4", targets=target, document="{}")


TEMPLATE = {
    "Parameters": {"Serial": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
    "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Fn::Join": ["-", ["made", {"Ref": "Serial"}]]},
                                                            "AttributePayload": {"serial": {"Ref": "Serial"}}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": ALLOW}},
    },
}


class Provisioning(Case):
    def test_templates(self):
        body = json.dumps(TEMPLATE)
        made = iot.create_provisioning_template(templateName="p1", templateBody=body, provisioningRoleArn=ROLE, enabled=True)
        self.assertEqual((made["templateArn"], made["defaultVersionId"]), (ARN + "provisioningtemplate/p1", 1))
        self.refused("ResourceAlreadyExistsException", iot.create_provisioning_template, templateName="p1", templateBody=body, provisioningRoleArn=ROLE)
        self.assertEqual(iot.create_provisioning_template_version(templateName="p1", templateBody=body, setAsDefault=True)["versionId"], 2)
        self.assertEqual(iot.describe_provisioning_template(templateName="p1")["defaultVersionId"], 2)
        self.refused("DeleteConflictException", iot.delete_provisioning_template_version, templateName="p1", versionId=2)
        iot.delete_provisioning_template_version(templateName="p1", versionId=1)
        self.assertEqual([v["versionId"] for v in iot.list_provisioning_template_versions(templateName="p1")["versions"]], [2])
        claim = iot.create_provisioning_claim(templateName="p1")
        self.assertLess(claim["expiration"] - datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(minutes=6))
        iot.delete_provisioning_template(templateName="p1")
        self.refused("ResourceNotFoundException", iot.describe_provisioning_template, templateName="p1")
        self.refused("InvalidRequestException", iot.create_provisioning_template, templateName="p2", templateBody="{", provisioningRoleArn=ROLE)

    def register_body(self):
        body = json.loads(json.dumps(TEMPLATE))
        body["Parameters"] = {"Serial": {"Type": "String"}, "CSR": {"Type": "String"}}
        body["Resources"]["certificate"]["Properties"] = {"CertificateSigningRequest": {"Ref": "CSR"}, "Status": "ACTIVE"}
        return json.dumps(body)

    def csr(self):
        with tempfile.TemporaryDirectory() as folder:
            return openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
                           "-keyout", os.path.join(folder, "key"))

    def test_register_thing(self):
        made = iot.register_thing(templateBody=self.register_body(), parameters={"Serial": "7", "CSR": self.csr()})
        self.assertIn("BEGIN CERTIFICATE", made["certificatePem"])
        self.assertEqual(made["resourceArns"]["thing"], ARN + "thing/made-7")
        self.assertEqual(iot.describe_thing(thingName="made-7")["attributes"], {"serial": "7"})
        self.assertEqual(iot.list_thing_principals(thingName="made-7")["principals"], [made["resourceArns"]["certificate"]])
        self.refused("InvalidRequestException", iot.register_thing, templateBody=self.register_body(), parameters={"Serial": "8"})
        self.refused("ResourceNotFoundException", iot.describe_thing, thingName="made-8")


class Events(Case):
    def test_configurations(self):
        iot.update_event_configurations(eventConfigurations={"THING": {"Enabled": True}})
        found = iot.describe_event_configurations()
        self.assertTrue(found["eventConfigurations"]["THING"]["Enabled"])
        self.assertFalse(found["eventConfigurations"]["POLICY"]["Enabled"])
        self.assertIsInstance(found["lastModifiedDate"], datetime.datetime)


class Index(Case):
    @classmethod
    def setUpClass(cls):
        iot.update_indexing_configuration(
            thingIndexingConfiguration={"thingIndexingMode": "REGISTRY_AND_SHADOW", "thingConnectivityIndexingMode": "STATUS",
                                        "customFields": [{"name": "shadow.reported.level", "type": "Number"}, {"name": "attributes.room", "type": "String"}]},
            thingGroupIndexingConfiguration={"thingGroupIndexingMode": "ON"})
        for i in range(5):
            iot.create_thing(thingName=f"ix{i}", attributePayload={"attributes": {"room": "hall" if i % 2 else "attic"}})
            data.update_thing_shadow(thingName=f"ix{i}", payload=json.dumps({"state": {"reported": {"level": i * 10}}}))

    def search(self, query, **more):
        return [t["thingName"] for t in iot.search_index(queryString=query, **more)["things"]]

    def test_search(self):
        self.assertEqual(sorted(self.search("thingName:ix*")), ["ix0", "ix1", "ix2", "ix3", "ix4"])
        self.assertEqual(self.search("attributes.room:hall AND shadow.reported.level > 10"), ["ix3"])
        self.assertEqual(sorted(self.search("shadow.reported.level:[10 TO 30] NOT attributes.room:hall")), ["ix2"])
        page = iot.search_index(queryString="thingName:ix*", maxResults=3)
        rest = iot.search_index(queryString="thingName:ix*", maxResults=3, nextToken=page["nextToken"])
        self.assertEqual(len(page["things"]) + len(rest["things"]), 5)
        thing = iot.search_index(queryString="thingName:ix3")["things"][0]
        self.assertEqual(thing["attributes"], {"room": "hall"})
        self.assertEqual(json.loads(thing["shadow"])["reported"], {"level": 30})
        for query in ["", "thingName:", "((", "a:b:c:*?"]:
            with self.assertRaises(Exception):
                iot.search_index(queryString=query)
        self.refused("InvalidQueryException", iot.search_index, queryString="(thingName:a")

    def test_aggregations(self):
        found = iot.get_statistics(queryString="thingName:ix*", aggregationField="shadow.reported.level")["statistics"]
        self.assertEqual((found["count"], found["average"], found["sum"], found["minimum"], found["maximum"]), (5, 20.0, 100.0, 0.0, 40.0))
        self.assertEqual(iot.get_cardinality(queryString="thingName:ix*", aggregationField="attributes.room")["cardinality"], 2)
        half = iot.get_percentiles(queryString="thingName:ix*", aggregationField="shadow.reported.level", percents=[50])["percentiles"]
        self.assertEqual([(p["percent"], p["value"]) for p in half], [(50.0, 20.0)])
        buckets = iot.get_buckets_aggregation(queryString="thingName:ix*", aggregationField="attributes.room",
                                              bucketsAggregationType={"termsAggregation": {"maxBuckets": 5}})
        self.assertEqual([(b["keyValue"], b["count"]) for b in buckets["buckets"]], [("attic", 3), ("hall", 2)])

    def test_dynamic_group(self):
        made = iot.create_dynamic_thing_group(thingGroupName="full", queryString="shadow.reported.level > 90")
        self.assertEqual(made["queryString"], "shadow.reported.level > 90")
        members = lambda: iot.list_things_in_thing_group(thingGroupName="full")["things"]
        until("group", lambda: iot.describe_thing_group(thingGroupName="full")["status"] == "ACTIVE")
        self.assertEqual(members(), [])
        iot.create_thing(thingName="fx")
        data.update_thing_shadow(thingName="fx", payload=json.dumps({"state": {"reported": {"level": 95}}}))
        until("membership", lambda: members() == ["fx"])
        self.refused("InvalidRequestException", iot.add_thing_to_thing_group, thingGroupName="full", thingName="ix0")
        iot.delete_dynamic_thing_group(thingGroupName="full")

    def test_fleet_metric(self):
        iot.create_fleet_metric(metricName="levels", queryString="thingName:ix*", aggregationType={"name": "Statistics", "values": ["average"]},
                                period=60, aggregationField="shadow.reported.level")
        self.assertEqual(iot.describe_fleet_metric(metricName="levels")["period"], 60)
        self.assertEqual([m["metricName"] for m in iot.list_fleet_metrics()["fleetMetrics"]], ["levels"])
        iot.delete_fleet_metric(metricName="levels")


class OTA(Case):
    def test_stream(self):
        self.refused("ResourceNotFoundException", iot.describe_stream, streamId="none")
        for files in [[], [{"fileId": 256, "s3Location": {"bucket": "berth", "key": "x"}}]]:
            with self.assertRaises(Exception):
                iot.create_stream(streamId="s", files=files, roleArn=ROLE)
        self.assertEqual(iot.list_streams()["streams"], [])

    def test_update_refused(self):
        self.refused("ResourceNotFoundException", iot.get_ota_update, otaUpdateId="none")
        self.refused("ResourceNotFoundException", iot.delete_ota_update, otaUpdateId="none")
        self.assertEqual(iot.list_ota_updates()["otaUpdates"], [])


class Identities(Case):
    def test_role_alias(self):
        made = iot.create_role_alias(roleAlias="ra", roleArn=ROLE, credentialDurationSeconds=1800, tags=[{"Key": "a", "Value": "b"}])
        self.assertEqual(made["roleAliasArn"], ARN + "rolealias/ra")
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["roleAliasArn"])["tags"], [{"Key": "a", "Value": "b"}])
        self.assertEqual(iot.describe_role_alias(roleAlias="ra")["roleAliasDescription"]["credentialDurationSeconds"], 1800)
        iot.delete_role_alias(roleAlias="ra")
        self.refused("ResourceNotFoundException", iot.describe_role_alias, roleAlias="ra")

    def test_authorizer(self):
        made = iot.create_authorizer(authorizerName="au", authorizerFunctionArn="arn:aws:lambda:eu-central-1:123456789012:function:f",
                                     signingDisabled=True, status="INACTIVE")
        self.assertEqual([a["authorizerName"] for a in iot.list_authorizers()["authorizers"]], ["au"])
        self.assertTrue(iot.describe_authorizer(authorizerName="au")["authorizerDescription"]["signingDisabled"])
        self.refused("ResourceNotFoundException", iot.describe_default_authorizer)
        iot.delete_authorizer(authorizerName="au")
        self.assertTrue(made["authorizerArn"].endswith("authorizer/au"))

    def test_domain_configuration(self):
        iot.create_domain_configuration(domainConfigurationName="dc", domainName="iot.example.com")
        self.assertEqual(iot.describe_domain_configuration(domainConfigurationName="dc")["domainConfigurationStatus"], "ENABLED")
        self.refused("InvalidRequestException", iot.delete_domain_configuration, domainConfigurationName="dc")
        iot.update_domain_configuration(domainConfigurationName="dc", domainConfigurationStatus="DISABLED")
        iot.delete_domain_configuration(domainConfigurationName="dc")


class Commands(Case):
    def setUp(self):
        self.knows("CreateCommand")

    def test_life(self):
        made = iot.create_command(commandId="c1", namespace="AWS-IoT", payload={"content": b'{"on":true}', "contentType": "application/json"},
                                  displayName="on", tags=[{"Key": "k", "Value": "v"}])
        self.assertEqual(made["commandArn"], ARN + "command/c1")
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["commandArn"])["tags"], [{"Key": "k", "Value": "v"}])
        self.assertEqual(iot.get_command(commandId="c1")["payload"]["content"], b'{"on":true}')
        iot.create_thing(thingName="ct")
        target = ARN + "thing/ct"
        started = jobs.start_command_execution(commandArn=made["commandArn"], targetArn=target, executionTimeoutSeconds=60)
        found = iot.get_command_execution(executionId=started["executionId"], targetArn=target)
        self.assertEqual((found["status"], found["executionTimeoutSeconds"]), ("CREATED", 60))
        self.assertEqual([e["executionId"] for e in iot.list_command_executions(targetArn=target)["commandExecutions"]], [started["executionId"]])
        self.refused("ResourceNotFoundException", jobs.start_command_execution, commandArn=ARN + "command/none", targetArn=target)
        iot.update_command(commandId="c1", deprecated=True)
        self.assertTrue([c for c in iot.list_commands()["commands"] if c["commandId"] == "c1"][0]["deprecated"])


class Packages(Case):
    def setUp(self):
        self.knows("CreatePackage")

    def test_life(self):
        iot.create_package(packageName="pk", tags={"a": "b"})
        made = iot.create_package_version(packageName="pk", versionName="1.0", attributes={"x": "1"}, tags={"c": "d"})
        self.assertEqual(made["status"], "DRAFT")
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["packageVersionArn"])["tags"], [{"Key": "c", "Value": "d"}])
        iot.update_package_version(packageName="pk", versionName="1.0", action="PUBLISH")
        self.assertEqual(iot.get_package_version(packageName="pk", versionName="1.0")["status"], "PUBLISHED")
        iot.update_package(packageName="pk", defaultVersionName="1.0")
        self.assertEqual(iot.get_package(packageName="pk")["defaultVersionName"], "1.0")
        self.assertEqual([v["versionName"] for v in iot.list_package_versions(packageName="pk")["packageVersionSummaries"]], ["1.0"])


class Defender(Case):
    def test_profile(self):
        made = iot.create_security_profile(securityProfileName="sp", behaviors=[{
            "name": "few", "metric": "aws:num-listening-tcp-ports", "criteria": {"comparisonOperator": "less-than", "value": {"count": 5}}}],
            tags=[{"Key": "k", "Value": "v"}])
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["securityProfileArn"])["tags"], [{"Key": "k", "Value": "v"}])
        iot.attach_security_profile(securityProfileName="sp", securityProfileTargetArn=ARN + "all/registered-things")
        self.assertEqual(iot.describe_security_profile(securityProfileName="sp")["behaviors"][0]["name"], "few")
        self.assertEqual(iot.list_active_violations()["activeViolations"], [])

    def test_audit(self):
        name = "IOT_POLICY_OVERLY_PERMISSIVE_CHECK"
        iot.create_policy(policyName="too-much", policyDocument=ALLOW)
        iot.update_account_audit_configuration(roleArn=ROLE, auditCheckConfigurations={name: {"enabled": True}})
        task = iot.start_on_demand_audit_task(targetCheckNames=[name])["taskId"]
        until("audit", lambda: iot.describe_audit_task(taskId=task)["taskStatus"] == "COMPLETED")
        found = iot.list_audit_findings(taskId=task)["findings"]
        self.assertIn("too-much", [f["nonCompliantResource"]["resourceIdentifier"].get("policyVersionIdentifier", {}).get("policyName") for f in found])


if __name__ == "__main__":
    print("boto3", boto3.__version__, "python", sys.version.split()[0])
    unittest.main(verbosity=2, warnings="ignore")
