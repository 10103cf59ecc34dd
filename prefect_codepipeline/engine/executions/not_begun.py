"""An execution that no process has begun: what its first fact will say."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import ExecutionPinned
from prefect_codepipeline.prefect_api.client import moment


def pinned_to_be(
    run: dict[str, Any], declaration: PipelineDeclaration, definition_id: str
) -> ExecutionPinned:
    """The first fact of an execution, as it follows from its flow run and the definition that it will run."""
    labels, parameters = run.get("labels") or {}, run.get("parameters") or {}
    defaults = {each.name: each.default_value for each in declaration.variables or () if each.default_value}
    is_scheduled = bool(run.get("auto_scheduled"))
    target = labels.get("codepipeline.rollback-target")
    return ExecutionPinned(
        at=moment(run["expected_start_time"]),
        pipeline_name=declaration.name,
        pipeline_version=declaration.version,
        definition_id=definition_id,
        variables={**defaults, **(parameters.get("variables") or {})},
        source_revisions={},
        trigger_type=labels.get("codepipeline.trigger-type")
        or ("CloudWatchEvent" if is_scheduled else "StartPipelineExecution"),
        trigger_detail=str(
            labels.get("codepipeline.started-by") or ("schedule" if is_scheduled else "Prefect")
        ),
        execution_type="ROLLBACK" if target else "STANDARD",
        rollback_target=target,
        rollback_stage=labels.get("codepipeline.rollback-stage"),
    )
