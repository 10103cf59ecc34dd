"""Real templates and definitions are imported, and whatever is wrong with them is what AWS would refuse.

A selection lies in tests/data; CODEPIPELINE_CORPUS names a folder with more of them, in `cfn` and `json`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from prefect_codepipeline.actions.catalog import built_in_action_types
from prefect_codepipeline.cli import main
from prefect_codepipeline.deployments.checking.files import read_runnable
from prefect_codepipeline.deployments.checking.needed import needed_values
from prefect_codepipeline.deployments.cloudformation.export import as_template
from prefect_codepipeline.deployments.cloudformation.not_used import with_originals
from prefect_codepipeline.deployments.cloudformation.pipelines import (
    Imported,
    ImportedPipeline,
    import_document,
)
from prefect_codepipeline.deployments.cloudformation.writing import write_imported
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.deployments.files.resources import as_yaml
from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.model.problem import InvalidDefinition
from prefect_codepipeline.model.validation import Problem, validate

Found = TypeVar("Found")
DATA = Path(__file__).parents[2] / "data"
FILES = [
    path
    for path in (*(DATA / "templates").iterdir(), *(DATA / "pipelines").iterdir())
    if path.suffix != ".md"
]
if CORPUS := os.environ.get("CODEPIPELINE_CORPUS"):
    FILES = [path for kind in ("cfn", "json") for path in (Path(CORPUS) / kind).iterdir()]
# Values that nothing here uses.
NOT_USED = re.compile(r"(^|actions\[\d+\]\.)roleArn|^artifactStore|NotificationArn|OAuthToken")
# What AWS would refuse: the end of the file's name, then each problem's path and a part of its message.
REFUSED: dict[str, list[tuple[str, str]]] = {
    # The role's ARN has no account, and the second stage has a source.
    "bad~resources~codepipeline~stages_second_stage.yaml": [
        ("roleArn", "regular expression"),
        ("stages[1].actions[0]", "Source actions can only be included in the first stage"),
    ],
    # AWS's reference of OpsWorks, which is retired, lists App, Stack and Layer; these say AppId, StackId, LayerId.
    "samples~opsworks~pipeline.yml": [
        ("stages[2].actions[0].configuration.DeploymentType", "unknown configuration 'DeploymentType'"),
        ("stages[2].actions[0].configuration", "missing required configuration 'App'"),
        ("stages[2].actions[0].configuration", "missing required configuration 'Stack'"),
    ],
    "labs~opsworks~codepipeline-opsworks.json": [
        ("stages[1].actions[0].configuration.DeploymentType", "unknown configuration 'DeploymentType'"),
        ("stages[1].actions[0].configuration", "missing required configuration 'App'"),
        ("stages[1].actions[0].configuration", "missing required configuration 'Stack'"),
    ],
    # Without `OAuthToken`, and with an input that is called otherwise where it is made.
    "utiliware+cloudformation-differential-pipeline__cloudformation~pipeline.yaml": [
        ("stages[0].actions[0].configuration", "missing required configuration 'OAuthToken'"),
        (
            "stages[1].actions[0].inputArtifacts[0].name",
            "Bundle Source in action Cloudformation is not declared",
        ),
    ],
}
# What each file asks for.
VALUES = {end: set(names) for end, names in yaml.safe_load((DATA / "asked-values.yaml").read_text()).items()}
# What CloudFormation would refuse: the end of the file's name, and the names that are not defined there.
UNDEFINED = {
    "bad~resources~codepipeline~stages_second_stage.yaml": {"Github"},
    "tuimac+lambda_codepipeline__codepipeline.yml": {
        "ModuleName",
        "Owner",
        "Repo",
        "DevBranch",
        "OAuthToken",
        "DevModuleStackName",
        "PackagedTemplateFilePath",
        "DevDeployParamFile",
        "ProdBranch",
        "ProdModuleStackName",
        "ProdDeployParamFile",
    },
}
# Their only pipeline is made on a condition.
LEFT_OUT = "preventive-control~deployment-cfn~sc-product-deployment.yml"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_real_file_is_imported_and_what_is_wrong_is_what_aws_would_refuse(path: Path) -> None:
    imported = import_document(read_file(path))

    assert imported.pipelines or path.name.endswith(LEFT_OUT)
    assert _undefined(imported) == _of(UNDEFINED, path, set())
    expected = _of(REFUSED, path, [])
    found = [problem for pipeline in imported.pipelines for problem in _errors(pipeline)]
    assert [problem.path for problem in found] == [where for where, _ in expected]
    for problem, (where, message) in zip(found, expected, strict=True):
        assert message in problem.message
        assert imported.pipelines[0].place_of(where).line > 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_real_file_comes_back_the_same_from_each_format(path: Path) -> None:
    for pipeline in import_document(read_file(path)).pipelines:
        template = exported(pipeline)
        for text in (json.dumps(template), as_yaml(template)):
            (again,) = import_document(parse_document(text, "again")).pipelines
            # CloudFormation counts versions by itself.
            wire = {key: value for key, value in pipeline.wire.items() if key != "version"}
            assert renamed(again.wire) == renamed(wire)
            assert renamed([again.extras, resources(again)]) == renamed(
                [pipeline.extras, resources(pipeline)]
            )
            assert exported(again) == template
        for text in (json.dumps({"pipeline": pipeline.wire}), as_yaml({"pipeline": pipeline.wire})):
            (again,) = import_document(parse_document(text, "again")).pipelines
            assert again.wire == pipeline.wire


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_exported_template_is_one_that_cloudformation_accepts(path: Path) -> None:
    """What AWS would refuse in it, it would refuse in the original; no unknown value became a text."""
    for pipeline in import_document(read_file(path)).pipelines:
        template = exported(pipeline)
        again = import_document(parse_document(as_yaml(template), "again"))

        assert [problem for problem in again.problems if problem.severity == "error"] == []
        (imported,) = again.pipelines
        assert [problem.path for problem in _errors(imported)] == [
            where for where, _ in _of(REFUSED, path, [])
        ]
        for text in texts(template["Resources"]):
            assert not {name for name in re.findall(r"\$\{([^{}]*)\}", text) if name in pipeline.missing}
        assert "not-used-here" not in json.dumps(template)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_real_file_deploys_as_imported_or_says_what_it_lacks(path: Path, tmp_path: Path) -> None:
    """Only a provider that does not exist yet, a mistake, or a value that an action here needs prevents it."""
    for pipeline in import_document(read_file(path)).pipelines:
        definition, *_ = write_imported(pipeline, tmp_path, replace=True)
        needed = needed_values(pipeline.wire, pipeline.beside)
        unknown = {place for value in needed for place in value.paths if not place.startswith("resources.")}
        wrong = {place for place, _ in _of(REFUSED, path, [])}

        try:
            read_runnable(definition)
        except InvalidDefinition as error:
            found = {problem.path for problem in error.problems if problem.rule != "not-available"}
        else:
            found = set()
        assert unknown <= found <= unknown | wrong
        if "Fn::GetArtifactAtt" in json.dumps(pipeline.wire):  # then the bucket of the artifacts is used
            unknown = {place for place in unknown if not place.startswith("artifactStore")}
        assert not [place for place in unknown if NOT_USED.search(place)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_real_file_asks_only_for_what_an_action_here_needs(path: Path) -> None:
    for pipeline in import_document(read_file(path)).pipelines:
        needed = needed_values(pipeline.wire, pipeline.beside)
        asked = {value.name for value in needed}
        idle = [place for place, action in _actions(pipeline.wire) if _cannot_run(action)]
        if DATA in path.parents:
            expected = _of(VALUES, path, set()) & pipeline.missing.keys()
            assert asked <= expected if idle else asked == expected
        places = [place for value in needed for place in value.paths]
        assert not [place for place in places if place.startswith(tuple(f"{each}.conf" for each in idle))]
        # What follows from another value is not asked for, and what can be given has a description.
        assert not {name for name in asked if name.startswith(("FindInMap.", "Length(", "Base64("))}
        assert [name for name in asked if not pipeline.missing[name].what] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_command_for_the_missing_values_is_enough(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is printed, with a value in place of each VALUE: then nothing is asked for, and nothing was in vain.

    The definition can be deployed then, unless AWS would refuse it or a type of its actions does not run here.
    """
    source = tmp_path / f"template{path.suffix}"
    source.write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    _run(["import", source.name])
    said, _, rest = capsys.readouterr().out.partition("give the missing values with: codepipeline ")
    command = rest.partition("\n")[0]
    assert ("  missing values, " in said) == bool(command)
    if command:
        _run([word.replace("=VALUE", f"={_fitting(word)}") for word in shlex.split(command)])
        said = capsys.readouterr().out
        assert " -> " in said
        assert "missing values" not in said
        assert "is not used by the document" not in said
    for definition in set(tmp_path.glob("*.json")) - {source}:
        assert _hindrances(definition) == {place for place, _ in _of(REFUSED, path, [])}


