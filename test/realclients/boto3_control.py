"""boto3 against the control plane and the data plane, one test per group of operations.

Operations and parameters that this boto3 does not know are skipped by name.
"""
import json
import os
import sys
import tempfile
import unittest

import boto3
import botocore
from botocore.exceptions import ClientError

from boto3_case import ACCOUNT, ALLOW, ARN, Case, client, data, iot, openssl


class Things(Case):
    def test_life(self):
        made = iot.create_thing(thingName="t:life_1-a", attributePayload={"attributes": {"a": "1", "b": "x/y"}})
        self.assertEqual(made["thingArn"], ARN + "thing/t:life_1-a")
        self.assertRegex(made["thingId"], r"^[0-9a-f-]{36}$")
        again = iot.create_thing(thingName="t:life_1-a", attributePayload={"attributes": {"a": "1", "b": "x/y"}})
        self.assertEqual(again["thingId"], made["thingId"])
        other = self.refused("ResourceAlreadyExistsException", iot.create_thing, thingName="t:life_1-a")
        self.assertEqual(other["resourceArn"], made["thingArn"])
        self.assertTrue(other["resourceId"])

        iot.update_thing(thingName="t:life_1-a", attributePayload={"attributes": {"c": "3", "a": ""}, "merge": True}, expectedVersion=1)
        thing = iot.describe_thing(thingName="t:life_1-a")
        self.assertEqual((thing["version"], thing["attributes"], thing["defaultClientId"]), (2, {"b": "x/y", "c": "3"}, "t:life_1-a"))
        self.refused("VersionConflictException", iot.update_thing, thingName="t:life_1-a", attributePayload={"attributes": {}}, expectedVersion=1)
        iot.update_thing(thingName="t:life_1-a", attributePayload={"attributes": {"only": "1"}})
        self.assertEqual(iot.describe_thing(thingName="t:life_1-a")["attributes"], {"only": "1"})
        self.refused("VersionConflictException", iot.delete_thing, thingName="t:life_1-a", expectedVersion=1)
        iot.delete_thing(thingName="t:life_1-a", expectedVersion=3)
        self.refused("ResourceNotFoundException", iot.describe_thing, thingName="t:life_1-a")
        iot.delete_thing(thingName="t:life_1-a")  # AWS: succeeds for a thing that does not exist

    def test_names_and_limits(self):
        for name in ["with space", "semi;colon", "ünder", "a" * 129, "../../etc/passwd", "x' OR '1'='1", "percent%2F"]:
            self.refused("InvalidRequestException", iot.create_thing, thingName=name)
        self.refused("InvalidRequestException", iot.create_thing, thingName="spaces", attributePayload={"attributes": {"a": "with space"}})
        self.refused("InvalidRequestException", iot.create_thing, thingName="many", attributePayload={"attributes": {str(i): "x" for i in range(4)}})
        self.refused("ResourceNotFoundException", iot.create_thing, thingName="typed", thingTypeName="none")
        self.refused("ResourceNotFoundException", iot.update_thing, thingName="nothing", attributePayload={"attributes": {}})

    def test_pages(self):
        names = [f"page-{i:02}" for i in range(23)]
        for name in names:
            iot.create_thing(thingName=name, attributePayload={"attributes": {"lot": "page"}})
        pages = self.pages("list_things", "things", 5, attributeName="lot", attributeValue="page")
        self.assertEqual(sorted(t["thingName"] for p in pages for t in p), names)
        self.assertEqual([len(p) for p in pages], [5, 5, 5, 5, 3])
        by_prefix = [t["thingName"] for page in iot.get_paginator("list_things").paginate(
            attributeName="lot", attributeValue="pa", usePrefixAttributeValue=True) for t in page["things"]]
        self.assertEqual(sorted(by_prefix), names)
        self.refused("InvalidRequestException", iot.list_things, nextToken="rubbish")


