"""Executions of pipelines, actions and rules, newest first, and the hosts of deployments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.engine.executions.lookup import DEFINITION_LABEL
from prefect_codepipeline.engine.executions.run_lists import Run
from prefect_codepipeline.errors import ActionExecutionNotFoundException
from prefect_codepipeline.gateway.aws.mirror import mirror
from prefect_codepipeline.gateway.aws.mirror.executions import WatchedExecution
from prefect_codepipeline.gateway.aws.mirror.history import place_of
from prefect_codepipeline.gateway.aws.mirror.pipelines import KnownPipeline
from prefect_codepipeline.gateway.aws.mirror.rows import newest_rows, place_of_row
from prefect_codepipeline.gateway.aws.mirror.showing import rows_of_actions, rows_of_rules, shown
from prefect_codepipeline.gateway.aws.operations.named import known_pipeline
from prefect_codepipeline.gateway.aws.operations.wording import no_execution, no_pipeline
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.gateway.aws.protocol.pages import Place, page_of, page_size, place_after
from prefect_codepipeline.model.stored.deployment import DeployedHost, HostEvent
from prefect_codepipeline.model.wire.action_execution import Row
from prefect_codepipeline.model.wire.execution import execution_summary, has_succeeded_in, pipeline_execution

# AWS's word for a machine that is not an instance of Amazon EC2.
_TARGET_TYPE = "SSM_MANAGED_NODE"
_RowsOf: TypeAlias = Callable[[WatchedExecution, KnownPipeline, str], list[Row]]


def get_pipeline_execution(call: Call) -> Members:
    """One execution of a pipeline."""
    pipeline = _pipeline(call)
    watched = _execution(pipeline, call.members["pipelineExecutionId"])
    return {"pipelineExecution": pipeline_execution(shown(watched, pipeline))}


def list_pipeline_executions(call: Call) -> Members:
    """The executions of a pipeline, the newest first, or those that have succeeded in a stage."""
    pipeline, after = _pipeline(call), place_after(call)
    wanted = (call.members.get("filter") or {}).get("succeededInStage") or {}
    if stage_name := wanted.get("stageName"):
        found = _succeeded_in(stage_name, pipeline, after)
    else:
        found = mirror().newest_first(pipeline.name, after, page_size(call) + 1)
    page, token = page_of(found, call, lambda each: place_of(each.run), newest_first=True)
    summaries = [execution_summary(shown(each, pipeline)) for each in page]
    return {"pipelineExecutionSummaries": summaries, "nextToken": token}


def _succeeded_in(
    stage_name: str, pipeline: KnownPipeline, after: Place | None
) -> Iterator[WatchedExecution]:
    """The executions that have succeeded in the stage, in the version of the pipeline that is the newest now."""

    def is_of_version(run: Run) -> bool:
        """False if the run says that it has another version; one that a schedule started says nothing."""
        label = (run.get("labels") or {}).get(DEFINITION_LABEL)
        return label in (None, pipeline.definition_id)

    for each in mirror().newest_first(pipeline.name, after, only=is_of_version):
        state = each.known.state
        if (
            state
            and state.pinned.pipeline_version == pipeline.version
            and has_succeeded_in(state, stage_name)
        ):
            yield each


def list_action_executions(call: Call) -> Members:
    """The executions of actions, the newest first."""
    rows, token = _rows(call, rows_of_actions)
    return {"actionExecutionDetails": rows, "nextToken": token}


def list_rule_executions(call: Call) -> Members:
    """The executions of rules, the newest first."""
    rows, token = _rows(call, rows_of_rules, has_rows=mirror().has_conditions)
    return {"ruleExecutionDetails": rows, "nextToken": token}


def _rows(
    call: Call, rows_of: _RowsOf, has_rows: Callable[[KnownPipeline], bool] = lambda pipeline: True
) -> tuple[list[Members], str | None]:
    """A page of rows: of all executions, or of the one that the filter names."""
    pipeline, region = _pipeline(call), call.account.region
    wanted = call.members.get("filter") or {}
    latest = wanted.get("latestInPipelineExecution") or {}
    execution_id = wanted.get("pipelineExecutionId") or latest.get("pipelineExecutionId")
    found: Iterator[Row]
    if execution_id:
        watched = _execution(pipeline, execution_id)
        rows = sorted(rows_of(watched, pipeline, region), key=place_of_row, reverse=True)
        found = (row for row in rows if row.is_latest or latest.get("startTimeRange") != "Latest")
    elif not has_rows(pipeline):  # without a row, all of the history would be read
        found = iter(())
    else:
        history = mirror().history(pipeline.name)
        if history is None:  # it was deleted a moment ago
            raise no_pipeline(call.account, pipeline.name)
        found = newest_rows(
            mirror().watch,
            history,
            lambda each: rows_of(each, pipeline, region),
            place_after(call),
            page_size(call) + 1,
        )
    page, token = page_of(found, call, place_of_row, newest_first=True)
    return [row.members for row in page], token


def list_deploy_action_execution_targets(call: Call) -> Members:
    """The hosts of an action that deploys to hosts, by name; none of any other action."""
    action_execution_id = call.members["actionExecutionId"]
    found = (_find(each, call.account.region, action_execution_id) for each in _pipelines_named(call))
    row = next((each for each in found if each), None)
    if row is None:
        raise ActionExecutionNotFoundException(
            f"There is no action execution with the id '{action_execution_id}'"
        )
    hosts = sorted(_hosts(row), key=lambda host: host.name)
    wanted = [each["values"] for each in call.members.get("filters") or [] if each.get("values")]
    shown = [host for host in hosts if all(host.status in statuses for statuses in wanted)]
    page, token = page_of(shown, call, lambda host: (host.name,))
    return {"targets": [_target(host) for host in page], "nextToken": token}


def _pipelines_named(call: Call) -> list[KnownPipeline]:
    """The pipeline that the request names, or all."""
    return [_pipeline(call)] if call.members.get("pipelineName") else mirror().pipelines()


def _find(pipeline: KnownPipeline, region: str, action_execution_id: str) -> Row | None:
    history = mirror().history(pipeline.name)
    if history is None:
        return None
    rows = newest_rows(mirror().watch, history, lambda each: rows_of_actions(each, pipeline, region))
    return next((row for row in rows if row.id == action_execution_id), None)


def _hosts(row: Row) -> tuple[DeployedHost, ...]:
    """The hosts of the deployment that the action has made, if it is recorded here."""
    kind = row.members["input"]["actionTypeId"]
    deployment_id = row.members["output"]["executionResult"]["externalExecutionId"]
    if kind["category"] != "Deploy" or not deployment_id:
        return ()
    recorded = find_deployment(deployment_id)
    is_own = recorded and recorded.deployment.action_execution_id == row.id
    return tuple(recorded.deployment.hosts) if recorded and is_own else ()


def _target(host: DeployedHost) -> Members:
    """A `DeployActionExecutionTarget`."""
    return {
        "targetId": host.name,
        "targetType": _TARGET_TYPE,
        "status": host.status,
        "startTime": host.started,
        "endTime": host.ended,
        "events": [_event(each) for each in host.events],
    }


def _event(event: HostEvent) -> Members:
    return {
        "name": event.event,
        "status": event.status,
        "startTime": event.started,
        "endTime": event.ended,
        "context": {"message": event.message} if event.message else None,
    }


def _pipeline(call: Call) -> KnownPipeline:
    return known_pipeline(call, call.members["pipelineName"])


def _execution(pipeline: KnownPipeline, execution_id: str) -> WatchedExecution:
    watched = mirror().find(pipeline.name, execution_id)
    if watched is None:
        raise no_execution(pipeline.name, execution_id)
    return watched


OPERATIONS: Operations = {
    "GetPipelineExecution": get_pipeline_execution,
    "ListActionExecutions": list_action_executions,
    "ListDeployActionExecutionTargets": list_deploy_action_execution_targets,
    "ListPipelineExecutions": list_pipeline_executions,
    "ListRuleExecutions": list_rule_executions,
}
