"""The execution that the creation of a pipeline by the AWS API starts: once, also if the process that creates it dies.

The deployment has a tag until that execution is started. Reconcile starts what was left.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from prefect_codepipeline.engine.executions.definitions import find_version
from prefect_codepipeline.engine.executions.lookup import TAG
from prefect_codepipeline.engine.operations.projection import UNSTARTED
from prefect_codepipeline.engine.operations.starting import find_deployment, start_pipeline_execution
from prefect_codepipeline.errors import PipelineNotFoundException, ValidationException
from prefect_codepipeline.prefect_api.client import call, call_all

_logger = logging.getLogger(__name__)


def start_first_execution(pipeline_name: str) -> str | None:
    """Start the first execution of a pipeline that was just created; its id, also if it was started already.

    None if no execution can start without values of variables, or if the pipeline was deleted meanwhile.
    """
    found = find_version(pipeline_name, 1)
    if found is None:
        return None
    definition_id, definition = found
    execution_id = None
    try:
        execution_id = start_pipeline_execution(
            pipeline_name, {}, {}, definition.created_by, f"created-{definition_id}", "CreatePipeline"
        )
    except ValidationException as error:
        _logger.info("pipeline %r was created and not started: %s", pipeline_name, error)
    _mark_started(find_deployment(pipeline_name))
    return execution_id


def start_what_was_left() -> list[str]:
    """Start the first executions that processes which died have not started; one sentence for each."""
    wanted = {"deployments": {"tags": {"all_": [TAG, UNSTARTED]}}}
    done = []
    for name in [str(each["name"]) for each in call_all("/deployments/filter", wanted)]:
        with suppress(PipelineNotFoundException):  # deleted meanwhile
            if execution_id := start_first_execution(name):
                done.append(f"pipeline {name!r}: started its first execution {execution_id}")
    return done


def _mark_started(deployment: dict[str, Any]) -> None:
    tags = [tag for tag in deployment["tags"] if tag != UNSTARTED]
    call("PATCH", f"/deployments/{deployment['id']}", {"tags": tags}, expected=(404,))