class ThingTypes(Case):
    def test_life(self):
        made = iot.create_thing_type(thingTypeName="Lamp", thingTypeProperties={"thingTypeDescription": "shines", "searchableAttributes": ["floor"]})
        self.assertEqual(made["thingTypeArn"], ARN + "thingtype/Lamp")
        found = iot.describe_thing_type(thingTypeName="Lamp")
        self.assertEqual(found["thingTypeProperties"]["thingTypeDescription"], "shines")
        self.assertEqual(found["thingTypeProperties"]["searchableAttributes"], ["floor"])
        self.assertFalse(found["thingTypeMetadata"]["deprecated"])
        iot.create_thing(thingName="lamp-1", thingTypeName="Lamp", attributePayload={"attributes": {str(i): "x" for i in range(50)}})
        self.assertEqual(iot.list_things(thingTypeName="Lamp")["things"][0]["thingName"], "lamp-1")
        self.refused("InvalidRequestException", iot.delete_thing_type, thingTypeName="Lamp")
        iot.deprecate_thing_type(thingTypeName="Lamp")
        self.assertTrue(iot.describe_thing_type(thingTypeName="Lamp")["thingTypeMetadata"]["deprecated"])
        self.refused("InvalidRequestException", iot.create_thing, thingName="lamp-2", thingTypeName="Lamp")
        iot.deprecate_thing_type(thingTypeName="Lamp", undoDeprecate=True)
        iot.create_thing(thingName="lamp-2", thingTypeName="Lamp")
        self.refused("ResourceAlreadyExistsException", iot.create_thing_type, thingTypeName="Lamp")
        self.refused("ResourceNotFoundException", iot.describe_thing_type, thingTypeName="None")
        iot.update_thing(thingName="lamp-2", removeThingType=True)
        self.assertNotIn("thingTypeName", iot.describe_thing(thingName="lamp-2"))

    def test_pages(self):
        for i in range(7):
            iot.create_thing_type(thingTypeName=f"Kind{i}")
        names = [t["thingTypeName"] for p in self.pages("list_thing_types", "thingTypes", 2) for t in p]
        self.assertTrue({f"Kind{i}" for i in range(7)} <= set(names))

    def test_update(self):
        self.knows("UpdateThingType")
        iot.create_thing_type(thingTypeName="Updated")
        iot.update_thing_type(thingTypeName="Updated", thingTypeProperties={"searchableAttributes": ["a"]})
        self.assertEqual(iot.describe_thing_type(thingTypeName="Updated")["thingTypeProperties"]["searchableAttributes"], ["a"])


class ThingGroups(Case):
    def test_hierarchy(self):
        root = iot.create_thing_group(thingGroupName="site", thingGroupProperties={"thingGroupDescription": "all", "attributePayload": {"attributes": {"k": "v"}}})
        self.assertEqual(root["thingGroupArn"], ARN + "thinggroup/site")
        iot.create_thing_group(thingGroupName="hall", parentGroupName="site")
        iot.create_thing_group(thingGroupName="desk", parentGroupName="hall")
        found = iot.describe_thing_group(thingGroupName="desk")
        self.assertEqual([g["groupName"] for g in found["thingGroupMetadata"]["rootToParentThingGroups"]], ["site", "hall"])
        self.assertEqual(found["thingGroupMetadata"]["parentGroupName"], "hall")
        iot.create_thing(thingName="g-1")
        iot.create_thing(thingName="g-2")
        iot.add_thing_to_thing_group(thingGroupName="desk", thingName="g-1")
        iot.add_thing_to_thing_group(thingGroupArn=root["thingGroupArn"], thingArn=ARN + "thing/g-2")
        self.assertEqual(iot.list_things_in_thing_group(thingGroupName="site")["things"], ["g-2"])
        self.assertEqual(sorted(iot.list_things_in_thing_group(thingGroupName="site", recursive=True)["things"]), ["g-1", "g-2"])
        self.assertEqual([g["groupName"] for g in iot.list_thing_groups_for_thing(thingName="g-1")["thingGroups"]], ["desk"])
        # Never two groups of one hierarchy.
        self.refused("InvalidRequestException", iot.add_thing_to_thing_group, thingGroupName="site", thingName="g-1")
        self.assertEqual([g["groupName"] for g in iot.list_thing_groups(parentGroup="site", recursive=False)["thingGroups"]], ["hall"])
        self.assertEqual(sorted(g["groupName"] for g in iot.list_thing_groups(parentGroup="site", recursive=True)["thingGroups"]), ["desk", "hall"])
        version = iot.update_thing_group(thingGroupName="desk", thingGroupProperties={"thingGroupDescription": "new"}, expectedVersion=1)["version"]
        self.assertEqual(version, 2)
        self.refused("VersionConflictException", iot.update_thing_group, thingGroupName="desk", thingGroupProperties={}, expectedVersion=1)
        self.refused("InvalidRequestException", iot.delete_thing_group, thingGroupName="hall")
        iot.update_thing_groups_for_thing(thingName="g-2", thingGroupsToRemove=["site"], thingGroupsToAdd=["hall"])
        self.assertEqual([g["groupName"] for g in iot.list_thing_groups_for_thing(thingName="g-2")["thingGroups"]], ["hall"])
        iot.remove_thing_from_thing_group(thingGroupName="desk", thingName="g-1")
        self.refused("VersionConflictException", iot.delete_thing_group, thingGroupName="desk", expectedVersion=1)
        iot.delete_thing_group(thingGroupName="desk", expectedVersion=2)
        self.refused("ResourceNotFoundException", iot.describe_thing_group, thingGroupName="desk")
        self.refused("InvalidRequestException", iot.create_thing_group, thingGroupName="orphan", parentGroupName="none")
        self.refused("ResourceAlreadyExistsException", iot.create_thing_group, thingGroupName="hall")

    def test_limits(self):
        iot.create_thing(thingName="joiner")
        for i in range(11):
            iot.create_thing_group(thingGroupName=f"club-{i}")
        for i in range(10):
            iot.add_thing_to_thing_group(thingGroupName=f"club-{i}", thingName="joiner")
        with self.assertRaises(ClientError):
            iot.add_thing_to_thing_group(thingGroupName="club-10", thingName="joiner")
        names = [g["groupName"] for p in self.pages("list_thing_groups", "thingGroups", 3, namePrefixFilter="club-") for g in p]
        self.assertEqual(len(names), 11)