def _hindrances(definition: Path) -> set[str]:
    """The places of what prevents a deployment, other than types that do not run here."""
    try:
        read_runnable(definition)
    except InvalidDefinition as error:
        return {problem.path for problem in error.problems if problem.rule != "not-available"}
    return set()


def _run(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)


def _fitting(option: str) -> str:
    """A value that fits a parameter by its name."""
    name = option.partition("=")[0]
    values = {
        "AccountId": "111122223333",
        "Region": "us-east-1",
        "Category": "Test",
        "Version": "1",
        "Role": "arn:aws:iam::111122223333:role/p",
    }
    return next((value for part, value in values.items() if part in name), "value")


def _actions(wire: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage_index, stage in enumerate(wire["stages"]):
        for index, action in enumerate(stage["actions"]):
            yield f"stages[{stage_index}].actions[{index}]", action


def _cannot_run(action: dict[str, Any]) -> bool:
    kind = action["actionTypeId"]
    name = "/".join(kind[key] for key in ("category", "owner", "provider", "version"))
    return "${" not in name and name not in map(str, built_in_action_types())


def test_what_is_given_is_enough_to_complete_a_pipeline() -> None:
    path = next(path for path in FILES if path.name.startswith("aws-samples+eks-workshop"))
    missing = import_document(read_file(path)).pipelines[0].missing
    given = dict.fromkeys(missing, "value")
    given |= {
        "CodePipelineServiceRole.Arn": "arn:aws:iam::111122223333:role/p",
        "CodePipelineArtifactBucket": "bucket",
    }

    imported = import_document(read_file(path), given)

    assert (imported.problems, imported.pipelines[0].missing) == ([], {})
    assert _errors(imported.pipelines[0]) == []


def test_a_pipeline_that_is_left_out_is_named_with_its_condition() -> None:
    path = next(path for path in FILES if path.name.endswith(LEFT_OUT))

    (problem,) = import_document(read_file(path)).problems
    assert "Pipeline is skipped, because condition DeployPipeline is false" in problem.message
    assert "it depends on DeployUpdatePipeline, which is 'true' (allowed: true, false)" in problem.hint
    options = "--parameter DeployUpdatePipeline=VALUE --parameter UpdateConfigFileName=VALUE"
    assert problem.hint.endswith(options)
    assert import_document(read_file(path), {"UpdateConfigFileName": "config.json"}).pipelines


def test_keys_that_stand_twice_outside_of_the_pipeline_are_warnings() -> None:
    path = next(path for path in FILES if "mlops" in path.name)

    problems = import_document(read_file(path)).problems
    assert [(problem.severity, problem.message.split(";")[0]) for problem in problems] == [
        ("warning", "key 'Action' is in line 380 and again in line 381"),
        ("warning", "key 'Effect' is in line 379 and again in line 391"),
    ]


def test_the_selection_says_where_each_file_comes_from() -> None:
    text = (DATA / "templates" / "README.md").read_text()

    for path in (DATA / "templates").iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in text


def exported(pipeline: ImportedPipeline) -> dict[str, Any]:
    wire = with_originals(pipeline.wire, pipeline.placeholders)
    logical_id = pipeline.logical_id or "Pipeline"
    return as_template(wire, logical_id, pipeline.extras, pipeline.resources, pipeline.missing)


def resources(pipeline: ImportedPipeline) -> dict[str, Any]:
    """The resources without the attributes that an import adds."""
    return {
        name: {key: value for key, value in resource.items() if key != "Attributes"}
        for name, resource in pipeline.resources.items()
    }


def renamed(part: Any) -> str:
    """The part with only letters and digits in names of unknown values, as parameters have them."""
    text = json.dumps(part)
    return re.sub(r"\$\{([^{}]*)\}", lambda match: "${" + re.sub(r"[^A-Za-z0-9]", "", match[1]) + "}", text)


def texts(part: Any) -> Iterator[str]:
    """Every text outside of functions."""
    if isinstance(part, dict):
        for key, value in part.items():
            if not key.startswith("Fn::"):
                yield from texts(value)
    elif isinstance(part, list):
        for item in part:
            yield from texts(item)
    elif isinstance(part, str):
        yield part


def _of(table: dict[str, Found], path: Path, default: Found) -> Found:
    return next((value for end, value in table.items() if path.name.endswith(end)), default)


def _undefined(imported: Imported) -> set[str]:
    return {
        problem.message.partition("[")[2].partition("]")[0]
        for problem in imported.problems
        if problem.severity == "error"
    }


def _errors(pipeline: ImportedPipeline) -> list[Problem]:
    """What AWS would refuse, but for values that wait to be given."""
    problems = pipeline.problems(lambda declaration: validate(declaration, stored=declaration))
    return [problem for problem in problems if problem.severity == "error"]


def test_yaml_of_exports_is_yaml() -> None:
    """What is printed is read by everybody's YAML as what it is."""
    content = {
        "a": "1",
        "b": "yes",
        "c": "x\ny\n",
        "d": "${A}",
        "e": 1,
        "f": "2024-01-02",
        "g": "~",
        "h": " ",
    }

    assert yaml.safe_load(as_yaml(content)) == content
