"""What a rule is given of a real execution: its variables, its settings, its artifacts from the store."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.actions.artifacts.storing import load_artifact_store, store_tree
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    ExecutionPinned,
    StageEntered,
)
from prefect_codepipeline.tasks.rule import place_of

pytestmark = pytest.mark.live
NOW = datetime(2024, 7, 1, tzinfo=timezone.utc)
SCRIPTED = {"owner": "Custom", "provider": "Scripted", "version": "1"}


@pytest.fixture
def execution(prefect_server: str, tmp_path: Path) -> Execution:
    """Its source action has finished, with the artifact `App` and the variable `Source.Branch`."""
    source: Any = {
        "name": "Checkout",
        "actionTypeId": {"category": "Source", **SCRIPTED},
        "namespace": "Source",
        "outputArtifacts": [{"name": "App"}],
    }
    test = {"name": "Test", "actionTypeId": {"category": "Test", **SCRIPTED}}
    declaration = PipelineDeclaration.model_validate(
        {
            "name": "rules",
            "roleArn": "arn:aws:iam::123456789012:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "pipelineType": "V2",
            "stages": [{"name": "Source", "actions": [source]}, {"name": "Build", "actions": [test]}],
        }
    )
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "hello.txt").write_text("hello")
    stored = store_tree(load_artifact_store(None), "App", OutputTree(tmp_path / "tree"), "abc")
    identity: Any = {
        "at": NOW,
        "stage": "Source",
        "action": "Checkout",
        "attempt": 1,
        "action_execution_id": "a",
    }
    facts = [
        ExecutionPinned(
            at=NOW, pipeline_name="rules", pipeline_version=1, definition_id="d", variables={},
            source_revisions={}, trigger_type="StartPipelineExecution",
        ),
        StageEntered(at=NOW, stage="Source", attempt=1),
        ActionStarted(**identity),
        ActionFinished(
            **identity, status="Succeeded", output_artifacts=[stored], output_variables={"Branch": "main"}
        ),
    ]  # fmt: skip
    return Execution(RecordOf("e1"), declaration, facts, 1, can_suspend=False)


def test_a_rule_sees_the_executions_variables_and_artifacts(execution: Execution, tmp_path: Path) -> None:
    place = place_of(execution, "Build", "Check", logging.getLogger())
    directory = tmp_path / "App"
    directory.mkdir()

    tree = place.find_input("App", directory)()

    assert (place.pipeline_name, place.pipeline_execution_id) == ("rules", "e1")
    assert place.namespaces["Source"]["Branch"] == "main"
    assert (directory / "hello.txt").read_text() == "hello"
    assert (tree.name, tree.directory, tree.revision_id) == ("App", directory, "abc")


def test_an_artifact_that_no_action_made_is_named(execution: Execution, tmp_path: Path) -> None:
    place = place_of(execution, "Build", "Check", logging.getLogger())

    with pytest.raises(ActionFailed, match="input artifact 'Data' does not exist"):
        place.find_input("Data", tmp_path)