class BillingGroups(Case):
    def test_life(self):
        made = iot.create_billing_group(billingGroupName="dept", billingGroupProperties={"billingGroupDescription": "d"}, tags=[{"Key": "a", "Value": "b"}])
        self.assertEqual(made["billingGroupArn"], ARN + "billinggroup/dept")
        iot.create_thing(thingName="billed", billingGroupName="dept")
        self.assertEqual(iot.describe_thing(thingName="billed")["billingGroupName"], "dept")
        self.assertEqual(iot.list_things_in_billing_group(billingGroupName="dept")["things"], ["billed"])
        self.assertEqual(iot.update_billing_group(billingGroupName="dept", billingGroupProperties={"billingGroupDescription": "e"}, expectedVersion=1)["version"], 2)
        self.refused("VersionConflictException", iot.update_billing_group, billingGroupName="dept", billingGroupProperties={}, expectedVersion=1)
        found = iot.describe_billing_group(billingGroupName="dept")
        self.assertEqual(found["billingGroupProperties"]["billingGroupDescription"], "e")
        iot.remove_thing_from_billing_group(billingGroupName="dept", thingName="billed")
        iot.add_thing_to_billing_group(billingGroupName="dept", thingName="billed")
        self.assertIn("dept", [g["groupName"] for g in iot.list_billing_groups()["billingGroups"]])
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["billingGroupArn"])["tags"], [{"Key": "a", "Value": "b"}])
        iot.remove_thing_from_billing_group(billingGroupName="dept", thingName="billed")
        iot.delete_billing_group(billingGroupName="dept", expectedVersion=2)
        self.refused("ResourceNotFoundException", iot.describe_billing_group, billingGroupName="dept")


