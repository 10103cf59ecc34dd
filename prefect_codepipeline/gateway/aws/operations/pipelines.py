"""Create, update, delete and read pipelines."""

from __future__ import annotations

import logging
from functools import cache

from pydantic import ValidationError

from prefect_codepipeline import errors
from prefect_codepipeline.deployments.create import MOST_PIPELINES, create_pipeline, update_pipeline
from prefect_codepipeline.engine.executions.definitions import find_version
from prefect_codepipeline.engine.jobs.action_types import find_row
from prefect_codepipeline.engine.operations.deleting import abandon_and_delete
from prefect_codepipeline.engine.operations.tagging import check_tags
from prefect_codepipeline.errors import (
    ConcurrentModificationException,
    LimitExceededException,
    PipelineNameInUseException,
    PipelineNotFoundException,
    PipelineVersionNotFoundException,
    ValidationException,
)
from prefect_codepipeline.gateway.aws.mirror import mirror
from prefect_codepipeline.gateway.aws.mirror.pipelines import KnownPipeline
from prefect_codepipeline.gateway.aws.operations.named import known_pipeline
from prefect_codepipeline.gateway.aws.operations.wording import no_pipeline_included
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.gateway.aws.protocol.pages import page_of
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation import problems_of, validate
from prefect_codepipeline.model.wire.refusals import refusal_of
from prefect_codepipeline.model.wire.tag_lists import tag_list, tags_in

_LARGEST_LIST = 1000
_logger = logging.getLogger("codepipeline.gateway")


def create(call: Call) -> Members:
    """Create a pipeline, and start its first execution."""
    declaration = _declared(call)
    name, tags = declaration.name, tags_in(call.members.get("tags") or [])
    _refuse_for(validate(declaration, region=call.account.region, find_own=cache(find_row)))
    check_tags(call.account.pipeline(name), tags)
    try:
        stored = create_pipeline(declaration, call.caller.arn, tags)
    except PipelineNameInUseException:
        raise PipelineNameInUseException(
            f"A pipeline with the name '{name}' already exists in account '{call.account.id}'"
        ) from None
    except LimitExceededException:
        raise LimitExceededException(
            f"The account '{call.account.id}' has {MOST_PIPELINES} pipelines, which is the limit"
        ) from None
    except PipelineNotFoundException:
        raise ConcurrentModificationException(
            f"The pipeline with the name '{name}' was deleted while it was created"
        ) from None
    except ValidationException as error:
        _logger.warning("pipeline %r was not created: %s", name, error)
        raise _no_place(name) from None
    finally:
        mirror().forget(name)
    return {"pipeline": stored.to_wire(), "tags": tag_list(tags) if tags else None}


def update(call: Call) -> Members:
    """Replace the definition of a pipeline. Its version rises, and executions of older versions are cancelled."""
    declaration = _declared(call)
    name = declaration.name
    mirror().forget(name)
    pipeline = mirror().pipeline(name)
    if pipeline is None:
        raise no_pipeline_included(call.account, name)
    stored = pipeline.declaration
    _refuse_for(validate(declaration, region=call.account.region, stored=stored, find_own=cache(find_row)))
    try:
        updated = update_pipeline(declaration, pipeline.definition, call.caller.arn)
    except PipelineNotFoundException:
        raise no_pipeline_included(call.account, name) from None
    except ValidationException as error:
        _logger.warning("pipeline %r was not updated: %s", name, error)
        raise _no_place(name) from None
    finally:
        mirror().forget(name)
    return {"pipeline": updated.to_wire()}


def _no_place(name: str) -> ValidationException:
    """For the caller, who need not know what work pools there are."""
    return ValidationException(
        f"The pipeline with the name '{name}' cannot run here: its work pool does not exist, is not allowed, "
        "or refuses its settings"
    )


def get(call: Call) -> Members:
    """The definition of a pipeline, its secrets masked: the newest version, or the one that is asked for."""
    name, version = call.members["name"], call.members.get("version")
    pipeline = known_pipeline(call, name)
    declaration = pipeline.declaration
    if version and version != pipeline.version:
        other = find_version(name, version)  # also one that another gateway has just stored
        if other is None:
            raise PipelineVersionNotFoundException(
                f"Account '{call.account.id}' does not have a version {version} of the pipeline with name '{name}'"
            )
        declaration = other[1].masked()
    metadata = {
        "pipelineArn": call.account.pipeline(name),
        "created": pipeline.created,
        "updated": pipeline.updated,
    }
    return {"pipeline": declaration.to_wire(), "metadata": metadata}


def delete(call: Call) -> None:
    """Delete a pipeline and its history; one that does not exist is no error."""
    name = call.members["name"]
    try:
        abandon_and_delete(name, call.caller.arn)
    finally:
        mirror().forget(name)


def list_pipelines(call: Call) -> Members:
    """All pipelines that the caller may see, by name."""
    own = (pipeline for pipeline in mirror().pipelines() if call.caller.sees(pipeline.name))
    page, token = page_of(own, call, lambda pipeline: (pipeline.name,), _LARGEST_LIST)
    return {"pipelines": [_summary(pipeline) for pipeline in page], "nextToken": token}


def _summary(pipeline: KnownPipeline) -> Members:
    return {
        "name": pipeline.name,
        "version": pipeline.version,
        "pipelineType": pipeline.declaration.pipeline_type,
        "executionMode": pipeline.declaration.execution_mode,
        "created": pipeline.created,
        "updated": pipeline.updated,
    }


def _declared(call: Call) -> PipelineDeclaration:
    """The declaration of a request; its version does not count."""
    wire = {key: value for key, value in call.members["pipeline"].items() if key != "version"}
    try:
        return PipelineDeclaration.model_validate(wire)
    except ValidationError as error:
        _refuse_for(problems_of(error, PipelineDeclaration))
        raise


def _refuse_for(problems: list[Problem]) -> None:
    """Raise AWS's exception for a definition with these problems, if it has one."""
    if refusal := refusal_of(problems):
        raise getattr(errors, refusal.exception)(refusal.message)


OPERATIONS: Operations = {
    "CreatePipeline": create,
    "DeletePipeline": delete,
    "GetPipeline": get,
    "ListPipelines": list_pipelines,
    "UpdatePipeline": update,
}
