"""`codepipeline run`: run a pipeline in this process, without a deployment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.checking.runnable import Runnable
from prefect_codepipeline.deployments.create import check_start
from prefect_codepipeline.engine.executions.definitions import keep_unnamed
from prefect_codepipeline.engine.executions.lookup import TAG, pipeline_tag, read_execution
from prefect_codepipeline.engine.jobs.action_types import find_row
from prefect_codepipeline.engine.operations.ending import Way, end_from_outside
from prefect_codepipeline.engine.operations.projection import FLOW_NAME
from prefect_codepipeline.flows.pipeline import pipeline
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.prefect_api.client import call, client
from prefect_codepipeline.prefect_api.internals import save_anonymously


def create_run(
    definition: PipelineDeclaration | Runnable,
    variables: Mapping[str, str],
    source_revisions: Mapping[str, str],
    started_by: str,
    settings: PipelineSettings | None = None,
) -> FlowRun:
    """Create the flow run of an execution without a deployment. The deployed versions of the pipeline do not change.

    The definition is checked here, unless it was checked already. `settings` are used instead of the pipeline's own settings.

    Raises:
        InvalidDefinition: the definition breaks rules or is not supported.
        ValidationException: an unknown variable or source action, or a missing value.
    """
    declaration = Runnable.of(definition, find_row).declaration
    check_start(declaration, variables, source_revisions)
    labels = {
        "codepipeline.definition": str(keep_unnamed(declaration)),
        "codepipeline.started-by": started_by,
    }
    if settings:
        labels["codepipeline.settings"] = str(save_anonymously(settings))
    body: dict[str, Any] = {
        "flow_id": str(client().create_flow_from_name(FLOW_NAME)),
        "state": {"type": "PENDING"},
        "parameters": {"variables": dict(variables), "source_revisions": dict(source_revisions)},
        "labels": labels,
        "tags": [TAG, pipeline_tag(declaration.name)],
    }
    _, created = call("POST", "/flow_runs/", body)
    return FlowRun.model_validate(created)


def run_here(flow_run: FlowRun) -> State[Any]:
    """Run the execution in this thread until it ends. A `KeyboardInterrupt` stops it and is raised again."""
    try:
        state = run_flow(pipeline, flow_run=flow_run, parameters=flow_run.parameters, return_type="state")
    except KeyboardInterrupt:
        by = str(flow_run.labels.get("codepipeline.started-by", "the terminal"))
        way = Way.INTERRUPTED
        end_from_outside(read_execution(str(flow_run.id)), way, by, message=way.sentence)
        raise
    finally:
        # Prefect sends log lines every two seconds, and the server may be gone by then.
        for handler in logging.getLogger("prefect.flow_runs").handlers:
            handler.flush()
    assert isinstance(state, State), "a synchronous flow returns its state"
    return state