class Certificates(Case):
    def csr(self, kind="rsa", digest="-sha256"):
        with tempfile.TemporaryDirectory() as d:
            key = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            return openssl("req", "-new", "-newkey", *key, "-nodes", digest, "-subj", "/CN=device", "-keyout", d + "/k.pem")

    def test_keys(self):
        made = iot.create_keys_and_certificate(setAsActive=True)
        self.assertRegex(made["certificateId"], r"^[0-9a-f]{64}$")
        self.assertEqual(made["certificateArn"], ARN + "cert/" + made["certificateId"])
        self.assertTrue(made["keyPair"]["PrivateKey"].startswith("-----BEGIN RSA PRIVATE KEY-----"))
        print_ = openssl("x509", "-noout", "-fingerprint", "-sha256", text=made["certificatePem"])
        self.assertEqual(print_.split("=")[1].strip().replace(":", "").lower(), made["certificateId"])
        self.assertEqual(openssl("x509", "-noout", "-pubkey", text=made["certificatePem"]).strip(), made["keyPair"]["PublicKey"].strip())
        self.assertEqual(openssl("pkey", "-pubout", text=made["keyPair"]["PrivateKey"]).strip(), made["keyPair"]["PublicKey"].strip())
        self.assertIn("(2048 bit)", openssl("pkey", "-pubin", "-noout", "-text", text=made["keyPair"]["PublicKey"]))
        d = iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]
        self.assertEqual((d["status"], d["certificatePem"], d["ownedBy"], d["certificateMode"]), ("ACTIVE", made["certificatePem"], ACCOUNT, "DEFAULT"))
        self.assertEqual((d["validity"]["notAfter"].year, d["validity"]["notAfter"].month), (2049, 12))
        self.refused("CertificateStateException", iot.delete_certificate, certificateId=made["certificateId"])
        iot.update_certificate(certificateId=made["certificateId"], newStatus="REVOKED")
        self.assertEqual(iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]["status"], "REVOKED")
        self.refused("InvalidRequestException", iot.update_certificate, certificateId=made["certificateId"], newStatus="PENDING_TRANSFER")
        iot.delete_certificate(certificateId=made["certificateId"])
        self.refused("ResourceNotFoundException", iot.describe_certificate, certificateId=made["certificateId"])

    def test_csr(self):
        for kind, digest in [("rsa", "-sha256"), ("ec", "-sha256"), ("rsa", "-sha1")]:
            csr = self.csr(kind, digest)
            made = iot.create_certificate_from_csr(certificateSigningRequest=csr)
            self.assertEqual(openssl("x509", "-noout", "-pubkey", text=made["certificatePem"]), openssl("req", "-noout", "-pubkey", text=csr))
            self.assertEqual(iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]["status"], "INACTIVE")
        with self.assertRaises(ClientError):
            iot.create_certificate_from_csr(certificateSigningRequest="-----BEGIN CERTIFICATE REQUEST-----\nrubbish\n-----END CERTIFICATE REQUEST-----\n")

    def test_attached(self):
        made = iot.create_keys_and_certificate(setAsActive=False)
        iot.create_thing(thingName="holder")
        iot.create_policy(policyName="held", policyDocument=ALLOW)
        iot.attach_thing_principal(thingName="holder", principal=made["certificateArn"])
        iot.attach_policy(policyName="held", target=made["certificateArn"])
        self.refused("DeleteConflictException", iot.delete_certificate, certificateId=made["certificateId"])
        self.refused("DeleteConflictException", iot.delete_certificate, certificateId=made["certificateId"], forceDelete=True)
        self.refused("InvalidRequestException", iot.delete_thing, thingName="holder")
        self.refused("TransferConflictException", iot.transfer_certificate, certificateId=made["certificateId"], targetAwsAccount="210987654321")
        iot.detach_thing_principal(thingName="holder", principal=made["certificateArn"])
        iot.delete_certificate(certificateId=made["certificateId"], forceDelete=True)
        self.assertEqual(iot.list_targets_for_policy(policyName="held")["targets"], [])

    def test_transfer(self):
        made = iot.create_keys_and_certificate(setAsActive=True)
        id = made["certificateId"]
        to = "210987654321"
        status = lambda: iot.describe_certificate(certificateId=id)["certificateDescription"]["status"]
        self.refused("CertificateStateException", iot.transfer_certificate, certificateId=id, targetAwsAccount=to)
        iot.update_certificate(certificateId=id, newStatus="INACTIVE")
        self.refused("TransferAlreadyCompletedException", iot.accept_certificate_transfer, certificateId=id)
        arn = iot.transfer_certificate(certificateId=id, targetAwsAccount=to, transferMessage="yours")["transferredCertificateArn"]
        self.assertIn(to, arn)
        self.assertEqual(status(), "PENDING_TRANSFER")
        out = [c for c in iot.list_outgoing_certificates()["outgoingCertificates"] if c["certificateId"] == id]
        self.assertEqual((out[0]["transferredTo"], out[0]["transferMessage"]), (to, "yours"))
        iot.cancel_certificate_transfer(certificateId=id)
        self.assertEqual(status(), "INACTIVE")
        iot.transfer_certificate(certificateId=id, targetAwsAccount=to)
        iot.reject_certificate_transfer(certificateId=id, rejectReason="no")
        self.assertEqual(status(), "INACTIVE")
        iot.transfer_certificate(certificateId=id, targetAwsAccount=to)
        iot.accept_certificate_transfer(certificateId=id, setAsActive=True)
        self.assertEqual(status(), "ACTIVE")

    def test_pages(self):
        made = {iot.create_certificate_from_csr(certificateSigningRequest=self.csr("ec"))["certificateId"] for _ in range(7)}
        up = [c["certificateId"] for p in self.pages("list_certificates", "certificates", 3, "marker", "pageSize", ascendingOrder=True) for c in p]
        down = [c["certificateId"] for p in self.pages("list_certificates", "certificates", 3, "marker", "pageSize") for c in p]
        self.assertTrue(made <= set(up))
        self.assertEqual(len(up), len(set(up)))
        self.assertEqual(up, down[::-1])


