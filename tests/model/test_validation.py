"""One case for each rule between fields, as the definition a user would write."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.model.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import validate


def action(
    name: str, category: str = "Compute", provider: str = "Commands", owner: str = "AWS", **more: Any
) -> Any:
    kind = {"category": category, "owner": owner, "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind, **more}


def source(name: str = "Src", **more: Any) -> Any:
    return action(name, "Source", "S3", outputArtifacts=[{"name": f"{name}Output"}], **more)


def commands(name: str, **more: Any) -> Any:
    return action(name, commands=["make"], inputArtifacts=[{"name": "SrcOutput"}], **more)


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
                        "CustomData": "#{BuildVariables.VERSION} #{SourceVariables.CommitId} #{variables.Env}"
                    },
                ),
            ],
        },
    ],
}


def test_a_good_pipeline_has_no_problem() -> None:
    assert validate(PipelineDeclaration.model_validate(GOOD)) == []


def stages(*declared: Any) -> dict[str, Any]:
    return {"stages": list(declared)}


SOURCE = {"name": "Source", "actions": [source(namespace="SourceVariables")]}
CONDITION = {
    "conditions": [
        {
            "result": "FAIL",
            "rules": [
                {"name": "R", "ruleTypeId": {"category": "Rule", "provider": "VariableCheck", "version": "1"}}
            ],
        }
    ]
}


def build(*actions: Any, **more: Any) -> dict[str, Any]:
    return {"name": "Build", "actions": list(actions), **more}


CASES = [
    pytest.param({"artifactStore": None}, "artifactStore", "InvalidStructureException", "exactly one", id="no store"),
    pytest.param(
        {"artifactStores": {"us-east-1": {"type": "S3", "location": "bucket"}}},
        "artifactStore", "InvalidStructureException", "exactly one", id="two kinds of store",
    ),
    pytest.param(
        stages(SOURCE), "stages", "InvalidStructureException",
        "Pipeline has only 1 stage(s). There should be a minimum of 2 stages in a pipeline", id="one stage",
    ),
    pytest.param(
        stages({"name": "Source", "actions": [source(), commands("X", runOrder=2)]}, build(commands("B"))),
        "stages[0].actions[1]", "InvalidStructureException",
        "Pipeline should start with a stage that only contains source actions", id="work in the source stage",
    ),
    pytest.param(
        stages(SOURCE, build(source("Late"), commands("B"))), "stages[1].actions[0]", "InvalidStructureException",
        "Source actions can only be included in the first stage of the pipeline", id="source later",
    ),
    pytest.param(
        stages(SOURCE, {"name": "More", "actions": [source("Other")]}), "stages", "InvalidStructureException",
        "Pipeline should contain at least 1 action whose category is not Source", id="sources only",
    ),
    pytest.param(
        stages(SOURCE, build(commands("B")), build(commands("C"))), "stages[2].name",
        "InvalidStageDeclarationException", "Stage name 'Build' is used more than once", id="stage twice",
    ),
    pytest.param(
        stages(SOURCE, build(commands("B"), commands("B"))), "stages[1].actions[1].name",
        "InvalidActionDeclarationException", "Action name 'B' is used more than once in stage 'Build'", id="action twice",
    ),
    pytest.param(
        {"variables": [{"name": "Env"}, {"name": "Env"}]}, "variables[1].name", "InvalidStructureException",
        "Variable names must be unique. The following variable name is already in use: Env", id="variable twice",
    ),
    pytest.param(
        stages(SOURCE, build(commands("B", outputArtifacts=[{"name": "SrcOutput"}]))),
        "stages[1].actions[0].outputArtifacts[0].name", "InvalidStructureException",
        "SrcOutput has been used more than once", id="artifact made twice",
    ),
    pytest.param(
        stages(SOURCE, build(action("B", commands=["x"], inputArtifacts=[{"name": "SrcOutptu"}]))),
        "stages[1].actions[0].inputArtifacts[0].name", "InvalidStructureException",
        "Input Artifact Bundle SrcOutptu in action B is not declared", id="artifact nobody makes",
    ),
    pytest.param(
        stages(
            SOURCE,
            build(
                commands("A", outputArtifacts=[{"name": "Made"}]),
                action("B", commands=["x"], inputArtifacts=[{"name": "Made"}]),
            ),
        ),
        "stages[1].actions[1].inputArtifacts[0].name", "InvalidStructureException", "preceding actions",
        id="artifact made at the same run order",
    ),
    pytest.param(
        stages(SOURCE, build(commands("A", namespace="SourceVariables"))), "stages[1].actions[0].namespace",
        "InvalidActionDeclarationException", "Namespaces must be unique", id="namespace twice",
    ),
    pytest.param(
        stages(SOURCE, build(commands("A", namespace="codepipeline"))), "stages[1].actions[0].namespace",
        "InvalidActionDeclarationException", "reserved", id="namespace reserved",
    ),
    pytest.param(
        stages(SOURCE, build(commands("A", namespace="SrcOutput"))), "stages[1].actions[0].namespace",
        "InvalidActionDeclarationException", "name of an artifact", id="namespace like an artifact",
    ),
    pytest.param(
        stages(SOURCE, build(action("A", commands=["echo #{SorceVariables.CommitId}"], inputArtifacts=[{"name": "SrcOutput"}]))),
        "stages[1].actions[0].commands[0]", "InvalidActionDeclarationException", "namespace that does not exist",
        id="namespace nobody has",
    ),
    pytest.param(
        stages(SOURCE, build(commands("A", namespace="Own"), commands("B", configuration={"K": "#{Own.x}"}))),
        "stages[1].actions[1].configuration.K", "InvalidActionDeclarationException", "namespace that does not exist",
        id="namespace of the same run order",
    ),
    pytest.param(
        stages(SOURCE, build(commands("A", configuration={"K": "#{plain}"}))), "stages[1].actions[0].configuration.K",
        "InvalidActionDeclarationException", "separated by a period", id="reference without a period",
    ),
    pytest.param(
        stages(SOURCE, build(commands("A", configuration={"K": "#{variables.Evn}"}))),
        "stages[1].actions[0].configuration.K", "InvalidStructureException",
        "The referenced variables haven't been declared", id="variable not declared",
    ),
    pytest.param(
        stages({"name": "Source", "actions": [source(configuration={"S3Bucket": "#{variables.Env}"})]}, build(commands("B"))),
        "stages[0].actions[0].configuration.S3Bucket", "InvalidStructureException",
        "Variables at the pipeline level cannot be used in source actions", id="variable in a source action",
    ),
    pytest.param(
        stages(SOURCE, build(commands("A", configuration={"K": "#{codepipeline.Name}"}))),
        "stages[1].actions[0].configuration.K", "InvalidActionDeclarationException", "PipelineExecutionId",
        id="reserved namespace without that key",
    ),
    pytest.param(
        {"pipelineType": "V1"}, "variables", "InvalidStructureException",
        "Pipeline variable can only be used with V2 pipelines", id="variables on V1",
    ),
    pytest.param(
        {"pipelineType": "V1", "executionMode": "QUEUED"}, "executionMode", "InvalidStructureException",
        "QUEUED or PARALLEL mode can only be used with V2 pipelines", id="mode on V1",
    ),
    pytest.param(
        {"pipelineType": "V1"}, "stages[1].actions[0].actionTypeId", "InvalidActionDeclarationException",
        "Commands Action can only be used with V2 pipelines.", id="Commands on V1",
    ),
    pytest.param(
        {"pipelineType": "V1", **stages(SOURCE, build(commands("B"), onSuccess=CONDITION))}, "stages[1].onSuccess",
        "InvalidStageDeclarationException", "Stage level conditions can only be used with V2 pipelines.",
        id="conditions on V1",
    ),
    pytest.param(
        stages(SOURCE, build(commands("B"), onFailure={"result": "ROLLBACK", **CONDITION})), "stages[1].onFailure",
        "InvalidStageDeclarationException", "both top level result and conditions", id="result and conditions",
    ),
    pytest.param(
        stages(SOURCE, build(action("B", inputArtifacts=[{"name": "SrcOutput"}]))), "stages[1].actions[0].commands",
        "InvalidActionDeclarationException", "Action B must have a non-empty commands field", id="no commands",
    ),
    pytest.param(
        stages(SOURCE, build(action("B", commands=["a\nb"], inputArtifacts=[{"name": "SrcOutput"}]))),
        "stages[1].actions[0].commands[0]", "InvalidActionDeclarationException", "single line", id="two lines in one command",
    ),
    pytest.param(
        stages(SOURCE, build(action("B", "Deploy", "S3", commands=["x"]))), "stages[1].actions[0].commands",
        "InvalidActionDeclarationException", "only Commands actions", id="commands elsewhere",
    ),
    pytest.param(
        stages(SOURCE, build(commands("B", timeoutInMinutes=10))), "stages[1].actions[0].timeoutInMinutes",
        "InvalidActionDeclarationException", "only Manual approval actions", id="timeout elsewhere",
    ),
    pytest.param(
        stages(SOURCE, build(action("B", "Deploy", "S3", environmentVariables=[{"name": "A", "value": "b"}]))),
        "stages[1].actions[0].environmentVariables", "InvalidActionDeclarationException", "only Commands and EKS",
        id="environment variables elsewhere",
    ),
    pytest.param(
        stages(SOURCE, build(action("B", "Deploy", "S3", outputArtifacts=[{"name": "O", "files": ["x"]}]))),
        "stages[1].actions[0].outputArtifacts", "InvalidActionDeclarationException", "only Commands actions name files",
        id="files elsewhere",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "path", "exception", "message"), CASES)
def test_a_broken_rule_is_found_with_its_place(change: Any, path: str, exception: str, message: str) -> None:
    wire = copy.deepcopy(GOOD) | change
    declaration = PipelineDeclaration.model_validate(
        {key: value for key, value in wire.items() if value is not None}
    )

    found = [
        problem for problem in validate(declaration) if problem.path == path and message in problem.message
    ]

    assert found, validate(declaration)
    assert found[0].exception == exception


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (
            stages(SOURCE, build(action("B", commands=["x"], inputArtifacts=[{"name": "SrcOutptu"}]))),
            "'SrcOutput'",
        ),
        (
            stages(SOURCE, build(commands("A", configuration={"K": "#{SorceVariables.CommitId}"}))),
            "'SourceVariables'",
        ),
        (stages(SOURCE, build(commands("A", configuration={"K": "#{variables.Evn}"}))), "'Env'"),
    ],
)
def test_the_nearest_name_is_proposed(change: Any, hint: str) -> None:
    problems = validate(PipelineDeclaration.model_validate(GOOD | change))

    assert f"did you mean {hint}?" in "\n".join(map(str, problems))


PIPELINES = sorted((Path(__file__).parent.parent / "data" / "pipelines").glob("*.json"))
# What AWS itself would refuse of the real pipelines, and why: nothing of these.
REFUSED_BY_AWS: dict[str, list[str]] = {}


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_real_pipelines_break_no_rule_but_those_listed(path: Path) -> None:
    declaration = PipelineDeclaration.model_validate(json.loads(path.read_text())["pipeline"])

    assert [str(problem) for problem in validate(declaration)] == REFUSED_BY_AWS.get(path.stem, [])
