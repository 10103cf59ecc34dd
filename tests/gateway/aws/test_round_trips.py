"""Real pipelines read back as they were written, with AWS's defaults: Terraform takes anything else for a change."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from api_checks import check_value

from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.model.definition.action_types import action_types
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.stored.definition import MASK, StoredDefinition, with_kept_secrets
from prefect_codepipeline.model.validation import declare_or_problems

DATA = Path(__file__).parents[2] / "data"
CORPUS = os.environ.get("CODEPIPELINE_CORPUS")  # the whole corpus, where it is
FILES = sorted(
    path
    for folder in [DATA / "pipelines", DATA / "templates", *((Path(CORPUS, kind)) for kind in ("json", "cfn") if CORPUS)]
    for path in folder.iterdir()
    if path.suffix in (".json", ".yml", ".yaml", ".template")
)  # fmt: skip
DEFAULTS = {"version": 1, "executionMode": "SUPERSEDED", "pipelineType": "V1"}
ACTION = {"runOrder": 1, "configuration": {}, "inputArtifacts": [], "outputArtifacts": []}
SECRETS = {
    str(kind): frozenset(key.key for key in kind.configuration if key.secret)
    for kind in action_types().values()
}


def known(part: Any, key: str = "") -> Any:
    """What is known of a part of a template, with a value in place of each that only AWS knows."""
    if isinstance(part, dict):
        return {name: known(value, name) for name, value in part.items()}
    if isinstance(part, list):
        return [known(each, key) for each in part]
    if isinstance(part, str) and "${" in part:
        return "arn:aws:iam::123456789012:role/p" if key == "roleArn" else "known-by-aws"
    return part


@cache
def pipelines(path: Path) -> list[dict[str, Any]]:
    """The pipelines of a file as a client sends them, without those that the API's model refuses."""
    wires = [known(each.wire) for each in import_document(read_file(path)).pipelines]
    return [wire for wire in wires if declare_or_problems(wire)[0]]


def with_defaults(wire: dict[str, Any]) -> dict[str, Any]:
    """What AWS answers to what was written."""
    whole = {**DEFAULTS, **wire, "version": 1}
    whole["stages"] = [
        {**stage, "actions": [{**ACTION, **action} for action in stage["actions"]]}
        for stage in wire["stages"]
    ]
    for stage in whole["stages"]:
        for action in stage["actions"]:
            secret = SECRETS.get("/".join(action["actionTypeId"][key] for key in ("category", "owner", "provider", "version")), ())  # fmt: skip
            action["configuration"] = {
                key: MASK if key in secret else value for key, value in action["configuration"].items()
            }
    return whole


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name[-40:])
def test_a_pipeline_reads_back_as_it_was_written(path: Path) -> None:
    shape = botocore.session.get_session().get_service_model("codepipeline").shape_for("PipelineDeclaration")
    for wire in pipelines(path):
        given = {key: value for key, value in wire.items() if key != "version"}
        stored = StoredDefinition.of(PipelineDeclaration.model_validate(given), SECRETS)
        read = stored.masked().to_wire()

        assert read == with_defaults(wire)
        check_value(shape, read, path.name)
        again = with_kept_secrets(PipelineDeclaration.model_validate(read), stored)
        assert again == stored.whole()


def test_most_files_have_a_pipeline_that_is_tried() -> None:
    assert sum(bool(pipelines(path)) for path in FILES) >= 20