class CACertificates(Case):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def make_ca(self, name):
        d = self.dir.name
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/O=berth tests/CN={name}", "-days", "30",
                "-keyout", f"{d}/{name}.key", "-out", f"{d}/{name}.pem")
        return self.read(name + ".pem")

    def read(self, name):
        with open(f"{self.dir.name}/{name}") as f:
            return f.read()

    def sign(self, ca, cn):
        d = self.dir.name
        csr = openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={cn}", "-keyout", f"{d}/leaf.key")
        return openssl("x509", "-req", "-CA", f"{d}/{ca}.pem", "-CAkey", f"{d}/{ca}.key", "-CAcreateserial", "-days", "10", "-sha256", text=csr)

    def test_life(self):
        code = iot.get_registration_code()["registrationCode"]
        self.assertRegex(code, r"^[0-9a-f]{64}$")
        self.assertEqual(iot.get_registration_code()["registrationCode"], code)
        pem = self.make_ca("one")
        leaf = self.sign("one", "device-1")
        self.refused("CertificateValidationException", iot.register_certificate, certificatePem=leaf, status="ACTIVE")
        self.refused("RegistrationCodeValidationException", iot.register_ca_certificate, caCertificate=pem, verificationCertificate=self.sign("one", "wrong"))
        made = iot.register_ca_certificate(caCertificate=pem, verificationCertificate=self.sign("one", code), setAsActive=True,
                                           allowAutoRegistration=False, tags=[{"Key": "line", "Value": "1"}])
        self.assertEqual(made["certificateArn"], ARN + "cacert/" + made["certificateId"])
        self.refused("ResourceAlreadyExistsException", iot.register_ca_certificate, caCertificate=pem, verificationCertificate=self.sign("one", code))
        d = iot.describe_ca_certificate(certificateId=made["certificateId"])["certificateDescription"]
        self.assertEqual((d["status"], d["autoRegistrationStatus"], d["ownedBy"]), ("ACTIVE", "DISABLE", ACCOUNT))
        self.assertIn(made["certificateId"], [c["certificateId"] for c in iot.list_ca_certificates()["certificates"]])
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["certificateArn"])["tags"], [{"Key": "line", "Value": "1"}])

        device = iot.register_certificate(certificatePem=leaf, status="ACTIVE")
        self.assertEqual(iot.describe_certificate(certificateId=device["certificateId"])["certificateDescription"]["caCertificateId"], made["certificateId"])
        self.refused("ResourceAlreadyExistsException", iot.register_certificate, certificatePem=leaf, status="ACTIVE")
        by_ca = iot.list_certificates_by_ca(caCertificateId=made["certificateId"])["certificates"]
        self.assertEqual([c["certificateId"] for c in by_ca], [device["certificateId"]])

        iot.update_ca_certificate(certificateId=made["certificateId"], newStatus="INACTIVE", newAutoRegistrationStatus="ENABLE")
        d = iot.describe_ca_certificate(certificateId=made["certificateId"])["certificateDescription"]
        self.assertEqual((d["status"], d["autoRegistrationStatus"]), ("INACTIVE", "ENABLE"))
        self.refused("CertificateStateException", iot.register_certificate, certificatePem=self.sign("one", "device-2"), status="ACTIVE")
        iot.update_ca_certificate(certificateId=made["certificateId"], newStatus="ACTIVE")
        self.refused("CertificateStateException", iot.delete_ca_certificate, certificateId=made["certificateId"])
        iot.update_ca_certificate(certificateId=made["certificateId"], newStatus="INACTIVE")
        iot.delete_ca_certificate(certificateId=made["certificateId"])
        self.refused("ResourceNotFoundException", iot.describe_ca_certificate, certificateId=made["certificateId"])
        iot.delete_registration_code()
        self.assertNotEqual(iot.get_registration_code()["registrationCode"], code)

    def test_without_ca(self):
        self.knows("RegisterCertificateWithoutCA")
        self.make_ca("two")
        leaf = self.sign("two", "lonely")
        made = iot.register_certificate_without_ca(certificatePem=leaf, status="ACTIVE")
        d = iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]
        self.assertEqual((d["certificateMode"], d["status"]), ("SNI_ONLY", "ACTIVE"))
        self.refused("ResourceAlreadyExistsException", iot.register_certificate_without_ca, certificatePem=leaf)
        with self.assertRaises(ClientError):
            iot.register_certificate_without_ca(certificatePem="rubbish")

    def test_sni_only(self):
        self.knows("RegisterCACertificate", "certificateMode")
        made = iot.register_ca_certificate(caCertificate=self.make_ca("three"), certificateMode="SNI_ONLY")
        d = iot.describe_ca_certificate(certificateId=made["certificateId"])["certificateDescription"]
        self.assertEqual((d["status"], d["certificateMode"]), ("INACTIVE", "SNI_ONLY"))


