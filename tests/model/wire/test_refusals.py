"""AWS's catalogue of errors, word for word: each row is a mistake, and what AWS answers to it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from prefect_codepipeline import errors
from prefect_codepipeline.model.definition.action_types import ActionType, action_types
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation import RULES, validate
from prefect_codepipeline.model.wire.refusals import Refusal, refusal_of

STRUCTURE, STAGE = "InvalidStructureException", "InvalidStageDeclarationException"
ACTION, BLOCKER = "InvalidActionDeclarationException", "InvalidBlockerDeclarationException"


def act(name: str, kind: str, configuration: Any = None, **more: Any) -> dict[str, Any]:
    """An action; `kind` is `Category/Owner/Provider`."""
    category, owner, provider = kind.split("/")
    type_id = {"category": category, "owner": owner, "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": type_id, "configuration": configuration or {}, **more}


def source(**more: Any) -> dict[str, Any]:
    place = {"S3Bucket": "bucket", "S3ObjectKey": "s.zip", **more.pop("configuration", {})}
    return act("Src", "Source/AWS/S3", place, outputArtifacts=[{"name": "Code"}], **more)


def build(name: str = "Make", configuration: Any = None, **more: Any) -> dict[str, Any]:
    inputs = {"inputArtifacts": [{"name": "Code"}], **more}
    return act(name, "Build/AWS/CodeBuild", {"ProjectName": "shop", **(configuration or {})}, **inputs)


def approval(**configuration: str) -> dict[str, Any]:
    return act("Ok", "Approval/AWS/Manual", configuration)


def pipeline(*actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A pipeline with a source and these actions in its stage Build."""
    return {
        "name": "shop",
        "roleArn": "arn:aws:iam::123456789012:role/p",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [source()]},
            {"name": "Build", "actions": list(actions) or [build()]},
        ],
        **more,
    }


def with_stage(**more: Any) -> dict[str, Any]:
    """The pipeline, whose stage Build has this too."""
    wire = pipeline(pipelineType="V2")
    wire["stages"][1] |= more
    return wire


def rule(provider: str = "LambdaInvoke") -> dict[str, Any]:
    kind = {"category": "Rule", "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": "R", "ruleTypeId": kind, "configuration": {"FunctionName": "f"}}


REFERENCE = (
    "Valid format for a pipeline execution variable reference is a namespace and a key separated by a period (.). The "
    "following pipeline execution variables are referencing a namespace that does not exist."
)
TOPIC = "The ARN {} you specified for sending notifications for the approval action Ok "
GITHUB = {"Owner": "o", "Repo": "r", "Branch": "b", "OAuthToken": "****"}
HUB = act("Hub", "Source/ThirdParty/GitHub", GITHUB, outputArtifacts=[{"name": "Code"}])
ELSEWHERE = build(region="eu-west-1")
STORE = {"type": "S3", "location": "bucket"}
V2 = {"pipelineType": "V2"}

