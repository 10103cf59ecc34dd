"""Requests of the AWS API, made from its model and broken: each gets an answer as the model has it, or a refusal, never a 500."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
from api_checks import COMMON_ERRORS, check_answer
from api_requests import UUID, drawn

from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.gateway.aws.protocol.service_model import service_model

sys.path.insert(0, str(Path(__file__).parent))

ARN = "arn:aws:codepipeline:us-east-1:123456789012:"
SECRET = "planted-secret-of-the-api"
# Answers to broken requests that no operation lists.
OF_THE_WIRE = COMMON_ERRORS | {"RequestEntityTooLargeException"}


def declared(name: str, **more: Any) -> dict[str, Any]:
    """A pipeline that starts nothing, because its variable has no value."""

    def action(name: str, kind: str) -> dict[str, Any]:
        category, owner, provider = kind.split("/")
        kinds = {"category": category, "owner": owner, "provider": provider, "version": "1"}
        return {"name": name, "actionTypeId": kinds, "configuration": {"Token": SECRET}}

    source = {**action("Src", "Source/Custom/Fuzz"), "outputArtifacts": [{"name": "Code"}]}
    return {
        "name": name,
        "roleArn": "arn:aws:iam::123456789012:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "pipelineType": "V2",
        "stages": [
            {"name": "Source", "actions": [source]},
            {"name": "Work", "actions": [action("Act", "Test/Custom/Fuzz")]},
        ],
        "variables": [{"name": "Needed"}],
        **more,
    }


def known_values(prefix: str) -> dict[str, list[Any]]:
    """Values for shapes, so that requests come further than to the first check."""
    names = [f"{prefix}-{letter}" for letter in "ab"]
    modes = ("SUPERSEDED", "QUEUED", "PARALLEL")
    return {
        "PipelineName": names,
        "PipelineDeclaration": [declared(name, executionMode=mode) for name in names for mode in modes],
        "StageName": ["Source", "Work"],
        "ActionName": ["Src", "Act"],
        "WebhookName": names,
        "ResourceArn": [*(ARN + name for name in names), *(f"{ARN}webhook:{name}" for name in names)],
        "ActionProvider": ["Fuzz"],
        "Version": ["1"],
        "JsonPath": ["$.ref"],
        "PipelineExecutionId": [UUID],
    }


def requests(count: int, seed: int, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Operations and bodies; about a third of them is not changed."""
    from fuzz import changed_json

    choose, known = random.Random(seed), known_values(prefix)
    operations = [service_model().operation_model(name) for name in service_model().operation_names]
    for _ in range(count):
        operation = choose.choice(operations)
        members = drawn(operation.input_shape, choose, known)
        if choose.random() < 0.3:
            yield operation.name, json.dumps(members).encode()
        else:
            yield operation.name, changed_json(cast(Document, SimpleNamespace(content=members)), choose)


def send_requests(count: int, seed: int, url: str, prefix: str) -> dict[str, int]:
    """Send requests to a gateway, and check the answers; how many had each result. Deletes what was made."""
    results: dict[str, int] = {}
    with httpx.Client(timeout=60) as client:

        def ask(operation: str, body: bytes) -> str:
            headers = {"x-amz-target": f"CodePipeline_20150709.{operation}"}
            answer = client.post(url, content=body, headers=headers)
            assert answer.status_code in (200, 400, 409, 413), (operation, answer.status_code, body[:3000])
            if answer.status_code != 200 and answer.json()["__type"] in OF_THE_WIRE:
                return str(answer.json()["__type"])
            parts = {"headers": answer.headers, "status_code": answer.status_code, "body": answer.content}
            try:
                return check_answer(service_model().operation_model(operation), parts)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{operation} {body[:3000]!r}") from None

        for operation, body in requests(count, seed, prefix):
            result = ask(operation, body)
            results[result] = results.get(result, 0) + 1
        for name in known_values(prefix)["PipelineName"]:
            ask("DeleteWebhook", json.dumps({"name": name}).encode())
            ask("DeletePipeline", json.dumps({"name": name}).encode())
        for category in service_model().shape_for("ActionCategory").enum:
            kind = {"category": category, "provider": "Fuzz", "version": "1"}
            ask("DeleteCustomActionType", json.dumps(kind).encode())
    return results