class Policies(Case):
    def test_versions(self):
        made = iot.create_policy(policyName="v@1=a,b.c", policyDocument=ALLOW)
        self.assertEqual((made["policyArn"], made["policyVersionId"]), (ARN + "policy/v@1=a,b.c", "1"))
        self.refused("ResourceAlreadyExistsException", iot.create_policy, policyName="v@1=a,b.c", policyDocument=ALLOW)
        deny = ALLOW.replace("Allow", "Deny")
        for n in "2345":
            v = iot.create_policy_version(policyName="v@1=a,b.c", policyDocument=deny, setAsDefault=n == "3")
            self.assertEqual((v["policyVersionId"], v["isDefaultVersion"]), (n, n == "3"))
        self.refused("VersionsLimitExceededException", iot.create_policy_version, policyName="v@1=a,b.c", policyDocument=deny)
        found = iot.get_policy(policyName="v@1=a,b.c")
        self.assertEqual((found["defaultVersionId"], json.loads(found["policyDocument"])), ("3", json.loads(deny)))
        self.assertEqual(json.loads(iot.get_policy_version(policyName="v@1=a,b.c", policyVersionId="1")["policyDocument"]), json.loads(ALLOW))
        iot.set_default_policy_version(policyName="v@1=a,b.c", policyVersionId="5")
        versions = iot.list_policy_versions(policyName="v@1=a,b.c")["policyVersions"]
        self.assertEqual(sorted((v["versionId"], v["isDefaultVersion"]) for v in versions), [(n, n == "5") for n in "12345"])
        self.refused("DeleteConflictException", iot.delete_policy, policyName="v@1=a,b.c")
        self.refused("DeleteConflictException", iot.delete_policy_version, policyName="v@1=a,b.c", policyVersionId="5")
        for n in "1234":
            iot.delete_policy_version(policyName="v@1=a,b.c", policyVersionId=n)
        self.refused("ResourceNotFoundException", iot.get_policy_version, policyName="v@1=a,b.c", policyVersionId="1")
        self.assertEqual(iot.create_policy_version(policyName="v@1=a,b.c", policyDocument=deny)["policyVersionId"], "6")
        iot.delete_policy_version(policyName="v@1=a,b.c", policyVersionId="6")
        iot.delete_policy(policyName="v@1=a,b.c")
        self.refused("ResourceNotFoundException", iot.get_policy, policyName="v@1=a,b.c")

    def test_malformed(self):
        for document in ["{", "{}", "[]", '{"Version":"2012-10-17"}', ALLOW.replace("Allow", "Maybe"), ALLOW.replace("2012", "2013"),
                         ALLOW.replace('"Effect"', '"Efect"'), "null", '"x"']:
            self.refused("MalformedPolicyException", iot.create_policy, policyName="malformed", policyDocument=document)
        self.refused("ResourceNotFoundException", iot.create_policy_version, policyName="nothing", policyDocument=ALLOW)
        self.refused("InvalidRequestException", iot.create_policy, policyName="with space", policyDocument=ALLOW)
        long = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": [ARN + f"topic/{i}" for i in range(100)]}]}
        with self.assertRaises(ClientError):
            iot.create_policy(policyName="long", policyDocument=json.dumps(long))

    def test_attachments(self):
        cert = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
        names = [f"att-{i}" for i in range(11)]
        for name in names:
            iot.create_policy(policyName=name, policyDocument=ALLOW)
        for name in names[:10]:
            iot.attach_policy(policyName=name, target=cert)
        iot.attach_policy(policyName=names[0], target=cert)  # again
        self.refused("LimitExceededException", iot.attach_policy, policyName=names[10], target=cert)
        pages = self.pages("list_attached_policies", "policies", 4, "marker", "pageSize", target=cert)
        self.assertEqual(sorted(p["policyName"] for page in pages for p in page), sorted(names[:10]))
        self.assertEqual(iot.list_targets_for_policy(policyName="att-0")["targets"], [cert])
        self.refused("DeleteConflictException", iot.delete_policy, policyName="att-0")
        iot.detach_policy(policyName="att-0", target=cert)
        self.assertEqual(iot.list_targets_for_policy(policyName="att-0")["targets"], [])
        iot.delete_policy(policyName="att-0")
        self.refused("ResourceNotFoundException", iot.attach_policy, policyName="none", target=cert)
        group = iot.create_thing_group(thingGroupName="ruled")["thingGroupArn"]
        for name in names[1:3]:
            iot.attach_policy(policyName=name, target=group)
        with self.assertRaises(ClientError):
            iot.attach_policy(policyName=names[3], target=group)
        listed = [p["policyName"] for page in self.pages("list_policies", "policies", 4, "marker", "pageSize") for p in page]
        self.assertTrue(set(names[1:]) <= set(listed))

    def test_principal_policies(self):
        cert = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
        iot.create_policy(policyName="old", policyDocument=ALLOW)
        iot.attach_principal_policy(policyName="old", principal=cert)
        self.assertEqual([p["policyName"] for p in iot.list_principal_policies(principal=cert)["policies"]], ["old"])
        self.assertEqual(iot.list_policy_principals(policyName="old")["principals"], [cert])
        iot.detach_principal_policy(policyName="old", principal=cert)
        self.assertEqual(iot.list_principal_policies(principal=cert)["policies"], [])

    def test_authorization(self):
        cert = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
        iot.create_thing(thingName="judged")
        iot.attach_thing_principal(thingName="judged", principal=cert)
        iot.create_thing_group(thingGroupName="judges")
        iot.add_thing_to_thing_group(thingGroupName="judges", thingName="judged")
        document = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "iot:Publish", "Resource": ARN + "topic/${iot:Connection.Thing.ThingName}/*"},
            {"Effect": "Deny", "Action": "iot:Publish", "Resource": ARN + "topic/*/secret"}]}
        iot.create_policy(policyName="own-topics", policyDocument=json.dumps(document))
        iot.create_policy(policyName="anything", policyDocument=ALLOW)
        iot.attach_policy(policyName="own-topics", target=cert)

        def decide(topic, action="PUBLISH", kind="topic", **kw):
            return iot.test_authorization(principal=cert, authInfos=[{"actionType": action, "resources": [ARN + f"{kind}/{topic}"]}], **kw)["authResults"][0]

        allowed = decide("judged/state", clientId="judged")
        self.assertEqual(allowed["authDecision"], "ALLOWED")
        self.assertEqual([p["policyName"] for p in allowed["allowed"]["policies"]], ["own-topics"])
        denied = decide("judged/secret", clientId="judged")
        self.assertEqual(denied["authDecision"], "EXPLICIT_DENY")
        self.assertEqual([p["policyName"] for p in denied["denied"]["explicitDeny"]["policies"]], ["own-topics"])
        self.assertEqual(decide("other/state", clientId="judged")["authDecision"], "IMPLICIT_DENY")
        self.assertEqual(decide("judged", "CONNECT", "client", clientId="judged")["authDecision"], "IMPLICIT_DENY")
        self.assertEqual(decide("other/state", clientId="judged", policyNamesToAdd=["anything"])["authDecision"], "ALLOWED")
        self.assertEqual(decide("judged/state", clientId="judged", policyNamesToSkip=["own-topics"])["authDecision"], "IMPLICIT_DENY")
        iot.attach_policy(policyName="anything", target=ARN + "thinggroup/judges")
        self.assertEqual(decide("other/state", clientId="judged")["authDecision"], "ALLOWED")
        effective = iot.get_effective_policies(principal=cert, thingName="judged")["effectivePolicies"]
        self.assertEqual(sorted(p["policyName"] for p in effective), ["anything", "own-topics"])
        self.assertEqual([p["policyName"] for p in iot.get_effective_policies(principal=cert)["effectivePolicies"] if p["policyName"] == "own-topics"], ["own-topics"])


