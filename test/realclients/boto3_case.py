"""What the boto3 scripts share. It reads the variables of `berth env`; the endpoint is passed by hand,
for boto3 before 1.28 does not read it from them.
"""
import json
import os
import subprocess
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = os.environ["AWS_ENDPOINT_URL_IOT"]
ACCOUNT = "123456789012"
ARN = f"arn:aws:iot:{os.environ['AWS_REGION']}:{ACCOUNT}:"
ALLOW = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})


def client(service, **more):
    config = Config(retries={"total_max_attempts": 1}, **more.pop("config", {}))
    return boto3.client(service, endpoint_url=URL, config=config, **more)


iot = client("iot")
data = client("iot-data")
jobs = client("iot-jobs-data")


def openssl(*args, text=None):
    return subprocess.run(["openssl", *args], input=text, check=True, capture_output=True, text=True).stdout


class Case(unittest.TestCase):
    def refused(self, exception, call, **kw):
        """The call must be refused with this exception, status and all."""
        with self.assertRaises(ClientError) as caught:
            call(**kw)
        answer = caught.exception.response
        self.assertEqual(answer["Error"]["Code"], exception, answer)
        status = {
            "InvalidRequestException": 400, "MalformedPolicyException": 400, "CertificateValidationException": 400,
            "RegistrationCodeValidationException": 400, "ResourceNotFoundException": 404, "CertificateStateException": 406,
            "ResourceAlreadyExistsException": 409, "VersionConflictException": 409, "VersionsLimitExceededException": 409,
            "DeleteConflictException": 409, "TransferConflictException": 409, "CertificateConflictException": 409,
            "LimitExceededException": 410, "TransferAlreadyCompletedException": 410,
            "ConflictException": 409, "InvalidStateTransitionException": 409, "TerminalStateException": 410,
            "RequestEntityTooLargeException": 413, "UnsupportedDocumentEncodingException": 415, "IndexNotReadyException": 400,
            "InvalidQueryException": 400, "InvalidAggregationException": 400,
        }.get(exception)
        if status:
            self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], status, answer)
        self.assertTrue(answer["Error"]["Message"])
        return answer

    def knows(self, operation, parameter=None, of=iot):
        """Skips what this boto3's model does not have."""
        model = of.meta.service_model
        if operation not in model.operation_names:
            self.skipTest(f"boto3 {boto3.__version__} does not know {operation}")
        if parameter and parameter not in model.operation_model(operation).input_shape.members:
            self.skipTest(f"boto3 {boto3.__version__} does not know {parameter} of {operation}")

    def pages(self, operation, key, size, token="nextToken", limit="maxResults", **kw):
        """Walks all pages by hand and returns the pages."""
        found = []
        while True:
            page = getattr(iot, operation)(**{limit: size}, **kw)
            self.assertLessEqual(len(page[key]), size)
            found.append(page[key])
            if not page.get("nextToken" if token == "nextToken" else "nextMarker"):
                return found
            kw[token] = page["nextToken" if token == "nextToken" else "nextMarker"]