CATALOGUE = [
    (pipeline(stages=pipeline()["stages"][:1]), STRUCTURE, "Pipeline has only 1 stage(s). There should be a minimum of 2 stages in a pipeline"),
    (
        pipeline(stages=[pipeline()["stages"][0], *({"name": f"S{n}", "actions": [approval()]} for n in range(50))]),
        STRUCTURE, "Pipeline has too many stages. There can only be up to 50 stages in a pipeline",
    ),
    (pipeline(stages=[{"name": "A", "actions": [source(), approval()]}, *pipeline()["stages"][1:]]), STRUCTURE, "Pipeline should start with a stage that only contains source actions"),
    (pipeline(source() | {"name": "Late", "outputArtifacts": [{"name": "X"}]}, build()), STRUCTURE, "Source actions can only be included in the first stage of the pipeline"),
    (pipeline(stages=[{"name": "A", "actions": [source()]}, {"name": "B", "actions": [source() | {"outputArtifacts": [{"name": "X"}]}]}]), STRUCTURE, "Source actions can only be included in the first stage of the pipeline"),
    (pipeline(stages=[*pipeline()["stages"], {"name": "Build", "actions": [approval()]}]), STAGE, "Stage name 'Build' is used more than once"),
    (pipeline(build(), build()), ACTION, "Action name 'Make' is used more than once in stage 'Build'"),
    (with_stage(blockers=[{"name": "night", "type": "Schedule"}] * 2), BLOCKER, "Blocker name 'night' is used more than once in stage 'Build'"),
    (
        pipeline(act("A", "Build/AWS/CodeBiuld")), ACTION,
        "ActionType (Category: 'Build', Provider: 'CodeBiuld', Owner: 'AWS', Version: '1') in action 'A' is not available in region 'US_EAST_1'",
    ),
    (pipeline(act("A", "Build/AWS/CodeBuild", inputArtifacts=[{"name": "Code"}])), ACTION, "Action configuration for action 'A' is missing required configuration 'ProjectName'"),
    (pipeline(build("A", {"K": "v"})), ACTION, "Action configuration for action 'A' contains unknown configuration 'K'"),
    (pipeline(build("A", inputArtifacts=[])), ACTION, "Action A declares 0 input artifacts which is less than the minimum count (1)"),
    (
        pipeline(build("A", outputArtifacts=[{"name": "X"}]), build("B", outputArtifacts=[{"name": "X"}])), STRUCTURE,
        "Output Artifact Bundle name must be unique within the pipeline. X has been used more than once.",
    ),
    (pipeline(build("A", inputArtifacts=[{"name": "X"}])), STRUCTURE, "Input Artifact Bundle X in action A is not declared as Output Artifact Bundle in any of the preceding actions"),
    (pipeline(act("A", "Compute/AWS/Commands", inputArtifacts=[{"name": "Code"}]), **V2), ACTION, "Action A must have a non-empty commands field"),
    (
        pipeline(build("A", namespace="N"), build("B", namespace="N")), ACTION,
        "Namespaces must be unique across the pipeline definition. The following occur more than once in the pipeline. StageName=[Build], ActionName=[A], Namespace=[N]",
    ),
    (
        pipeline(build("A", {"ProjectName": "#{ns.key}"})), ACTION,
        f"{REFERENCE}\nStageName=[Build], ActionName=[A], ActionConfigurationKey=[ProjectName], VariableReferenceText=[ns.key]",
    ),
    (
        pipeline(build("A", {"ProjectName": "#{ns.key}"}), build("B", {"PrimarySource": "#{ns.b}"})), ACTION,
        f"{REFERENCE}\nStageName=[Build], ActionName=[A], ActionConfigurationKey=[ProjectName], VariableReferenceText=[ns.key]"
        "\nStageName=[Build], ActionName=[B], ActionConfigurationKey=[PrimarySource], VariableReferenceText=[ns.b]",
    ),
    (
        pipeline(
            variables=[{"name": "Env", "defaultValue": "x"}], **V2,
            stages=[{"name": "Source", "actions": [source(configuration={"S3ObjectKey": "#{variables.Env}"})]}, pipeline()["stages"][1]],
        ),
        STRUCTURE,
        "Variables at the pipeline level cannot be used in source actions.\nStageName=[Source], ActionName=[Src], "
        "ActionConfigurationKey=[S3ObjectKey], VariableReferenceText=[variables.Env]",
    ),
    (
        pipeline(build("A", {"ProjectName": "#{variables.Env}"})), STRUCTURE,
        "The referenced variables haven't been declared.\nStageName=[Build], ActionName=[A], ActionConfigurationKey=[ProjectName], VariableReferenceText=[variables.Env]",
    ),
    (pipeline(variables=[{"name": "X"}, {"name": "X"}], **V2), STRUCTURE, "Variable names must be unique. The following variable name is already in use: X"),
    (pipeline(variables=[{"name": "X"}]), STRUCTURE, "Pipeline variable can only be used with V2 pipelines"),
    (
        pipeline(triggers=[{"providerType": "CodeStarSourceConnection", "gitConfiguration": {"sourceActionName": "Src"}}]), STRUCTURE,
        "Triggers on tag can only be used with V2 pipelines",
    ),
    (pipeline(executionMode="QUEUED"), STRUCTURE, "QUEUED or PARALLEL mode can only be used with V2 pipelines"),
    (with_stage(onFailure={"result": "ROLLBACK"}) | {"pipelineType": "V1"}, STAGE, "Stage level conditions can only be used with V2 pipelines."),
    (pipeline(act("A", "Compute/AWS/Commands", commands=["make"], inputArtifacts=[{"name": "Code"}])), ACTION, "Commands Action can only be used with V2 pipelines."),
    (
        with_stage(onFailure={"result": "ROLLBACK", "conditions": [{"result": "ROLLBACK", "rules": [rule()]}]}), STAGE,
        "The following stage cannot have a failure exit gate configured with both top level result and conditions: 'Build'",
    ),
    (with_stage(onFailure={"result": "ROLLBACK"}) | {"executionMode": "PARALLEL"}, STAGE, "Failure conditions with rollback result type cannot be added to a PARALLEL pipeline."),
    (
        pipeline(triggers=[{"providerType": "CodeStarSourceConnection", "gitConfiguration": {"sourceActionName": "Src"}}], **V2), STRUCTURE,
        "Triggers for connections must reference a CodeStarSourceConnection action.",
    ),
    (
        pipeline(ELSEWHERE, artifactStores={"us-east-1": STORE}) | {"artifactStore": None}, STRUCTURE,
        "Your pipeline must have an artifact store, such as an artifact bucket, for each region where you have an action. The following region is missing in 'pipeline.artifactStores': eu-west-1.",
    ),
    (
        pipeline(ELSEWHERE), STRUCTURE,
        "Your pipeline contains actions in more than one region. Use 'pipeline.artifactStores' instead of 'pipeline.artifactStore' to declare an artifact store, such as an artifact bucket, for each region where you have an action.",
    ),
    (
        pipeline(stages=[{"name": "Source", "actions": [HUB]}, pipeline()["stages"][1]]), ACTION,
        'Action configuration for the new action "Hub" contains an invalid configuration for the secret property "OAuthToken". "****" may be used in secret properties only when updating an existing action.',
    ),
    (pipeline(approval(NotificationArn="topic")), ACTION, TOPIC.format("topic") + "contains a format error."),
    (
        pipeline(approval(NotificationArn="arn:aws:sqs:us-east-1:123456789012:q")), ACTION,
        TOPIC.format("arn:aws:sqs:us-east-1:123456789012:q") + "is a valid ARN, but the AWS service for this ARN cannot be used to send approval requests.",
    ),
    (
        pipeline(approval(NotificationArn="arn:aws:sns:eu-west-1:123456789012:t")), ACTION,
        TOPIC.format("arn:aws:sns:eu-west-1:123456789012:t") + "is a valid ARN, but the ARN is not in the same region as the pipeline.",
    ),
    # Of several mistakes, those of the first group that AWS checks.
    (pipeline(build("A", {"K": "v"}), executionMode="QUEUED"), STRUCTURE, "QUEUED or PARALLEL mode can only be used with V2 pipelines"),
    (pipeline(build("A", {"K": "v"}, inputArtifacts=[{"name": "X"}])), ACTION, "Action configuration for action 'A' contains unknown configuration 'K'"),
]  # fmt: skip