class Principals(Case):
    def test_lists(self):
        certs = [iot.create_keys_and_certificate(setAsActive=True)["certificateArn"] for _ in range(3)]
        iot.create_thing(thingName="shared")
        for cert in certs:
            iot.attach_thing_principal(thingName="shared", principal=cert)
        found = [c for p in self.pages("list_thing_principals", "principals", 2, thingName="shared") for c in p]
        self.assertEqual(sorted(found), sorted(certs))
        for i in range(3):
            iot.create_thing(thingName=f"more-{i}")
            iot.attach_thing_principal(thingName=f"more-{i}", principal=certs[0])
        found = [t for p in self.pages("list_principal_things", "things", 3, principal=certs[0]) for t in p]
        self.assertEqual(sorted(found), ["more-0", "more-1", "more-2", "shared"])
        iot.detach_thing_principal(thingName="shared", principal=certs[0])
        self.assertEqual(len(iot.list_thing_principals(thingName="shared")["principals"]), 2)
        self.refused("ResourceNotFoundException", iot.attach_thing_principal, thingName="none", principal=certs[0])
        self.refused("ResourceNotFoundException", iot.attach_thing_principal, thingName="shared", principal=ARN + "cert/" + "0" * 64)

    def test_exclusive(self):
        self.knows("AttachThingPrincipal", "thingPrincipalType")
        self.knows("ListThingPrincipalsV2")
        cert = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
        iot.create_thing(thingName="sole")
        iot.create_thing(thingName="second")
        iot.attach_thing_principal(thingName="sole", principal=cert, thingPrincipalType="EXCLUSIVE_THING")
        with self.assertRaises(ClientError):
            iot.attach_thing_principal(thingName="second", principal=cert)
        self.assertEqual(iot.list_thing_principals_v2(thingName="sole")["thingPrincipalObjects"],
                         [{"principal": cert, "thingPrincipalType": "EXCLUSIVE_THING"}])
        self.assertEqual(iot.list_principal_things_v2(principal=cert)["principalThingObjects"],
                         [{"thingName": "sole", "thingPrincipalType": "EXCLUSIVE_THING"}])
        self.assertEqual(iot.list_thing_principals_v2(thingName="sole", thingPrincipalType="NON_EXCLUSIVE_THING")["thingPrincipalObjects"], [])


