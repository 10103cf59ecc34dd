"""A pipeline of AWS's action types on a real server and worker, against moto: its workers are killed, nothing is done twice."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
import zipfile
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from faulty_endpoint import FaultyEndpoint, Request
from waiting import until

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live
WAIT = {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Work"}
WORK = {"Type": "Pass", "Result": {"approved": True}, "End": True}


def action(kind: str, name: str, configuration: dict[str, str], **more: Any) -> dict[str, Any]:
    category, provider = kind.split("/")
    type_id = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": type_id, "configuration": configuration, **more}


def kill(world: Any, execution_id: str) -> None:
    """Kill the process of the execution, and let reconcile resume it."""
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    reconcile_once(server_time() + timedelta(seconds=30))


class Held:
    """Uploads to a bucket get no answer until they are released."""

    def __init__(self, endpoint: FaultyEndpoint, bucket: str) -> None:
        self.released, self.came = threading.Event(), threading.Event()
        self._bucket, self._ask = bucket, endpoint.ask_upstream
        endpoint.ask_upstream = self.ask_upstream  # type: ignore[method-assign]

    def ask_upstream(self, request: Request) -> Any:
        if request.method == "PUT" and self._bucket in request.path and request.path.endswith("b.html"):
            self.came.set()
            self.released.wait(120)
        return self._ask(request)


@pytest.mark.long
def test_killed_workers_start_and_upload_nothing_twice(
    world: Any, aws: Any, aws_endpoint: FaultyEndpoint, make_bucket: Any, moto_runs_states: None
) -> None:
    source, site = make_bucket(), make_bucket()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {"a.html": "<p>", "b.html": "<b>", "input.json": '{"seconds": 8}'}.items():
            archive.writestr(name, text)
    version = aws("s3").put_object(Bucket=source, Key="site.zip", Body=buffer.getvalue())["VersionId"]
    machine = aws("stepfunctions").create_state_machine(
        name=f"m-{uuid4().hex[:8]}",
        definition=json.dumps({"StartAt": "Wait", "States": {"Wait": WAIT, "Work": WORK}}),
        roleArn="arn:aws:iam::123456789012:role/states",
    )["stateMachineArn"]
    aws_settings = AwsSettings(endpoint_url=aws_endpoint.url, region="us-east-1")
    PipelineSettings(defaults=ActionSettings(aws=aws_settings)).save(slug(world.name))
    stages = {
        "Source": action(
            "Source/S3",
            "Src",
            {"S3Bucket": source, "S3ObjectKey": "site.zip"},
            outputArtifacts=[{"name": "Site"}],
        ),
        "Check": action(
            "Invoke/StepFunctions",
            "Machine",
            {"StateMachineArn": machine, "InputType": "FilePath", "Input": "input.json"},
            inputArtifacts=[{"name": "Site"}],
            outputArtifacts=[{"name": "Answer"}],
            namespace="Checked",
        ),
        "Deploy": action(
            "Deploy/S3",
            "Upload",
            {"BucketName": site, "Extract": "true", "ObjectKey": "{datetime}-{uuid}"},
            inputArtifacts=[{"name": "Site"}],
        ),
    }
    declared = [{"name": name, "actions": [each]} for name, each in stages.items()]
    held = Held(aws_endpoint, site)

    execution_id = str(world.start(world.declare(stages=declared)))
    world.wait(execution_id, lambda known: known.state and known.state.stage("Check").action("Machine").kept)
    kill(world, execution_id)
    until(held.came.is_set, 120)
    kill(world, execution_id)
    held.released.set()
    known = world.ended(execution_id)

    assert known.status == "Succeeded", known.state.summary
    assert known.state.source_revisions["Src"].revision_id == version
    (execution,) = aws("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    assert execution["status"] == "SUCCEEDED"
    assert aws_endpoint.operations().count("StartExecution") == 1
    assert known.state.namespaces["Checked"]["ExecutionArn"] == execution["executionArn"]
    upload = known.state.stage("Deploy").action("Upload").finished
    keys = [each["Key"] for each in aws("s3").list_objects_v2(Bucket=site)["Contents"]]
    folder = upload.external_execution_id.removeprefix(f"{site}/")
    assert keys == [f"{folder}/{name}" for name in ("a.html", "b.html", "input.json")]
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d-{upload.action_execution_id}", folder)