_VALUES = {"boolean": "true", "arn": "arn:aws:codestar-connections:us-east-1:123456789012:connection/c"}


def declared(wire: dict[str, Any]) -> PipelineDeclaration:
    return PipelineDeclaration.model_validate(copy.deepcopy(wire))


@pytest.mark.parametrize(("wire", "exception", "message"), CATALOGUE, ids=lambda part: str(part)[-40:])
def test_a_mistake_is_refused_in_aws_words(wire: dict[str, Any], exception: str, message: str) -> None:
    assert refusal_of(validate(declared(wire), region="us-east-1")) == Refusal(exception, message)


def test_what_is_right_or_only_strange_is_not_refused() -> None:
    strange = with_stage(blockers=[{"name": "night", "type": "Schedule"}])

    assert validate(declared(strange), region="us-east-1")
    assert refusal_of(validate(declared(strange), region="us-east-1")) is None


@pytest.mark.parametrize("kind", action_types().values(), ids=str)
def test_every_action_type_of_aws_is_accepted(kind: ActionType) -> None:
    """Whether something here can run it or not."""
    needed = [key for key in kind.configuration if key.required or key.required_when]
    is_source = kind.category == "Source"
    # A value that variables make is checked when the action runs; sources take no variables.
    values = {key.key: _VALUES.get(key.type, "x") if is_source else "#{variables.Any}" for key in needed}
    inputs = [{"name": f"A{number}"} for number in range(kind.input_artifacts[0])]
    outputs = [{"name": f"B{number}"} for number in range(kind.output_artifacts[0])]
    more = {"commands": ["make"]} if kind.provider == "Commands" else {}
    tried = act("Tried", f"{kind.category}/{kind.owner}/{kind.provider}", values, inputArtifacts=inputs, outputArtifacts=outputs, **more)  # fmt: skip
    tried["actionTypeId"]["version"] = kind.version
    first = act("Src", "Source/Custom/Own", outputArtifacts=[{"name": f"A{number}"} for number in range(5)])
    sources, others = ([first, tried], [approval()]) if is_source else ([first], [tried])
    wire = pipeline(
        *others,
        pipelineType="V2",
        variables=[{"name": "Any", "defaultValue": "x"}],
    )
    wire["stages"][0]["actions"] = sources

    assert refusal_of(validate(declared(wire), region="us-east-1")) is None


def test_all_fields_that_break_constraints_are_listed() -> None:
    two = [Problem("a", "Value at 'a' failed"), Problem("b", "Value at 'b' failed"), Problem("", "x", STAGE)]

    assert refusal_of(two) == Refusal(
        "ValidationException", "2 validation errors detected: Value at 'a' failed; Value at 'b' failed"
    )
    assert str(refusal_of(two[:1])).count("1 validation error detected: Value at 'a' failed") == 1


def test_every_rule_has_an_exception_that_creating_a_pipeline_may_raise() -> None:
    may = {STRUCTURE, STAGE, ACTION, BLOCKER, "LimitExceededException", "ValidationException"}
    of_definitions = [each for each in RULES.values() if each.subject not in ("Buildspecs", "AppSpecs")]

    assert {each.exception for each in of_definitions} <= may
    assert all(hasattr(errors, exception) for exception in may)
