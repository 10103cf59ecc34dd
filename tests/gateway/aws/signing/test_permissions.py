"""What a key may do: each of the 44 operations with each kind of key, and only with the pipelines of the key."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.gateway.aws.protocol.call import Caller
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.protocol.service_model import operation_names
from prefect_codepipeline.gateway.aws.signing.permissions import NEEDS, authorize, is_visible
from prefect_codepipeline.model.wire.arns import Account

ARN = "arn:aws:codepipeline:us-east-1:123456789012"
TYPE = {"category": "Deploy", "owner": "Custom", "provider": "Acme", "version": "1"}
JOB = {"jobId": "11111111-1111-4111-8111-111111111111"}
STAGE = {"pipelineName": "shop", "stageName": "Prod"}
# A request of each operation, and the resource that the refusal names.
REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "AcknowledgeJob": ({**JOB, "nonce": "1"}, f"{ARN}:*"),
    "AcknowledgeThirdPartyJob": ({**JOB, "nonce": "1"}, f"{ARN}:*"),
    "CreateCustomActionType": ({**TYPE}, f"{ARN}:actiontype:Custom/Deploy/Acme/1"),
    "CreatePipeline": ({"pipeline": {"name": "shop"}}, f"{ARN}:shop"),
    "DeleteCustomActionType": ({**TYPE}, f"{ARN}:actiontype:Custom/Deploy/Acme/1"),
    "DeletePipeline": ({"name": "shop"}, f"{ARN}:shop"),
    "DeleteWebhook": ({"name": "push"}, f"{ARN}:webhook:push"),
    "DeregisterWebhookWithThirdParty": ({"webhookName": "push"}, f"{ARN}:webhook:push"),
    "DisableStageTransition": (STAGE, f"{ARN}:shop/Prod"),
    "EnableStageTransition": (STAGE, f"{ARN}:shop/Prod"),
    "GetActionType": (TYPE, f"{ARN}:actiontype:Custom/Deploy/Acme/1"),
    "GetJobDetails": (JOB, f"{ARN}:*"),
    "GetPipeline": ({"name": "shop"}, f"{ARN}:shop"),
    "GetPipelineExecution": ({"pipelineName": "shop"}, f"{ARN}:shop"),
    "GetPipelineState": ({"name": "shop"}, f"{ARN}:shop"),
    "GetThirdPartyJobDetails": (JOB, f"{ARN}:*"),
    "ListActionExecutions": ({"pipelineName": "shop"}, f"{ARN}:shop"),
    "ListActionTypes": ({}, f"{ARN}:*"),
    "ListDeployActionExecutionTargets": ({"pipelineName": "shop"}, f"{ARN}:shop"),
    "ListPipelineExecutions": ({"pipelineName": "shop"}, f"{ARN}:shop"),
    "ListPipelines": ({}, f"{ARN}:*"),
    "ListRuleExecutions": ({"pipelineName": "shop"}, f"{ARN}:shop"),
    "ListRuleTypes": ({}, f"{ARN}:*"),
    "ListTagsForResource": ({"resourceArn": f"{ARN}:shop"}, f"{ARN}:shop"),
    "ListWebhooks": ({}, f"{ARN}:*"),
    "OverrideStageCondition": (STAGE, f"{ARN}:shop/Prod"),
    "PollForJobs": ({"actionTypeId": TYPE}, f"{ARN}:actiontype:Custom/Deploy/Acme/1"),
    "PollForThirdPartyJobs": ({"actionTypeId": TYPE}, f"{ARN}:actiontype:Custom/Deploy/Acme/1"),
    "PutActionRevision": ({**STAGE, "actionName": "Code"}, f"{ARN}:shop/Prod/Code"),
    "PutApprovalResult": ({**STAGE, "actionName": "Ok"}, f"{ARN}:shop/Prod/Ok"),
    "PutJobFailureResult": (JOB, f"{ARN}:*"),
    "PutJobSuccessResult": (JOB, f"{ARN}:*"),
    "PutThirdPartyJobFailureResult": (JOB, f"{ARN}:*"),
    "PutThirdPartyJobSuccessResult": (JOB, f"{ARN}:*"),
    "PutWebhook": ({"webhook": {"name": "push", "targetPipeline": "shop"}}, f"{ARN}:webhook:push"),
    "RegisterWebhookWithThirdParty": ({"webhookName": "push"}, f"{ARN}:webhook:push"),
    "RetryStageExecution": (STAGE, f"{ARN}:shop/Prod"),
    "RollbackStage": (STAGE, f"{ARN}:shop/Prod"),
    "StartPipelineExecution": ({"name": "shop"}, f"{ARN}:shop"),
    "StopPipelineExecution": ({"pipelineName": "shop"}, f"{ARN}:shop"),
    "TagResource": ({"resourceArn": f"{ARN}:shop"}, f"{ARN}:shop"),
    "UntagResource": ({"resourceArn": f"{ARN}:shop"}, f"{ARN}:shop"),
    "UpdateActionType": ({"actionType": {"id": TYPE}}, f"{ARN}:actiontype:Custom/Deploy/Acme/1"),
    "UpdatePipeline": ({"pipeline": {"name": "shop"}}, f"{ARN}:shop"),
}
WORK = {name for name in REQUESTS if "Job" in name}
READ = {name for name in REQUESTS if name.startswith(("Get", "List"))} - WORK
APPROVE = READ | {"PutApprovalResult"}
OPERATE = APPROVE | {
    "DisableStageTransition", "EnableStageTransition", "OverrideStageCondition", "PutActionRevision",
    "RetryStageExecution", "RollbackStage", "StartPipelineExecution", "StopPipelineExecution",
}  # fmt: skip
ALLOWED = {"read": READ, "approve": APPROVE, "operate": OPERATE, "work": WORK, "admin": set(REQUESTS)}
# What a key for some pipelines may do with none in its request.
OF_NO_PIPELINE = {"GetActionType", "ListActionTypes", "ListPipelines", "ListRuleTypes", "ListWebhooks"} | WORK


def is_allowed(caller: Caller, operation: str, members: dict[str, Any]) -> bool:
    try:
        authorize(caller, operation, members)
    except ApiError as error:
        return error.code != "AccessDeniedException"
    return True


def test_the_tables_have_every_operation() -> None:
    assert set(REQUESTS) == operation_names()
    assert operation_names() <= NEEDS.keys()


@pytest.mark.parametrize("may", ALLOWED)
def test_a_key_may_do_what_its_kind_may_and_nothing_else(may: Any) -> None:
    caller = Caller("ci", may=may)

    assert {name for name, (members, _) in REQUESTS.items() if is_allowed(caller, name, members)} == ALLOWED[
        may
    ]


@pytest.mark.parametrize("operation", sorted(set(REQUESTS) - READ))
def test_a_refusal_names_user_operation_and_resource(operation: str) -> None:
    members, arn = REQUESTS[operation]

    with pytest.raises(ApiError) as refused:
        authorize(Caller("ci", Account("111122223333"), may="read"), operation, members)

    assert refused.value.message == (
        "User: arn:aws:iam::111122223333:user/ci is not authorized to perform: "
        f"codepipeline:{operation} on resource: {arn}"
    ).replace("123456789012", "111122223333" if "resourceArn" not in members else "123456789012")


# Webhooks ask Prefect for their pipeline: test_keys.py has them.
@pytest.mark.parametrize("operation", sorted(name for name in REQUESTS if "Webhook" not in name))
def test_a_key_for_some_pipelines_touches_no_other(operation: str) -> None:
    members, _ = REQUESTS[operation]

    own = is_allowed(Caller("ci", pipelines=("docs", "sh*p")), operation, members)
    other = is_allowed(Caller("ci", pipelines=("shop-*", "docs")), operation, members)

    is_of_pipeline = "shop" in str(members)
    assert own == (is_of_pipeline or operation in OF_NO_PIPELINE)
    assert other == (operation in OF_NO_PIPELINE)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"name": None},
        {"name": 5},
        {"pipelineName": {}},
        {"pipeline": []},
        {"webhook": "x"},
        {"resourceArn": 1},
    ],
)
def test_a_request_that_names_nothing_rightly_is_not_for_a_key_of_some_pipelines(members: Any) -> None:
    caller = Caller("ci", pipelines=("shop-*",))
    operations = set(REQUESTS) - OF_NO_PIPELINE - {name for name in REQUESTS if "Webhook" in name}

    assert [name for name in operations if is_allowed(caller, name, members)] == []


def test_an_operation_that_is_in_no_table_is_refused_to_all() -> None:
    assert not is_allowed(Caller("ci"), "DropEverything", {})


def test_a_list_shows_only_tagged_pipelines_of_the_key() -> None:
    arns = [f"{ARN}:{name}" for name in ("billing", "shop-a", "webhook:shop-a")]

    assert [arn for arn in arns if is_visible(Caller("ci", pipelines=("shop-*",)), arn)] == arns[1:2]
    assert [arn for arn in arns if is_visible(Caller("ci"), arn)] == arns
