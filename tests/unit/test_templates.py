"""The CloudFormation templates say what the code needs: names, variables, streams, and no right too many."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from moto.events.models import EventPattern

from harness.templates import AWS, rule_pattern, stream_pattern, template
from prepare.function import SOURCE, package
from tenantconfig.model import Scope
from tenantconfig.refresh_function import messages_of
from tenantconfig.stores.items import Rows


def test_the_templates_have_no_findings() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), *map(str, sorted(AWS.glob("*.yaml")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_the_function_is_packaged_alone_and_always_the_same(tmp_path: Path) -> None:
    one, two = (package(tmp_path / name).read_bytes() for name in ("one.zip", "two.zip"))
    assert one == two
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        (name,) = archive.namelist()
        assert archive.read(name) == SOURCE.read_bytes()
    module, function = template("template.yaml")["Function"]["Properties"]["Handler"].split(".")
    assert name == f"{module}.py"
    assert f"def {function}(" in SOURCE.read_text()


def test_the_function_imports_nothing_that_lambda_does_not_have() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"boto3", "botocore"}


def test_the_function_gets_the_variables_that_it_reads() -> None:
    variables = template("template.yaml")["Function"]["Properties"]["Environment"]["Variables"]
    assert all(f'_listed("{name}")' in SOURCE.read_text() for name in variables)
    assert SOURCE.read_text().count('_listed("') == len(variables)


def test_a_batch_that_fails_is_tried_again_in_halves_and_not_for_ever() -> None:
    resources = template("template.yaml")
    stream = resources["Stream"]["Properties"]
    assert stream["StartingPosition"] == "TRIM_HORIZON"
    assert stream["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert stream["BisectBatchOnFunctionError"] is True
    assert stream["MaximumRetryAttempts"] == 10
    for source in (stream, resources["Invocations"]["Properties"]):
        assert source["DestinationConfig"]["OnFailure"]["Destination"] == {"GetAtt": "Failed.Arn"}
    assert resources["Table"]["Properties"]["StreamSpecification"]["StreamViewType"] == "KEYS_ONLY"


@pytest.mark.parametrize("operation", ["Create", "Update", "Delete", "LabelParameterVersion"])
@pytest.mark.parametrize("path", ["/tenant-config", "/tenant-config/eu", "/tenant-config-2", "/elsewhere"])
def test_the_rule_lets_through_what_the_function_takes(operation: str, path: str) -> None:
    detail = {"name": f"{path}/acme/prod/_/key", "type": "String", "operation": operation}
    event: Any = {"id": "e1", "source": "aws.ssm", "detail-type": "Parameter Store Change", "region": "eu-west-1"}
    event |= {"time": "2026-01-02T03:04:05Z", "detail": detail}
    taken = bool(messages_of(event, ["/tenant-config", "/tenant-config/eu"]))
    assert EventPattern.load(json.dumps(rule_pattern("/tenant-config"))).matches_event(event) == taken


def test_the_stream_lets_through_entries_alone() -> None:
    matches: Any = EventPattern.load(stream_pattern()).matches_event
    rows = Rows(Scope("acme", "prod"))
    assert matches({"dynamodb": {"Keys": rows.entry("key")}})
    assert not matches({"dynamodb": {"Keys": rows.head()}})


@pytest.mark.parametrize("name", ["template.yaml", "queue.yaml"])
def test_every_queue_is_encrypted_and_standard(name: str) -> None:
    resources = template(name)
    queues = [logical for logical, each in resources.items() if each["Type"] == "AWS::SQS::Queue"]
    assert queues
    for queue in queues:
        assert resources[queue]["Properties"]["SqsManagedSseEnabled"] is True
        assert not resources[queue]["Properties"].get("FifoQueue")
    policies = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::SQS::QueuePolicy"]
    (policy,) = policies
    assert [each["Ref"] for each in policy["Queues"]] == queues
    assert "aws:SecureTransport" in str(
        [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
    )


def test_what_goes_wrong_raises_an_alarm() -> None:
    watched = {
        (each["Properties"]["MetricName"] if isinstance(each["Properties"]["MetricName"], str) else "logged")
        for name in ("template.yaml", "queue.yaml")
        for each in template(name).values()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    }
    sqs = {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"}
    assert watched == sqs | {"Errors", "IteratorAge", "logged"}


def test_the_controller_may_only_consume_its_queue() -> None:
    policy = template("queue.yaml")["ConsumerPolicy"]["Properties"]["PolicyDocument"]
    (statement,) = policy["Statement"]
    asked = (AWS.parents[1] / "operator" / "tenantconfig" / "refresh_queue.py").read_text()
    named = {"receive_message": "ReceiveMessage", "delete_message_batch": "DeleteMessage"}
    named |= {"change_message_visibility_batch": "ChangeMessageVisibility"}
    assert {f"sqs:{action}" for method, action in named.items() if f".{method}(" in asked} == set(statement["Action"])
    assert statement["Resource"] == {"GetAtt": "Queue.Arn"}
