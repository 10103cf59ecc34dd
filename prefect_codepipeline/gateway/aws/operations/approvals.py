"""Answer approvals."""

from __future__ import annotations

from itertools import chain, islice

from prefect_codepipeline.engine.approvals.decision import find_approval
from prefect_codepipeline.engine.approvals.decision import put_approval_result as decide
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.errors import (
    ApprovalAlreadyCompletedException,
    ApprovalNotAllowed,
    InvalidApprovalTokenException,
    PipelineExecutionNotFoundException,
)
from prefect_codepipeline.gateway.aws.mirror import mirror
from prefect_codepipeline.gateway.aws.mirror.history import ENDED
from prefect_codepipeline.gateway.aws.operations.named import changing, named_pipeline
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.model.approver import Approver

# How many of the latest executions are searched for an approval that has ended.
_SEARCHED = 100


def put_approval_result(call: Call) -> Members:
    """Approve or reject; the first answer counts, unless a policy requires several."""
    members, result = call.members, call.members["result"]
    pipeline = named_pipeline(call, members["pipelineName"])
    stage_name, action_name, token = members["stageName"], members["actionName"], members["token"]
    execution_id = _asking(pipeline.name, stage_name, action_name, token)
    if execution_id is None:
        mirror().forget(pipeline.name)  # another gateway may have shown the token within the last second
        execution_id = _asking(pipeline.name, stage_name, action_name, token)
    if execution_id is None:
        pipeline.action(stage_name, action_name)
        raise InvalidApprovalTokenException(
            "The approval request already received a response or has expired."
        )
    approver = Approver(via="api", name=call.caller.arn)
    try:
        decided = decide(execution_id, token, result["status"], approver, result["summary"])
    except PipelineExecutionNotFoundException:  # deleted meanwhile
        raise InvalidApprovalTokenException(
            "The approval request has ended: its execution was deleted."
        ) from None
    except ApprovalAlreadyCompletedException as error:
        raise ApprovalAlreadyCompletedException(
            f"The approval action has already been approved or rejected: {error}"
        ) from None
    except ApprovalNotAllowed as error:
        resource = call.account.pipeline(f"{pipeline.name}/{stage_name}/{action_name}")
        raise ApiError(
            "AccessDeniedException",
            f"User: {call.caller.arn} is not authorized to perform: codepipeline:PutApprovalResult on resource: "
            f"{resource} because {error}",
        ) from None
    return {"approvedAt": decided.at}


def _asking(pipeline_name: str, stage_name: str, action_name: str, token: str) -> str | None:
    """The execution that requested the approval with that token: any that is in flight, or one of the latest."""
    history = mirror().history(pipeline_name)
    runs = history.known_runs if history else []
    in_flight = mirror().watch([run for run in runs if run["state_type"] not in ENDED])
    for watched in chain(in_flight, islice(mirror().newest_first(pipeline_name), _SEARCHED)):
        if _asks(watched.known, stage_name, action_name, token):
            return watched.known.id
    return None


def _asks(known: KnownExecution, stage_name: str, action_name: str, token: str) -> bool:
    asked = find_approval(known, token)
    request = asked.request if asked else None
    return request is not None and (request.stage, request.action) == (stage_name, action_name)


OPERATIONS: Operations = {"PutApprovalResult": changing(put_approval_result)}