class Tags(Case):
    def test_life(self):
        iot.create_policy(policyName="tagged", policyDocument=ALLOW, tags=[{"Key": "a", "Value": "1"}])
        arn = ARN + "policy/tagged"
        iot.tag_resource(resourceArn=arn, tags=[{"Key": "b c", "Value": "2 3"}, {"Key": "a", "Value": "new"}])
        tags = lambda: {t["Key"]: t["Value"] for t in iot.list_tags_for_resource(resourceArn=arn)["tags"]}
        self.assertEqual(tags(), {"a": "new", "b c": "2 3"})
        iot.untag_resource(resourceArn=arn, tagKeys=["b c"])
        self.assertEqual(tags(), {"a": "new"})
        with self.assertRaises(ClientError):
            iot.tag_resource(resourceArn=arn, tags=[{"Key": str(i), "Value": ""} for i in range(60)])
        self.refused("ResourceNotFoundException", iot.list_tags_for_resource, resourceArn=ARN + "policy/none")


class Access(Case):
    def code(self, call, **kw):
        with self.assertRaises(ClientError) as caught:
            call(**kw)
        answer = caught.exception.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]

    def test_signatures(self):
        wrong = client("iot", aws_secret_access_key="wrong" * 8, aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"])
        code, status = self.code(wrong.list_things)
        self.assertEqual(status, 403)
        self.assertIn(code, ("SignatureDoesNotMatch", "SignatureDoesNotMatchException", "InvalidSignatureException"))
        unknown = client("iot", aws_access_key_id="AKIAUNKNOWNUNKNOWN12", aws_secret_access_key="x" * 40)
        self.assertEqual(self.code(unknown.list_things), ("UnrecognizedClientException", 403))
        token = client("iot", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"], aws_session_token="token")
        self.assertEqual(self.code(token.list_things)[1], 403)
        nobody = client("iot", config={"signature_version": botocore.UNSIGNED})
        self.assertEqual(self.code(nobody.list_things), ("MissingAuthenticationTokenException", 403))

    def test_read_only(self):
        reader = client("iot", aws_access_key_id=os.environ["READER_ACCESS_KEY_ID"], aws_secret_access_key=os.environ["READER_SECRET_ACCESS_KEY"])
        reader.list_things()
        self.assertEqual(self.code(reader.create_thing, thingName="by-reader"), ("AccessDeniedException", 403))

    def test_not_there_yet(self):
        code, status = self.code(iot.list_mitigation_actions)
        self.assertEqual((code, status), ("NotImplementedException", 501))


class Data(Case):
    def test_retained(self):
        data.publish(topic="state/room 1/ü", qos=1, payload=b"\x00\xff", retain=True)
        found = data.get_retained_message(topic="state/room 1/ü")
        self.assertEqual((found["topic"], found["payload"], found["qos"]), ("state/room 1/ü", b"\x00\xff", 1))
        for i in range(5):
            data.publish(topic=f"kept/{i}", payload=b"12345", retain=True)
        topics, kw = [], {}
        while True:
            page = data.list_retained_messages(maxResults=2, **kw)
            self.assertLessEqual(len(page["retainedTopics"]), 2)
            topics += page["retainedTopics"]
            if not page.get("nextToken"):
                break
            kw = {"nextToken": page["nextToken"]}
        sizes = {t["topic"]: t["payloadSize"] for t in topics}
        self.assertEqual({sizes.get(f"kept/{i}") for i in range(5)}, {5})
        data.publish(topic="kept/0", payload=b"", retain=True)
        self.refused("ResourceNotFoundException", data.get_retained_message, topic="kept/0")

    def test_refused(self):
        for topic in ["with/+/wildcard", "a/b/c/d/e/f/g/h/i", "$aws/things/x/unknown", "t" * 257]:
            self.refused("InvalidRequestException", data.publish, topic=topic, payload=b"x")
        with self.assertRaises(ClientError) as caught:
            data.publish(topic="big", payload=b"x" * (128 * 1024 + 1))
        self.assertIn(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], (400, 413))
        data.publish(topic="big", qos=0, payload=b"x" * (128 * 1024))

    def test_properties(self):
        members = data.meta.service_model.operation_model("Publish").input_shape.members
        if "userProperties" not in members:
            self.skipTest(f"boto3 {boto3.__version__} does not know userProperties of Publish")
        data.publish(topic="five", qos=1, retain=True, payload=b"x", userProperties=[{"a": "1"}, {"a": "2"}], contentType="text/plain",
                     responseTopic="answer", correlationData="NDI=", payloadFormatIndicator="UTF8_DATA", messageExpiry=100)
        kept = data.get_retained_message(topic="five")
        if "userProperties" not in data.meta.service_model.operation_model("GetRetainedMessage").output_shape.members:
            self.skipTest(f"boto3 {boto3.__version__} does not know userProperties of GetRetainedMessage")
        self.assertEqual(json.loads(kept["userProperties"]), [{"a": "1"}, {"a": "2"}])


if __name__ == "__main__":
    print("boto3", boto3.__version__, "python", sys.version.split()[0])
    unittest.main(verbosity=2, warnings="ignore")
