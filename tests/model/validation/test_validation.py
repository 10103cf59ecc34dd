"""One case for each rule between fields, as the definition a user would write."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import RULES, Problem, declare_or_problems, validate

STRUCTURE = "InvalidStructureException"
STAGE = "InvalidStageDeclarationException"
ACTION = "InvalidActionDeclarationException"
LIMIT = "LimitExceededException"
VALIDATION = "ValidationException"


def action(
    name: str, category: str = "Compute", provider: str = "Commands", owner: str = "AWS", **more: Any
) -> Any:
    kind = {"category": category, "owner": owner, "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind, **more}


def source(name: str = "Src", configuration: Any = None, **more: Any) -> Any:
    place = {"S3Bucket": "bucket", "S3ObjectKey": "source.zip"}
    return action(
        name,
        "Source",
        "S3",
        **{
            "outputArtifacts": [{"name": f"{name}Output"}],
            "configuration": place | (configuration or {}),
            **more,
        },
    )


def connection(name: str = "Src", **more: Any) -> Any:
    place = {"ConnectionArn": "git", "FullRepositoryId": "acme/shop", "BranchName": "main"}
    return action(
        name,
        "Source",
        "CodeStarSourceConnection",
        outputArtifacts=[{"name": f"{name}Output"}],
        configuration=place | more,
    )


def commands(name: str, **more: Any) -> Any:
    return action(name, **{"commands": ["make"], "inputArtifacts": [{"name": "SrcOutput"}], **more})


def codebuild(name: str, configuration: Any = None, **more: Any) -> Any:
    return action(
        name,
        "Build",
        "CodeBuild",
        **{
            "inputArtifacts": [{"name": "SrcOutput"}],
            "configuration": {"ProjectName": "shop"} | (configuration or {}),
            **more,
        },
    )


def approval(**configuration: str) -> Any:
    return action("Ok", "Approval", "Manual", configuration=configuration)


def deploy(**configuration: str) -> Any:
    return action(
        "Deploy",
        "Deploy",
        "CloudFormation",
        configuration=configuration,
        inputArtifacts=[{"name": "SrcOutput"}],
    )


GOOD: dict[str, Any] = {
    "name": "shop",
    "roleArn": "arn:aws:iam::111122223333:role/p",
    "pipelineType": "V2",
    "artifactStore": {"type": "S3", "location": "bucket"},
    "variables": [{"name": "Env", "defaultValue": "beta"}],
    "stages": [
        {"name": "Source", "actions": [source(namespace="SourceVariables")]},
        {
            "name": "Build",
            "actions": [
                commands(
                    "Build",
                    namespace="BuildVariables",
                    outputVariables=["VERSION"],
                    outputArtifacts=[{"name": "Built", "files": ["build/**/*"]}],
                ),
                action(
                    "Ok",
                    "Approval",
                    "Manual",
                    runOrder=2,
                    timeoutInMinutes=60,
                    configuration={
                        "CustomData": "#{BuildVariables.VERSION} #{SourceVariables.VersionId} #{variables.Env}"
                    },
                ),
                action("Test", commands=["make test"], runOrder=3, inputArtifacts=[{"name": "Built"}]),
            ],
        },
    ],
}


def test_a_good_pipeline_has_no_problem() -> None:
    assert validate(PipelineDeclaration.model_validate(GOOD), region="us-east-1") == []


def stages(*declared: Any) -> dict[str, Any]:
    return {"stages": list(declared)}


SOURCE = {"name": "Source", "actions": [source(namespace="SourceVariables")]}
GIT = {"name": "Source", "actions": [connection()]}
STORE = {"type": "S3", "location": "bucket"}


def build(*actions: Any, **more: Any) -> dict[str, Any]:
    return {"name": "Build", "actions": list(actions), **more}


def on_build(*actions: Any, **more: Any) -> dict[str, Any]:
    """The pipeline with these actions after its source."""
    return stages(SOURCE, build(*actions, **more))


def rule(name: str = "R", provider: str = "VariableCheck", configuration: Any = None, **more: Any) -> Any:
    kind = {"category": "Rule", "owner": "AWS", "provider": provider, "version": "1"}
    if provider == "VariableCheck" and configuration is None:
        configuration = {"Variable": "#{variables.Env}", "Operator": "EQ", "Value": "beta"}
    return {"name": name, "ruleTypeId": kind, "configuration": configuration or {}, **more}


def conditions(result: str, *rules: Any) -> Any:
    return {"conditions": [{"result": result, "rules": list(rules)}]}


def trigger(name: str = "Src", **filters: Any) -> Any:
    return {
        "providerType": "CodeStarSourceConnection",
        "gitConfiguration": {"sourceActionName": name, **filters},
    }


def many_actions(count: int, prefix: str = "B") -> list[Any]:
    return [commands(f"{prefix}{number}") for number in range(count)]


BRANCH = {"branches": {"includes": ["main"]}}
GATE = "stages[1].beforeEntry.conditions[0]"

# The rule that is broken, the definition, the place, the exception, what the message says.
CASES = [
    # 1.2, 1.5 (11), 1.9: stores and regions
    ("one-kind-of-store", {"artifactStore": None}, "artifactStore", STRUCTURE, "exactly one"),
    ("one-kind-of-store", {"artifactStores": {"us-east-1": STORE}}, "artifactStore", STRUCTURE, "exactly one"),
    (
        "one-store-for-several-regions",
        on_build(commands("A", region="us-east-1"), commands("B", region="eu-west-1")),
        "artifactStore", STRUCTURE, "Your pipeline contains actions in more than one region. Use 'pipeline.artifactStores' instead of 'pipeline.artifactStore' to declare an artifact store, such as an artifact bucket, for each region where you have an action.",
    ),
    ("one-store-for-several-regions", on_build(commands("A", region="eu-west-1")), "artifactStore", STRUCTURE, "actions in more than one region"),
    (
        "region-without-store", {"artifactStore": None, "artifactStores": {"eu-west-1": STORE}}, "artifactStores", STRUCTURE,
        "The following region is missing in 'pipeline.artifactStores': us-east-1.",
    ),
    (
        "region-without-store",
        {"artifactStore": None, "artifactStores": {"us-east-1": STORE}, **on_build(commands("A", region="eu-west-1"))},
        "artifactStores", STRUCTURE, "Your pipeline must have an artifact store, such as an artifact bucket, for each region where you have an action. The following region is missing in 'pipeline.artifactStores': eu-west-1.",
    ),
    (
        "action-bound-to-region",
        {"artifactStore": None, "artifactStores": {"us-east-1": STORE}, **stages({"name": "S", "actions": [source(region="eu-west-1")]}, build(commands("B")))},
        "stages[0].actions[0].region", ACTION, "must be in the region of the pipeline (us-east-1), not in eu-west-1",
    ),
    # 1.5 (1-3), 1.9, 1.10: stages and source actions
    ("too-few-stages", stages(SOURCE), "stages", STRUCTURE, "Pipeline has only 1 stage(s). There should be a minimum of 2 stages in a pipeline"),
    ("too-few-stages", stages(), "stages", STRUCTURE, "Pipeline has only 0 stage(s). There should be a minimum of 2 stages in a pipeline"),
    (
        "too-many-stages", stages(SOURCE, *({"name": f"S{n}", "actions": [commands("B")]} for n in range(50))),
        "stages", STRUCTURE, "Pipeline has too many stages. There can only be up to 50 stages in a pipeline",
    ),
    ("too-many-actions-in-stage", on_build(*many_actions(101)), "stages[1].actions", STAGE, "Stage 'Build' has 101 actions. There can only be up to 100"),
    (
        "too-many-actions", stages(SOURCE, *({"name": f"S{n}", "actions": many_actions(100)} for n in range(10))),
        "stages", LIMIT, "Pipeline has 1001 actions. There can only be up to 1000",
    ),
    (
        "first-stage-only-sources", stages({"name": "Source", "actions": [source(), commands("X", runOrder=2)]}, build(commands("B"))),
        "stages[0].actions[1]", STRUCTURE, "Pipeline should start with a stage that only contains source actions",
    ),
    ("sources-only-first", on_build(source("Late"), commands("B")), "stages[1].actions[0]", STRUCTURE, "Source actions can only be included in the first stage of the pipeline"),
    ("work-after-sources", stages(SOURCE, {"name": "More", "actions": [source("Other")]}), "stages", STRUCTURE, "Pipeline should contain at least 1 action whose category is not Source"),
    # 1.5 (4), 1.9: names
    *(
        ("pipeline-name-no-path", {"name": name}, "name", STRUCTURE, f"A pipeline cannot have the name '{name}': its name is part of URLs")
        for name in (".", "..")
    ),
    ("stage-name-once", stages(SOURCE, build(commands("B")), build(commands("C"))), "stages[2].name", STAGE, "Stage name 'Build' is used more than once"),
    ("action-name-once", on_build(commands("B"), commands("B")), "stages[1].actions[1].name", ACTION, "Action name 'B' is used more than once in stage 'Build'"),
    ("blocker-name-once", on_build(commands("B"), blockers=[{"name": "night", "type": "Schedule"}] * 2), "stages[1].blockers[1].name", "InvalidBlockerDeclarationException", "Blocker name 'night' is used more than once in stage 'Build'"),
    ("variable-name-once", {"variables": [{"name": "Env"}, {"name": "Env"}]}, "variables[1].name", STRUCTURE, "Variable names must be unique. The following variable name is already in use: Env"),
    # 1.5 (12), 1.6, 1.9: what only V2 has
    ("variables-need-v2", {"pipelineType": "V1"}, "variables", STRUCTURE, "Pipeline variable can only be used with V2 pipelines"),
    ("triggers-need-v2", {"pipelineType": "V1", "triggers": [trigger()]}, "triggers", STRUCTURE, "Triggers on tag can only be used with V2 pipelines"),
    ("mode-needs-v2", {"pipelineType": "V1", "executionMode": "QUEUED"}, "executionMode", STRUCTURE, "QUEUED or PARALLEL mode can only be used with V2 pipelines"),
    ("mode-needs-v2", {"pipelineType": "V1", "executionMode": "PARALLEL"}, "executionMode", STRUCTURE, "QUEUED or PARALLEL mode can only be used with V2 pipelines"),
    ("conditions-need-v2", {"pipelineType": "V1", **on_build(commands("B"), beforeEntry=conditions("FAIL", rule()))}, "stages[1].beforeEntry", STAGE, "Stage level conditions can only be used with V2 pipelines."),
    ("conditions-need-v2", {"pipelineType": "V1", **on_build(commands("B"), onSuccess=conditions("FAIL", rule()))}, "stages[1].onSuccess", STAGE, "Stage level conditions can only be used with V2 pipelines."),
    ("conditions-need-v2", {"pipelineType": "V1", **on_build(commands("B"), onFailure={"result": "RETRY"})}, "stages[1].onFailure", STAGE, "Stage level conditions can only be used with V2 pipelines."),
    *(
        ("provider-needs-v2", {"pipelineType": "V1", **on_build(action("X", category, provider))}, "stages[1].actions[0].actionTypeId", ACTION, f"{provider} Action can only be used with V2 pipelines.")
        for category, provider in [
            ("Compute", "Commands"), ("Build", "ECRBuildAndPublish"), ("Deploy", "EC2"), ("Deploy", "EKS"),
            ("Deploy", "Lambda"), ("Invoke", "CodePipeline"), ("Invoke", "InspectorScan"),
        ]
    ),
    # 1.5 (5), 1.9: action types
    (
        "action-type-exists", on_build(action("A", "Deploy", "Heroku", region="us-east-1")), "stages[1].actions[0].actionTypeId", ACTION,
        "ActionType (Category: 'Deploy', Provider: 'Heroku', Owner: 'AWS', Version: '1') in action 'A' is not available in region 'US_EAST_1'",
    ),
    ("partner-type-known", on_build(action("A", "Test", "Nobody", "ThirdParty")), "stages[1].actions[0].actionTypeId", ACTION, "is not documented by AWS"),
    # 1.4: fields of some action types
    ("commands-needed", on_build(commands("B", commands=None)), "stages[1].actions[0].commands", ACTION, "Action B must have a non-empty commands field"),
    ("commands-single-line", on_build(commands("B", commands=["a\nb"])), "stages[1].actions[0].commands[0]", ACTION, "a command is a single line"),
    ("fields-of-commands", on_build(codebuild("B", commands=["x"])), "stages[1].actions[0].commands", ACTION, "only Commands actions can have this field"),
    ("fields-of-commands", on_build(codebuild("B", outputVariables=["X"])), "stages[1].actions[0].outputVariables", ACTION, "only Commands actions can have this field"),
    ("fields-of-commands", on_build(codebuild("B", outputArtifacts=[{"name": "O", "files": ["x"]}])), "stages[1].actions[0].outputArtifacts[0].files", ACTION, "only Commands actions can have this field"),
    ("fields-of-commands-and-eks", on_build(codebuild("B", environmentVariables=[{"name": "A", "value": "b"}])), "stages[1].actions[0].environmentVariables", ACTION, "only Commands and EKS"),
    (
        "secrets-of-commands",
        on_build(action("B", "Deploy", "EKS", environmentVariables=[{"name": "A", "value": "b", "type": "SECRETS_MANAGER"}])),
        "stages[1].actions[0].environmentVariables[0].type", ACTION, "SECRETS_MANAGER",
    ),
    ("timeout-of-approvals", on_build(commands("B", timeoutInMinutes=10)), "stages[1].actions[0].timeoutInMinutes", ACTION, "only Manual approval actions can have this field"),
    # 1.5 (6), 1.9, 13: configurations
    ("configuration-complete", on_build(action("B", "Build", "CodeBuild", inputArtifacts=[{"name": "SrcOutput"}])), "stages[1].actions[0].configuration", ACTION, "Action configuration for action 'B' is missing required configuration 'ProjectName'"),
    (
        "configuration-complete", on_build(deploy(ActionMode="CHANGE_SET_EXECUTE", StackName="s")), "stages[1].actions[0].configuration", ACTION,
        "Action configuration for action 'Deploy' is missing required configuration 'ChangeSetName'",
    ),
    ("configuration-known", on_build(codebuild("B", {"ProjectNam": "x"})), "stages[1].actions[0].configuration.ProjectNam", ACTION, "Action configuration for action 'B' contains unknown configuration 'ProjectNam'"),
    ("configuration-value", on_build(deploy(ActionMode="CREATE", StackName="s")), "stages[1].actions[0].configuration.ActionMode", ACTION, "'CREATE' is not one of CREATE_UPDATE, REPLACE_ON_FAILURE,"),
    ("configuration-value", on_build(codebuild("B", {"BatchEnabled": "yes"})), "stages[1].actions[0].configuration.BatchEnabled", ACTION, "'yes' is not 'true' or 'false'"),
    ("configuration-value", on_build(codebuild("B", {"EnvironmentVariables": "[{"})), "stages[1].actions[0].configuration.EnvironmentVariables", ACTION, "'[{' is not JSON"),
    (
        "configuration-value", on_build(action("D", "Deploy", "ECS", configuration={"ClusterName": "c", "ServiceName": "s", "DeploymentTimeout": "90"})),
        "stages[1].actions[0].configuration.DeploymentTimeout", ACTION, "'90' is not between 1 and 60",
    ),
    (
        "configuration-value", on_build(action("D", "Deploy", "ECS", configuration={"ClusterName": "c", "ServiceName": "s", "DeploymentTimeout": "an hour"})),
        "stages[1].actions[0].configuration.DeploymentTimeout", ACTION, "'an hour' is not a whole number",
    ),
    ("configuration-value", on_build(deploy(ActionMode="DELETE_ONLY", StackName="s", Capabilities="CAPABILITY_IAM,ALL")), "stages[1].actions[0].configuration.Capabilities", ACTION, "is not a list of CAPABILITY_IAM, "),
    ("configuration-value", on_build(deploy(ActionMode="CREATE_UPDATE", StackName="s", TemplatePath="t.yaml")), "stages[1].actions[0].configuration.TemplatePath", ACTION, "ArtifactName::FileName"),
    (
        "configuration-value", on_build(action("D", "Deploy", "Lambda", configuration={"FunctionName": "f", "DeployStrategy": "Canary"})),
        "stages[1].actions[0].configuration.DeployStrategy", ACTION, "'Canary' is not of the form AllAtOnce|",
    ),
    ("configuration-value", on_build(deploy(ActionMode="DELETE_ONLY", StackName="s", RoleArn="deployer")), "stages[1].actions[0].configuration.RoleArn", ACTION, "'deployer' is not an ARN"),
    ("configuration-artifact", on_build(deploy(ActionMode="CREATE_UPDATE", StackName="s", TemplatePath="SrcOutptu::t.yaml")), "stages[1].actions[0].configuration.TemplatePath", ACTION, "'SrcOutptu', which is not an input artifact"),
    ("configuration-artifact", on_build(codebuild("B", {"PrimarySource": "Other"})), "stages[1].actions[0].configuration.PrimarySource", ACTION, "'Other', which is not an input artifact"),
    (
        "masked-secret",
        stages({"name": "Source", "actions": [action("A", "Source", "GitHub", "ThirdParty", configuration={"Owner": "o", "Repo": "r", "Branch": "b", "OAuthToken": "****"}, outputArtifacts=[{"name": "SrcOutput"}])]}, build(commands("B"))),
        "stages[0].actions[0].configuration.OAuthToken", ACTION,
        'Action configuration for the new action "A" contains an invalid configuration for the secret property "OAuthToken". "****" may be used in secret properties only when updating an existing action.',
    ),
    ("notification-arn-format", on_build(approval(NotificationArn="topic")), "stages[1].actions[0].configuration.NotificationArn", ACTION, "The ARN topic you specified for sending notifications for the approval action Ok contains a format error."),
    ("notification-arn-service", on_build(approval(NotificationArn="arn:aws:sqs:us-east-1:111122223333:q")), "stages[1].actions[0].configuration.NotificationArn", ACTION, "but the AWS service for this ARN cannot be used to send approval requests."),
    ("notification-arn-region", on_build(approval(NotificationArn="arn:aws:sns:eu-west-1:111122223333:t")), "stages[1].actions[0].configuration.NotificationArn", ACTION, "but the ARN is not in the same region as the pipeline."),
    # 1.5 (7), 1.9, 13: numbers of artifacts
    ("enough-artifacts", on_build(codebuild("B", inputArtifacts=[])), "stages[1].actions[0].inputArtifacts", ACTION, "Action B declares 0 input artifacts which is less than the minimum count (1)"),
    ("enough-artifacts", stages({"name": "S", "actions": [source(outputArtifacts=[])]}, build(approval())), "stages[0].actions[0].outputArtifacts", ACTION, "Action Src declares 0 output artifacts which is less than the minimum count (1)"),
    ("not-too-many-artifacts", on_build(commands("B", outputArtifacts=[{"name": "X"}, {"name": "Y"}])), "stages[1].actions[0].outputArtifacts", ACTION, "Action B declares 2 output artifacts which exceeds the maximum count (1)"),
    ("not-too-many-artifacts", on_build(action("J", "Build", "MyJenkins", "Custom", outputArtifacts=[{"name": f"A{n}"} for n in range(6)])), "stages[1].actions[0].outputArtifacts", ACTION, "which exceeds the maximum count (5)"),
    # 1.5 (8, 9), 1.9: artifacts
    ("artifact-made-once", on_build(commands("B", outputArtifacts=[{"name": "SrcOutput"}])), "stages[1].actions[0].outputArtifacts[0].name", STRUCTURE, "Output Artifact Bundle name must be unique within the pipeline. SrcOutput has been used more than once."),
    (
        "artifact-made-before", on_build(commands("B", inputArtifacts=[{"name": "SrcOutptu"}])), "stages[1].actions[0].inputArtifacts[0].name", STRUCTURE,
        "Input Artifact Bundle SrcOutptu in action B is not declared as Output Artifact Bundle in any of the preceding actions",
    ),
    (
        "artifact-made-before", on_build(commands("A", outputArtifacts=[{"name": "Made"}]), commands("B", inputArtifacts=[{"name": "Made"}])),
        "stages[1].actions[1].inputArtifacts[0].name", STRUCTURE, "Input Artifact Bundle Made in action B",
    ),
    (
        "artifact-made-before-rule",
        on_build(commands("A", outputArtifacts=[{"name": "Made"}]), beforeEntry=conditions("FAIL", rule(provider="Commands", commands=["x"], inputArtifacts=[{"name": "Made"}]))),
        f"{GATE}.rules[0].inputArtifacts[0].name", STRUCTURE, "Input Artifact Bundle Made in rule R is not declared",
    ),
    # 1.5 (4, 10), 1.9, 3: namespaces and variables
    (
        "namespace-once", on_build(commands("A", namespace="SourceVariables")), "stages[1].actions[0].namespace", ACTION,
        "Namespaces must be unique across the pipeline definition. The following occur more than once in the pipeline. StageName=[Build], ActionName=[A], Namespace=[SourceVariables]",
    ),
    ("namespace-reserved", on_build(commands("A", namespace="codepipeline")), "stages[1].actions[0].namespace", ACTION, "'codepipeline' is reserved"),
    ("namespace-reserved", on_build(commands("A", namespace="variables")), "stages[1].actions[0].namespace", ACTION, "'variables' is reserved"),
    ("namespace-no-artifact", on_build(commands("A", namespace="SrcOutput")), "stages[1].actions[0].namespace", ACTION, "'SrcOutput' is also the name of an artifact"),
    (
        "reference-to-earlier-namespace", on_build(commands("A", commands=["echo #{SorceVariables.CommitId}"])), "stages[1].actions[0].commands[0]", ACTION,
        "Valid format for a pipeline execution variable reference is a namespace and a key separated by a period (.). The following pipeline execution variables are referencing a namespace that does not exist.\nStageName=[Build], ActionName=[A], ActionConfigurationKey=[commands[0]], VariableReferenceText=[SorceVariables.CommitId]",
    ),
    ("reference-to-earlier-namespace", on_build(commands("A", namespace="Own"), codebuild("B", {"ProjectName": "#{Own.x}"})), "stages[1].actions[1].configuration.ProjectName", ACTION, "ActionConfigurationKey=[ProjectName], VariableReferenceText=[Own.x]"),
    ("reference-to-earlier-namespace", on_build(codebuild("A", {"ProjectName": "#{plain}"})), "stages[1].actions[0].configuration.ProjectName", ACTION, "separated by a period"),
    (
        "reference-to-earlier-namespace",
        on_build(commands("A", namespace="Own", outputVariables=["X"]), beforeEntry=conditions("FAIL", rule(configuration={"Variable": "#{Own.X}", "Operator": "EQ", "Value": "x"}))),
        f"{GATE}.rules[0].configuration.Variable", ACTION, "StageName=[Build], RuleName=[R], ActionConfigurationKey=[Variable], VariableReferenceText=[Own.X]",
    ),
    ("variable-declared", on_build(codebuild("A", {"ProjectName": "#{variables.Evn}"})), "stages[1].actions[0].configuration.ProjectName", STRUCTURE, "The referenced variables haven't been declared.\nStageName=[Build]"),
    (
        "no-variables-in-sources", stages({"name": "Source", "actions": [source(configuration={"S3Bucket": "#{variables.Env}"})]}, build(commands("B"))),
        "stages[0].actions[0].configuration.S3Bucket", STRUCTURE,
        "Variables at the pipeline level cannot be used in source actions.\nStageName=[Source], ActionName=[Src], ActionConfigurationKey=[S3Bucket], VariableReferenceText=[variables.Env]",
    ),
    ("reference-to-codepipeline", on_build(codebuild("A", {"ProjectName": "#{codepipeline.Name}"})), "stages[1].actions[0].configuration.ProjectName", ACTION, "PipelineExecutionId"),
    ("output-variable-exists", on_build(codebuild("A", {"ProjectName": "#{SourceVariables.VersionID}"})), "stages[1].actions[0].configuration.ProjectName", ACTION, "action 'Src' has no output variable 'VersionID'"),
    (
        "output-variable-exists", on_build(commands("A", namespace="Own", outputVariables=["X"]), codebuild("B", {"ProjectName": "#{Own.Y}"}, runOrder=2)),
        "stages[1].actions[1].configuration.ProjectName", ACTION, "it has: X",
    ),
    # 1.5 (15), 1.9, 1.10, 4: triggers
    ("trigger-of-connection", {"triggers": [trigger("Src", push=[BRANCH])]}, "triggers[0].gitConfiguration.sourceActionName", STRUCTURE, "Triggers for connections must reference a CodeStarSourceConnection action."),
    ("one-trigger-a-source", {"triggers": [trigger(push=[BRANCH]), trigger(push=[BRANCH])], **stages(GIT, build(commands("B")))}, "triggers[1].gitConfiguration.sourceActionName", STRUCTURE, "only be one trigger for each source action"),
    ("filters-differ", {"triggers": [trigger(push=[BRANCH, BRANCH])], **stages(GIT, build(commands("B")))}, "triggers[0].gitConfiguration.push[1]", STRUCTURE, "must be different"),
    ("filters-differ", {"triggers": [trigger(pullRequest=[BRANCH, BRANCH])], **stages(GIT, build(commands("B")))}, "triggers[0].gitConfiguration.pullRequest[1]", STRUCTURE, "must be different"),
    (
        "triggers-size",
        {"triggers": [trigger(f"Src{n}", push=[{"branches": {"includes": [f"{p}" * 255 for p in range(8)], "excludes": [f"{p}x" * 127 for p in range(8)]}}]) for n in range(50)]},
        "triggers", LIMIT, "at most 204800 are allowed",
    ),
    ("filter-tags-alone", {"triggers": [trigger(push=[{"tags": {"includes": ["v*"]}, **BRANCH}])], **stages(GIT, build(commands("B")))}, "triggers[0].gitConfiguration.push[0].tags", STRUCTURE, "never starts"),
    ("filter-files-with-branches", {"triggers": [trigger(push=[{"filePaths": {"includes": ["a/**"]}}])], **stages(GIT, build(commands("B")))}, "triggers[0].gitConfiguration.push[0].filePaths", STRUCTURE, "only together with branches"),
    ("filter-glob", {"triggers": [trigger(push=[{"branches": {"includes": ["main", "rel["]}}])], **stages(GIT, build(commands("B")))}, "triggers[0].gitConfiguration.push[0].branches.includes[1]", STRUCTURE, "'rel[' is not a glob, so its filter never starts an execution: a bracket is not closed"),
    ("filter-glob", {"triggers": [trigger(pullRequest=[{"branches": {"includes": ["main"]}, "filePaths": {"excludes": ["{a"]}}])], **stages(GIT, build(commands("B")))}, "triggers[0].gitConfiguration.pullRequest[0].filePaths.excludes[0]", STRUCTURE, "a brace is not closed"),
    # 1.5 (13, 14, 16, 17), 1.9, 2.14: conditions and their rules
    ("result-or-conditions", on_build(commands("B"), onFailure={"result": "ROLLBACK", **conditions("ROLLBACK", rule())}), "stages[1].onFailure", STAGE, "The following stage cannot have a failure exit gate configured with both top level result and conditions: 'Build'"),
    (
        "no-retry-with-conditions", on_build(commands("B"), onFailure={"retryConfiguration": {"retryMode": "ALL_ACTIONS"}, **conditions("ROLLBACK", rule())}),
        "stages[1].onFailure", STAGE, "You cannot use automatic stage retry with onFailure conditions",
    ),
    ("retry-mode-of-retry", on_build(commands("B"), onFailure={"result": "ROLLBACK", "retryConfiguration": {"retryMode": "ALL_ACTIONS"}}), "stages[1].onFailure.retryConfiguration", STAGE, "only with result RETRY"),
    ("no-rollback-in-parallel", {"executionMode": "PARALLEL", **on_build(commands("B"), onFailure={"result": "ROLLBACK"})}, "stages[1].onFailure.result", STAGE, "Failure conditions with rollback result type cannot be added to a PARALLEL pipeline."),
    ("no-rollback-in-parallel", {"executionMode": "PARALLEL", **on_build(commands("B"), onSuccess=conditions("ROLLBACK", rule()))}, "stages[1].onSuccess.conditions[0].result", STAGE, "cannot be added to a PARALLEL pipeline."),
    ("result-of-kind", on_build(commands("B"), beforeEntry=conditions("ROLLBACK", rule())), f"{GATE}.result", STAGE, "beforeEntry can have the result FAIL or SKIP, not ROLLBACK"),
    ("result-of-kind", on_build(commands("B"), onSuccess=conditions("SKIP", rule())), "stages[1].onSuccess.conditions[0].result", STAGE, "onSuccess can have the result FAIL or ROLLBACK, not SKIP"),
    ("result-of-kind", on_build(commands("B"), onFailure=conditions("RETRY", rule())), "stages[1].onFailure.conditions[0].result", STAGE, "onFailure can have the result ROLLBACK, not RETRY"),
    ("result-of-failure", on_build(commands("B"), onFailure={"result": "SKIP"}), "stages[1].onFailure.result", STAGE, "ROLLBACK or RETRY, not SKIP"),
    ("fail-of-failed", on_build(commands("B"), onFailure={"result": "FAIL"}), "stages[1].onFailure.result", STAGE, "has no effect"),
    ("no-rollback-of-sources", stages({**SOURCE, "onFailure": {"result": "ROLLBACK"}}, build(commands("B"))), "stages[0].onFailure.result", STAGE, "a source stage cannot be rolled back"),
    ("condition-has-rules", on_build(commands("B"), beforeEntry={"conditions": [{"result": "FAIL"}]}), GATE, STAGE, "has no rules"),
    ("rule-type-exists", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="LambdaInvok"))), f"{GATE}.rules[0].ruleTypeId", STAGE, "Provider: 'LambdaInvok'"),
    ("rules-of-skip", on_build(commands("B"), beforeEntry=conditions("SKIP", rule(provider="DeploymentWindow", configuration={"Cron": "* * * ? * *"}))), f"{GATE}.rules[0].ruleTypeId.provider", STAGE, "only LambdaInvoke and VariableCheck can"),
    ("rule-commands", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="Commands"))), f"{GATE}.rules[0].commands", STAGE, "Rule R must have a non-empty commands field"),
    ("rule-commands", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(commands=["x"]))), f"{GATE}.rules[0].commands", STAGE, "only Commands rules can have this field"),
    ("rule-artifacts", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(inputArtifacts=[{"name": "SrcOutput"}]))), f"{GATE}.rules[0].inputArtifacts", STAGE, "declares 1 input artifacts which exceeds the maximum count (0)"),
    ("rule-configuration-complete", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="DeploymentWindow"))), f"{GATE}.rules[0].configuration", STAGE, "Rule configuration for rule 'R' is missing required configuration 'Cron'"),
    ("rule-configuration-known", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="CloudWatchAlarm", configuration={"AlarmName": "a", "Wait": "5"}))), f"{GATE}.rules[0].configuration.Wait", STAGE, "contains unknown configuration 'Wait'"),
    ("rule-configuration-value", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(configuration={"Variable": "#{variables.Env}", "Operator": "EQUALS", "Value": "x"}))), f"{GATE}.rules[0].configuration.Operator", STAGE, "'EQUALS' is not one of EQ, NE, CONTAINS, MATCHES"),
    ("rule-configuration-value", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="DeploymentWindow", configuration={"Cron": "every day"}))), f"{GATE}.rules[0].configuration.Cron", STAGE, "has 2 fields; expected: seconds minutes"),
    ("rule-configuration-value", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="DeploymentWindow", configuration={"Cron": "* * * ? * *", "TimeZone": "Moon"}))), f"{GATE}.rules[0].configuration.TimeZone", STAGE, "'Moon'"),
    ("rule-commands", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="Commands", commands=["a\nb"]))), f"{GATE}.rules[0].commands[0]", STAGE, "a command is a single line"),
    ("rule-pattern", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(configuration={"Variable": "#{variables.Env}", "Operator": "MATCHES", "Value": "("}))), f"{GATE}.rules[0].configuration.Value", STAGE, "'(' is not a regular expression"),
    ("rule-of-variable", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(configuration={"Variable": "Env", "Operator": "EQ", "Value": "x"}))), f"{GATE}.rules[0].configuration.Variable", STAGE, "'Env' is not a reference, so this text itself is compared"),
    ("rule-timeout-and-wait", on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="CloudWatchAlarm", configuration={"AlarmName": "a", "WaitTime": "60"}, timeoutInMinutes=10))), f"{GATE}.rules[0].timeoutInMinutes", STAGE, "before its WaitTime of 60 minutes ends"),
    (
        "rule-configuration-artifact",
        on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="CodeBuild", configuration={"ProjectName": "p", "PrimarySource": "X"}, inputArtifacts=[{"name": "SrcOutput"}]))),
        f"{GATE}.rules[0].configuration.PrimarySource", STAGE, "'X', which is not an input artifact of the rule",
    ),
    # 12, 13.1: what will surprise
    ("codebuild-artifact-names", on_build(codebuild("B", outputArtifacts=[{"name": "web-app"}, {"name": "Api"}])), "stages[1].actions[0].outputArtifacts[0].name", VALIDATION, "letters, digits and underscores in their names: the artifact name 'web-app' fails when the action runs"),
    ("artifact-unused", on_build(codebuild("B", outputArtifacts=[{"name": "Built"}])), "stages[1].actions[0].outputArtifacts[0].name", VALIDATION, "no action uses artifact 'Built'"),
    ("source-starts-nothing", stages({"name": "S", "actions": [source(configuration={"PollForSourceChanges": "false"})]}, build(commands("B"))), "stages[0].actions[0].configuration.PollForSourceChanges", VALIDATION, "PollForSourceChanges is false and there is no trigger"),
    (
        "secret-in-plain-text",
        stages({"name": "Source", "actions": [action("A", "Source", "GitHub", "ThirdParty", configuration={"Owner": "o", "Repo": "r", "Branch": "b", "OAuthToken": "planted"}, outputArtifacts=[{"name": "SrcOutput"}])]}, build(commands("B"))),
        "stages[0].actions[0].configuration.OAuthToken", VALIDATION, "'OAuthToken' is in plain text",
    ),
    ("configuration-without-effect", on_build(codebuild("B", {"CombineArtifacts": "true"})), "stages[1].actions[0].configuration.CombineArtifacts", VALIDATION, "'CombineArtifacts' has an effect only when BatchEnabled is true"),
    ("windows-needs-more", on_build(commands("B", configuration={"EnvironmentType": "WINDOWS_SERVER_2022_CONTAINER"})), "stages[1].actions[0].configuration.EnvironmentType", VALIDATION, "does not run on BUILD_GENERAL1_SMALL"),
    (
        "clone-reference-for-codebuild",
        stages({"name": "S", "actions": [connection(OutputArtifactFormat="CODEBUILD_CLONE_REF")]}, build(action("D", "Deploy", "S3", configuration={"BucketName": "b", "Extract": "true"}, inputArtifacts=[{"name": "SrcOutput"}]))),
        "stages[1].actions[0].inputArtifacts[0].name", VALIDATION, "S3 cannot read it",
    ),
    ("blockers-do-nothing", on_build(commands("B"), blockers=[{"name": "b", "type": "Schedule"}]), "stages[1].blockers", "InvalidBlockerDeclarationException", "have no effect"),
    ("near-limit", on_build(codebuild("B", {"BuildspecOverride": "x" * 950})), "stages[1].actions[0].configuration.BuildspecOverride", LIMIT, "950 of at most 1000 characters"),
    ("near-limit", on_build(*many_actions(95)), "stages[1].actions", LIMIT, "95 of at most 100 actions"),
]  # fmt: skip


def problems(change: dict[str, Any]) -> list[Problem]:
    wire = copy.deepcopy(GOOD) | change
    wire = {key: value for key, value in wire.items() if value is not None}
    for stage in wire["stages"]:
        for declared in stage["actions"]:
            if "commands" in declared and declared["commands"] is None:
                del declared["commands"]
    return validate(PipelineDeclaration.model_validate(wire), region="us-east-1")


@pytest.mark.parametrize(
    ("rule", "change", "path", "exception", "message"),
    CASES,
    ids=[f"{index}-{case[0]}" for index, case in enumerate(CASES)],
)
def test_a_broken_rule_is_found_with_its_place(
    rule: str, change: Any, path: str, exception: str, message: str
) -> None:
    found = problems(change)
    of_rule = [problem for problem in found if (problem.rule, problem.path) == (rule, path)]

    assert of_rule, found
    assert any(message in problem.message for problem in of_rule), of_rule
    assert of_rule[0].exception == exception
    assert of_rule[0].severity == RULES[rule].severity


def test_every_rule_has_a_case() -> None:
    of_pipelines = {name for name, rule in RULES.items() if rule.subject not in ("Buildspecs", "AppSpecs")}
    # Only an update can break this one: tests/model/stored.
    assert {case[0] for case in CASES} == of_pipelines - {"masked-secret-unchanged"}


NO_PROBLEM = [
    pytest.param(on_build(commands("B"), beforeEntry=conditions("SKIP", rule())), id="skip by a variable"),
    pytest.param(
        on_build(commands("B"), onFailure={"result": "RETRY", "retryConfiguration": {"retryMode": "ALL_ACTIONS"}}),
        id="automatic retry",
    ),
    pytest.param(
        on_build(
            commands("A", namespace="Own", outputVariables=["X"]),
            onSuccess=conditions("FAIL", rule(configuration={"Variable": "#{Own.X}", "Operator": "EQ", "Value": "x"})),
        ),
        id="a rule on success sees its own stage",
    ),
    pytest.param(
        {"triggers": [trigger(push=[BRANCH, {"tags": {"includes": ["v*"]}}], pullRequest=[BRANCH])], **stages({"name": "S", "actions": [connection(DetectChanges="false")]}, build(commands("B")))},
        id="a source that a trigger starts",
    ),
    pytest.param(on_build(codebuild("B", {"EnvironmentVariables": "[#{SourceVariables.ETag}"})), id="JSON that variables make"),
    pytest.param(on_build(codebuild("B", {"BatchEnabled": "True"})), id="True of a template"),
    pytest.param(on_build(deploy(ActionMode="#{variables.Env}", StackName="s")), id="a mode that only a variable knows"),
    pytest.param(on_build(action("J", "Build", "MyJenkins", "Custom", configuration={"Any": "thing"}, inputArtifacts=[{"name": "SrcOutput"}])), id="an action type of one's own"),
    pytest.param(
        on_build(commands("B"), beforeEntry=conditions("SKIP", {"name": "Up", "ruleTypeId": {"category": "Rule", "owner": "Custom", "provider": "Http"}, "configuration": {"Url": "https://example.com"}})),
        id="a rule type of one's own",
    ),
    pytest.param(on_build(commands("B"), approval(NotificationArn="arn:aws:sns:us-east-1:111122223333:t")), id="a topic"),
    pytest.param(
        {"variables": None, **stages({"name": "S", "actions": [source(namespace="variables")]}, build(codebuild("B", {"ProjectName": "#{variables.ETag}"})))},
        id="the namespace `variables` of a pipeline that has none",
    ),
    pytest.param(
        {"artifactStore": None, "artifactStores": {"us-east-1": STORE, "eu-west-1": STORE}, **on_build(commands("B", region="eu-west-1"))},
        id="two regions",
    ),
]  # fmt: skip


@pytest.mark.parametrize("change", NO_PROBLEM)
def test_what_aws_takes_is_no_problem(change: Any) -> None:
    assert problems(change) == []


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (on_build(commands("B", inputArtifacts=[{"name": "SrcOutptu"}])), "'SrcOutput'"),
        (on_build(codebuild("A", {"ProjectName": "#{SorceVariables.ETag}"})), "'SourceVariables'"),
        (on_build(codebuild("A", {"ProjectName": "#{variables.Evn}"})), "'Env'"),
        (on_build(codebuild("A", {"ProjectName": "#{SourceVariables.VersionID}"})), "'VersionId'"),
        (on_build(codebuild("A", {"PrimarySorce": "SrcOutput"})), "'PrimarySource'"),
        (on_build(action("A", "Build", "CodeBiuld")), "'Build/AWS/CodeBuild/1'"),
        (on_build(commands("B"), beforeEntry=conditions("FAIL", rule(provider="LambdaInvok"))), "'LambdaInvoke'"),
    ],
)  # fmt: skip
def test_the_nearest_name_is_proposed(change: Any, hint: str) -> None:
    assert f"did you mean {hint}?" in "\n".join(map(str, problems(change)))


def test_a_mask_stands_for_the_secret_of_a_stored_action() -> None:
    case = next(case for case in CASES if case[0] == "masked-secret")
    declaration = PipelineDeclaration.model_validate(copy.deepcopy(GOOD) | case[1])

    assert not [problem for problem in validate(declaration, stored=declaration) if "****" in problem.message]


def test_the_value_of_a_secret_is_in_no_problem() -> None:
    case = next(case for case in CASES if case[0] == "secret-in-plain-text")

    assert "planted" not in "\n".join(map(str, problems(case[1])))


def test_wrong_fields_hide_no_other_problem() -> None:
    wire = copy.deepcopy(GOOD)
    wire["name"] = "a b"
    wire["stages"][0]["actions"][0]["runOrder"] = "first"
    wire["stages"][1]["actions"][0]["inputArtifacts"] = [{"name": "SrcOutptu"}]

    declaration, found = declare_or_problems(wire)

    assert declaration is None
    assert [problem.path for problem in found if problem.severity == "error"] == [
        "name",
        "stages[0].actions[0].runOrder",
        "stages[1].actions[0].inputArtifacts[0].name",
    ]


def test_what_a_wrong_field_makes_wrong_elsewhere_is_not_said_again() -> None:
    wire = copy.deepcopy(GOOD)
    del wire["stages"][1]["actions"][2]["actionTypeId"]["provider"]
    wire["stages"][1]["actions"][2]["commands"] = "make"

    _, found = declare_or_problems(wire)

    assert [problem.path for problem in found if problem.severity == "error"] == [
        "stages[1].actions[2].actionTypeId.provider",
        "stages[1].actions[2].commands",
    ]


@pytest.mark.parametrize(
    "wire",
    [
        None, [], "text", 1, {}, {"stages": None}, {"stages": [None]}, {"stages": [{"actions": [None, 1, {}]}]},
        {"stages": [{"beforeEntry": {"conditions": [{"rules": [{}]}]}}], "triggers": [{}], "variables": [{}, 1]},
        {"artifactStores": {"x": 1}, "stages": [{"name": [], "actions": [{"configuration": {"K": {}}}]}]},
    ],
)  # fmt: skip
def test_data_of_any_shape_is_judged(wire: Any) -> None:
    declaration, found = declare_or_problems(wire)

    assert declaration is None
    assert found


def test_thousands_of_wrong_names_do_not_take_long_for_proposals() -> None:
    wrong = [
        commands(f"B{number}", inputArtifacts=[{"name": f"Made{number}x"}], outputArtifacts=[{"name": f"Mode{number}"}])
        for number in range(3000)
    ]  # fmt: skip

    found = problems(stages(SOURCE, build(*wrong), {"name": "More", "actions": wrong}))

    assert len(found) == 1000
    assert sum("did you mean" in problem.hint for problem in found) <= 20


PIPELINES = sorted((Path(__file__).parent.parent.parent / "data" / "pipelines").glob("*.json"))
# What AWS itself would refuse of the real pipelines when they are created, and why.
REFUSED_BY_AWS: dict[str, list[str]] = {
    # As get-pipeline prints it: the token is masked, which only an update may send back.
    "HelloGo": ["stages[0].actions[0].configuration.OAuthToken"],
}


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_real_pipelines_break_no_rule_but_those_listed(path: Path) -> None:
    declaration = PipelineDeclaration.model_validate(json.loads(path.read_text())["pipeline"])

    errors = [problem.path for problem in validate(declaration) if problem.severity == "error"]
    assert errors == REFUSED_BY_AWS.get(path.stem, [])
